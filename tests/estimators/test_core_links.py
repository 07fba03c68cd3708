"""The unpeeled core: least squares against SciPy's own NNLS, on what it must and must not do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from estimators.core_links import pinned_part, solve_core


def random_core(seed: int, nodes: int, edges: int) -> tuple[np.ndarray, np.ndarray]:
    """Return distinct random edges of a bipartite graph, and what each node holds at random (inconsistent) counters."""
    rng = np.random.default_rng(seed)
    drawn = np.stack([rng.integers(0, nodes, edges), nodes + rng.integers(0, nodes, edges)], axis=1)
    return np.unique(drawn, axis=0), rng.uniform(-50, 500, 2 * nodes)


def misfit(ends: np.ndarray, rest: np.ndarray, links: np.ndarray) -> float:
    sums = np.bincount(ends.ravel(), weights=np.repeat(links, 2), minlength=len(rest))
    used = np.unique(ends)
    return float(np.linalg.norm((sums - rest)[used]))


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.integers(1, 60))
def test_no_non_negative_links_fit_better(seed: int, nodes: int, edges: int) -> None:
    """Inconsistent counters: the misfit is the one that SciPy's NNLS reaches on the same matrix."""
    ends, rest = random_core(seed, nodes, edges)
    matrix = np.zeros((len(rest), len(ends)))
    for column, pair in enumerate(ends):
        matrix[pair, column] = 1.0
    used = np.unique(ends)
    _, best = nnls(matrix[used], rest[used])
    links = solve_core(ends, rest)
    assert links.min() >= 0
    assert misfit(ends, rest, links) <= best + 1e-7 * float(np.linalg.norm(rest))


@settings(deadline=None, max_examples=5)
@given(st.integers(0, 2**32 - 1))
def test_large_cores_fit_consistent_counters(seed: int) -> None:
    """Hundreds of links with very unequal bytes: exact counters are met."""
    ends, _ = random_core(seed, 60, 500)
    truth = np.random.default_rng(seed).lognormal(8, 1.5, len(ends))
    rest = np.bincount(ends.ravel(), weights=np.repeat(truth, 2), minlength=120)
    links = solve_core(ends, rest)
    assert misfit(ends, rest, links) <= 1e-6 * float(np.linalg.norm(rest))


def test_gravity_settles_what_counters_leave_open() -> None:
    """Links in proportion to their ends are found exactly, though two thirds of them are free."""
    sent, received = np.array([6.0, 3.0, 1.0]), np.array([5.0, 3.0, 2.0])
    ends = np.array([(i, 3 + j) for i in range(3) for j in range(3)])
    links = solve_core(ends, np.concatenate([sent, received]))
    assert links == pytest.approx(np.outer(sent, received).ravel() / 10)


def test_an_unknown_end_leaves_the_known_one_to_decide() -> None:
    """NaN at one end: the link carries what the other end has."""
    assert solve_core(np.array([[0, 1]]), np.array([7.0, np.nan])).tolist() == [7.0]


def test_nothing_known_is_zero() -> None:
    """Links between two unknown ends get no bytes."""
    assert solve_core(np.array([[0, 1]]), np.array([np.nan, np.nan])).tolist() == [0.0]


def test_no_edges_no_links() -> None:
    """An empty core is an empty array."""
    assert solve_core(np.zeros((0, 2), dtype=np.int64), np.zeros(4)).size == 0


@given(st.integers(0, 2**32 - 1), st.integers(2, 8), st.integers(1, 30))
def test_a_pinned_part_is_a_part(seed: int, nodes: int, edges: int) -> None:
    """0..1 for any counters, also unknown ones."""
    ends, rest = random_core(seed, nodes, edges)
    rest[::3] = np.nan
    part = pinned_part(ends, rest)
    assert ((part >= 0) & (part <= 1)).all()


def test_a_link_with_one_possible_value_is_pinned_whole() -> None:
    """One end has nothing for its other link: this one carries all, for sure."""
    ends = np.array([[0, 2], [0, 3], [1, 2], [1, 3]])
    assert pinned_part(ends, np.array([10.0, 5.0, 15.0, 0.0])).tolist() == [1.0, 1.0, 1.0, 1.0]
