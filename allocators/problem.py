"""The question that a traffic plan answers: who sends how much, who should get how much, and what stands in force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from allocators.errors import ProblemError
from mesh.policy import Strategy
from mesh.topology import ContainerName, Node, NodeName, ServiceName, Topology

UNSEEN = 1e-15
SteeredRouting = Literal["uniform", "local-first", "imbalance-aware"]
STEERED_ROUTINGS: tuple[SteeredRouting, ...] = ("uniform", "local-first", "imbalance-aware")


@dataclass(frozen=True, slots=True)
class Terms:
    """How a problem is to be solved. ``connections`` is K: a number, ``"all"``, or None for the default by size."""

    routing: SteeredRouting
    strategy: Strategy = "askew"
    connections: int | Literal["all"] | None = None
    max_overload: float = 1.0


@dataclass(frozen=True, eq=False)
class Standing:
    """Shares in force, and what they were solved for.

    Attributes
    ----------
    fractions:
        float64, shape ``(clients, endpoints)``.
    rates, targets:
        Shapes ``(clients,)`` and ``(endpoints,)``, each summing to 1: the parts of all requests that the solve assumed.
    terms:
        How they were solved, or None where that is not known (then any terms match).
    """

    clients: tuple[ContainerName, ...]
    client_nodes: tuple[NodeName, ...]
    endpoints: tuple[ContainerName, ...]
    endpoint_nodes: tuple[NodeName, ...]
    fractions: NDArray[np.float64]
    rates: NDArray[np.float64]
    targets: NDArray[np.float64]
    terms: Terms | None = None


@dataclass(frozen=True, eq=False)
class TrafficProblem:
    """One called service: N client containers and M endpoints.

    Attributes
    ----------
    rates:
        Requests per second of each client, shape ``(N,)``, >= 0.
    capacities:
        Relative, shape ``(M,)``, > 0.
    targets:
        Load that each endpoint should get, shape ``(M,)``, >= 0, in any unit; None means by capacity.
    nodes:
        Every node that a client or an endpoint stands on.
    latency_ms:
        Of each client's own work, shape ``(N,)``; None where it is not known.
    standing:
        Shares in force, or None for a cold start.

    Raises
    ------
    ProblemError
        for wrong shapes, negative or non-finite numbers, a name twice, an unknown node, targets that are all zero.
    """

    clients: tuple[ContainerName, ...]
    client_nodes: tuple[NodeName, ...]
    rates: NDArray[np.float64]
    endpoints: tuple[ContainerName, ...]
    endpoint_nodes: tuple[NodeName, ...]
    capacities: NDArray[np.float64]
    nodes: Mapping[NodeName, Node]
    targets: NDArray[np.float64] | None = None
    latency_ms: NDArray[np.float64] | None = None
    standing: Standing | None = None

    def __post_init__(self) -> None:
        n, m = len(self.clients), len(self.endpoints)
        _check_numbers("rates", self.rates, n)
        _check_numbers("capacities", self.capacities, m)
        if m and not self.capacities.min() > 0:
            raise ProblemError(f"capacities: found {self.capacities.min()}, allowed: numbers > 0")
        if self.targets is not None:
            _check_numbers("targets", self.targets, m)
            if m and not self.targets.max() > 0:
                raise ProblemError("targets: found only zeros, allowed: at least one > 0")
        if self.latency_ms is not None:
            _check_numbers("latency_ms", self.latency_ms, n)
        _check_names("clients", self.clients, self.client_nodes, self.nodes)
        _check_names("endpoints", self.endpoints, self.endpoint_nodes, self.nodes)


def problem_for(
    topology: Topology,
    service: ServiceName,
    *,
    rates: Mapping[ContainerName, float],
    targets: Mapping[ContainerName, float] | None = None,
    latency_ms: Mapping[ContainerName, float] | None = None,
    standing: Standing | None = None,
) -> TrafficProblem:
    """Return the problem of one service of a mesh. A client without a rate sends 0; a latency must be there for all.

    Raises KeyError for a service that the mesh does not have, or a target or latency that is missing.
    """
    clients = topology.clients_of[service]
    endpoints = topology.service_by_name[service].containers
    return TrafficProblem(
        clients=tuple(c.name for c in clients),
        client_nodes=tuple(c.node for c in clients),
        rates=np.array([rates.get(c.name, 0.0) for c in clients], dtype=float),
        endpoints=tuple(e.name for e in endpoints),
        endpoint_nodes=tuple(e.node for e in endpoints),
        capacities=np.array([e.capacity for e in endpoints], dtype=float),
        nodes=topology.node_by_name,
        targets=None if targets is None else np.array([targets[e.name] for e in endpoints], dtype=float),
        latency_ms=None if latency_ms is None else np.array([latency_ms[c.name] for c in clients], dtype=float),
        standing=standing,
    )


def parts(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``values`` scaled to sum to 1 without overflow or underflow; all zero stays all zero.

    What is less than 1e-15 of the largest is 0: sums of the others are not that exact.

    >>> parts(np.array([1e308, 1e308])).tolist()
    [0.5, 0.5]
    """
    largest = values.max(initial=0.0)
    if largest == 0.0:
        return np.zeros(len(values))
    scaled = values / largest
    scaled[scaled < UNSEEN] = 0.0
    return np.asarray(scaled / scaled.sum())


def _check_numbers(what: str, values: NDArray[np.float64], size: int) -> None:
    if values.shape != (size,):
        raise ProblemError(f"{what}: found shape {values.shape}, allowed: {(size,)}")
    # One comparison chain catches negatives, NaN and infinity: NaN compares false.
    if size and not (values.min() >= 0 and values.max() < np.inf):
        raise ProblemError(f"{what}: found a negative or non-finite number, allowed: finite numbers >= 0")


def _check_names(what: str, names: Sequence[str], nodes: Sequence[NodeName], known: Mapping[NodeName, Node]) -> None:
    if len(nodes) != len(names):
        raise ProblemError(f"{what}: found {len(nodes)} nodes, allowed: one for each of {len(names)}")
    if len(set(names)) != len(names):
        raise ProblemError(f"{what}: found a name twice, allowed: each once")
    for node in set(nodes):
        if node not in known:
            raise ProblemError(f"{what}: found node {node!r}, allowed: a node of the problem")
