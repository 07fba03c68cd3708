"""Cumulative latency histograms to windows, windows to figures: the only place that subtracts, merges and reads them.

``difference`` decides about one sample, ``read_windows`` folds it over many sources, ``merge`` joins windows of several
reporters or containers, ``figure_of`` reads mean and tail. Quantiles of a mixture are read from the merged histogram; a
mean of quantiles would be wrong.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Generic, Protocol, TypeVar

from estimators.counters import LONGEST_GAP_INTERVALS, SAME_TIME_S, is_count
from estimators.errors import EstimatorError

FEWEST_SAMPLES = 20  # fewer say nothing: their mean is wrong by a quarter (Imbres leaves this open)
Key = TypeVar("Key", bound=Hashable)


class HistogramFault(StrEnum):
    """Why a sample gave no window."""

    SAME_TIME = "two samples at one time"
    TIME_BACK = "time ran back"
    NOT_A_HISTOGRAM = "counts that are NaN, negative or falling, or bounds that do not rise"
    GAP = "gap of more than 3 intervals"
    OTHER_BOUNDS = "other bucket bounds than before"


class CumulativeHistogram(Protocol):
    """What a sidecar or a Prometheus shows: ``counts[i]`` requests so far took at most ``bounds_ms[i]``.

    ``count`` is all of them, those beyond the last bound too. Cumulative over time and over buckets.
    """

    @property
    def time_s(self) -> float: ...
    @property
    def bounds_ms(self) -> tuple[float, ...]: ...
    @property
    def counts(self) -> tuple[int, ...]: ...
    @property
    def count(self) -> int: ...
    @property
    def sum_ms(self) -> float: ...


@dataclass(frozen=True, slots=True)
class LatencyWindow:
    """Requests that ended in a window of time, by latency.

    ``counts`` are single buckets, one more than there are bounds: the last holds what lies beyond the last bound.
    """

    start_s: float
    end_s: float
    bounds_ms: tuple[float, ...]
    counts: tuple[int, ...]
    sum_ms: float

    @property
    def count(self) -> int:
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class WindowStep:
    """What one sample did: a window, or a fault, or neither (the first); ``last`` is what the next one follows."""

    last: CumulativeHistogram | None
    window: LatencyWindow | None = None
    fault: HistogramFault | None = None


@dataclass(frozen=True)
class Windows(Generic[Key]):
    """One tick's windows by source, its faults, and each source's last good sample (pass it on as ``since``)."""

    windows: Mapping[Key, LatencyWindow]
    faults: tuple[tuple[Key, HistogramFault], ...]
    last: Mapping[Key, CumulativeHistogram]


@dataclass(frozen=True, slots=True)
class Merged:
    """Windows joined; ``left_out`` had bounds that do not fit the others'."""

    window: LatencyWindow | None
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Quantile:
    """A quantile, interpolated inside its bucket; the true one of the samples lies in ``[low_ms, high_ms]``.

    Beyond the last bound ``high_ms`` is infinite and ``value_ms`` is the last bound: at least so slow.
    """

    value_ms: float
    low_ms: float
    high_ms: float


@dataclass(frozen=True, slots=True)
class LatencyFigure:
    """What a window says. ``tail`` is None where too few samples lie beyond it."""

    mean_ms: float
    tail: Quantile | None
    count: int
    window_s: float
    age_s: float


