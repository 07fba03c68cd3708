"""What a strategy has learnt of one tenant: its arrivals, its work a request, its tails, where it was late."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from allocators.partitioning.tail import Tail, extended, surely_more, tail_of
from estimators.latency import LatencyWindow, quantile_of

MOST_SIGHTINGS = 16
SATURATED = 0.985  # of its cores busy: it has a backlog, and its latency tells of that
RECENT_S = 2.0
FEW = 200  # requests below which a tail is extrapolated


@dataclass(frozen=True, slots=True)
class Place:
    """A number of cores and ways at a rate: where a tenant was judged."""

    cores: int
    ways: int
    rate_per_s: float


@dataclass(frozen=True, slots=True)
class Sighting:
    """A tail seen at a place, with its relative standard error."""

    place: Place
    tail_ms: float
    error: float


@dataclass(frozen=True, slots=True)
class Demand:
    """One tenant's memory; ``work`` is by ways: (core seconds, requests), ``arrivals`` since the load last changed."""

    arrivals: float = 0.0
    arrivals_s: float = 0.0
    recent: float = 0.0
    recent_s: float = 0.0
    work: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    sightings: tuple[Sighting, ...] = ()
    late_at: tuple[Place, ...] = ()
    met_at: tuple[Place, ...] = ()
    window: LatencyWindow | None = None
    fresh: bool = True
    saturated: bool = False

    @property
    def rate_per_s(self) -> float:
        """Arrivals a second since the load last changed."""
        return self.arrivals / self.arrivals_s if self.arrivals_s else 0.0

    def core_s(self) -> float | None:
        """Return core seconds a request, over all that was seen; None where CPU time is not measured."""
        busy = sum(seconds for seconds, _ in self.work.values())
        count = sum(requests for _, requests in self.work.values())
        return busy / count if count and busy > 0.0 else None


def with_arrivals(demand: Demand, requests: float, seconds: float) -> Demand:
    """Count arrivals; forget the older ones when the last two seconds differ from them by more than chance and 7 %."""
    recent, recent_s = demand.recent + requests, demand.recent_s + seconds
    arrivals, arrivals_s = demand.arrivals + requests, demand.arrivals_s + seconds
    mean = demand.rate_per_s * recent_s
    if demand.arrivals_s and abs(recent - mean) > max(0.07 * mean, 4.0 * math.sqrt(mean + 1.0)):
        return replace(
            demand,
            arrivals=requests,
            arrivals_s=seconds,
            recent=0.0,
            recent_s=0.0,
            window=None,
            sightings=demand.sightings,
        )
    if recent_s >= RECENT_S:
        recent, recent_s = 0.0, 0.0
    return replace(demand, arrivals=arrivals, arrivals_s=arrivals_s, recent=recent, recent_s=recent_s)


def with_work(demand: Demand, *, ways: int, cores: float, busy_cores: float, requests: int, seconds: float) -> Demand:
    """Count core seconds and requests at so many ways; NaN counts nothing."""
    if math.isnan(busy_cores):
        return demand
    busy, count = demand.work.get(ways, (0.0, 0.0))
    work = {**demand.work, ways: (busy + busy_cores * seconds, count + requests)}
    return replace(demand, work=work, saturated=busy_cores >= SATURATED * cores)


def with_window(demand: Demand, window: LatencyWindow | None) -> Demand:
    """Extend the window that began at the last change; its first part and what a backlog delays are left out.

    So is the part in which the backlog ends: it holds requests that had waited in it.
    """
    if demand.fresh or demand.saturated:
        return replace(demand, fresh=demand.saturated, window=None)
    return replace(demand, window=extended(demand.window, window))


def moved(demand: Demand) -> Demand:
    """Begin anew with a tenant's window, because its part has changed."""
    return replace(demand, window=None, fresh=True)


def tail_estimate(window: LatencyWindow | None, *, target_ms: float, percentile: float) -> tuple[float, float] | None:
    """Return a tail with its relative standard error; None below 10 requests.

    Of few requests the order statistic is low: there the tail is drawn out from median and p90 as an exponential's.
    """
    tail = tail_of(window, target_ms=target_ms, percentile=percentile)
    if window is None or tail is None or tail.requests < 10:
        return None
    if tail.requests >= FEW and math.isfinite(tail.value_ms):
        rare = tail.requests * (1.0 - percentile / 100.0)
        return tail.value_ms, max(0.01, 0.25 / math.sqrt(rare))
    half, high = quantile_of(window, 50.0), quantile_of(window, 90.0)
    assert half is not None
    assert high is not None
    reach = math.log(10.0 / (100.0 - percentile)) / math.log(5.0)
    return max(high.value_ms, high.value_ms + reach * (high.value_ms - half.value_ms)), max(
        0.05, 1.0 / math.sqrt(tail.requests)
    )


def with_sighting(demand: Demand, place: Place, *, target_ms: float, percentile: float) -> Demand:
    """Remember the window's tail at a place, instead of what was known of the same place."""
    found = tail_estimate(demand.window, target_ms=target_ms, percentile=percentile)
    if found is None:
        return demand
    others = [s for s in demand.sightings if (s.place.cores, s.place.ways) != (place.cores, place.ways)]
    return replace(demand, sightings=(*others[-MOST_SIGHTINGS + 1 :], Sighting(place, *found)))


def is_late(tail: Tail | None, estimate: tuple[float, float] | None) -> bool:
    """Whether a target is surely missed: by the count of late requests, or by a tail drawn out from the median."""
    if tail is None:
        return False
    if surely_more(tail.late, mean=tail.requests * (1.0 - tail.percentile / 100.0)):
        return True
    return estimate is not None and tail.requests < FEW and estimate[0] * (1.0 - 2.5 * estimate[1]) > tail.target_ms
