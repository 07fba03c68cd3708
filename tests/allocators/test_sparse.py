"""Few links: what K costs, and what it must not cost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from allocators.forest import forest, narrow_forest
from allocators.layout import Layout, lay_out
from allocators.local_first import level_flows
from allocators.problem import TrafficProblem
from allocators.scaling import Links
from allocators.sparse import largest, sparse
from allocators.traffic_plan import allocate_traffic
from tests.allocators.cases import Floats, loads, problem, problems, random_problem


def matrix(links: Links, layout: Layout) -> Floats:
    """Return requests as a matrix in the layout's order."""
    x = np.zeros(layout.shape)
    x[links.clients, links.endpoints] = links.requests
    return x


@given(problems())
def test_a_forest_meets_everything_on_few_links(asked: TrafficProblem) -> None:
    """Rows and columns are exact, on at most N + M − 1 links for each distance that is used."""
    layout = lay_out(asked)
    x = matrix(forest(layout), layout)

    assert x.sum(axis=1) == pytest.approx(layout.rates, abs=1e-11)
    assert x.sum(axis=0) == pytest.approx(layout.targets, abs=1e-11)
    assert np.count_nonzero(x) <= len(level_flows(layout)) * (sum(layout.shape) - 1)


def test_other_orders_are_tried_where_k_is_tight() -> None:
    """Rates 3, 2, 1 on targets 1, 2, 3 in turn: some order of them needs one link each, and it is found."""
    layout = lay_out(problem([("h", 3.0), ("h", 2.0), ("h", 1.0)], [("h", 2.0), ("h", 3.0), ("h", 1.0)]))
    links = narrow_forest(layout, most=1)

    assert np.bincount(links.clients).max() == 1
    assert matrix(links, layout).sum(axis=0) == pytest.approx(layout.targets)


def test_largest_keeps_the_largest() -> None:
    """Of a client's links the ones with most requests stay, in order."""
    links = Links(np.array([0, 0, 0, 1]), np.array([0, 1, 2, 0]), np.array([0.2, 0.5, 0.3, 0.1]))
    kept = largest(links, most=2)

    assert (kept.clients.tolist(), kept.endpoints.tolist()) == ([0, 0, 1], [1, 2, 0])


@pytest.mark.parametrize("nodes", [1, 10, 40])
def test_ten_links_of_a_hundred_are_exact(nodes: int) -> None:
    """100 × 100 with K = 10: every target is met, nothing crosses that need not, and K is used."""
    made = allocate_traffic(random_problem(100, 100, nodes=nodes, seed=3), routing="local-first", connections=10)

    assert made.target_deviation < 1e-9
    assert made.cross_node_share == pytest.approx(made.lower_bound_cross_node_share, abs=1e-9)
    assert made.max_connections_per_client == 10


def test_errors_in_rates_average_out() -> None:
    """Rates wrong by 20 % (100 × 100, K = 10): loads spread far less than on the bare forest, and nearly as little as
    with ten even links each, which is 20 % / √10."""
    asked = random_problem(100, 100, nodes=1, seed=5)
    layout = lay_out(asked)
    rng = np.random.default_rng(7)
    wrong = 1 + 0.2 * rng.standard_normal((300, 100))

    def spread(x: Floats) -> float:
        return float((wrong @ x / layout.targets).std())

    bare = spread(matrix(forest(layout), layout))
    ours = spread(matrix(sparse(layout, level_flows(layout), most=10), layout))
    assert ours < 0.5 * bare
    assert ours < 1.25 * 0.2 / np.sqrt(10)


def test_k_wins_over_targets_and_the_deviation_says_so() -> None:
    """One client, three endpoints, two links: one endpoint is not reached."""
    asked = problem([("h", 1.0)], [("h", 1.0), ("h", 1.0), ("h", 1.0)])
    made = allocate_traffic(asked, routing="local-first", connections=2)

    assert made.max_connections_per_client == 2
    assert made.target_deviation == pytest.approx(1.0)


@pytest.mark.parametrize(("nodes", "most", "seed"), [(10, 4, 24), (3, 3, 0), (3, 3, 15)])
def test_a_link_in_the_way_does_not_cost_the_others(nodes: int, most: int, seed: int) -> None:
    """Where exact targets leave nothing for an extra link it goes alone: most of the room for links is still used."""
    size = 40 if nodes == 10 else 60
    slow = np.random.default_rng(seed).random(size) < 0.2
    asked = random_problem(size, size, nodes=nodes, seed=seed)
    made = allocate_traffic(
        replace(asked, targets=np.where(slow, 0.46, 1.13)), routing="imbalance-aware", connections=most
    )

    assert made.connections > 0.85 * most * size > 2 * size
    assert made.max_connections_per_client == most
    assert made.target_deviation < 1e-9
    assert made.cross_node_share == pytest.approx(made.lower_bound_cross_node_share)


@pytest.mark.parametrize("seed", range(5))
def test_every_endpoint_is_reached_twice(seed: int) -> None:
    """Equal rates and targets, K = 2: the forest is a perfect matching, yet no endpoint hangs on one client."""
    asked = problem([("h", 1.0)] * 12, [("h", 1.0)] * 12)
    shuffled = replace(asked, clients=tuple(np.random.default_rng(seed).permutation(asked.clients).tolist()))
    made = allocate_traffic(shuffled, routing="local-first", connections=2)

    assert np.count_nonzero(made.fractions, axis=0).min() >= 2
    assert made.target_deviation < 1e-9


@given(problems(most=14))
def test_k_of_two_or_more_reaches_every_endpoint_that_two_can_reach(asked: TrafficProblem) -> None:
    """On one node, wherever K allows exact targets with links to spare, every endpoint has two clients or more."""
    on_one = replace(
        asked,
        client_nodes=(asked.client_nodes[0],) * len(asked.clients),
        endpoint_nodes=(asked.client_nodes[0],) * len(asked.endpoints),
        latency_ms=None,
    )
    senders = int((on_one.rates > 0.0).sum())
    made = allocate_traffic(on_one, routing="local-first", connections=max(2, len(asked.endpoints) - 1))
    reached = np.count_nonzero(made.fractions[on_one.rates > 0.0], axis=0)[made.targets > 0.0]
    if made.target_deviation < 1e-6 and senders >= 4 and len(asked.endpoints) > 4:
        assert reached.min() >= 2


def test_slow_clients_go_to_fast_endpoints() -> None:
    """What leaves its node is paired: the slow node's surplus takes the endpoint with the large target."""
    asked = problem(
        [("slow", 4.0), ("quick", 2.0)],
        [("slow", 1.0), ("quick", 1.0), ("x", 3.0), ("y", 1.0)],
        latency_ms=[9.0, 1.0],
    )
    made = allocate_traffic(asked, routing="local-first")

    assert made.fractions * asked.rates[:, None] == pytest.approx(np.array([[1, 0, 3, 0], [0, 1, 0, 1]]))
    assert made.cross_node_share == pytest.approx(made.lower_bound_cross_node_share)


def test_without_latencies_everyone_spreads() -> None:
    """The same without latencies: both surpluses go to both endpoints in proportion."""
    asked = problem([("a", 4.0), ("b", 2.0)], [("a", 1.0), ("b", 1.0), ("x", 3.0), ("y", 1.0)], latency_ms=[5.0, 5.0])
    made = allocate_traffic(asked, routing="local-first")

    assert made.fractions[:, 2:] * asked.rates[:, None] == pytest.approx(np.array([[2.25, 0.75], [0.75, 0.25]]))
    assert loads(asked, made.fractions) == pytest.approx(made.targets)
