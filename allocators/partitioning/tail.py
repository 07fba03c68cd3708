"""What a window says of a latency target: the tail, how sure that is, and whether the target is met."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from estimators.latency import LatencyWindow, merge, quantile_of

SURE_Z = 2.33  # one-sided 99 %: a verdict is asked twice a second, so a chance of 5 % would be an alarm every 10 s
RELAXED_AT = 0.8  # PARTIES gives away above a slack of 0.2


class Verdict(StrEnum):
    """Whether a target is met, as far as the requests seen can tell."""

    UNKNOWN = "too few requests"
    LATE = "surely late"
    NEAR = "near the target"
    MET = "surely met"
    RELAXED = "surely met with a slack of 0.2"


@dataclass(frozen=True, slots=True)
class Tail:
    """A tail latency with its bounds, and how many of the requests were over the target.

    ``low_ms`` and ``high_ms`` are order statistics around the percentile (binomial ranks, z = 2.33 each side);
    ``high_ms`` is infinite where there are too few requests to bound it.
    """

    requests: int
    late: float
    value_ms: float
    low_ms: float
    high_ms: float
    target_ms: float
    percentile: float

    @property
    def slack(self) -> float:
        """PARTIES' measure: (target − tail) / target."""
        return (self.target_ms - self.value_ms) / self.target_ms


def tail_of(window: LatencyWindow | None, *, target_ms: float, percentile: float) -> Tail | None:
    """Return the tail of a window, None without any request. O(buckets).

    >>> window = LatencyWindow(0, 1, (10.0, 20.0), (990, 10, 0), 0.0)
    >>> tail = tail_of(window, target_ms=10.0, percentile=99.0)
    >>> tail.value_ms, tail.late, round(tail.high_ms, 1)
    (10.0, 10.0, 17.3)
    """
    total = 0 if window is None else window.count
    if window is None or not total:
        return None
    part = percentile / 100.0
    wide = SURE_Z * math.sqrt(part * (1.0 - part) / total)
    value, low = _at(window, part), _at(window, max(part - wide, 0.5 / total))
    high = _at(window, part + wide) if part + wide <= 1.0 else math.inf
    return Tail(total, late_of(window, target_ms), value, low, high, target_ms, percentile)


def _at(window: LatencyWindow, part: float) -> float:
    found = quantile_of(window, min(max(100.0 * part, 1e-9), 100.0 - 1e-9))
    assert found is not None
    return found.value_ms if math.isfinite(found.high_ms) else math.inf


def late_of(window: LatencyWindow, target_ms: float) -> float:
    """Return how many requests were slower than the target, in proportion inside the target's own bucket."""
    late, low = 0.0, 0.0
    for high, count in zip((*window.bounds_ms, math.inf), window.counts, strict=True):
        if low >= target_ms:
            late += count
        elif high > target_ms and count:
            late += count * (1.0 if math.isinf(high) else (high - target_ms) / (high - low))
        low = high
    return late


def verdict_of(tail: Tail | None) -> Verdict:
    """Return what the requests seen can tell; LATE is decided as soon as it is certain, however few they are.

    >>> verdict_of(Tail(7, 4, 30.0, 9.0, float("inf"), 10.0, 99.0)).name  # 4 of 7 late: no chance hit
    'LATE'
    >>> verdict_of(Tail(7, 0, 3.0, 2.0, float("inf"), 10.0, 99.0)).name
    'UNKNOWN'
    """
    if tail is None:
        return Verdict.UNKNOWN
    if surely_more(tail.late, mean=tail.requests * (1.0 - tail.percentile / 100.0)):
        return Verdict.LATE
    if tail.high_ms <= RELAXED_AT * tail.target_ms:
        return Verdict.RELAXED
    if tail.high_ms <= tail.target_ms:
        return Verdict.MET
    return Verdict.UNKNOWN if math.isinf(tail.high_ms) else Verdict.NEAR


def surely_more(seen: float, *, mean: float) -> bool:
    """Whether so many rare events are more than chance (1 %) where ``mean`` are expected.

    Exact for a Poisson count below 20, by its root above (Anscombe).
    """
    if seen <= mean:
        return False
    if seen >= 20.0:
        return 2.0 * (math.sqrt(seen + 0.375) - math.sqrt(mean + 0.375)) > SURE_Z
    term, below = math.exp(-mean), 0.0
    for k in range(int(seen)):
        below += term
        term *= mean / (k + 1)
    return 1.0 - below < 0.01


def extended(window: LatencyWindow | None, more: LatencyWindow | None) -> LatencyWindow | None:
    """Return both windows as one; where their buckets cannot be joined, the newer one."""
    if window is None or more is None:
        return more if window is None else window
    joined = merge((window, more))
    return more if joined.window is None or joined.left_out else joined.window
