"""Effective utilisation (EMU): how much load in all a node carries under a strategy with every target met.

Two kinds of lines through the space of loads, on both of which the sum rises by 5 points (or 10, as in the paper) at a
time until the strategy fails. ``grid`` is the paper's: all services but one run at loads drawn from its grid of 10, 20,
… 100 %, and the last one rises from 10 %. It tested all 10^N points; here feet are drawn at random among those that the
oracle carries.
``rays``: all begin at 10 % and rise in one direction at once; here a service that needs next to nothing (MongoDB) never
counts for more than its part of the direction. Where a strategy fails at the foot already, the loads of those
services count that do meet their targets there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from allocators.partitioning.askew import Askew
from allocators.partitioning.heracles import Heracles
from allocators.partitioning.parties import Parties
from allocators.partitioning.parties_released import PartiesReleased
from allocators.partitioning.static import Static, Unmanaged
from allocators.partitioning.step import Partitioner
from lab.colocation.applications import APPLICATIONS
from lab.colocation.closed_loop import (
    MEASURE_S,
    SETTLE_S,
    finds,
    found_or_hopeless,
    holds,
    hopeless,
    residents_of,
    run_loop,
)
from lab.colocation.node import Resident
from lab.colocation.oracle import most_met, oracle_split
from lab.colocation.sharing import SharingModel
from mesh.topology import ContainerName

STEP = 0.05
LEAST_LOAD = 0.10
ORACLE = "oracle"
Measure = Literal["grid", "rays"]
Judge = Literal["kept", "found"]


def _heracles(residents: tuple[Resident, ...], *, takes_back: bool = False) -> Heracles:
    peaks = {r.container: r.application.most_requests_per_s for r in residents if r.application is not None}
    return Heracles(peaks, takes_back=takes_back)


STRATEGIES: Mapping[str, Callable[[tuple[Resident, ...]], Partitioner[Any]]] = {
    "unmanaged": lambda residents: Unmanaged(),
    "static": lambda residents: Static(),
    "heracles": _heracles,
    "heracles-checked": lambda residents: _heracles(residents, takes_back=True),
    "parties": lambda residents: Parties(),
    "parties-released": lambda residents: PartiesReleased(),
    "askew": lambda residents: Askew(),
}


@dataclass(frozen=True, slots=True)
class Ray:
    """A mix of services, the loads at which a line begins, and the direction and the steps in which they grow."""

    names: tuple[str, ...]
    foot: tuple[float, ...]
    direction: tuple[float, ...]
    seed: int
    step: float = STEP

    def loads(self, steps: int) -> dict[ContainerName, float]:
        """Return each service's part of its own maximum load after so many steps."""
        scale = self.step * steps / sum(self.direction)
        containers = (resident.container for resident in residents_of(self.names))
        parts = zip(containers, self.foot, self.direction, strict=True)
        return {name: first + scale * part for name, first, part in parts}

    def points(self, steps: int) -> float:
        """Return the sum of all loads after so many steps, in points."""
        return 100.0 * (sum(self.foot) + self.step * steps)

    def most_steps(self) -> int:
        """Return how many steps there are until one service is at its full load."""
        room = min((1.0 - first) / part for first, part in zip(self.foot, self.direction, strict=True) if part > 0.0)
        return int(room * sum(self.direction) / self.step + 1e-9)


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a strategy came along a ray: the sum of loads in points, and the time to settle there (None: nowhere)."""

    strategy: str
    ray: Ray
    emu_points: float
    settled_s: float | None


def draw_lines(measure: Measure, services: int, count: int, *, seed: int) -> tuple[Ray, ...]:
    """Return so many lines of one kind, of so many services, without two of the same kind of service."""
    return draw_grid(services, count, seed=seed) if measure == "grid" else draw_rays(services, count, seed=seed)


def draw_rays(services: int, count: int, *, seed: int) -> tuple[Ray, ...]:
    """Return rays from 10 % each, with directions from the grid 0.1, 0.2, … 1."""
    random = np.random.default_rng((seed, services))
    rays = []
    for _ in range(count):
        names = _mix(services, random)
        parts = tuple(float(part) for part in random.integers(1, 11, size=services) / 10.0)
        rays.append(Ray(names, (LEAST_LOAD,) * services, parts, int(random.integers(2**31))))
    return tuple(rays)


def draw_grid(services: int, count: int, *, seed: int) -> tuple[Ray, ...]:
    """Return lines of the paper's grid whose feet the oracle carries: one service drawn at random rises from 10 %."""
    random = np.random.default_rng((seed, services, 1))
    lines: list[Ray] = []
    while len(lines) < count:
        names, rising = _mix(services, random), int(random.integers(services))
        foot = [float(part) for part in random.integers(1, 11, size=services) / 10.0]
        foot[rising] = LEAST_LOAD
        direction = tuple(float(at == rising) for at in range(services))
        line = Ray(names, tuple(foot), direction, int(random.integers(2**31)))
        if oracle_split(residents_of(names), line.loads(0)) is not None:
            lines.append(line)
    return tuple(lines)


