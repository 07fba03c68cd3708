"""The rate of countable events that is right soon after a change and does not move by chance.

A moving average must choose: quick and noisy, or quiet and late. This one averages long (half-life 30 s) as long as
nothing changes, and starts anew when an interval could hardly have come about by chance (4 standard deviations of a
Poisson process). What is told to planners stays the same number until there is news, or clearly more to go by.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

HALF_LIFE_S = 30.0
NEWS_SIGMAS = 4.0
DRIFT_SIGMAS = 3.0  # of windows that weigh by age: their own deviation is smaller by the square root of 2
CLEARLY_MORE = 1.25


class Counted(NamedTuple):
    """``events`` in ``seconds``; ``amounts`` are other sums over the same time, such as bytes each way.

    A named tuple, since one is made for every rate in every tick.
    """

    events: float
    seconds: float
    amounts: tuple[float, ...] = ()

    @property
    def per_s(self) -> float:
        return self.events / self.seconds if self.seconds > 0 else 0.0

    def amount_per_s(self, index: int) -> float:
        return self.amounts[index] / self.seconds if self.seconds > 0 else 0.0

    def followed_by(self, interval: Counted) -> Counted:
        """Return both together, what is here weighted down by its age at the end of ``interval``."""
        weight = 0.5 ** (interval.seconds / HALF_LIFE_S)
        return Counted(
            weight * self.events + interval.events,
            weight * self.seconds + interval.seconds,
            _sum(weight, self.amounts, interval.amounts),
        )


class SteadyRate(NamedTuple):
    """A rate as it is known.

    Attributes
    ----------
    window:
        What the rate rests on now.
    told:
        What planners are told; changes only where there is reason.
    in_change:
        ``window`` is the interval in which a change began: neither the old rate nor the new one.
    """

    window: Counted
    told: Counted
    in_change: bool = False


def is_news(known: Counted, seen: Counted, *, sigmas: float = NEWS_SIGMAS) -> bool:
    """Whether two counts of one Poisson process would differ so much in fewer than one of ten thousand cases.

    That is what 4 ``sigmas`` mean: the number of standard deviations that chance is granted.

    >>> is_news(Counted(1000, 50.0), Counted(115, 5.0)), is_news(Counted(1000, 50.0), Counted(200, 5.0))
    (False, True)
    """
    if known.seconds <= 0 or seen.seconds <= 0:
        return known.seconds <= 0 < seen.seconds
    apart = 2.0 * abs(_root(seen) - _root(known))
    return apart**2 > sigmas**2 * (1.0 / known.seconds + 1.0 / seen.seconds)


def _root(count: Counted) -> float:
    """Return the square root of a rate, whose variance hardly depends on the rate: few events are not taken for news.

    Source: Anscombe, "The transformation of Poisson, binomial and negative-binomial data", Biometrika 35 (1948).
    """
    return math.sqrt((count.events + 0.375) / count.seconds)


def observe(before: SteadyRate | None, interval: Counted) -> SteadyRate:
    """Return what is known after one more interval, of any length above 0.

    A change is told one interval after it shows, when the first whole interval of the new rate is in; if that one is
    as before, it was a spike, and nothing is told. A drift too slow to show in one interval is told in steps. O(1).

    >>> rate = observe(None, Counted(500, 50.0))
    >>> rate = observe(rate, Counted(90, 5.0))  # the change fell into this interval
    >>> rate.told.per_s, rate.in_change
    (10.0, True)
    >>> observe(rate, Counted(100, 5.0)).told.per_s
    20.0
    """
    if before is None:
        return SteadyRate(interval, interval)
    if not before.in_change and is_news(before.window, interval):
        return SteadyRate(interval, before.told, in_change=True)
    if before.in_change:
        if is_news(before.told, interval):
            return SteadyRate(interval, interval)
        return SteadyRate(before.told.followed_by(interval), before.told)
    window = before.window.followed_by(interval)
    # By time, not by events: to tell anew whenever there are more events would tell too much.
    rests_on_more = window.seconds >= CLEARLY_MORE * before.told.seconds
    if rests_on_more or is_news(before.told, window, sigmas=DRIFT_SIGMAS):
        return SteadyRate(window, window)
    return SteadyRate(window, before.told)


def _sum(weight: float, old: Sequence[float], new: Sequence[float]) -> tuple[float, ...]:
    return tuple(weight * a + b for a, b in zip(old, new, strict=True)) if old else tuple(new)
