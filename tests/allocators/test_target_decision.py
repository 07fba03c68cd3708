"""Targets tick by tick: steps and floors, unknown, failing and hanging endpoints, the price of crossing, strategies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocators.errors import ProblemError
from allocators.target_decision import decide_targets
from allocators.target_view import ServiceView, unseen
from tests.allocators.noiseless import SLOW_FIRST, TICK_S, run, view

numbers = st.integers(0, 10**6)


@given(numbers, st.floats(1.0, 1000.0))
def test_no_step_is_longer_than_allowed_nor_below_the_floor(seed: int, total_per_s: float) -> None:
    """Whatever is measured: 30 % of the fair share a tick, 2 % of it at least, and the sum is 1."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(2, 9))
    capacities = rng.uniform(0.5, 2.0, size)
    fair = capacities / capacities.sum()
    memory, last = None, fair
    for tick in range(8):
        seen = view(rng.lognormal(2.5, 1.0, size), last, now_s=tick * TICK_S, total_per_s=total_per_s)
        unheard = rng.uniform(size=size) < 0.2
        wild = replace(
            seen,
            capacities=capacities,
            failures=seen.requests * rng.choice([0.0, 0.0, 0.5, 1.0], size),
            mean_ms=np.where(rng.uniform(size=size) < 0.1, np.nan, seen.mean_ms * rng.lognormal(0.0, 1.0, size)),
            window_s=np.where(unheard, np.nan, TICK_S),
            tail_ms=float(rng.lognormal(4.0, 1.0)),
            issued=seen.requests * rng.choice([1.0, 1.0, 3.0], size),
        )
        decision = decide_targets(wild, memory, now_s=tick * TICK_S, interval_s=TICK_S)
        assert decision.targets.sum() == pytest.approx(1.0)
        assert (np.abs(decision.targets - last) <= 0.3 * fair + 1e-9).all()
        assert (decision.targets >= 0.02 * fair - 1e-9).all()
        memory, last = decision.memory, decision.targets


@given(numbers)
def test_the_order_of_endpoints_does_not_matter(seed: int) -> None:
    """Permuted in, permuted out."""
    rng = np.random.default_rng(seed)
    service = rng.lognormal(2.3, 0.7, 5)
    order = rng.permutation(5)
    names = tuple("abcde")
    memory, turned, targets = None, None, np.full(5, 0.2)
    for tick in range(5):
        now_s = tick * TICK_S
        one = view(service, targets, now_s=now_s, names=names)
        two = view(service[order], targets[order], now_s=now_s, names=tuple(names[k] for k in order))
        first = decide_targets(one, memory, now_s=now_s, interval_s=TICK_S)
        second = decide_targets(two, turned, now_s=now_s, interval_s=TICK_S)
        assert second.targets == pytest.approx(first.targets[order], abs=1e-9)
        memory, turned, targets = first.memory, second.memory, first.targets


def test_the_same_in_is_the_same_out() -> None:
    """No hidden state: deciding twice from one memory changes nothing in it."""
    done = run(SLOW_FIRST, 5)
    seen = view(SLOW_FIRST, done.targets, now_s=25.0)
    first = decide_targets(seen, done.memory, now_s=25.0, interval_s=TICK_S)
    second = decide_targets(seen, done.memory, now_s=25.0, interval_s=TICK_S)

    assert np.array_equal(first.targets, second.targets)
    assert first.reason == second.reason


def test_too_few_requests_are_unknown() -> None:
    """Three requests each, some very fast: nothing moves."""
    few = replace(view(np.array([1.0, 50.0]), np.full(2, 0.5), now_s=0.0), requests=np.full(2, 3.0))
    decision = decide_targets(few, None, now_s=0.0, interval_s=TICK_S)

    assert decision.targets.tolist() == [0.5, 0.5]
    assert "too few" in decision.reason


def test_windows_are_put_together_until_there_are_enough() -> None:
    """Seven requests a tick: the third tick has 21, and only then something may move."""
    memory, moved = None, []
    for tick in range(3):
        seen = view(np.array([30.0, 10.0]), np.full(2, 0.5), now_s=tick * TICK_S, total_per_s=2.8)
        decision = decide_targets(seen, memory, now_s=tick * TICK_S, interval_s=TICK_S)
        memory = decision.memory
        moved.append(bool((decision.targets != 0.5).any()))

    assert moved == [False, False, True]


def test_failures_count_as_slow() -> None:
    """A container that fails in a millisecond looks fast and must not draw load: it loses it."""
    memory, targets = None, np.full(4, 0.25)
    for tick in range(6):
        seen = view(np.full(4, 10.0), targets, now_s=tick * TICK_S)
        failing = np.array([True, False, False, False])
        seen = replace(
            seen, failures=np.where(failing, seen.requests, 0.0), mean_ms=np.where(failing, 1.0, seen.mean_ms)
        )
        decision = decide_targets(seen, memory, now_s=tick * TICK_S, interval_s=TICK_S)
        memory, targets = decision.memory, decision.targets

    assert targets[0] <= 0.05 * 0.25


