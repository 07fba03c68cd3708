"""Traffic problems for the tests: small ones written out, random ones from a seed, and Hypothesis strategies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from allocators.problem import TrafficProblem
from mesh.topology import ContainerName, Node, NodeName

Floats = NDArray[np.float64]


def problem(
    clients: Sequence[tuple[str, float]],
    endpoints: Sequence[tuple[str, float]],
    *,
    places: dict[str, tuple[str, str]] | None = None,
    targets: Sequence[float] | None = None,
    latency_ms: Sequence[float] | None = None,
) -> TrafficProblem:
    """Return a problem of clients u0, u1, … as (node, rate) and endpoints d0, d1, … as (node, capacity).

    ``places`` gives nodes a (zone, region); the others have none.
    """
    names = {node for node, _ in (*clients, *endpoints)}
    located = {name: (places or {}).get(name, ("", "")) for name in names}
    return TrafficProblem(
        clients=tuple(ContainerName(f"u{i}") for i in range(len(clients))),
        client_nodes=tuple(NodeName(node) for node, _ in clients),
        rates=np.array([rate for _, rate in clients], dtype=float),
        endpoints=tuple(ContainerName(f"d{j}") for j in range(len(endpoints))),
        endpoint_nodes=tuple(NodeName(node) for node, _ in endpoints),
        capacities=np.array([capacity for _, capacity in endpoints], dtype=float),
        nodes={NodeName(name): Node(NodeName(name), *located[name]) for name in names},
        targets=None if targets is None else np.array(targets, dtype=float),
        latency_ms=None if latency_ms is None else np.array(latency_ms, dtype=float),
    )


FIGURE_8 = problem([("h1", 1.0), ("h2", 1.0)], [("h1", 1.0), ("h1", 1.0), ("h2", 1.0)])


def random_problem(clients: int, endpoints: int, *, nodes: int, seed: int, spread: float = 0.5) -> TrafficProblem:
    """Return a problem with log-normal rates and capacities, placed at random over nodes in 3 zones of 2 regions."""
    rng = np.random.default_rng(seed)
    places = {f"h{k}": (f"z{k % 3}", f"r{k % 2}") for k in range(nodes)}
    return problem(
        [(f"h{rng.integers(nodes)}", rng.lognormal(0.0, spread)) for _ in range(clients)],
        [(f"h{rng.integers(nodes)}", rng.lognormal(0.0, spread)) for _ in range(endpoints)],
        places=places,
    )


def reordered(asked: TrafficProblem, client_order: Sequence[int], endpoint_order: Sequence[int]) -> TrafficProblem:
    """Return the same problem with its clients and endpoints named in another order."""
    rows, columns = list(client_order), list(endpoint_order)
    return replace(
        asked,
        clients=tuple(asked.clients[row] for row in rows),
        client_nodes=tuple(asked.client_nodes[row] for row in rows),
        rates=asked.rates[rows],
        endpoints=tuple(asked.endpoints[column] for column in columns),
        endpoint_nodes=tuple(asked.endpoint_nodes[column] for column in columns),
        capacities=asked.capacities[columns],
        targets=None if asked.targets is None else asked.targets[columns],
        latency_ms=None if asked.latency_ms is None else asked.latency_ms[rows],
    )


def loads(asked: TrafficProblem, fractions: Floats) -> Floats:
    """Return the requests per second that each endpoint gets."""
    return np.asarray(asked.rates @ fractions)


def off_node(asked: TrafficProblem) -> NDArray[np.bool_]:
    """Return which (client, endpoint) pairs stand on different nodes."""
    return np.array([[one != other for other in asked.endpoint_nodes] for one in asked.client_nodes])


_sizes = st.sampled_from(["equal", "small integers", "any"])


@st.composite
def amounts(draw: st.DrawFn, count: int, *, zero: bool) -> list[float]:
    """Draw rates or capacities: all equal, small integers (many ties), or anything over six orders of magnitude."""
    match draw(_sizes):
        case "equal":
            return [1.0] * count
        case "small integers":
            whole = st.integers(0 if zero else 1, 3).map(float)
            return draw(st.lists(whole, min_size=count, max_size=count))
        case _:
            return draw(st.lists(st.floats(1e-3, 1e3), min_size=count, max_size=count))


@st.composite
def problems(draw: st.DrawFn, *, most: int = 9) -> TrafficProblem:
    """Draw a problem of 1 to ``most`` clients and endpoints on 1 to 5 nodes, somebody of whom sends."""
    nodes = [f"h{k}" for k in range(draw(st.integers(1, 5)))]
    places = {node: (f"z{draw(st.integers(0, 1))}", f"r{draw(st.integers(0, 1))}") for node in nodes}
    n, m = draw(st.integers(1, most)), draw(st.integers(1, most))
    rates = draw(amounts(n, zero=True))
    if not any(rates):
        rates[0] = 1.0
    targets = draw(st.none() | amounts(m, zero=True))
    if targets is not None and not any(targets):
        targets[0] = 1.0
    on = st.sampled_from(nodes)
    return problem(
        [(draw(on), rate) for rate in rates],
        [(draw(on), capacity) for capacity in draw(amounts(m, zero=False))],
        places=places,
        targets=targets,
        latency_ms=draw(st.none() | st.lists(st.sampled_from([1.0, 2.0, 5.0]), min_size=n, max_size=n)),
    )
