"""The entry: what it takes, what it refuses, and the cases at the edges."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocators.errors import ProblemError
from allocators.problem import TrafficProblem
from allocators.traffic_plan import allocate_traffic
from tests.allocators.cases import FIGURE_8, loads, problem, problems, random_problem


def test_figure_8_of_opttraffic() -> None:
    """m = 2 on hosts 1, 1 and n = 3 on hosts 2, 1: local shares 1/2 + 1/2 and 2/3, and 1/3 of a load crosses, not 1."""
    made = allocate_traffic(FIGURE_8, routing="local-first")
    uniform = allocate_traffic(FIGURE_8, routing="uniform")

    assert made.fractions == pytest.approx(np.array([[1 / 2, 1 / 2, 0], [1 / 6, 1 / 6, 2 / 3]]))
    assert made.cross_node_share * 2 == pytest.approx(1 / 3)
    assert uniform.cross_node_share * 2 == pytest.approx(1.0)
    assert made.lower_bound_cross_node_share * 2 == pytest.approx(1 / 3)


@given(problems(), st.none() | st.integers(1, 3))
def test_uniform_is_always_one_in_m(asked: TrafficProblem, connections: int | None) -> None:
    """Whatever K, targets or capacities say."""
    made = allocate_traffic(asked, routing="uniform", connections=connections, strategy="imbres")

    assert (made.fractions == 1.0 / len(asked.endpoints)).all()


def test_nobody_sends() -> None:
    """R = 0: all is local, nothing deviates, targets are 0, and rows are there for the first request."""
    silent = replace(FIGURE_8, rates=np.zeros(2))
    made = allocate_traffic(silent, routing="local-first")

    assert (made.local_share, made.cross_node_share, made.lower_bound_cross_node_share) == (1.0, 0.0, 0.0)
    assert made.target_deviation == 0.0
    assert made.targets.tolist() == [0.0, 0.0, 0.0]
    assert made.fractions == pytest.approx(allocate_traffic(FIGURE_8, routing="local-first").fractions)


def test_no_endpoint_and_no_client() -> None:
    """Nothing to share: empty matrices, and figures that are numbers."""
    nobody = allocate_traffic(problem([], [("h", 1.0)]), routing="local-first")
    nowhere = allocate_traffic(problem([("h", 1.0)], []), routing="local-first")

    assert (nobody.fractions.shape, nowhere.fractions.shape) == ((0, 1), (1, 0))
    assert (nobody.connections, nowhere.connections) == (0, 0)
    assert (nobody.local_share, nowhere.target_deviation) == (1.0, 0.0)


def test_a_silent_client_uses_what_is_near() -> None:
    """A client without requests has a row that sums to 1, over the nearest endpoints that have a target."""
    asked = problem([("h1", 1.0), ("h2", 0.0), ("h3", 0.0)], [("h1", 1.0), ("h2", 1.0), ("h2", 3.0)])
    made = allocate_traffic(asked, routing="local-first")

    assert made.fractions[1] == pytest.approx([0.0, 0.25, 0.75])
    assert made.fractions[2] == pytest.approx([0.2, 0.2, 0.6])
    assert made.target_deviation == pytest.approx(0.0, abs=1e-12)


def test_silent_clients_of_a_node_start_at_different_endpoints() -> None:
    """With K they share the node's endpoints out between them instead of all taking the first ones."""
    asked = problem([("h1", 0.0)] * 4 + [("h2", 1.0)], [("h1", 1.0)] * 8)
    made = allocate_traffic(asked, routing="local-first", connections=2)

    assert np.count_nonzero(made.fractions[:4], axis=0).tolist() == [1] * 8


def test_one_node() -> None:
    """On one node everyone sends to everyone in proportion to capacity."""
    asked = problem([("h", 5.0), ("h", 1.0)], [("h", 1.0), ("h", 3.0)])
    made = allocate_traffic(asked, routing="local-first")

    assert made.fractions == pytest.approx(np.array([[0.25, 0.75]] * 2))
    assert made.local_share == 1.0


