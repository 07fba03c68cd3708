"""Cumulative histograms to windows, windows to figures."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimators.errors import EstimatorError
from estimators.latency import (
    HistogramFault,
    LatencyWindow,
    difference,
    figure_of,
    merge,
    quantile_of,
    read_windows,
)

BOUNDS = (10.0, 20.0, 50.0)


@dataclass(frozen=True)
class Sample:
    """A cumulative histogram as a sidecar shows it."""

    time_s: float
    counts: tuple[int, ...]
    count: int
    sum_ms: float
    bounds_ms: tuple[float, ...] = BOUNDS


def window(*counts: int, bounds: tuple[float, ...] = BOUNDS, sum_ms: float = 0.0, end_s: float = 5.0) -> LatencyWindow:
    """Return a window of 5 s with these buckets."""
    return LatencyWindow(end_s - 5.0, end_s, bounds, counts, sum_ms)


FIRST = Sample(0.0, (4, 6, 6), 7, 200.0)
LATER = Sample(5.0, (5, 9, 10), 12, 500.0)


def test_a_window_is_the_difference_of_cumulative_buckets() -> None:
    """New requests by bucket, the last one beyond the last bound, and their summed latency."""
    found = difference(FIRST, LATER).window

    assert found == LatencyWindow(0.0, 5.0, BOUNDS, (1, 2, 1, 1), 300.0)


@pytest.mark.parametrize("restarted", [Sample(5.0, (1, 1, 2), 3, 90.0), Sample(5.0, (3, 9, 10), 12, 500.0)])
def test_a_count_that_fell_is_a_restart_and_counts_from_zero(restarted: Sample) -> None:
    """Whether all fell or only one bucket: what it shows now is what came since."""
    found = difference(FIRST, restarted).window

    assert found is not None
    assert (found.count, found.sum_ms) == (restarted.count, restarted.sum_ms)


def test_other_bounds_begin_anew() -> None:
    """A sidecar with another bootstrap is another program: no window now, the next one follows this sample."""
    other = replace(LATER, bounds_ms=(5.0, 10.0, 20.0))
    step = difference(FIRST, other)

    assert (step.last, step.window, step.fault) == (other, None, HistogramFault.OTHER_BOUNDS)


@pytest.mark.parametrize(
    ("sample", "fault"),
    [
        (replace(LATER, time_s=0.0), HistogramFault.SAME_TIME),
        (replace(LATER, time_s=-5.0), HistogramFault.TIME_BACK),
        (replace(LATER, time_s=math.nan), HistogramFault.NOT_A_HISTOGRAM),
        (replace(LATER, sum_ms=math.nan), HistogramFault.NOT_A_HISTOGRAM),
        (replace(LATER, counts=(9, 5, 10)), HistogramFault.NOT_A_HISTOGRAM),
        (replace(LATER, count=9), HistogramFault.NOT_A_HISTOGRAM),
        (replace(LATER, counts=(5, 9)), HistogramFault.NOT_A_HISTOGRAM),
        (replace(LATER, bounds_ms=(10.0, 10.0, 50.0)), HistogramFault.NOT_A_HISTOGRAM),
    ],
)
def test_what_cannot_be_subtracted_says_why_and_changes_nothing(sample: Sample, fault: HistogramFault) -> None:
    """The last good sample stays, so that the next good one spans the bad one."""
    step = difference(FIRST, sample)

    assert (step.last, step.window, step.fault) == (FIRST, None, fault)


def test_the_same_sample_again_is_nothing_new() -> None:
    """A source that is slower than the tick shows its last sample until the next: no window, no fault."""
    step = difference(FIRST, replace(FIRST))

    assert (step.last, step.window, step.fault) == (FIRST, None, None)


def test_a_gap_of_more_than_three_intervals_gives_no_window() -> None:
    """20 s at an interval of 5 s: nobody knows when it was; the next window counts again."""
    late, after = replace(LATER, time_s=20.0), replace(LATER, time_s=25.0, count=13)
    first = read_windows([("a", FIRST)], interval_s=5.0)
    second = read_windows([("a", late), ("a", after)], interval_s=5.0, since=first.last)

    assert second.faults == (("a", HistogramFault.GAP),)
    assert second.windows["a"].counts == (0, 0, 0, 1)


def test_sources_do_not_mix() -> None:
    """Each source follows its own last sample."""
    samples = [("a", FIRST), ("b", Sample(0.0, (0, 0, 0), 0, 0.0)), ("a", LATER)]
    result = read_windows(samples, interval_s=5.0)

    assert list(result.windows) == ["a"]
    assert set(result.last) == {"a", "b"}


counts = st.lists(st.integers(0, 50), min_size=4, max_size=4).map(tuple)


@given(st.lists(counts, min_size=1, max_size=5))
def test_merging_keeps_every_request(many: list[tuple[int, ...]]) -> None:
    """Buckets add up, and the order of the reporters does not matter."""
    windows = [window(*one) for one in many]
    merged = merge(windows)

    assert merged == merge(windows[::-1])
    assert merged.window is not None
    assert merged.window.counts == tuple(map(sum, zip(*many, strict=True)))


def test_finer_bounds_are_made_coarser() -> None:
    """A set of bounds that holds the other fits; the merged quantile is then only as exact as the coarser."""
    fine, coarse = window(1, 2, 3, 4), window(5, 5, bounds=(20.0,))
    merged = merge([fine, coarse])

    assert merged.window is not None
    assert (merged.window.bounds_ms, merged.window.counts, merged.left_out) == ((20.0,), (8, 12), 0)


def test_bounds_that_do_not_fit_are_left_out_and_counted() -> None:
    """Those with most requests win; no bucket is guessed."""
    merged = merge([window(9, 9, 9, 9), window(1, 1, bounds=(15.0,))])

    assert merged.window is not None
    assert (merged.window.count, merged.left_out) == (36, 1)


def test_nothing_merged_is_nothing() -> None:
    """No window, no figure."""
    assert merge([]).window is None
    assert figure_of(None, percentile=95.0, now_s=0.0) is None


@given(st.lists(st.floats(0.1, 49.0), min_size=1, max_size=200), st.sampled_from([50.0, 90.0, 95.0, 99.0]))
def test_the_true_quantile_lies_within_its_bounds(latencies: list[float], percentile: float) -> None:
    """Interpolation may err inside a bucket, never beyond it."""
    buckets = np.histogram(latencies, bins=[0.0, *BOUNDS, np.inf])[0]
    found = quantile_of(window(*buckets.tolist()), percentile)
    true = np.quantile(latencies, percentile / 100.0, method="inverted_cdf")

    assert found is not None
    assert found.low_ms <= found.value_ms <= found.high_ms
    assert found.low_ms <= true <= found.high_ms


def test_beyond_the_last_bound_it_is_at_least_so_slow() -> None:
    """No upper bound is known, and none is made up."""
    found = quantile_of(window(1, 0, 0, 99), 99.0)

    assert found is not None
    assert (found.value_ms, found.low_ms, found.high_ms) == (50.0, 50.0, math.inf)


@pytest.mark.parametrize("percentile", [0.0, 100.0, -1.0, math.nan])
def test_a_percentile_that_is_none_is_refused(percentile: float) -> None:
    """Above 0 and below 100."""
    with pytest.raises(EstimatorError, match="percentile"):
        quantile_of(window(1, 0, 0, 0), percentile)


def test_too_few_samples_are_unknown_never_fast() -> None:
    """19 requests of 1 ms: no figure. 20: a mean, with its count, window and age, but no p99."""
    few, enough = window(19, 0, 0, 0, sum_ms=19.0), window(20, 0, 0, 0, sum_ms=20.0)
    figure = figure_of(enough, percentile=99.0, now_s=12.0)

    assert figure_of(few, percentile=99.0, now_s=12.0) is None
    assert figure is not None
    assert (figure.mean_ms, figure.tail, figure.count, figure.window_s, figure.age_s) == (1.0, None, 20, 5.0, 7.0)
    hundred = figure_of(window(99, 1, 0, 0), percentile=99.0, now_s=5.0)
    assert hundred is not None
    assert hundred.tail is not None
