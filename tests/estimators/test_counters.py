"""Cumulative counters to increases: no rate is ever negative, nothing is lost without a reason."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from estimators.counters import Reason, read_increases
from estimators.window_totals import mean_rates, total_window, warnings_of
from mesh.counter_sample import CounterSample

values = st.one_of(st.integers(0, 2**63), st.floats(allow_nan=True, allow_infinity=True), st.just(-1))
times = st.one_of(st.integers(0, 60), st.floats(allow_nan=True, allow_infinity=True))
anything = st.lists(st.builds(CounterSample, st.sampled_from(["a", "b"]), times, values, values), max_size=30)
restarts = st.lists(st.integers(0, 10**6), min_size=1, max_size=20)


def stream(values: list[int], *, name: str = "a", step_s: float = 5.0) -> list[CounterSample]:
    return [CounterSample(name, index * step_s, value, 2 * value) for index, value in enumerate(values)]


@given(restarts)
def test_no_rate_is_negative_whatever_resets(values: list[int]) -> None:
    """Random falls of a counter are restarts; every increase is >= 0 and every interval gives one."""
    increases = read_increases(stream(values), interval_s=5.0).increases
    assert all(increase.receive_bytes >= 0 and increase.transmit_bytes >= 0 for increase in increases)
    assert len(increases) == len(values) - 1


@given(anything)
def test_every_sample_is_first_used_or_dropped_with_a_reason(samples: list[CounterSample]) -> None:
    """Each sample starts a container's series, gives an increase, or is dropped for a reason that can be counted."""
    result = read_increases(samples, interval_s=5.0)
    assert len(result.last) + len(result.increases) + len(result.dropped) == len(samples)
    assert all(increase.receive_bytes >= 0 and increase.end_s > increase.start_s for increase in result.increases)


@given(anything)
def test_totals_are_finite_and_not_negative_for_any_samples(samples: list[CounterSample]) -> None:
    """Even NaN, infinities, negative values and any order leave finite totals >= 0."""
    totals = total_window(samples)
    assert totals.window_s >= 0
    assert all(0 <= total < math.inf for total in [*totals.receive_bytes.values(), *totals.transmit_bytes.values()])


@given(restarts, st.randoms())
def test_the_order_of_samples_in_a_file_does_not_matter(values, random) -> None:  # type: ignore[no-untyped-def]
    """Samples of one container may stand in any order."""
    samples = stream(values)
    shuffled = list(samples)
    random.shuffle(shuffled)
    assert total_window(shuffled) == total_window(samples)


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=20).map(sorted), st.data())
def test_reading_tick_by_tick_equals_reading_at_once(values: list[int], data: st.DataObject) -> None:
    """``last`` of one call as ``since`` of the next gives the same increases as one long stream."""
    cut = data.draw(st.integers(0, len(values)))
    whole = read_increases(stream(values), interval_s=5.0)
    first = read_increases(stream(values)[:cut], interval_s=5.0)
    second = read_increases(stream(values)[cut:], interval_s=5.0, since=first.last)
    assert first.increases + second.increases == whole.increases


def test_a_smaller_value_counts_from_zero() -> None:
    """100, 40, 70: restart at 40, so 40 + 30."""
    assert total_window(stream([100, 40, 70])).receive_bytes == {"a": 70}


def test_each_counter_restarts_by_itself() -> None:
    """Receive fell, transmit grew: only receive counts from zero."""
    totals = total_window([CounterSample("a", 0, 100, 100), CounterSample("a", 5, 30, 130)])
    assert (totals.receive_bytes["a"], totals.transmit_bytes["a"]) == (30, 30)


def test_a_vanished_container_keeps_its_last_total() -> None:
    """Samples until 5 s of a 20 s window: its increase stands, over the window of the whole file."""
    totals = total_window(stream([0, 50]) + stream([0, 10, 20, 30, 40], name="b"))
    assert (totals.window_s, totals.receive_bytes) == (20.0, {"a": 50, "b": 40})


def test_a_late_starter_counts_from_its_first_sample() -> None:
    """What a container had on its counter when first seen is not of this window."""
    late = [CounterSample("late", 10, 1000, 0), CounterSample("late", 15, 1200, 0)]
    assert total_window(stream([0, 1, 2, 3]) + late).receive_bytes["late"] == 200


def test_one_sample_is_no_increase() -> None:
    """A single sample makes the container known, with nothing in the window."""
    assert total_window([*stream([0, 1]), CounterSample("b", 5, 77, 77)]).receive_bytes["b"] == 0


def test_an_identical_sample_twice_is_ignored() -> None:
    """The second is dropped as a repetition; the total stands."""
    samples = stream([0, 10, 20])
    totals = total_window([*samples, samples[1]])
    assert totals.receive_bytes == {"a": 20}
    assert [drop.reason for drop in totals.dropped] == [Reason.REPEATED]


def test_two_values_at_one_time_are_a_duplicate_and_named() -> None:
    """No rate for that interval, and one text with the container's name."""
    totals = total_window([*stream([0, 10, 20]), CounterSample("a", 5.0, 12, 24)])
    assert totals.receive_bytes == {"a": 20}
    assert warnings_of(totals) == ("container a: two samples at one time (1 sample not used)",)


def test_time_running_back_gives_no_rate() -> None:
    """In a live stream a sample from the past is dropped, and the next is compared with the last good one."""
    samples = [CounterSample("a", 10, 100, 0), CounterSample("a", 5, 50, 0), CounterSample("a", 15, 160, 0)]
    result = read_increases(samples, interval_s=5.0)
    assert [drop.reason for drop in result.dropped] == [Reason.TIME_BACK]
    assert [increase.receive_bytes for increase in result.increases] == [60]


def test_a_gap_over_three_intervals_gives_no_rate_and_counting_starts_anew() -> None:
    """15 s are three intervals of 5 s, 16 s are more."""
    samples = [CounterSample("a", time_s, time_s, 0) for time_s in (0, 15, 31, 36)]
    result = read_increases(samples, interval_s=5.0)
    assert [drop.reason for drop in result.dropped] == [Reason.GAP]
    assert [increase.receive_bytes for increase in result.increases] == [15, 5]


def test_a_gap_inside_a_file_counts_but_is_named() -> None:
    """The counter knows what passed in the gap; only a restart inside it would be missed."""
    totals = total_window([CounterSample("a", time_s, 10 * time_s, 0) for time_s in (0, 1, 2, 3, 20)])
    assert totals.receive_bytes == {"a": 200}
    assert warnings_of(totals)[0].startswith("container a: gap of more than 3 intervals")


def test_a_bad_value_is_skipped_and_the_next_good_one_spans_it() -> None:
    """NaN between two good samples costs nothing but a warning."""
    totals = total_window([*stream([0]), CounterSample("a", 5.0, math.nan, 1), CounterSample("a", 10.0, 30, 60)])
    assert totals.receive_bytes == {"a": 30}
    assert [drop.reason for drop in totals.dropped] == [Reason.NOT_A_COUNT]


def test_mean_rates_cover_only_the_time_that_increases_cover() -> None:
    """60 bytes over 10 s of increases are 6 bytes per second, whatever the tick."""
    increases = read_increases(stream([0, 20, 60]), interval_s=5.0).increases
    assert mean_rates(increases).receive_bytes == {"a": 6.0}


def test_integers_stay_exact() -> None:
    """Counters beyond 2^53 lose nothing: totals of integers are integers."""
    assert total_window(stream([2**60, 2**60 + 1])).receive_bytes == {"a": 1}
