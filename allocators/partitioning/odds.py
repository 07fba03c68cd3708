"""How likely a tenant meets its target with so many cores and ways: a mixture of laws, weighed by what was seen.

Every pair of a cache shape and a queue shape is a law with one free height. Cores kept busy a request fix the
service time by ways; tails seen at places fix the height and say how well the law fits. A law's prediction is uncertain
by its height's error and by how far the place is from those seen. Before any tail was seen, its height is a guess
(p99 of four service times, within a factor of three): then much is needed for certainty, and that is meant.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from allocators.partitioning.demand import Demand, Place, Sighting
from allocators.partitioning.shapes import (
    HIGHEST_LOAD,
    QUEUE_SHAPES,
    WAITS,
    Floats,
    cache_shapes,
    queue_shapes,
    queue_terms,
)

SAME_RATE = 0.95
GUESS, GUESS_SPREAD = math.log(4.0), 1.0  # logarithm of a tail in service times
LAW_ERROR, LAW_ERROR_AWAY, AT_BEST = 0.05, 0.25, 0.01
NEAR, UNSEEN = 0.25, 1.0  # distances between places, in logarithms
LATE_FACTOR, HARDLY_BETTER, MET_CHANCE = 0.1, 0.05, 0.98
LEAST_CHANCE, UNTRIED_CHANCE = 1e-4, 0.0005
MISERY = 0.02
NEGLIGIBLE = 1e-3
ONE_THREAD = 200_000  # multiplications: BLAS takes threads for many more, and they spin after it
FULL = 1e30  # finite: no weight times it is nothing
WEIGHTLESS = 1e-12  # all such laws together move no worth by as much as `LEAST_GAIN`


@dataclass(frozen=True, slots=True)
class Odds:
    """Over the grid of cores × ways, shape ``(cores, ways)``.

    ``chance`` of meeting the target; ``expected`` tail in parts of the target; ``worth`` is what a plan adds up: the
    logarithm of the chance, with a slope where there is none.
    """

    chance: Floats
    expected: Floats
    worth: Floats

    def fewest(self, *, chance: float, within: float) -> tuple[int | None, ...]:
        """Return for 1, 2, … ways the fewest cores with this chance and a tail within that; None: none have it."""
        enough = (self.chance >= chance) & (self.expected <= within)
        possible: list[bool] = np.atleast_1d(enough.any(axis=0)).tolist()
        return tuple(
            cores if any_ else None for cores, any_ in zip((enough.argmax(axis=0) + 1).tolist(), possible, strict=True)
        )


def odds_of(demand: Demand, *, target_ms: float, cores: int, ways: int) -> Odds | None:
    """Return the odds of every number of cores and ways; None where CPU time was never measured.

    O(laws · (sightings + cores · ways)), with 375 laws at most. Laws without weight, and places whose cores every
    plausible law fills, are left out of the large arrays.
    """
    work = {w: (busy, count) for w, (busy, count) in demand.work.items() if count >= 3 and busy > 0.0}
    if not work:
        return None
    seen = demand.sightings
    likely, service_s = _service(work, max((ways, *(s.place.ways for s in seen))))
    height, spread, weight, rest = _heights(seen, likely, service_s)
    kept = weight.max(axis=0) > WEIGHTLESS
    laws = _Laws(demand.rate_per_s, service_s[kept, :ways], height[:, kept], weight[:, kept], rest[:, kept])
    grid = np.arange(1.0, cores + 1.0)[:, None]
    fullness = demand.rate_per_s * (likely @ service_s[:, :ways]) / grid
    away, nearest = _away([s.place for s in seen], demand.rate_per_s, cores, ways)
    own = np.array([s.error for s in seen])[nearest] if seen else np.full_like(away, spread)
    error = np.sqrt(own**2 + (AT_BEST + LAW_ERROR_AWAY * away) ** 2)
    chance, expected = np.zeros((cores, ways)), np.full((cores, ways), np.inf)
    at = np.nonzero(demand.rate_per_s * laws.service_s.min(axis=0) / grid < HIGHEST_LOAD)
    good = np.zeros((len(seen) + 1, len(at[0])))
    good[nearest[at], np.arange(len(at[0]))] = np.exp(-away[at] / NEAR)  # as good as explained near where it was seen
    good[-1] = 1.0  # a law's height holds everywhere
    chance[at], expected[at] = _weighed(laws, at, target_ms, error[at], good)
    untried = UNTRIED_CHANCE * (1.0 - np.exp(-away / NEAR)) * (fullness < 1.0)  # every law may be wrong far away
    chance = np.maximum(chance, untried)
    return with_worth(_witnessed(chance, demand, expected), expected, fullness)


@dataclass(frozen=True, slots=True)
class _Laws:
    """A tenant's laws: service times by ways, heights, weights, what is unexplained; shapes ``(queue, cache, …)``."""

    rate_per_s: float
    service_s: Floats
    height: Floats
    weight: Floats
    rest: Floats


