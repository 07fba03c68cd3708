"""Cumulative byte counters to increases and rates: restarts count from zero, and what cannot be used says why.

``step`` decides about one sample; ``read_increases`` folds it over a live stream; ``total_window`` over a whole file.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter

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
class CounterSample:
    """Bytes that one container received and sent since it started, as read at ``time_s``."""

    container: str
    time_s: float
    receive_bytes: float
    transmit_bytes: float


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


@dataclass(frozen=True)
class WindowTotals:
    """Bytes per container over one window.

    Attributes
    ----------
    window_s:
        Length of the window in seconds; 0 where there was none. With 1.0 the totals are rates.
    receive_bytes, transmit_bytes:
        Container → bytes in the window; a container without any usable sample is absent.
    dropped:
        Samples that were not used.
    gaps:
        Containers whose increase spans a gap of more than 3 intervals: counted, but a restart inside it would not
        show.
    """

    window_s: float
    receive_bytes: Mapping[str, float]
    transmit_bytes: Mapping[str, float]
    dropped: tuple[Dropped, ...] = ()
    gaps: tuple[str, ...] = ()


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


def mean_rates(increases: Iterable[Increase]) -> WindowTotals:
    """Return each container's bytes per second over the time that its own increases cover, as totals of one second.

    >>> mean_rates([Increase("a", 0, 5, 20, 5), Increase("a", 5, 10, 40, 5)]).receive_bytes
    {'a': 6.0}
    """
    covered_s: defaultdict[str, float] = defaultdict(float)
    received: defaultdict[str, float] = defaultdict(float)
    sent: defaultdict[str, float] = defaultdict(float)
    for increase in increases:
        covered_s[increase.container] += increase.end_s - increase.start_s
        received[increase.container] += increase.receive_bytes
        sent[increase.container] += increase.transmit_bytes
    return WindowTotals(
        window_s=1.0,
        receive_bytes={name: received[name] / seconds for name, seconds in covered_s.items()},
        transmit_bytes={name: sent[name] / seconds for name, seconds in covered_s.items()},
    )


def total_window(samples: Sequence[CounterSample]) -> WindowTotals:
    """Return what every container received and sent over the window of all samples together.

    The window is ``max time_s − min time_s`` of all usable samples. A container that vanished keeps its last total;
    one that appeared later counts from its first sample. Samples may stand in any order. A gap is counted (the
    counter knows what passed in it) and named.

    Returns
    -------
    WindowTotals
        O(n log n) for n samples. Integer counters give exact integer totals.

    Examples
    --------
    >>> samples = [CounterSample("a", 10, 70, 9), CounterSample("a", 0, 20, 4), CounterSample("b", 5, 1, 1)]
    >>> totals = total_window(samples)
    >>> totals.window_s, totals.receive_bytes, totals.transmit_bytes
    (10, {'a': 50, 'b': 0}, {'a': 5, 'b': 0})
    """
    usable = sorted((sample for sample in samples if math.isfinite(sample.time_s)), key=attrgetter("time_s"))
    dropped = [Dropped(s.container, s.time_s, Reason.NOT_A_COUNT) for s in samples if not math.isfinite(s.time_s)]
    last: dict[str, CounterSample] = {}
    received: dict[str, float] = {}
    sent: dict[str, float] = {}
    spans: list[tuple[float, str]] = []
    for sample in usable:
        name = sample.container
        done = step(last.get(name), sample)
        if done.last is not None:
            last[name] = done.last
        if done.reason is not None:
            dropped.append(Dropped(name, sample.time_s, done.reason))
        elif done.increase is None:
            received[name] = sent[name] = 0
        else:
            received[name] += done.increase.receive_bytes
            sent[name] += done.increase.transmit_bytes
            spans.append((done.increase.end_s - done.increase.start_s, name))
    counted = [s.time_s for s in usable if is_count(s.receive_bytes) and is_count(s.transmit_bytes)]
    window_s = counted[-1] - counted[0] if counted else 0.0
    return WindowTotals(
        window_s=window_s if window_s >= SAME_TIME_S else 0.0,
        receive_bytes=received,
        transmit_bytes=sent,
        dropped=tuple(dropped),
        gaps=_gaps(spans),
    )


def _gaps(spans: Sequence[tuple[float, str]]) -> tuple[str, ...]:
    if not spans:
        return ()
    usual_s = sorted(length_s for length_s, _ in spans)[len(spans) // 2]
    return tuple(dict.fromkeys(name for length_s, name in spans if length_s > LONGEST_GAP_INTERVALS * usual_s))


def warnings_of(totals: WindowTotals) -> tuple[str, ...]:
    """Return one text per container and reason, with the number of samples that it cost.

    >>> warnings_of(WindowTotals(1.0, {}, {}, dropped=(Dropped("a", 1.0, Reason.DUPLICATE),) * 2))
    ('container a: two samples at one time (2 samples not used)',)
    """
    counts = Counter((drop.container, drop.reason) for drop in totals.dropped)
    texts = [
        f"container {name}: {reason.value} ({count} sample{'s' if count > 1 else ''} not used)"
        for (name, reason), count in counts.items()
    ]
    texts += [
        f"container {name}: gap of more than {LONGEST_GAP_INTERVALS} intervals; its increase counts, "
        "but a restart inside would not show"
        for name in totals.gaps
    ]
    return tuple(texts)