@pytest.mark.parametrize("scale", [5e-324, 1e-300, 1e-9, 1e9, 1e300])
def test_extreme_units(scale: float) -> None:
    """Subnormal and huge rates and capacities give the same shares as ordinary ones."""
    asked = replace(FIGURE_8, rates=FIGURE_8.rates * scale, capacities=FIGURE_8.capacities * scale)
    made = allocate_traffic(asked, routing="local-first")

    assert made.fractions == pytest.approx(allocate_traffic(FIGURE_8, routing="local-first").fractions)


@given(
    st.lists(st.floats(0.0, 1e300), min_size=1, max_size=6),
    st.lists(st.floats(5e-324, 1e300), min_size=1, max_size=6),
    st.none() | st.integers(1, 3),
    st.randoms(use_true_random=False),
)
def test_any_finite_numbers_will_do(rates: list[float], capacities: list[float], k: int | None, rng: object) -> None:
    """Rates and capacities 600 orders of magnitude apart: rows still sum to 1 and every figure is finite."""
    choose = rng.choice  # type: ignore[attr-defined]
    asked = problem([(choose("ab"), rate) for rate in rates], [(choose("ab"), size) for size in capacities])
    made = allocate_traffic(asked, routing="local-first", connections=k)

    assert made.fractions.sum(axis=1) == pytest.approx(1.0)
    figures = [made.local_share, made.cross_node_share, made.lower_bound_cross_node_share, made.target_deviation]
    assert np.isfinite(figures).all()


def test_an_endpoint_without_target_gets_nothing() -> None:
    """A target of 0 means: no requests."""
    asked = problem([("h1", 1.0)], [("h1", 1.0), ("h2", 1.0)], targets=[0.0, 7.0])
    made = allocate_traffic(asked, routing="imbalance-aware")

    assert made.fractions.tolist() == [[0.0, 1.0]]
    assert made.targets.tolist() == [0.0, 1.0]


def test_targets_by_capacity() -> None:
    """Without targets every endpoint should get ``R·c_j / Σc``."""
    asked = problem([("h1", 3.0), ("h2", 5.0)], [("h1", 1.0), ("h2", 3.0)])

    assert allocate_traffic(asked, routing="local-first").targets.tolist() == [2.0, 6.0]


def test_more_overload_crosses_less() -> None:
    """Two clients on a node with a quarter of the capacity: β = 1.5 keeps half as much again there."""
    asked = problem([("h1", 1.0), ("h1", 1.0)], [("h1", 1.0), ("h2", 3.0)])
    crossing = [allocate_traffic(asked, routing="local-first", max_overload=beta).cross_node_share for beta in (1, 1.5)]

    assert crossing == pytest.approx([0.75, 0.625])


def test_overload_leaves_the_others_less() -> None:
    """What one node takes beyond its targets the others lack, in proportion to what they wanted."""
    asked = problem([("h1", 4.0)], [("h1", 1.0), ("h2", 1.0), ("h3", 2.0)])
    made = allocate_traffic(asked, routing="local-first", max_overload=2.0)

    assert loads(asked, made.fractions) == pytest.approx([2.0, 2 / 3, 4 / 3])
    assert made.target_deviation == pytest.approx(1.0)


@pytest.mark.parametrize(
    "terms",
    [
        {"routing": "off"},
        {"routing": "local-first", "strategy": "best"},
        {"routing": "local-first", "connections": 0},
        {"routing": "local-first", "connections": "auto"},
        {"routing": "local-first", "max_overload": 0.5},
        {"routing": "local-first", "max_overload": float("nan")},
    ],
)
def test_wrong_terms_are_refused(terms: dict[str, object]) -> None:
    """The message names the term and what is allowed."""
    with pytest.raises(ProblemError, match=r"^(routing|strategy|connections|max_overload): found .*allowed"):
        allocate_traffic(FIGURE_8, **terms)  # type: ignore[arg-type]


def test_the_reason_is_one_plain_sentence() -> None:
    """Each strategy says in one sentence what it did."""
    asked = random_problem(30, 30, nodes=5, seed=1)
    for strategy in ("askew", "opttraffic", "imbres"):
        reason = allocate_traffic(asked, routing="local-first", strategy=strategy).reason
        assert reason.endswith(".")
        assert "\n" not in reason
