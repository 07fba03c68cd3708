"""Draws that follow from a seed: a strategy's chance is a value in its memory, not a generator beside it."""

from __future__ import annotations

_BITS = (1 << 64) - 1


def draw(seed: int, below: int) -> tuple[int, int]:
    """Return a number from 0 to ``below`` − 1 and the seed of the next draw (SplitMix64, Steele et al. 2014).

    >>> number, seed = draw(7, 3)
    >>> number, draw(seed, 3)[0]
    (0, 0)
    """
    state = (seed + 0x9E3779B97F4A7C15) & _BITS
    mixed = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _BITS
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _BITS
    return (mixed ^ (mixed >> 31)) % below, state