def test_a_container_that_hangs_is_slow_not_idle() -> None:
    """It is sent 125 requests a tick and ends none: to the floor."""
    memory, targets = None, np.full(4, 0.25)
    hanging = np.array([True, False, False, False])
    for tick in range(6):
        seen = view(np.full(4, 10.0), targets, now_s=tick * TICK_S)
        seen = replace(
            seen,
            issued=seen.requests,
            requests=np.where(hanging, 0.0, seen.requests),
            mean_ms=np.where(hanging, np.nan, seen.mean_ms),
        )
        decision = decide_targets(seen, memory, now_s=tick * TICK_S, interval_s=TICK_S)
        memory, targets = decision.memory, decision.targets

    assert targets[0] <= 0.05 * 0.25


def test_load_that_is_not_steered_is_a_lower_bound() -> None:
    """A target cannot be below what others send there anyway."""
    memory, targets = None, np.full(4, 0.25)
    for tick in range(10):
        seen = view(SLOW_FIRST, targets, now_s=tick * TICK_S)
        seen = replace(seen, unsteered_per_s=np.array([20.0, 0.0, 0.0, 0.0]))
        decision = decide_targets(seen, memory, now_s=tick * TICK_S, interval_s=TICK_S)
        memory, targets = decision.memory, decision.targets

    assert targets[0] == pytest.approx(0.2, abs=0.005)


def test_a_price_for_crossing_leans_targets_towards_demand() -> None:
    """All clients on h0: its endpoints get more, the more a crossing costs."""
    parts = []
    for price_ms in (0.0, 5.0, 50.0):
        memory, targets = None, np.full(4, 0.25)
        for tick in range(12):
            seen = view(np.full(4, 10.0), targets, now_s=tick * TICK_S, total_per_s=160.0)
            seen = replace(seen, crossing_price_ms=price_ms, demand_per_s={"h0": 100.0})
            decision = decide_targets(seen, memory, now_s=tick * TICK_S, interval_s=TICK_S)
            memory, targets = decision.memory, decision.targets
        parts.append(targets[0] + targets[2])

    assert parts[0] == pytest.approx(0.5, abs=0.01)
    assert parts[0] + 0.02 < parts[1] < parts[2]


def test_imbres_is_algorithm_1_on_nodes() -> None:
    """Two nodes of two containers, 10 and 30 ms: D = (0.55, 0.45), equal parts inside; capacity plays no part."""
    seen = ServiceView(
        endpoints=("a", "b", "c", "d"),
        nodes=("h1", "h1", "h2", "h2"),
        capacities=np.array([1.0, 2.0, 3.0, 4.0]),
        requests=np.full(4, 100.0),
        failures=np.zeros(4),
        mean_ms=np.array([5.0, 15.0, 30.0, 30.0]),
        window_s=np.full(4, TICK_S),
        newest_s=0.0,
    )
    decision = decide_targets(seen, None, now_s=0.0, interval_s=TICK_S, strategy="imbres")

    assert decision.targets == pytest.approx([0.275, 0.275, 0.225, 0.225], rel=1e-3)


def test_equal_and_a_single_endpoint_are_by_capacity() -> None:
    """Nothing to decide."""
    seen = replace(view(SLOW_FIRST, np.full(4, 0.25), now_s=0.0), capacities=np.array([1.0, 1.0, 2.0, 4.0]))

    assert decide_targets(seen, None, now_s=0.0, interval_s=5.0, strategy="equal").targets.tolist() == [
        0.125,
        0.125,
        0.25,
        0.5,
    ]
    one = view(np.array([10.0]), np.ones(1), now_s=0.0)
    assert decide_targets(one, None, now_s=0.0, interval_s=5.0).targets.tolist() == [1.0]
    none = unseen((), (), np.zeros(0))
    assert decide_targets(none, None, now_s=0.0, interval_s=5.0).targets.tolist() == []


def test_a_view_that_does_not_fit_together_is_refused() -> None:
    """Shapes and names."""
    seen = view(SLOW_FIRST, np.full(4, 0.25), now_s=0.0)

    with pytest.raises(ProblemError, match="requests: found shape"):
        replace(seen, requests=np.zeros(3))
    with pytest.raises(ProblemError, match="a name twice"):
        replace(seen, endpoints=("a", "a", "b", "c"))
    with pytest.raises(ProblemError, match="capacities"):
        replace(seen, capacities=np.array([1.0, 0.0, 1.0, 1.0]))