def difference(
    before: CumulativeHistogram | None, now: CumulativeHistogram, *, longest_gap_s: float = math.inf
) -> WindowStep:
    """Return the requests between two cumulative samples of one source. O(buckets).

    Any count that fell is a restart: everything since counts from zero. Other bounds are another program: counting
    starts anew, as after a gap. A bad sample leaves ``before`` as it was; the same one again is nothing new.

    Examples
    --------
    >>> from collections import namedtuple
    >>> Sample = namedtuple("Sample", "time_s bounds_ms counts count sum_ms")
    >>> one, two = Sample(0, (10.0, 20.0), (4, 6), 6, 50.0), Sample(5, (10.0, 20.0), (5, 9), 10, 130.0)
    >>> difference(one, two).window
    LatencyWindow(start_s=0, end_s=5, bounds_ms=(10.0, 20.0), counts=(1, 2, 1), sum_ms=80.0)
    """
    if not _is_histogram(now):
        return WindowStep(before, fault=HistogramFault.NOT_A_HISTOGRAM)
    if before is None:
        return WindowStep(now)
    elapsed_s = now.time_s - before.time_s
    if abs(elapsed_s) < SAME_TIME_S:
        return WindowStep(before, fault=None if _same(before, now) else HistogramFault.SAME_TIME)
    if elapsed_s < 0:
        return WindowStep(before, fault=HistogramFault.TIME_BACK)
    if elapsed_s > longest_gap_s:
        return WindowStep(now, fault=HistogramFault.GAP)
    if before.bounds_ms != now.bounds_ms:
        return WindowStep(now, fault=HistogramFault.OTHER_BOUNDS)
    new, old = _buckets(now), _buckets(before)
    restarted = now.sum_ms < before.sum_ms or any(a < b for a, b in zip(new, old, strict=True))
    counts = new if restarted else tuple(a - b for a, b in zip(new, old, strict=True))
    sum_ms = now.sum_ms if restarted else now.sum_ms - before.sum_ms
    return WindowStep(now, LatencyWindow(before.time_s, now.time_s, now.bounds_ms, counts, sum_ms))


def _same(before: CumulativeHistogram, now: CumulativeHistogram) -> bool:
    old, new = ((one.bounds_ms, one.counts, one.count, one.sum_ms) for one in (before, now))
    return old == new


def _buckets(sample: CumulativeHistogram) -> tuple[int, ...]:
    edges = (0, *sample.counts, sample.count)
    return tuple(after - before for before, after in pairwise(edges))


def _is_histogram(sample: CumulativeHistogram) -> bool:
    if not (math.isfinite(sample.time_s) and is_count(sample.sum_ms)):
        return False
    if len(sample.counts) != len(sample.bounds_ms) or not sample.bounds_ms:
        return False
    totals = (0, *sample.counts, sample.count)
    rising = all(a < b for a, b in pairwise((0.0, *sample.bounds_ms))) and math.isfinite(sample.bounds_ms[-1])
    return rising and all(is_count(total) for total in totals) and all(a <= b for a, b in pairwise(totals))


def read_windows(
    samples: Iterable[tuple[Key, CumulativeHistogram]],
    *,
    interval_s: float,
    since: Mapping[Key, CumulativeHistogram] | None = None,
) -> Windows[Key]:
    """Turn one tick's samples into windows; several of one source are joined. O(samples · buckets).

    ``since`` is ``last`` of the tick before. A gap of more than three of the source's own intervals gives no window.
    """
    last: dict[Key, CumulativeHistogram] = dict(since or {})
    found: dict[Key, list[LatencyWindow]] = {}
    faults: list[tuple[Key, HistogramFault]] = []
    for key, sample in samples:
        step = difference(last.get(key), sample, longest_gap_s=LONGEST_GAP_INTERVALS * interval_s)
        if step.last is not None:
            last[key] = step.last
        if step.fault is not None:
            faults.append((key, step.fault))
        if step.window is not None:
            found.setdefault(key, []).append(step.window)
    windows = {key: window for key, parts in found.items() if (window := merge(parts).window) is not None}
    return Windows(windows, tuple(faults), last)