def _mix(services: int, random: np.random.Generator) -> tuple[str, ...]:
    return tuple(sorted(random.choice(sorted(APPLICATIONS), size=services, replace=False).tolist()))


def reach(strategy: str, ray: Ray, *, judge: Judge = "kept", sharing: SharingModel | None = None) -> Reach:
    """Return how far a strategy comes along a line."""
    steps, settled_s = last_step(strategy, ray, judge=judge, sharing=sharing)
    if steps < 0:
        met = load_met(strategy, residents_of(ray.names), ray.loads(0), seed=ray.seed, sharing=sharing)
        return Reach(strategy, ray, 100.0 * met, None)
    return Reach(strategy, ray, ray.points(steps), settled_s)


def last_step(
    strategy: str, ray: Ray, *, judge: Judge = "kept", sharing: SharingModel | None = None
) -> tuple[int, float | None]:
    """Return the last step of a line that a strategy carries, and when it had settled there; -1: not even the foot.

    By bisection.
    """
    residents = residents_of(ray.names)
    low, high, settled_s = -1, ray.most_steps() + 1, None
    while high - low > 1:
        middle = (low + high) // 2
        found = settled_at(strategy, residents, ray.loads(middle), seed=ray.seed + middle, judge=judge, sharing=sharing)
        if found is None:
            high = middle
        else:
            low, settled_s = middle, found
    return low, settled_s


def settled_at(
    strategy: str,
    residents: tuple[Resident, ...],
    loads: Mapping[ContainerName, float],
    *,
    seed: int,
    judge: Judge = "kept",
    sharing: SharingModel | None = None,
) -> float | None:
    """Return when the strategy had found a partition (that it kept, if asked for), None if it did not."""
    if strategy == ORACLE:
        return None if oracle_split(residents, loads) is None else 0.0
    trace = run_loop(
        STRATEGIES[strategy](residents), residents, lambda time_s: loads, seconds=SETTLE_S + MEASURE_S, seed=seed,
        sharing=sharing, give_up=found_or_hopeless if judge == "found" else hopeless,
    )  # fmt: skip
    return finds(trace) if judge == "found" else holds(trace)


def load_met(
    strategy: str,
    residents: tuple[Resident, ...],
    loads: Mapping[ContainerName, float],
    *,
    seed: int,
    sharing: SharingModel | None = None,
) -> float:
    """Return the sum of the loads that meet their targets in the second minute, however the others fare."""
    if strategy == ORACLE:
        return most_met(residents, loads)
    trace = run_loop(
        STRATEGIES[strategy](residents), residents, lambda time_s: loads,
        seconds=SETTLE_S + MEASURE_S, seed=seed, sharing=sharing,
    )  # fmt: skip
    kept = trace.kept_by_each(SETTLE_S)
    return sum(loads[name] for name, met in zip(trace.names, kept, strict=True) if met)
