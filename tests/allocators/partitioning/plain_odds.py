"""The odds as they are defined: every law at every place of the whole grid, one by one: the peer of the cheap ones."""

from __future__ import annotations

import math

import numpy as np

from allocators.partitioning import odds
from allocators.partitioning.demand import Demand
from allocators.partitioning.odds import Odds
from allocators.partitioning.shapes import HIGHEST_LOAD, QUEUE_SHAPES, Floats


def plain_odds(demand: Demand, *, target_ms: float, cores: int, ways: int) -> Odds:
    """Return the odds on the whole grid; nothing is left out."""
    work = {w: pair for w, pair in demand.work.items() if pair[1] >= 3 and pair[0] > 0.0}
    likely, service_s = odds._service(work, ways)
    height, spread, weight, rest = odds._heights(demand.sightings, likely, service_s)
    away, nearest = odds._away([s.place for s in demand.sightings], demand.rate_per_s, cores, ways)
    chance, expected, fullness = np.zeros((cores, ways)), np.zeros((cores, ways)), np.zeros((cores, ways))
    for c, w in np.ndindex(cores, ways):
        near, decay = int(nearest[c, w]), math.exp(-away[c, w] / odds.NEAR)
        own = demand.sightings[near].error if demand.sightings else spread
        error = math.hypot(own, odds.AT_BEST + odds.LAW_ERROR_AWAY * away[c, w])
        sums, met, parts = 0.0, 0.0, 0.0
        for queue, cache in np.ndindex(*weight.shape):
            tail = height[queue, cache] + _log_tail_ms(queue, demand.rate_per_s, service_s[cache, w], c + 1)
            tail += rest[queue, cache, near] * decay if demand.sightings else 0.0
            met += weight[queue, cache] / (1.0 + math.exp(min(50.0, 1.702 * (tail - math.log(target_ms)) / error)))
            if weight[queue, cache] > odds.NEGLIGIBLE:
                sums, parts = sums + weight[queue, cache] * tail, parts + weight[queue, cache]
        fullness[c, w] = demand.rate_per_s * float(likely @ service_s[:, w]) / (c + 1)
        untried = odds.UNTRIED_CHANCE * (1.0 - decay) if fullness[c, w] < 1.0 else 0.0
        chance[c, w] = max(met, untried)
        expected[c, w] = math.exp(sums / parts) / target_ms if sums < math.inf else math.inf
    return odds.with_worth(odds._witnessed(chance, demand, expected), expected, fullness)


def _log_tail_ms(queue: int, rate_per_s: float, service_s: float, cores: int) -> float:
    wait, crowd, power = QUEUE_SHAPES[queue]
    rho = rate_per_s * service_s / cores
    if rho >= HIGHEST_LOAD:
        return math.inf
    waiting = rho ** (math.sqrt(2.0 * (cores + 1.0)) - 1.0) / (cores * (1.0 - rho))
    return math.log(1.0 + crowd * rho**power + wait * waiting) + math.log(1e3 * service_s)


def all_splits(worths: list[Floats], *, cores: int, ways: int) -> float:
    """Return the largest sum of worths over every split there is."""
    best = {(0, 0): 0.0}
    for worth in worths:
        after: dict[tuple[int, int], float] = {}
        for (c, w), value in best.items():
            for more, wider in np.ndindex(cores - c, ways - w):
                at = (c + more + 1, w + wider + 1)
                after[at] = max(after.get(at, -math.inf), value + float(worth[more, wider]))
        best = after
    return max(best.values())
