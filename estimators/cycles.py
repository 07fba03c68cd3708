"""BreakCycle: which services to measure, so that what is left is a forest and peeling reaches every link.

Measuring a service costs in proportion to its traffic, so this is the minimum-weight feedback vertex set of the open
links (NP-hard). Strategies:

``opttraffic``
    The paper's rule (``paper_rule.py``), exactly as it stands.
``askew`` (default)
    Per connected component the cheapest of: a greedy by traffic per cycle broken, the paper's rule, both without
    what they took in vain, and on small cores a bounded exact search. Never costlier than the paper's rule (unless a
    core of thousands makes that rule take more than 200 steps per link: then it is not tried).
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence

from estimators.cycle_search import cheaper_set
from estimators.errors import UnknownStrategyError
from estimators.paper_rule import break_cycles_by_path
from estimators.service_graph import ServiceGraph

STRATEGIES = ("askew", "opttraffic")
EXACT_UP_TO = 40  # vertices of one core component
PAPER_STEPS_PER_LINK = 200  # the paper's rule is quadratic at worst; beyond this we stop comparing with it

Adjacency = Mapping[int, Collection[int]]


def services_to_measure(graph: ServiceGraph, open_pairs: Iterable[int], *, strategy: str = "askew") -> tuple[int, ...]:
    """Choose the vertices to measure.

    Parameters
    ----------
    graph:
        Services, calls and traffic (the weight of a vertex is receive + transmit).
    open_pairs:
        Indices into ``graph.pairs`` of the links that are not known yet in both directions.
    strategy:
        ``askew`` or ``opttraffic``.

    Returns
    -------
    tuple[int, ...]
        Vertices, ascending; without them the open pairs are a forest. Empty if they already are one.

    Raises
    ------
    UnknownStrategyError
        for any other strategy.

    Notes
    -----
    ``askew`` takes O((V + E) log V). Named after OptTraffic (ICPP 2023), Algorithm 1, BreakCycle.

    Examples
    --------
    >>> triangle = ServiceGraph(("a", "b", "c"), ((0, 1), (1, 2), (0, 2)), ((0, 1), (1, 2), (0, 2)),
    ...                         (9, 2, 5), (9, 2, 5), (1.0,) * 3, 1.0)
    >>> services_to_measure(triangle, range(3))
    (1,)
    """
    if strategy not in STRATEGIES:
        raise UnknownStrategyError(strategy, STRATEGIES)
    core = strip_leaves([graph.pairs[pair] for pair in open_pairs])
    chosen: list[int] = []
    for component in components(core):
        adjacency = {vertex: core[vertex] for vertex in component}
        weights = {vertex: graph.traffic_bytes(vertex) for vertex in component}
        if strategy == "opttraffic":
            chosen += break_cycles_by_path(adjacency, graph.calls, weights) or ()
        else:
            chosen += _cheapest(adjacency, graph.calls, weights)
    return tuple(sorted(chosen))


def strip_leaves(pairs: Iterable[tuple[int, int]]) -> dict[int, set[int]]:
    """Return the neighbours of every vertex that lies on or between cycles (the 2-core). O(V + E).

    >>> strip_leaves([(0, 1), (1, 2), (2, 0), (2, 3)]) == {0: {1, 2}, 1: {0, 2}, 2: {0, 1}}
    True
    """
    adjacency: dict[int, set[int]] = {}
    for one, other in pairs:
        adjacency.setdefault(one, set()).add(other)
        adjacency.setdefault(other, set()).add(one)
    leaves = [vertex for vertex, neighbours in adjacency.items() if len(neighbours) <= 1]
    while leaves:
        vertex = leaves.pop()
        for neighbour in adjacency.pop(vertex, ()):
            adjacency[neighbour].discard(vertex)
            if len(adjacency[neighbour]) == 1:
                leaves.append(neighbour)
    return {vertex: neighbours for vertex, neighbours in adjacency.items() if neighbours}


def components(adjacency: Adjacency) -> list[list[int]]:
    """Return the connected components, each in ascending order. O(V log V + E).

    >>> components({0: {1}, 1: {0}, 2: set()})
    [[0, 1], [2]]
    """
    seen: set[int] = set()
    result = []
    for root in sorted(adjacency):
        if root in seen:
            continue
        seen.add(root)
        found = [root]
        for vertex in found:
            fresh = [other for other in adjacency[vertex] if other not in seen]
            seen.update(fresh)
            found += fresh
        result.append(sorted(found))
    return result


def _cheapest(adjacency: Adjacency, calls: Sequence[tuple[int, int]], weights: Mapping[int, float]) -> tuple[int, ...]:
    links = sum(len(neighbours) for neighbours in adjacency.values())
    candidates = [without_needless(adjacency, weights, greedy_set(adjacency, weights))]
    paper = break_cycles_by_path(adjacency, calls, weights, most_steps=PAPER_STEPS_PER_LINK * links)
    if paper is not None:
        candidates.append(without_needless(adjacency, weights, paper))
    best = min(candidates, key=lambda chosen: (cost_of(chosen, weights), len(chosen)))
    if len(adjacency) <= EXACT_UP_TO:
        best = cheaper_set(adjacency, weights, best)
    return best


def cost_of(chosen: Iterable[int], weights: Mapping[int, float]) -> float:
    """Return the traffic of the chosen vertices together."""
    return sum(weights[vertex] for vertex in chosen)


def greedy_set(adjacency: Adjacency, weights: Mapping[int, float]) -> tuple[int, ...]:
    """Remove the vertex with the least traffic per further link until no cycle is left. O((V + E) log V).

    >>> greedy_set({0: {1, 2}, 1: {0, 2}, 2: {0, 1}}, {0: 5.0, 1: 1.0, 2: 3.0})
    (1,)
    """
    open_links = {vertex: set(neighbours) for vertex, neighbours in adjacency.items()}
    heap = [(weights[vertex] / max(1, len(open_links[vertex]) - 1), vertex) for vertex in open_links]
    heapq.heapify(heap)
    chosen = []

    def remove(vertex: int) -> None:
        pending = [vertex]
        while pending:
            gone = pending.pop()
            for neighbour in open_links.pop(gone, ()):
                left = open_links[neighbour]
                left.discard(gone)
                if len(left) <= 1:
                    pending.append(neighbour)  # on no cycle any more: costs nothing to leave out
                else:
                    heapq.heappush(heap, (weights[neighbour] / (len(left) - 1), neighbour))

    while open_links:
        ratio, vertex = heapq.heappop(heap)
        if vertex in open_links and ratio == weights[vertex] / max(1, len(open_links[vertex]) - 1):
            chosen.append(vertex)
            remove(vertex)
    return tuple(chosen)


def without_needless(adjacency: Adjacency, weights: Mapping[int, float], chosen: Collection[int]) -> tuple[int, ...]:
    """Return ``chosen`` without vertices that close no cycle, the costliest put back first. O((V + E) α).

    >>> without_needless({0: {1, 2}, 1: {0, 2}, 2: {0, 1}}, {0: 5.0, 1: 1.0, 2: 3.0}, (0, 1))
    (1,)
    """
    parent = {vertex: vertex for vertex in adjacency}

    def root(vertex: int) -> int:
        while parent[vertex] != vertex:
            parent[vertex] = vertex = parent[parent[vertex]]
        return vertex

    kept = set(adjacency) - set(chosen)
    for vertex in kept:
        for neighbour in adjacency[vertex]:
            if neighbour in kept:
                parent[root(vertex)] = root(neighbour)
    needed = []
    for vertex in sorted(chosen, key=lambda name: (-weights[name], name)):
        trees = [root(neighbour) for neighbour in adjacency[vertex] if neighbour in kept]
        if len(set(trees)) < len(trees):
            needed.append(vertex)
            continue
        kept.add(vertex)
        for tree in trees:
            parent[tree] = vertex
    return tuple(sorted(needed))