def merge(windows: Iterable[LatencyWindow]) -> Merged:
    """Join windows of several reporters or containers: counts add, the time is from the first start to the last end.

    Bounds fit where one set holds the other: the finer is made coarser. Starting from the bounds with most requests,
    windows that do not fit are left out and counted. O(windows · buckets).

    >>> fine = LatencyWindow(0, 5, (5.0, 10.0, 20.0), (1, 2, 3, 4), 150.0)
    >>> coarse = LatencyWindow(0, 5, (10.0, 20.0), (10, 0, 0), 60.0)
    >>> merge([fine, coarse]).window.counts
    (13, 3, 4)
    >>> merge([fine, LatencyWindow(0, 5, (7.0,), (1, 0), 3.0)]).left_out
    1
    """
    by_bounds: dict[tuple[float, ...], list[LatencyWindow]] = {}
    for window in windows:
        by_bounds.setdefault(window.bounds_ms, []).append(window)
    if not by_bounds:
        return Merged(None)
    groups = sorted(by_bounds.items(), key=lambda group: (-sum(window.count for window in group[1]), group[0]))
    bounds, taken, left_out = groups[0][0], list(groups[0][1]), 0
    for other, members in groups[1:]:
        if set(other) >= set(bounds) or set(other) <= set(bounds):
            bounds = min(bounds, other, key=len)
            taken += members
        else:
            left_out += len(members)
    columns = zip(*(_coarser(window, bounds) for window in taken), strict=True)
    joined = LatencyWindow(
        start_s=min(window.start_s for window in taken),
        end_s=max(window.end_s for window in taken),
        bounds_ms=bounds,
        counts=tuple(sum(column) for column in columns),
        sum_ms=math.fsum(window.sum_ms for window in taken),
    )
    return Merged(joined, left_out)


def _coarser(window: LatencyWindow, bounds_ms: tuple[float, ...]) -> Sequence[int]:
    if window.bounds_ms == bounds_ms:
        return window.counts
    counts = [0] * (len(bounds_ms) + 1)
    place = 0
    for bound, count in zip((*window.bounds_ms, math.inf), window.counts, strict=True):
        while place < len(bounds_ms) and bound > bounds_ms[place]:
            place += 1
        counts[place] += count
    return counts


def quantile_of(window: LatencyWindow, percentile: float) -> Quantile | None:
    """Return the latency that ``percentile`` (above 0, below 100) of the requests did not exceed, None without any.

    O(buckets).

    >>> quantile_of(LatencyWindow(0, 5, (10.0, 20.0), (5, 5, 0), 100.0), 75.0)
    Quantile(value_ms=15.0, low_ms=10.0, high_ms=20.0)
    """
    if not 0.0 < percentile < 100.0:
        raise EstimatorError(f"percentile: found {percentile}, allowed: above 0, below 100")
    total = window.count
    if not total:
        return None
    rank, below = percentile / 100.0 * total, 0
    for low_ms, high_ms, count in zip((0.0, *window.bounds_ms), window.bounds_ms, window.counts, strict=False):
        if count and below + count >= rank:
            value_ms = low_ms + (high_ms - low_ms) * (rank - below) / count
            return Quantile(value_ms, low_ms, high_ms)
        below += count
    return Quantile(window.bounds_ms[-1], window.bounds_ms[-1], math.inf)


def figure_of(
    window: LatencyWindow | None, *, percentile: float, now_s: float, fewest: int = FEWEST_SAMPLES
) -> LatencyFigure | None:
    """Return mean and tail of a window with its sample count and age; None (unknown) below ``fewest`` samples.

    The tail needs at least one sample expected beyond it: p99 is None below 100 samples.

    >>> window = LatencyWindow(0, 5, (10.0, 20.0), (15, 5, 0), 200.0)
    >>> figure_of(window, percentile=90.0, now_s=6.0).tail.value_ms, figure_of(window, percentile=99.0, now_s=6.0).tail
    (16.0, None)
    >>> figure_of(LatencyWindow(0, 5, (10.0,), (3, 0), 1.0), percentile=90.0, now_s=6.0)
    """
    if window is None or window.count < max(1, fewest):
        return None
    count = window.count
    enough = count * (100.0 - percentile) >= 100.0 - 1e-9
    return LatencyFigure(
        mean_ms=window.sum_ms / count,
        tail=quantile_of(window, percentile) if enough else None,
        count=count,
        window_s=window.end_s - window.start_s,
        age_s=max(0.0, now_s - window.end_s),
    )
