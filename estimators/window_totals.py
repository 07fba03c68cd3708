"""Bytes per container over one window: of a whole file of samples, or per second of a live stream."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from estimators.counters import (
    LONGEST_GAP_INTERVALS,
    SAME_TIME_S,
    Dropped,
    Increase,
    Reason,
    is_count,
    step,
)
from mesh.counter_sample import CounterSample


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
