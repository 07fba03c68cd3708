"""Imbres' Algorithm 1: by hand, clamped, and where its constant η holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from allocators.imbres_targets import node_latencies, shift_load, with_floor

Floats = NDArray[np.float64]
SAME = np.full(4, 0.25)


def test_algorithm_1_by_hand() -> None:
    """Latencies 10, 20, 30, 60: mean 30 over hosts; factors 1 + 0.2·(2/3, 1/3, 0, −1); they sum to 4."""
    moved = shift_load(SAME, np.array([10.0, 20.0, 30.0, 60.0]), SAME)

    by_hand = np.array([1 + 0.2 * 2 / 3, 1 + 0.2 / 3, 1.0, 0.8]) / 4.0
    assert moved == pytest.approx(by_hand, rel=1e-3)  # the floor takes 2 % of what is above it: nothing here


def test_the_mean_is_over_hosts_not_over_load() -> None:
    """A host with 70 % of the load counts once: mean 20, not 13."""
    shares = np.array([0.7, 0.3])
    moved = shift_load(shares, np.array([10.0, 30.0]), np.array([0.5, 0.5]))

    raw = shares * np.array([1.1, 0.9])
    assert moved == pytest.approx(raw / raw.sum(), rel=1e-3)


def test_a_factor_is_never_below_a_half() -> None:
    """One of ten hosts 100 times as slow: 1 − 0.2·8.2 would be negative."""
    even = np.full(10, 0.1)
    latencies = np.array([1.0] * 9 + [100.0])
    moved = shift_load(even, latencies, even)

    assert moved[9] / moved[0] == pytest.approx(0.5 / (1 + 0.2 * (10.9 - 1) / 10.9), rel=0.01)


def test_no_host_is_lost_for_ever() -> None:
    """A host that was slow for 200 ticks keeps 2 % of its balanced share, and comes back when it heals."""
    shares = SAME
    for _ in range(200):
        shares = shift_load(shares, np.array([10.0, 10.0, 10.0, 90.0]), SAME)
    assert shares[3] == pytest.approx(0.02 * 0.25)
    for _ in range(60):
        shares = shift_load(shares, 10.0 + 40.0 * shares, SAME)
    assert shares[3] == pytest.approx(0.25, rel=0.05)


def test_a_host_without_samples_holds_its_share() -> None:
    """It is not part of the mean either; nothing known at all changes nothing."""
    moved = shift_load(SAME, np.array([10.0, 30.0, np.nan, np.nan]), SAME)

    assert moved == pytest.approx([0.275, 0.225, 0.25, 0.25], rel=1e-3)
    assert np.array_equal(shift_load(SAME, np.full(4, np.nan), SAME), SAME)


def test_a_nodes_latency_is_the_plain_mean_of_its_containers() -> None:
    """Whatever their load."""
    assert node_latencies(np.array([10.0, 30.0, 7.0]), np.array([0, 0, 1]), 2).tolist() == [20.0, 7.0]


@given(st.lists(st.floats(0.0, 1.0), min_size=2, max_size=8), st.floats(0.0, 2.0), st.integers(0, 1000))
def test_shares_stay_shares(weights: list[float], eta: float, seed: int) -> None:
    """They sum to 1 and respect the floor, for any latencies and η."""
    size = len(weights)
    shares = (np.array(weights) + 1e-3) / (np.array(weights) + 1e-3).sum()
    balanced = np.full(size, 1.0 / size)
    moved = shift_load(shares, np.random.default_rng(seed).lognormal(3.0, 2.0, size), balanced, eta=eta)

    assert moved.sum() == pytest.approx(1.0)
    assert (moved >= 0.02 * balanced - 1e-12).all()


def test_a_floor_alone_is_shared_out() -> None:
    """All at the floor: scaled to 1."""
    assert with_floor(np.zeros(2), np.array([0.1, 0.3])) == pytest.approx([0.25, 0.75])


def swings(eta: float, utilisation: float, seed: int) -> float:
    """Return by what part of its mean a host's share still varies after 200 ticks.

    Four M/M/1 hosts, three of them slowed 2.5 times; latencies with 5 % noise.
    """
    rng = np.random.default_rng(seed)
    capacity = np.array([80.0, 32.0, 32.0, 32.0])
    shares, seen = SAME, []
    for tick in range(400):
        slack = np.maximum(capacity - shares * utilisation * capacity.sum(), 0.02 * capacity)
        if tick >= 200:
            seen.append(shares)
        shares = shift_load(shares, (1.0 + 0.05 * rng.standard_normal(4)) / slack, SAME, eta=eta)
    return float((np.std(seen, axis=0) / np.mean(seen, axis=0)).max())


@pytest.mark.parametrize(
    ("eta", "utilisation", "stable"),
    [(0.2, 0.6, True), (0.2, 0.8, True), (0.2, 0.85, True), (0.5, 0.7, True), (0.5, 0.8, False), (1.0, 0.7, False)],
)
def test_where_the_constant_step_is_stable(eta: float, utilisation: float, stable: bool) -> None:
    """η = 0.2 up to 85 % of all capacity; η = 0.5 is a limit cycle at 80 %, η = 1 at 70 %.

    For M/M/1 the loop gain of the fastest host is nearly ``η·(μ_j/((1 − ρ)·mean μ) − 1)``: about 2 is the limit.
    """
    found = [swings(eta, utilisation, seed) for seed in range(5)]

    assert (max(found) < 0.1) if stable else (min(found) > 0.15)


def test_near_saturation_even_the_default_swings() -> None:
    """η = 0.2 at 95 %: shares vary several times as much as at 80 %."""
    assert min(swings(0.2, 0.95, seed) for seed in range(5)) > 3.0 * max(swings(0.2, 0.8, seed) for seed in range(5))
