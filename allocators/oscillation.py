"""To and fro: see when targets take back what they gave a tick ago, go shorter steps then, and say so."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
NOTEWORTHY = 0.03  # of the fair share: smaller changes have no direction
FADE, RECENT = 0.8, 0.25
REMEMBERED = 8  # ticks
OSCILLATING = 4  # flips among them
BACK_OFF, REGAIN = 0.5, 1.2


def turned(change: Floats, signs: Floats, fair: Floats) -> tuple[bool, Floats]:
    """Return whether most of what moves goes against its last direction, and the directions now, shape ``(M,)``.

    A direction fades by a fifth a tick; after seven ticks without a move the other way is no turn, but news.

    >>> turned(np.array([0.1, -0.1]), np.array([-1.0, 1.0]), np.array([0.5, 0.5]))
    (True, array([ 1., -1.]))
    """
    noted = np.abs(change) > NOTEWORTHY * fair
    direction = np.where(noted, np.sign(change), faded(signs))
    against = noted & (direction * signs < -RECENT)
    return bool(np.abs(change[against]).sum() > 0.5 * np.abs(change).sum() > 0.0), direction


def faded(signs: Floats) -> Floats:
    """Return the directions after one more tick without a move."""
    return np.asarray(FADE * signs)


def next_eta(eta: float, *, flips: tuple[bool, ...], least: float, most: float = 1.0) -> float:
    """Return η for the next step: half after a flip, a fifth more after none.

    >>> next_eta(0.8, flips=(False, True), least=0.1), next_eta(0.8, flips=(True, False), least=0.1)
    (0.4, 0.96)
    """
    return max(least, eta * BACK_OFF) if flips and flips[-1] else min(most, eta * REGAIN)


def remembered(flips: tuple[bool, ...], flip: bool) -> tuple[bool, ...]:
    """Return the flips of the last eight ticks."""
    return (*flips, flip)[-REMEMBERED:]


def oscillating(flips: tuple[bool, ...]) -> bool:
    """Whether half of the last eight ticks went back on the one before."""
    return sum(flips) >= OSCILLATING
