"""Two pooled resources divided so that a sum of worths is largest: exhaustive, by dynamic programming.

With logarithms of chances as worths it is the split on which most likely all meet their targets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from allocators.partitioning.shapes import Floats

LEAST_GAIN = 1e-4


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
    best = np.zeros((first + 1, second + 1))
    chosen: list[tuple[list[tuple[int, int]], np.ndarray[tuple[int, int], np.dtype[np.int64]]]] = []
    for worth, low, high in zip(worths, least, most, strict=True):
        after = np.full_like(best, -np.inf)
        choice = np.zeros(best.shape, dtype=np.int64)
        options = list(_options(worth, low, (min(high[0], first), min(high[1], second))))
        for at, (cores, ways) in enumerate(options):
            found = best[: first + 1 - cores, : second + 1 - ways] + worth[cores - 1, ways - 1]
            target = after[cores:, ways:]
            better = found > target
            target[better] = found[better]
            choice[cores:, ways:][better] = at
        best = after
        chosen.append((options, choice))
    if not best[first, second] > -np.inf:
        return None
    return _traced(chosen, first, second)


def _options(worth: Floats, low: tuple[int, int], high: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Yield the parts that are worth more than any smaller one."""
    reached = np.full(high[1] + 1, -np.inf)
    for cores in range(low[0], high[0] + 1):
        row = -np.inf
        for ways in range(low[1], high[1] + 1):
            here = float(worth[cores - 1, ways - 1])
            row = max(row, float(reached[ways]))
            if here > row + LEAST_GAIN:
                yield cores, ways
                row = here
            reached[ways] = row


def _traced(
    chosen: list[tuple[list[tuple[int, int]], np.ndarray[tuple[int, int], np.dtype[np.int64]]]], first: int, second: int
) -> tuple[tuple[int, int], ...]:
    parts: list[tuple[int, int]] = []
    for options, choice in reversed(chosen):
        part = options[int(choice[first, second])]
        first, second = first - part[0], second - part[1]
        parts.append(part)
    return tuple(reversed(parts))
