"""A steady rate: the same number while nothing changes, the right one soon after something did."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimators.steady_rate import Counted, SteadyRate, observe

TICK_S = 5.0


def poisson(rng: np.random.Generator, per_s: float, *, ticks: int) -> list[Counted]:
    return [Counted(float(rng.poisson(per_s * TICK_S)), TICK_S) for _ in range(ticks)]


def after(intervals: list[Counted], before: SteadyRate | None = None) -> list[SteadyRate]:
    found = []
    for interval in intervals:
        before = observe(before, interval)
        found.append(before)
    return found


@pytest.mark.parametrize("per_s", [0.2, 2.0, 20.0, 2000.0])
def test_what_is_told_stands_still_at_a_steady_rate(rng: np.random.Generator, per_s: float) -> None:
    """Noise alone changes nothing once the window is full: an hour of ticks, next to no new number."""
    told = [rate.told for rate in after(poisson(rng, per_s, ticks=720))[30:]]

    assert sum(one != other for one, other in itertools.pairwise(told)) <= 3


@pytest.mark.parametrize("factor", [0.0, 0.5, 2.0, 5.0])
def test_a_change_is_told_within_three_intervals(rng: np.random.Generator, factor: float) -> None:
    """The interval of the change itself, part old and part new, counts for nothing; what is told is the new rate."""
    (*_, steady) = after(poisson(rng, 20.0, ticks=50))
    half = Counted(20.0 * TICK_S * (1 + factor) / 2, TICK_S)
    changed, _, told = after([half, *poisson(rng, 20.0 * factor, ticks=2)], steady)

    assert changed.told == steady.told
    assert told.told.per_s == pytest.approx(20.0 * factor, rel=0.25)


def test_a_spike_of_one_interval_is_never_told(rng: np.random.Generator) -> None:
    """What was right before it is right after it."""
    (*_, steady) = after(poisson(rng, 20.0, ticks=50))
    rates = after([Counted(1000.0, TICK_S), *poisson(rng, 20.0, ticks=3)], steady)

    assert [rate.in_change for rate in rates] == [True, False, False, False]
    assert {rate.told for rate in rates} == {steady.told}


def test_a_slow_drift_is_followed(rng: np.random.Generator) -> None:
    """A rate that doubles within ten minutes, by steps too small to be seen, is known all the same."""
    drift = [Counted(float(rng.poisson(20.0 * (1 + tick / 120) * TICK_S)), TICK_S) for tick in range(121)]
    (*_, last) = after(drift)

    assert last.told.per_s == pytest.approx(40.0, rel=0.15)


def test_the_first_intervals_sharpen_what_is_told(rng: np.random.Generator) -> None:
    """Beginnings are told at once, and again while there is clearly more to go by."""
    told = [rate.told for rate in after(poisson(rng, 20.0, ticks=30))]

    assert told[0].seconds == TICK_S
    assert 3 <= len(set(told)) <= 15
    assert told[-1].seconds > 20


@given(st.lists(st.tuples(st.floats(0, 1e9), st.floats(0.01, 1e4), st.floats(0, 1e12)), min_size=1, max_size=30))
def test_a_rate_lies_between_the_least_and_the_greatest_that_was_seen(seen: list[tuple[float, float, float]]) -> None:
    """A mean is a mean, whatever comes; the amounts beside the events too."""
    rates = after([Counted(events, seconds, (amount,)) for events, seconds, amount in seen])
    low, high = min(e / s for e, s, _ in seen), max(e / s for e, s, _ in seen)
    least, most = min(a / s for _, s, a in seen), max(a / s for _, s, a in seen)

    for rate in rates:
        for count in (rate.window, rate.told):
            assert low * (1 - 1e-9) <= count.per_s <= high * (1 + 1e-9)
            assert least * (1 - 1e-9) <= count.amount_per_s(0) <= most * (1 + 1e-9)
