"""Cumulative byte counters to increases and rates: restarts count from zero, and what cannot be used says why.

``step`` decides about one sample; ``read_increases`` folds it over a live stream, ``window_totals.py`` over a file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from mesh.counter_sample import CounterSample

LONGEST_GAP_INTERVALS = 3
SAME_TIME_S = 1e-6  # two scrapes of one container cannot be nearer; a rate over less would only magnify rounding


class Reason(StrEnum):
    """Why a sample gave no rate."""

    REPEATED = "identical sample twice"
    DUPLICATE = "two samples at one time"
    TIME_BACK = "time ran back"
    NOT_A_COUNT = "NaN, infinite or negative"
    GAP = "gap of more than 3 intervals"


@dataclass(frozen=True, slots=True)
class Increase:
    """What one container received and sent between two of its samples; never negative."""

    container: str
    start_s: float
    end_s: float
    receive_bytes: float
    transmit_bytes: float


@dataclass(frozen=True, slots=True)
class Dropped:
    """A sample that gave no rate, and why."""

    container: str
    time_s: float
    reason: Reason


@dataclass(frozen=True, slots=True)
class Step:
    """What one sample did: an increase, or a reason, or neither (the first); ``last`` is what the next one follows."""

    last: CounterSample | None
    increase: Increase | None = None
    reason: Reason | None = None


@dataclass(frozen=True)
class Increases:
    """A stream's increases, its dropped samples, and each container's last good sample (pass it on as ``since``)."""

    increases: tuple[Increase, ...]
    dropped: tuple[Dropped, ...]
    last: Mapping[str, CounterSample]


def increase_of(before: float, now: float) -> float:
    """Return how much a cumulative counter grew; a smaller value is a restart and counts from zero.

    >>> increase_of(100, 130), increase_of(100, 30)
    (30, 30)
    """
    return now - before if now >= before else now


def is_count(value: float) -> bool:
    """Whether ``value`` can be a counter's: finite and not negative."""
    return 0 <= value < math.inf


def step(last: CounterSample | None, sample: CounterSample, *, longest_gap_s: float = math.inf) -> Step:
    """Decide what ``sample`` means after ``last``, the container's last good sample.

    Parameters
    ----------
    longest_gap_s:
        Longest time between two samples over which a rate still says something.

    Returns
    -------
    Step
        A bad sample leaves ``last`` as it was, so that the next good one spans it; after a gap counting starts anew.

    Examples
    --------
    >>> first = CounterSample("cart-0", 0.0, 100, 0)
    >>> step(first, CounterSample("cart-0", 5.0, 160, 10)).increase
    Increase(container='cart-0', start_s=0.0, end_s=5.0, receive_bytes=60, transmit_bytes=10)
    >>> step(first, CounterSample("cart-0", 0.0, 160, 10)).reason
    <Reason.DUPLICATE: 'two samples at one time'>
    """
    if not (is_count(sample.receive_bytes) and is_count(sample.transmit_bytes) and math.isfinite(sample.time_s)):
        return Step(last, reason=Reason.NOT_A_COUNT)
    if last is None:
        return Step(sample)
    elapsed_s = sample.time_s - last.time_s
    if abs(elapsed_s) < SAME_TIME_S:
        same = sample.receive_bytes == last.receive_bytes and sample.transmit_bytes == last.transmit_bytes
        return Step(last, reason=Reason.REPEATED if same else Reason.DUPLICATE)
    if elapsed_s < 0:
        return Step(last, reason=Reason.TIME_BACK)
    if elapsed_s > longest_gap_s:
        return Step(sample, reason=Reason.GAP)
    received = increase_of(last.receive_bytes, sample.receive_bytes)
    sent = increase_of(last.transmit_bytes, sample.transmit_bytes)
    return Step(sample, Increase(sample.container, last.time_s, sample.time_s, received, sent))


def read_increases(
    samples: Iterable[CounterSample], *, interval_s: float, since: Mapping[str, CounterSample] | None = None
) -> Increases:
    """Turn a stream of samples, in order of arrival, into increases.

    Parameters
    ----------
    samples:
        Of any number of containers, interleaved as they arrived.
    interval_s:
        The source's own interval; a gap of more than three gives no rate.
    since:
        ``last`` of the call before, so that a stream may be read tick by tick.

    Returns
    -------
    Increases
        O(samples).

    Examples
    --------
    >>> stream = [CounterSample("a", 0, 10, 0), CounterSample("a", 5, 30, 0), CounterSample("a", 4, 35, 0)]
    >>> result = read_increases(stream, interval_s=5)
    >>> [increase.receive_bytes for increase in result.increases], [drop.reason.name for drop in result.dropped]
    ([20], ['TIME_BACK'])
    """
    last = dict(since or {})
    increases, dropped = [], []
    for sample in samples:
        name = sample.container
        done = step(last.get(name), sample, longest_gap_s=LONGEST_GAP_INTERVALS * interval_s)
        if done.last is not None:
            last[name] = done.last
        if done.increase is not None:
            increases.append(done.increase)
        if done.reason is not None:
            dropped.append(Dropped(name, sample.time_s, done.reason))
    return Increases(tuple(increases), tuple(dropped), last)
