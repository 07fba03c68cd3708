"""What holds for every plan of our own strategy, whatever the problem (Hypothesis), and what the oracles say."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from allocators.problem import TrafficProblem
from allocators.traffic_plan import TrafficPlan, allocate_traffic
from tests.allocators.cases import loads, off_node, problem, problems, random_problem, reordered

caps = st.none() | st.just("all") | st.integers(1, 6)


def plan(asked: TrafficProblem, connections: object = "all", max_overload: float = 1.0) -> TrafficPlan:
    """Return the local-first plan."""
    return allocate_traffic(asked, routing="local-first", connections=connections, max_overload=max_overload)  # type: ignore[arg-type]


@given(problems(), caps)
def test_rows_are_whole_and_nothing_is_negative(asked: TrafficProblem, connections: object) -> None:
    """Every client's shares are >= 0 and sum to 1, also where K is tight, also of clients that are silent."""
    fractions = plan(asked, connections).fractions

    assert (fractions >= 0.0).all()
    assert fractions.sum(axis=1) == pytest.approx(1.0, abs=1e-12)


@given(problems(), st.integers(1, 6), st.sampled_from([1.0, 1.5]))
def test_no_client_has_more_links_than_allowed(asked: TrafficProblem, connections: int, max_overload: float) -> None:
    """K is never exceeded, whatever it costs."""
    links = np.count_nonzero(plan(asked, connections, max_overload).fractions, axis=1)

    assert links.max() <= connections


@given(problems())
def test_columns_meet_their_targets(asked: TrafficProblem) -> None:
    """Where K allows, every endpoint gets its target, and targets sum to what is sent."""
    made = plan(asked)

    assert made.targets.sum() == pytest.approx(asked.rates.sum())
    assert loads(asked, made.fractions) == pytest.approx(made.targets, rel=1e-7, abs=1e-9 * asked.rates.sum())
    assert made.target_deviation < 1e-7


@given(problems(), caps)
def test_the_figures_are_those_of_the_shares(asked: TrafficProblem, connections: object) -> None:
    """Local and cross share, links and deviation are what the shares come to, not what was meant."""
    made = plan(asked, connections)
    total = asked.rates.sum()
    crossing = float((asked.rates[:, None] * made.fractions)[off_node(asked)].sum()) / total
    wanted = made.targets > 0.0
    misses = np.abs(loads(asked, made.fractions) - made.targets)[wanted] / made.targets[wanted]

    assert made.cross_node_share == pytest.approx(crossing, abs=1e-9)
    assert made.local_share == pytest.approx(1.0 - crossing, abs=1e-9)
    assert made.target_deviation == pytest.approx(misses.max(), abs=1e-7)
    assert made.connections == np.count_nonzero(made.fractions)
    assert made.max_connections_per_client == np.count_nonzero(made.fractions, axis=1).max()


@settings(max_examples=1000)
@given(problems())
def test_the_bound_is_reached_wherever_k_allows(asked: TrafficProblem) -> None:
    """With K = M what leaves its node is exactly ``Σ_h max(0, R_h − W_h)``."""
    made = plan(asked)

    assert made.cross_node_share == pytest.approx(made.lower_bound_cross_node_share, abs=1e-9)


@given(problems(), st.integers(1, 6))
def test_shares_that_keep_to_the_targets_never_beat_the_bound(asked: TrafficProblem, connections: int) -> None:
    """Crossing is under the bound only by what K made endpoints exceed their targets; without that it is the bound."""
    made = plan(asked, connections)
    above = np.maximum(loads(asked, made.fractions) - made.targets, 0.0).sum() / asked.rates.sum()

    assert made.cross_node_share >= made.lower_bound_cross_node_share - above - 1e-9
    if made.target_deviation < 1e-9:
        assert made.cross_node_share == pytest.approx(made.lower_bound_cross_node_share, abs=1e-8)


@given(problems(), st.floats(1.0, 3.0))
def test_overload_is_bounded(asked: TrafficProblem, max_overload: float) -> None:
    """With β no endpoint gets more than β times its target, and crossing falls to ``Σ_h max(0, R_h − β·W_h)``."""
    made = plan(asked, "all", max_overload)

    assert (loads(asked, made.fractions) <= max_overload * made.targets * (1 + 1e-7) + 1e-9).all()
    assert made.cross_node_share == pytest.approx(made.lower_bound_cross_node_share, abs=1e-9)
    assert made.lower_bound_cross_node_share <= plan(asked).lower_bound_cross_node_share + 1e-12


