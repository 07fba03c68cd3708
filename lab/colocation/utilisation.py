"""Effective utilisation (EMU): how much load in all a node carries under a strategy with every target met.

A ray begins where every service has 10 % of its maximum load (the least that the paper ran) and rises in one direction,
drawn at random, by 5 points of the sum at a time, until the strategy fails. Where it fails at the very beginning, the
services that meet their targets there count 10 points each. The paper fixes all loads but one on a grid and raises
the last: 10^(N-1) runs, so for many services it must have sampled too. Rays serve every N in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from allocators.partitioning.askew import Askew
from allocators.partitioning.heracles import Heracles
from allocators.partitioning.parties import Parties
from allocators.partitioning.parties_released import PartiesReleased
from allocators.partitioning.static import Static, Unmanaged
from allocators.partitioning.step import Partitioner
from lab.colocation.applications import APPLICATIONS
from lab.colocation.closed_loop import MEASURE_S, SETTLE_S, holds, hopeless, residents_of, run_loop
from lab.colocation.node import Resident, SharingModel
from lab.colocation.oracle import most_served, oracle_split
from mesh.topology import ContainerName

STEP = 0.05
LEAST_LOAD = 0.10
ORACLE = "oracle"


def _heracles(residents: tuple[Resident, ...]) -> Heracles:
    return Heracles({r.container: r.application.most_requests_per_s for r in residents if r.application is not None})


STRATEGIES: Mapping[str, Callable[[tuple[Resident, ...]], Partitioner[Any]]] = {
    "unmanaged": lambda residents: Unmanaged(),
    "static": lambda residents: Static(),
    "heracles": _heracles,
    "parties": lambda residents: Parties(),
    "parties-released": lambda residents: PartiesReleased(),
    "askew": lambda residents: Askew(),
}


@dataclass(frozen=True, slots=True)
class Ray:
    """A mix of services and the direction in which their loads grow."""

    names: tuple[str, ...]
    direction: tuple[float, ...]
    seed: int

    def loads(self, steps: int) -> dict[ContainerName, float]:
        """Return each service's part of its own maximum load after so many steps."""
        scale = STEP * steps / sum(self.direction)
        containers = (resident.container for resident in residents_of(self.names))
        return {name: LEAST_LOAD + scale * part for name, part in zip(containers, self.direction, strict=True)}

    def most_steps(self) -> int:
        """Return how many steps there are until one service is at its full load."""
        return int((1.0 - LEAST_LOAD) * sum(self.direction) / max(self.direction) / STEP + 1e-9)


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a strategy came along a ray: the sum of loads in points, and the time to settle there (None: nowhere)."""

    strategy: str
    ray: Ray
    emu_points: float
    settled_s: float | None


def draw_rays(services: int, count: int, *, seed: int) -> tuple[Ray, ...]:
    """Return so many rays of so many services: mixes without repetition, directions from the grid 0.1, 0.2, … 1."""
    random = np.random.default_rng((seed, services))
    rays = []
    for _ in range(count):
        names = tuple(sorted(random.choice(sorted(APPLICATIONS), size=services, replace=False).tolist()))
        parts = tuple(float(part) for part in random.integers(1, 11, size=services) / 10.0)
        rays.append(Ray(names, parts, int(random.integers(2**31))))
    return tuple(rays)


def reach(strategy: str, ray: Ray, *, sharing: SharingModel | None = None) -> Reach:
    """Return how far a strategy comes along a ray: bisection over steps of 5 points."""
    residents = residents_of(ray.names)
    low, high, settled = -1, ray.most_steps() + 1, None
    while high - low > 1:
        middle = (low + high) // 2
        found = settled_at(strategy, residents, ray.loads(middle), seed=ray.seed + middle, sharing=sharing)
        if found is None:
            high = middle
        else:
            low, settled = middle, found
    if low < 0:
        met = services_met(strategy, residents, ray.loads(0), seed=ray.seed, sharing=sharing)
        return Reach(strategy, ray, 100.0 * LEAST_LOAD * met, None)
    return Reach(strategy, ray, 100.0 * (LEAST_LOAD * len(ray.names) + STEP * low), settled)


def settled_at(
    strategy: str,
    residents: tuple[Resident, ...],
    loads: Mapping[ContainerName, float],
    *,
    seed: int,
    sharing: SharingModel | None = None,
) -> float | None:
    """Return when the strategy had found a partition that it kept, None if it did not."""
    if strategy == ORACLE:
        return None if oracle_split(residents, loads) is None else 0.0
    trace = run_loop(
        STRATEGIES[strategy](residents), residents, lambda time_s: loads,
        seconds=SETTLE_S + MEASURE_S, seed=seed, sharing=sharing, give_up=hopeless,
    )  # fmt: skip
    return holds(trace)


def services_met(
    strategy: str,
    residents: tuple[Resident, ...],
    loads: Mapping[ContainerName, float],
    *,
    seed: int,
    sharing: SharingModel | None = None,
) -> int:
    """Return how many services meet their targets in the second minute, however the others fare."""
    if strategy == ORACLE:
        return most_served(residents, loads)
    trace = run_loop(
        STRATEGIES[strategy](residents), residents, lambda time_s: loads,
        seconds=SETTLE_S + MEASURE_S, seed=seed, sharing=sharing,
    )  # fmt: skip
    return sum(trace.kept_by_each(SETTLE_S))
