"""How many cores a tenant needs with so many ways: fitted, hoped for, and known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from allocators.partitioning.best_split import Needs
from allocators.partitioning.demand import Demand
from allocators.partitioning.shapes import Belief, Floats, cache_shapes, queue_shapes, weighed

SAME_RATE = 0.95
HIGHEST_LOAD = 0.97  # of its cores: beyond, any burst is a backlog


@dataclass(frozen=True, slots=True)
class Reach:
    """Tails over the grid of cores × ways in parts of the target, shape ``(cores, ways)``: expected, and hoped for."""

    expected: Floats
    hoped: Floats


def reach_of(demand: Demand, *, target_ms: float, cores: int, ways: int) -> Reach | None:
    """Return what is thought of every number of cores and ways; None where CPU time was never measured.

    O(shapes · cores · ways).
    """
    work = {w: (busy, count) for w, (busy, count) in demand.work.items() if count >= 3 and busy > 0.0}
    if not work:
        return None
    seen_ways = sorted(work)
    service = weighed(
        cache_shapes(seen_ways),
        np.array([work[w][0] / work[w][1] for w in seen_ways]),
        np.array([max(0.01, 1.0 / math.sqrt(work[w][1])) for w in seen_ways]),
        cache_shapes(range(1, ways + 1)),
    )
    expected = _tails(demand, service.expected, cores=cores)
    hoped = _tails(demand, np.minimum(service.lowest, service.expected), cores=cores)
    return Reach(expected.expected / target_ms, np.minimum(hoped.lowest, expected.expected) / target_ms)


def _tails(demand: Demand, service_s: Floats, *, cores: int) -> Belief:
    grid_cores = np.arange(1.0, cores + 1.0)[:, None] * np.ones_like(service_s)[None, :]
    load = demand.rate_per_s * service_s[None, :] * np.ones_like(grid_cores)
    times = 1e3 * np.maximum(service_s, 1e-12)[None, None, :]
    shapes = queue_shapes(load, grid_cores) * times
    shapes[:, load > HIGHEST_LOAD * grid_cores] = math.inf
    seen = [s for s in demand.sightings if s.place.rate_per_s * service_s[s.place.ways - 1] < s.place.cores]
    if not seen:  # a tail of three service times is as good a guess as any
        lowest = shapes[0] * 1.0
        return Belief(3.0 * lowest, lowest)
    at_ways = np.array([s.place.ways - 1 for s in seen])
    seen_cores = np.array([float(s.place.cores) for s in seen])
    seen_load = np.array([s.place.rate_per_s for s in seen]) * service_s[at_ways]
    shapes_seen = queue_shapes(seen_load, seen_cores) * (1e3 * service_s[at_ways])[None, :]
    return weighed(shapes_seen, np.array([s.tail_ms for s in seen]), np.array([s.error for s in seen]), shapes)


def needs_of(tails: Floats, demand: Demand, *, within: float, least: tuple[int, int], most: tuple[int, int]) -> Needs:
    """Return for 1, 2, … ways the fewest cores that are enough; None: none are.

    Enough is a tail within so many parts of the target, unless the tenant was late with as much at this rate; and
    whatever it was seen to meet its target with.
    """
    enough = tails <= within
    rate = demand.rate_per_s
    for place in demand.late_at:
        if place.rate_per_s * SAME_RATE <= rate:
            enough[: place.cores, : place.ways] = False
    for place in demand.met_at:
        if rate * SAME_RATE <= place.rate_per_s:
            enough[place.cores - 1 :, place.ways - 1 :] = True
    enough[: least[0] - 1, :] = False
    enough[:, : least[1] - 1] = False
    enough[most[0] :, :] = False
    enough[:, most[1] :] = False
    fewest = (enough.argmax(axis=0) + 1).tolist()
    possible: list[bool] = np.atleast_1d(enough.any(axis=0)).tolist()
    return tuple(cores if is_any else None for cores, is_any in zip(fewest, possible, strict=True))
