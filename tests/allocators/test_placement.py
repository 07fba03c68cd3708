"""NetMARKS' score: the formula, and what must not change it."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from allocators.placement import NodeScore, StandingPod, less_crowded, score_nodes
from estimators.flows import Flow

WORKLOADS = ("a", "b", "c", "new")
NODES = ("n1", "n2", "n3", "n4")

flows = st.dictionaries(
    st.tuples(st.sampled_from(WORKLOADS), st.sampled_from(WORKLOADS)), st.floats(0.0, 1e9, allow_subnormal=False)
).map(lambda found: [Flow(*ends, rate) for ends, rate in found.items()])
pods = st.lists(st.tuples(st.sampled_from(WORKLOADS), st.sampled_from(NODES)), max_size=20).map(
    lambda found: [StandingPod(f"p{index}", *one) for index, one in enumerate(found)]
)


def as_written(nodes: list[str], standing: list[StandingPod], sent: list[Flow]) -> dict[str, float]:
    """Return each node's raw score by the formula, term by term."""
    rate = {(flow.source, flow.target): flow.rate_bytes_per_s for flow in sent}
    return {
        node: sum(
            (rate.get((pod.workload, "new"), 0.0) + rate.get(("new", pod.workload), 0.0))
            / sum(other.workload == pod.workload for other in standing)
            for pod in standing
            if pod.node == node
        )
        for node in nodes
    }


def test_a_pair_is_spread_over_the_partners_pods() -> None:
    """Three of four frontends stand on n1: three quarters of what they exchange with the cart is expected there."""
    standing = [StandingPod(f"f{index}", "frontend", node) for index, node in enumerate(("n1", "n1", "n1", "n2"))]

    found = score_nodes(["n2", "n1"], standing, [Flow("frontend", "cart", 90.0)], workload="cart")

    assert found == (NodeScore("n1", 10), NodeScore("n2", 3))


def test_both_directions_count() -> None:
    """What the new pod will send attracts as much as what it will receive."""
    standing = [StandingPod("x", "x", "n1"), StandingPod("y", "y", "n2")]

    found = score_nodes(NODES[:2], standing, [Flow("x", "new", 50.0), Flow("new", "y", 100.0)], workload="new")

    assert found == (NodeScore("n2", 10), NodeScore("n1", 5))


def test_only_neighbours_count() -> None:
    """A neighbour's neighbour attracts nobody."""
    standing = [StandingPod("x", "x", "n1")]

    found = score_nodes(NODES[:2], standing, [Flow("x", "y", 100.0), Flow("y", "new", 1.0)], workload="new")

    assert {one.score for one in found} == {0}


def test_the_pods_former_self_does_not_count() -> None:
    """A pod of the new one's name neither attracts it nor takes a part of the flow from others."""
    standing = [StandingPod("db-0", "db", "n1"), StandingPod("db-1", "db", "n2"), StandingPod("db-2", "db", "n3")]
    sent = [Flow("db", "db", 7.0)]

    found = score_nodes(["n1", "n2", "n3"], standing, sent, workload="db", name="db-0")

    assert found == (NodeScore("n2", 10), NodeScore("n3", 10), NodeScore("n1", 0))


def test_halves_go_to_the_even_number() -> None:
    """2.5 is 2 and 7.5 is 8, as Python rounds."""
    standing = [StandingPod("a", "a", "n1"), StandingPod("b", "b", "n2"), StandingPod("c", "c", "n3")]
    sent = [Flow("a", "new", 100.0), Flow("b", "new", 75.0), Flow("c", "new", 25.0)]

    found = score_nodes(["n3", "n2", "n1"], standing, sent, workload="new")

    assert [one.score for one in found] == [10, 8, 2]


def test_no_nodes_no_scores() -> None:
    """An empty list is an answer."""
    assert score_nodes([], [], [], workload="new") == ()


@given(pods, flows)
def test_it_is_the_formula(standing: list[StandingPod], sent: list[Flow]) -> None:
    """Each score is the rounded tenth of the formula's raw scores, but for what arithmetic loses."""
    raw = as_written(list(NODES), standing, sent)
    most = max(raw.values())

    for one in score_nodes(NODES, standing, sent, workload="new"):
        assert abs(one.score - (10.0 * raw[one.node] / most if most else 0.0)) <= 0.5 + 1e-6


@given(pods, flows, st.integers())
def test_no_order_matters(standing: list[StandingPod], sent: list[Flow], seed: int) -> None:
    """Pods, flows and nodes in any order give the same scores, to the last one."""
    shuffled = random.Random(seed)
    mixed = [shuffled.sample(one, len(one)) for one in (list(NODES), standing, sent)]

    assert score_nodes(*mixed, workload="new") == score_nodes(NODES, standing, sent, workload="new")  # type: ignore[arg-type]


@given(pods, flows, st.integers(-20, 20))
def test_units_do_not_matter(standing: list[StandingPod], sent: list[Flow], power: int) -> None:
    """Flows times a power of two, which loses nothing, give the same scores."""
    scaled = [Flow(flow.source, flow.target, flow.rate_bytes_per_s * 2.0**power) for flow in sent]

    assert score_nodes(NODES, standing, scaled, workload="new") == score_nodes(NODES, standing, sent, workload="new")


@given(pods, flows)
def test_scores_are_whole_and_the_best_has_ten(standing: list[StandingPod], sent: list[Flow]) -> None:
    """0 to 10, sorted, each node once; 10 is reached unless there is no opinion, which is the same score for all."""
    found = score_nodes(NODES, standing, sent, workload="new")

    assert sorted(found, key=lambda one: (-one.score, one.node)) == list(found)
    assert sorted(one.node for one in found) == sorted(NODES)
    assert {type(one.score) for one in found} == {int}
    assert found[0].score == 10 or {one.score for one in found} == {0}
    assert min(one.score for one in found) >= 0


@given(pods)
def test_without_history_all_nodes_are_equal(standing: list[StandingPod]) -> None:
    """Who was never heard of is drawn nowhere."""
    sent = [Flow("a", "b", 10.0), Flow("a", "new", 0.0)]

    assert len({one.score for one in score_nodes(NODES, standing, sent, workload="new")}) == 1


@given(st.lists(st.tuples(st.integers(0, 10), st.integers(0, 9))), st.floats(0.0, 1.0))
def test_a_crowded_node_is_never_worth_more(found: list[tuple[int, int]], share: float) -> None:
    """Only nodes past the share lose, half and no more; share 1 changes nothing."""
    scores, replicas = [score for score, _ in found], [here for _, here in found]

    for score, here, less in zip(scores, replicas, less_crowded(scores, replicas, share=share), strict=True):
        assert less == (score // 2 if here > share * sum(replicas) else score)
    assert less_crowded(scores, replicas, share=1.0) == scores