@given(problems(), caps, st.sampled_from([2.0**-40, 0.5, 1024.0]))
def test_units_do_not_matter(asked: TrafficProblem, connections: object, scale: float) -> None:
    """Rates in another unit give the same shares."""
    scaled = replace(asked, rates=asked.rates * scale)

    assert plan(scaled, connections).fractions == pytest.approx(plan(asked, connections).fractions, abs=1e-12)


@given(problems(), caps, st.data())
def test_the_order_of_the_input_does_not_matter(
    asked: TrafficProblem, connections: object, data: st.DataObject
) -> None:
    """Clients and endpoints named in another order get exactly the same shares."""
    rows = data.draw(st.permutations(range(len(asked.clients))))
    columns = data.draw(st.permutations(range(len(asked.endpoints))))
    other = plan(reordered(asked, rows, columns), connections)

    assert np.array_equal(other.fractions, plan(asked, connections).fractions[np.ix_(rows, columns)])


@given(problems(), caps)
def test_the_same_question_has_the_same_answer(asked: TrafficProblem, connections: object) -> None:
    """There is no hidden state and no chance in it."""
    assert np.array_equal(plan(asked, connections).fractions, plan(asked, connections).fractions)


@given(problems(), caps)
def test_plan_then_replan_changes_nothing(asked: TrafficProblem, connections: object) -> None:
    """A plan that is fed back as shares in force opens and closes nothing and moves no weight."""
    first = plan(asked, connections)
    again = plan(replace(asked, standing=first.standing), connections)

    assert np.array_equal(again.fractions, first.fractions)
    assert (again.links_opened, again.links_closed) == (0, 0)


@settings(max_examples=300)
@given(problems())
def test_every_endpoint_is_reached_by_two_of_its_node(asked: TrafficProblem) -> None:
    """With K = M every client that sends reaches every endpoint of its node: two at least, where there are two."""
    made = plan(replace(asked, latency_ms=None))
    for column, target in enumerate(made.targets.tolist()):
        near = np.array([node == asked.endpoint_nodes[column] for node in asked.client_nodes]) & (asked.rates > 0.0)
        if target > 0.0:
            assert (made.fractions[near, column] > 0.0).all()


def cheapest(asked: TrafficProblem, made: TrafficPlan, costs: np.ndarray) -> float:
    """Return the least cost of any requests with these rates and targets: HiGHS on the transport problem."""
    n, m = costs.shape
    rows, columns = np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))
    solved = linprog(costs.ravel(), A_eq=np.vstack((rows, columns)), b_eq=np.concatenate((asked.rates, made.targets)))
    assert solved.status == 0
    return float(solved.fun)


@pytest.mark.parametrize("seed", range(12))
def test_linprog_finds_nothing_cheaper(seed: int) -> None:
    """With any rising prices of zone, region and farther, HiGHS finds the same optimum: the levels are nested."""
    asked = random_problem(12, 15, nodes=6, seed=seed)
    made = plan(asked)
    distances = np.array(
        [[_distance(asked, one, other) for other in asked.endpoint_nodes] for one in asked.client_nodes]
    )
    for prices in ([0.0, 1.0, 1.0, 1.0], [0.0, 1.0, 3.0, 10.0]):
        costs = np.array(prices)[distances]
        ours = float((asked.rates[:, None] * made.fractions * costs).sum())
        assert ours == pytest.approx(cheapest(asked, made, costs), rel=1e-7)


def _distance(asked: TrafficProblem, one: str, other: str) -> int:
    a, b = asked.nodes[one], asked.nodes[other]  # type: ignore[index]
    if one == other:
        return 0
    return 3 if a.region != b.region else 1 if a.zone == b.zone else 2


@pytest.mark.parametrize("seed", range(8))
def test_exhaustive_search_finds_nothing_better_with_one_link_each(seed: int) -> None:
    """K = 1 with equal rates and targets: trying every assignment finds no exact one with less crossing."""
    rng = np.random.default_rng(seed)
    nodes = ["h0", "h1", "h2"]
    asked = problem(
        [(nodes[rng.integers(3)], 1.0) for _ in range(6)], [(nodes[rng.integers(3)], 1.0) for _ in range(3)]
    )
    crossing = off_node(asked)
    exact = [
        sum(crossing[client, endpoint] for client, endpoint in enumerate(choice))
        for choice in itertools.product(range(3), repeat=6)
        if all(choice.count(endpoint) == 2 for endpoint in range(3))
    ]
    made = plan(asked, 1)

    assert made.target_deviation == pytest.approx(0.0, abs=1e-9)
    assert made.cross_node_share == pytest.approx(min(exact) / 6)
