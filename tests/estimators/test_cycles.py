"""Breaking cycles: what is left is a forest, at the least traffic to be measured."""

from __future__ import annotations

from itertools import combinations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimators.cycles import cost_of, greedy_set, services_to_measure, strip_leaves, without_needless
from estimators.paper_rule import break_cycles_by_path
from estimators.service_graph import ServiceGraph


def graph_of(pairs: list[tuple[int, int]], weights: list[float]) -> ServiceGraph:
    """Return a service graph in which vertex v receives ``weights[v]`` bytes and sends none."""
    size = len(weights)
    return ServiceGraph(
        services=tuple(f"s{vertex}" for vertex in range(size)),
        pairs=tuple(pairs),
        calls=tuple(pairs),
        transmit_bytes=(0,) * size,
        receive_bytes=tuple(weights),
        coverage=(1.0,) * size,
        window_s=1.0,
    )


@st.composite
def graphs(draw: st.DrawFn, *, most: int = 25) -> ServiceGraph:
    size = draw(st.integers(1, most))
    ends = st.integers(0, size - 1)
    drawn = draw(st.lists(st.tuples(ends, ends), max_size=3 * size))
    pairs = {(min(pair), max(pair)): pair for pair in drawn if pair[0] != pair[1]}
    weights = draw(st.lists(st.integers(0, 1000), min_size=size, max_size=size))
    return graph_of(list(pairs.values()), [float(weight) for weight in weights])


def is_forest_without(graph: ServiceGraph, chosen: tuple[int, ...]) -> bool:
    left = nx.Graph(graph.pairs)
    left.remove_nodes_from(chosen)
    return len(left) == 0 or nx.is_forest(left)


def cost(graph: ServiceGraph, chosen: tuple[int, ...]) -> float:
    return cost_of(chosen, dict(enumerate(graph.receive_bytes)))


def first_cycle_rule(graph: ServiceGraph) -> tuple[int, ...]:
    """The paper's rule in its plainest reading, as an oracle: while there is a cycle, drop its idlest vertex."""
    left, chosen = nx.Graph(graph.pairs), []
    while True:
        try:
            cycle = nx.find_cycle(left)
        except nx.NetworkXNoCycle:
            return tuple(chosen)
        chosen.append(min((vertex for vertex, _ in cycle), key=graph.traffic_bytes))
        left.remove_node(chosen[-1])


@given(graphs(), st.sampled_from(["askew", "opttraffic"]))
def test_the_rest_is_a_forest(graph: ServiceGraph, strategy: str) -> None:
    """Without the chosen services no cycle is left, with either strategy."""
    assert is_forest_without(graph, services_to_measure(graph, range(len(graph.pairs)), strategy=strategy))


@given(graphs())
def test_never_costlier_than_the_papers_rule(graph: ServiceGraph) -> None:
    """Strategy askew measures at most the traffic that strategy opttraffic does, and that the plain reading does."""
    everything = range(len(graph.pairs))
    ours = cost(graph, services_to_measure(graph, everything))
    assert ours <= cost(graph, services_to_measure(graph, everything, strategy="opttraffic"))
    assert ours <= cost(graph, first_cycle_rule(graph))


@given(graphs(most=8))
def test_tiny_graphs_get_the_minimum(graph: ServiceGraph) -> None:
    """Exhaustive search over all sets of vertices finds nothing cheaper."""
    vertices = range(len(graph.services))
    subsets = (subset for size in range(len(vertices) + 1) for subset in combinations(vertices, size))
    least = min(cost(graph, subset) for subset in subsets if is_forest_without(graph, subset))
    assert cost(graph, services_to_measure(graph, range(len(graph.pairs)))) == least


@given(graphs())
def test_no_chosen_service_is_needless(graph: ServiceGraph) -> None:
    """Putting any chosen service back closes a cycle, unless it costs nothing."""
    chosen = services_to_measure(graph, range(len(graph.pairs)))
    for vertex in chosen:
        others = tuple(other for other in chosen if other != vertex)
        assert not is_forest_without(graph, others) or graph.traffic_bytes(vertex) == 0