def _weighed(
    laws: _Laws, at: tuple[NDArray[np.int64], ...], target_ms: float, error: Floats, good: Floats
) -> tuple[Floats, Floats]:
    """Return the chance and the expected tail in parts of the target, at places.

    ``at`` are indices of cores and ways; ``good``, shape ``(sightings + 1, places)``, is how much of what is left over
    at each sighting, and of the height, counts at each place. The arrays of laws × places are the cost of a plan: few,
    and changed in place.
    """
    service_s = laws.service_s[:, at[1]]
    crowded, waiting = queue_terms(laws.rate_per_s * service_s, 1.0 + at[0].astype(np.float64))
    full = np.isinf(crowded[0])
    crowded[:, full] = FULL
    tails = (np.multiply.outer(WAITS, waiting)[:, None] + crowded).reshape(
        len(QUEUE_SHAPES), *full.shape
    )  # (queue, cache, place)
    np.log(tails, out=tails)
    tails += np.log(1e3 * service_s / target_ms)  # logarithms of parts of the target
    explained = np.concatenate((laws.rest, laws.height[:, :, None]), axis=2).reshape(laws.weight.size, -1)
    rows = tails.reshape(laws.weight.size, -1)
    at_once = max(1, ONE_THREAD // max(1, good.size))
    for start in range(0, len(rows), at_once):
        rows[start : start + at_once] += explained[start : start + at_once] @ good
    parts = np.where(laws.weight > NEGLIGIBLE, laws.weight, 0.0)
    expected = np.exp(_summed(parts, tails) / parts.sum())
    expected[full[parts.any(axis=0)].any(axis=0)] = np.inf
    with np.errstate(over="ignore"):
        tails *= 1.702 / error  # a normal law by the logistic one
        np.exp(tails, out=tails)
    tails += 1.0
    return _summed(laws.weight, np.reciprocal(tails, out=tails)), expected


def _summed(weights: Floats, values: Floats) -> Floats:
    """Return the weighted sum over all laws, by place."""
    rows = values.reshape(weights.size, values.shape[-1])
    found: Floats = np.einsum("l,lp->p", weights.ravel(), rows)  # not BLAS: one thread, and the same everywhere
    return found


def _service(work: dict[int, tuple[float, float]], ways: int) -> tuple[Floats, Floats]:
    """Return the plausible cache shapes' weights, and their service times in seconds, shape ``(cache, ways)``."""
    seen_ways = sorted(work)
    found = np.log(np.array([work[w][0] / work[w][1] for w in seen_ways]))
    precision = np.array([1.0 / max(0.01, 1.0 / math.sqrt(work[w][1])) ** 2 for w in seen_ways])
    distance = found[None, :] - np.log(cache_shapes(seen_ways))
    height = (distance * precision).sum(axis=1) / precision.sum()
    misfit = (((distance - height[:, None]) ** 2) * precision).sum(axis=1)
    weight = np.exp(-0.5 * (misfit - misfit.min()))
    kept = weight > NEGLIGIBLE
    service_s = np.exp(height[kept])[:, None] * cache_shapes(range(1, ways + 1))[kept]
    return weight[kept] / weight[kept].sum(), service_s


def _heights(sightings: Sequence[Sighting], likely: Floats, service_s: Floats) -> tuple[Floats, float, Floats, Floats]:
    """Return each law's height, the heights' standard error, the laws' weights, and what they leave unexplained.

    Shapes ``(queue, cache)``, and ``(queue, cache, sightings)`` in logarithms for the last.
    """
    at_ways = np.array([s.place.ways - 1 for s in sightings], dtype=np.int64)
    rates = np.array([s.place.rate_per_s for s in sightings])
    seen_cores = np.array([float(s.place.cores) for s in sightings])
    loads = np.minimum(rates[None, :] * service_s[:, at_ways], 0.96 * seen_cores[None, :])
    shapes = np.log(queue_shapes(loads, seen_cores[None, :] * np.ones_like(loads)))
    shapes += np.log(1e3 * service_s[:, at_ways])[None, :, :]  # (queue, cache, sightings)
    distance = np.log(np.array([s.tail_ms for s in sightings]))[None, None, :] - shapes
    precision = 1.0 / (np.array([s.error for s in sightings]) ** 2 + LAW_ERROR**2)
    prior = 1.0 / GUESS_SPREAD**2
    total = prior + float(precision.sum())
    height = (GUESS * prior + (distance * precision).sum(axis=2)) / total
    misfit = (((distance - height[:, :, None]) ** 2) * precision).sum(axis=2) + prior * (height - GUESS) ** 2
    weight = likely[None, :] * np.exp(-0.5 * (misfit - misfit.min()))
    rest = (distance - height[:, :, None]) * (precision * LAW_ERROR**2)
    return height, 1.0 / math.sqrt(total), weight / weight.sum(), rest


def _away(places: Sequence[Place], rate_per_s: float, cores: int, ways: int) -> tuple[Floats, NDArray[np.int64]]:
    """Return how far each place of the grid is from the nearest that was seen, in logarithms, and which that is."""
    grid_cores = np.log(np.arange(1.0, cores + 1.0))[:, None]
    grid_ways = np.log(np.arange(1.0, ways + 1.0))[None, :]
    away, nearest = np.full((cores, ways), UNSEEN), np.zeros((cores, ways), dtype=np.int64)
    for at, place in enumerate(places):
        if place.rate_per_s > 0.0 and rate_per_s > 0.0:
            here = abs(math.log(rate_per_s / place.rate_per_s))
            far = here + np.abs(grid_cores - math.log(place.cores)) + 0.3 * np.abs(grid_ways - math.log(place.ways))
            closer = far < away
            away, nearest = np.where(closer, far, away), np.where(closer, at, nearest)
    return away, nearest


def _witnessed(chance: Floats, demand: Demand, expected: Floats) -> Floats:
    """Return the chances where a tenant was surely late with as much, or surely met its target with less.

    To be late tells of all places that are expected to be hardly better: of more ways, where ways do not help.
    """
    rate = demand.rate_per_s
    doubt = np.zeros_like(chance)
    for place in demand.late_at:
        if place.rate_per_s * SAME_RATE <= rate and place.cores <= len(chance) and place.ways <= chance.shape[1]:
            tails = np.clip(expected, 1e-9, 1e9)
            better = np.maximum(0.0, np.log(tails[place.cores - 1, place.ways - 1] / tails))
            doubt = np.maximum(doubt, np.exp(-better / HARDLY_BETTER))
            doubt[: place.cores, : place.ways] = 1.0
    chance = chance * LATE_FACTOR**doubt
    for place in demand.met_at:
        if rate * SAME_RATE <= place.rate_per_s:
            met = chance[place.cores - 1 :, place.ways - 1 :]
            np.maximum(met, MET_CHANCE, out=met)
    return chance


def with_worth(chance: Floats, expected: Floats, fullness: Floats) -> Odds:
    """Return odds with what they are worth to a plan: where there is no chance, less misery is still better."""
    misery = np.log1p(np.minimum(expected, 100.0 * np.maximum(1.0, fullness)))
    return Odds(chance, expected, np.log(LEAST_CHANCE + (1.0 - LEAST_CHANCE) * chance) - MISERY * misery)


def blind_odds(demand: Demand, held: Place, *, cores: int, ways: int) -> Odds:
    """Return odds without a model: what is held may do, unless it was late; less may hurt, more helps a little."""
    grid_cores = np.arange(1.0, cores + 1.0)[:, None] * np.ones((1, ways))
    grid_ways = np.ones((cores, 1)) * np.arange(1.0, ways + 1.0)[None, :]
    less = np.maximum(0.0, held.cores - grid_cores) + np.maximum(0.0, held.ways - grid_ways)
    more = np.minimum(2.0, np.maximum(0.0, grid_cores - held.cores) + np.maximum(0.0, grid_ways - held.ways))
    guess = 0.5 * 0.3**less + 0.05 * more
    chance = _witnessed(guess, demand, 0.5 / np.maximum(guess, 1e-9))
    return with_worth(chance, 1.0 / np.maximum(chance, 0.01), held.cores / grid_cores)
