"""A problem in canonical order: by place, then size, then name, so that the order of the input cannot matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from allocators.problem import TrafficProblem, parts
from allocators.targets import target_parts
from mesh.topology import Distance, Node, NodeName

Ints = NDArray[np.intp]
Floats = NDArray[np.float64]


def sums(classes: Ints, values: Floats, count: int = 0) -> Floats:
    """Return the sum of ``values`` in each class 0, 1, ... (``count`` of them at least), shape ``(count,)``."""
    return np.asarray(np.bincount(classes, values, count), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Layout:
    """Clients and endpoints sorted by (region, zone, node, size falling, name).

    Attributes
    ----------
    client_order, endpoint_order:
        Position in the problem of each sorted client and endpoint.
    rates, targets:
        Parts of all requests, each summing to 1 (where nobody sends, every client counts the same).
    client_groups, endpoint_groups:
        One array for each ``Distance``: the number of the node, zone, region or whole that it stands in. They never
        fall along the order, so that every group is one contiguous run.
    group_counts:
        How many groups there are at each distance.
    latency_ms:
        Of the clients' own work in this order, or None where it is not known or the same for all.
    """

    client_order: Ints
    endpoint_order: Ints
    rates: Floats
    targets: Floats
    client_groups: tuple[Ints, ...]
    endpoint_groups: tuple[Ints, ...]
    group_counts: tuple[int, ...]
    latency_ms: Floats | None

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.client_order), len(self.endpoint_order)

    @property
    def size(self) -> int:
        return len(self.client_order) * len(self.endpoint_order)

    def original_rates(self) -> Floats:
        """Return the rates in the problem's order."""
        return _unsorted(self.rates, self.client_order)

    def original_targets(self) -> Floats:
        """Return the targets in the problem's order."""
        return _unsorted(self.targets, self.endpoint_order)

    def restore(self, fractions: Floats) -> Floats:
        """Return a matrix in this order as one in the problem's order."""
        restored = np.empty_like(fractions)
        if self.size:
            restored[np.ix_(self.client_order, self.endpoint_order)] = fractions
        return restored

    def arrange(self, fractions: Floats) -> Floats:
        """Return a matrix in the problem's order as one in this order."""
        return fractions[np.ix_(self.client_order, self.endpoint_order)]


def lay_out(problem: TrafficProblem) -> Layout:
    """Return the problem in canonical order. Cost O((N+M) log(N+M))."""
    levels = _levels({*problem.client_nodes, *problem.endpoint_nodes}, problem.nodes)
    raw_targets = problem.capacities if problem.targets is None else problem.targets
    client_order, client_groups = _sorted_by_place(problem.clients, problem.client_nodes, problem.rates, levels)
    endpoint_order, endpoint_groups = _sorted_by_place(problem.endpoints, problem.endpoint_nodes, raw_targets, levels)
    # Scaled only now: sums in another order would differ by rounding, and ties fall another way.
    rates, latency = parts(problem.rates[client_order]), problem.latency_ms
    if len(rates) and not rates.any():
        rates = np.full(len(rates), 1.0 / len(rates))
    return Layout(
        client_order=client_order,
        endpoint_order=endpoint_order,
        rates=rates,
        targets=target_parts(problem, order=endpoint_order),
        client_groups=client_groups,
        endpoint_groups=endpoint_groups,
        group_counts=tuple(int(level.max(initial=-1)) + 1 for level in levels.groups),
        latency_ms=None if latency is None or len(set(latency.tolist())) < 2 else latency[client_order],
    )


@dataclass(frozen=True, eq=False)
class _Levels:
    number_of: Mapping[NodeName, int]
    groups: tuple[Ints, ...]  # by Distance: number of a node -> number of its group


def _levels(names: set[NodeName], nodes: Mapping[NodeName, Node]) -> _Levels:
    used = sorted((nodes[name].region, nodes[name].zone, name) for name in names)
    zone_numbers, region_numbers = _runs([place[:2] for place in used]), _runs([place[:1] for place in used])
    groups = (np.arange(len(used)), zone_numbers, region_numbers, np.zeros(len(used), dtype=np.intp))
    return _Levels({place[2]: number for number, place in enumerate(used)}, groups)


def _runs(keys: Sequence[tuple[str, ...]]) -> Ints:
    """Return the number of the run of equal keys that each stands in."""
    numbers, number = [], -1
    for index, key in enumerate(keys):
        if index == 0 or key != keys[index - 1]:
            number += 1
        numbers.append(number)
    return np.array(numbers, dtype=np.intp)


def _sorted_by_place(
    names: Sequence[str], nodes: Sequence[NodeName], sizes: Floats, levels: _Levels
) -> tuple[Ints, tuple[Ints, ...]]:
    by_name = np.array(sorted(range(len(names)), key=names.__getitem__), dtype=np.intp)
    node_numbers = np.array([levels.number_of[node] for node in nodes], dtype=np.intp)
    order = by_name[np.lexsort((-sizes[by_name], node_numbers[by_name]))]
    placed = node_numbers[order]
    return order, tuple(levels.groups[distance][placed] for distance in Distance)


def _unsorted(values: Floats, order: Ints) -> Floats:
    result = np.empty(len(values))
    result[order] = values
    return result