@given(graphs())
def test_the_greedy_alone_breaks_all_cycles(graph: ServiceGraph) -> None:
    """The part that large cores rest on holds by itself, before and after pruning."""
    core = strip_leaves(graph.pairs)
    weights = {vertex: graph.traffic_bytes(vertex) for vertex in core}
    greedy = greedy_set(core, weights)
    pruned = without_needless(core, weights, greedy)
    assert is_forest_without(graph, greedy)
    assert is_forest_without(graph, pruned)
    assert set(pruned) <= set(greedy)


@given(graphs())
def test_the_core_is_the_two_core(graph: ServiceGraph) -> None:
    """What stripping leaves finds is networkx' 2-core."""
    expected = nx.k_core(nx.Graph(graph.pairs), 2) if graph.pairs else nx.Graph()
    assert {vertex: set(neighbours) for vertex, neighbours in strip_leaves(graph.pairs).items()} == {
        vertex: set(expected[vertex]) for vertex in expected
    }


def test_the_papers_rule_takes_the_idlest_vertex_of_the_two_paths() -> None:
    """head 0 reaches 3 through 1 and through 2: among 0 (the fork), 1, 2 and 3 it takes 2, the idlest."""
    pairs = [(0, 1), (0, 2), (1, 3), (2, 3)]
    weights = [9.0, 5.0, 4.0, 8.0]
    assert services_to_measure(graph_of(pairs, weights), range(4), strategy="opttraffic") == (2,)


def test_the_papers_rule_ignores_what_lies_before_the_fork() -> None:
    """An idle head before the fork is on neither path, so it is not measured."""
    adjacency = {0: {1}, 1: {0, 2, 3}, 2: {1, 3}, 3: {1, 2}}
    chosen = break_cycles_by_path(adjacency, [(0, 1), (1, 2), (1, 3), (2, 3)], {0: 0.0, 1: 5.0, 2: 3.0, 3: 4.0})
    assert chosen == (2,)


def test_two_heads_over_the_same_two_services_are_broken_too() -> None:
    """No single head meets itself here: the search without directions finds the cycle."""
    pairs = [(0, 2), (0, 3), (1, 2), (1, 3)]
    assert services_to_measure(graph_of(pairs, [1.0, 7.0, 8.0, 9.0]), range(4), strategy="opttraffic") == (0,)


def test_one_shared_service_beats_two_idle_ones() -> None:
    """Two triangles share service 2: the paper measures an idle one in each, the cheapest set is the shared one."""
    pairs = [(0, 1), (1, 2), (0, 2), (2, 3), (3, 4), (2, 4)]
    graph = graph_of(pairs, [2.0, 2.5, 3.0, 2.0, 2.5])
    assert services_to_measure(graph, range(6), strategy="opttraffic") == (0, 3)
    assert services_to_measure(graph, range(6)) == (2,)


def test_the_papers_rule_gives_up_within_its_steps() -> None:
    """With a limit on steps it says None instead of taking quadratic time."""
    ring = {vertex: {(vertex - 1) % 50, (vertex + 1) % 50} for vertex in range(50)}
    assert break_cycles_by_path(ring, [], dict.fromkeys(ring, 1.0), most_steps=10) is None


@pytest.mark.parametrize("seed", range(5))
def test_large_cores_cost_less_than_the_papers_rule(seed: int) -> None:
    """300 services, 600 calls, log-normal traffic: well below the paper's rule, and a forest."""
    rng = np.random.default_rng(seed)
    pairs = {(min(pair), max(pair)) for pair in rng.integers(0, 300, (600, 2)).tolist() if pair[0] != pair[1]}
    graph = graph_of(sorted(pairs), rng.lognormal(0, 1.5, 300).tolist())
    ours = services_to_measure(graph, range(len(pairs)))
    paper = services_to_measure(graph, range(len(pairs)), strategy="opttraffic")
    assert is_forest_without(graph, ours)
    assert cost(graph, ours) < 0.9 * cost(graph, paper)
