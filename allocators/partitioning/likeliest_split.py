"""Two pooled resources divided so that a sum of worths is largest: exhaustive, by dynamic programming.

With logarithms of chances as worths it is the split on which most likely all meet their targets.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from allocators.partitioning.shapes import Floats

LEAST_GAIN = 1e-4
Parts = list[tuple[int, int]]
Choice = NDArray[np.int64]


def likeliest_split(
    worths: Sequence[Floats], *, least: Sequence[tuple[int, int]], most: Sequence[tuple[int, int]],
    first: int, second: int,
) -> tuple[tuple[int, int], ...] | None:  # fmt: skip
    """Return (first, second) for each tenant so that the sum of their worths is largest.

    Units that gain nobody anything stay out of it. Ties go to fewer units.

    Parameters
    ----------
    worths:
        For each tenant float64, shape ``(first units, second units)``: what 1, 2, … of each are worth to it.
    least, most:
        For each tenant the bounds of both.
    first, second:
        How much there is.

    Returns
    -------
    tuple | None
        None where not even the least parts fit. O(tenants · first² · second²), less what is worth no more than fewer
        units are.

    Examples
    --------
    >>> worths = [np.array([[-3.0, -2.0], [-1.0, 0.0]]), np.array([[-1.0, -0.5], [-1.0, 0.0]])]
    >>> likeliest_split(worths, least=[(1, 1)] * 2, most=[(2, 2)] * 2, first=3, second=4)
    ((2, 2), (1, 2))
    """
    first, second = first - sum(low[0] for low in least), second - sum(low[1] for low in least)
    if min(first, second) < 0:
        return None
    best = np.zeros((first + 1, second + 1))  # by what is there beyond the least parts
    chosen: list[tuple[Parts, Choice]] = []
    for worth, low, high in zip(worths, least, most, strict=True):
        reach = (min(high[0], low[0] + first, worth.shape[0]), min(high[1], low[1] + second, worth.shape[1]))
        options = list(_options(worth, low, reach))
        if not options:
            return None
        best, choice = _with_one_more(best, options, [float(worth[c - 1, w - 1]) for c, w in options], low)
        chosen.append((options, choice))
    return _traced(chosen, least, first, second)


def _with_one_more(best: Floats, options: Parts, worths: list[float], low: tuple[int, int]) -> tuple[Floats, Choice]:
    """Return the best sums with one more tenant, and by which of its options; the first of equals."""
    more = np.array(options) - low
    far = more.max(axis=0)
    wider = np.full((best.shape[0] + far[0], best.shape[1] + far[1]), -np.inf)
    wider[far[0] :, far[1] :] = best
    states = np.arange(wider.size).reshape(wider.shape)[far[0] :, far[1] :].ravel()
    found = wider.ravel().take(states[None, :] - (more @ (wider.shape[1], 1))[:, None])
    found += np.array(worths)[:, None]
    choice = found.argmax(axis=0)
    return found[choice, np.arange(best.size)].reshape(best.shape), choice.reshape(best.shape)


def _options(worth: Floats, low: tuple[int, int], high: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Yield the parts that are worth more than any smaller one."""
    rows = worth.tolist()
    reached = [-math.inf] * (high[1] + 1)
    for cores in range(low[0], high[0] + 1):
        best, row = -math.inf, rows[cores - 1]
        for ways in range(low[1], high[1] + 1):
            best = max(best, reached[ways])
            here = row[ways - 1]
            if here > best + LEAST_GAIN:
                yield cores, ways
                best = here
            reached[ways] = best


def _traced(
    chosen: list[tuple[Parts, Choice]], least: Sequence[tuple[int, int]], first: int, second: int
) -> tuple[tuple[int, int], ...]:
    parts: list[tuple[int, int]] = []
    for (options, choice), low in zip(reversed(chosen), reversed(least), strict=True):
        part = options[int(choice[first, second])]
        first, second = first - (part[0] - low[0]), second - (part[1] - low[1])
        parts.append(part)
    return tuple(reversed(parts))
