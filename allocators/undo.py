"""Undo: a plan that makes p99 worse twice in a row goes back to what stood before.

Worse means 10 % more than in the tick before, or twice what p99 usually varies by if that is more, after a push that
moved something; ticks without one count neither way. A push is to blame only where those that it gave more load explain
the rise: requests in the system (load times latency) grew at least as much there as at those that it took load from.
A queue that still drains at a slow endpoint is not its fault; nor is a world that changed: an endpoint whose speed
jumped, load that grew by a tenth, endpoints that came or went excuse it for three ticks.
"""

from __future__ import annotations

from dataclasses import replace
from math import exp, log

import numpy as np
from numpy.typing import NDArray

from allocators.target_view import Watch

Floats = NDArray[np.float64]
WORSE = 1.1
USUAL, NOISE_GAIN, MOST_NOISE = 2.0, 0.2, 0.5  # mean absolute changes of log p99; how fast they are learnt; a cap
TWICE = 2
CALM_INTERVALS = 6.0
EXCUSE_INTERVALS = 3.0


def judged(
    watch: Watch,
    *,
    targets: Floats,
    in_system: Floats,
    tail_ms: float | None,
    moved: bool,
    world_changed: bool,
    now_s: float,
    interval_s: float,
) -> Watch:
    """Return the watch after looking at what the last push came to; ``undoing`` where it is to be undone.

    ``targets`` are those in force since that push, ``in_system`` the requests that each endpoint held on average, shape
    ``(M,)`` each. Without a known tail nothing is judged.
    """
    if world_changed:
        watch = replace(watch, excused_until_s=now_s + EXCUSE_INTERVALS * interval_s)
    if tail_ms is None or watch.undoing:
        return watch
    limit = max(WORSE, exp(USUAL * watch.noise))
    before_ms = watch.tail_ms or 0.0
    # Not the logarithm of the quotient: tails may be so far apart that there is none.
    varied = abs(log(tail_ms) - log(before_ms)) if tail_ms > 0.0 and before_ms > 0.0 else 0.0
    noise = watch.noise + NOISE_GAIN * (min(varied, MOST_NOISE) - watch.noise)
    seen = replace(watch, tail_ms=tail_ms, in_system=in_system, last=targets, noise=noise)
    if not moved:
        return replace(seen, before=watch.before if watch.worse else targets)
    excused = now_s < watch.excused_until_s or watch.tail_ms is None
    if excused or tail_ms <= limit * (watch.tail_ms or 0.0) or not _to_blame(watch, targets, in_system):
        return replace(seen, before=targets, worse=0)
    worse = watch.worse + 1
    return replace(seen, worse=worse, undoing=worse >= TWICE)


def _to_blame(watch: Watch, targets: Floats, in_system: Floats) -> bool:
    grew = in_system - watch.in_system
    gave, took = targets > watch.last, targets < watch.last
    return bool(grew[gave].sum() >= grew[took].sum())


def finished(watch: Watch, *, now_s: float, interval_s: float) -> Watch:
    """Return the watch once the old targets are back: quiet for six ticks, so that what is wrong can show."""
    calm_s = now_s + CALM_INTERVALS * interval_s
    return replace(watch, undoing=False, worse=0, tail_ms=None, calm_until_s=calm_s)
