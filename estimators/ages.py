"""How old what is known is, in intervals of its source: fresh, held, or on its way back to neutral.

Old knowledge must not move a plan, and very old knowledge must not rule it for ever. An interval is the longer of the
control loop's and the source's own, as measured: a source that speaks every 60 s is not late after 15.
"""

from __future__ import annotations

from dataclasses import dataclass

FRESH_INTERVALS = 3.0
HELD_INTERVALS = 12.0
RELAX_STEPS = 12


@dataclass(frozen=True, slots=True)
class Heard:
    """When a reporter spoke last, and how long one of its intervals is."""

    time_s: float
    interval_s: float

    def age_s(self, now_s: float) -> float:
        return max(0.0, now_s - self.time_s)

    def intervals(self, now_s: float) -> float:
        return self.age_s(now_s) / self.interval_s

    def is_fresh(self, now_s: float) -> bool:
        """Whether it is young enough to move a plan: at most 3 intervals."""
        return self.intervals(now_s) <= FRESH_INTERVALS

    def is_usable(self, now_s: float) -> bool:
        """Whether it still counts as it was: at most 12 intervals."""
        return self.intervals(now_s) <= HELD_INTERVALS


def heard(before: Heard | None, time_s: float, *, tick_s: float) -> Heard:
    """Return what to remember of a reporter that has spoken at ``time_s``.

    Its interval follows what is seen, but a single silence makes it at most three times as long: a reporter that was
    away has not become a slow one.

    >>> heard(Heard(100.0, 5.0), 160.0, tick_s=5.0).interval_s
    15.0
    """
    if before is None:
        return Heard(time_s, tick_s)
    gap_s = min(time_s - before.time_s, FRESH_INTERVALS * before.interval_s)
    return Heard(time_s, max(tick_s, gap_s))


def relaxed_part(intervals: float) -> float:
    """Return how far knowledge of an age has gone back to neutral: 0 up to 12 intervals, then a twelfth each, to 1.

    >>> relaxed_part(12.0), relaxed_part(15.5), relaxed_part(99.0)
    (0.0, 0.25, 1.0)
    """
    steps = min(RELAX_STEPS, max(0, int(intervals - HELD_INTERVALS)))
    return steps / RELAX_STEPS
