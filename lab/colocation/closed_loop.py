"""A strategy and a node in a closed loop, and the judge who looks at the true law."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from allocators.partitioning.node_view import Units
from allocators.partitioning.step import Grant, Migration, Partitioner
from lab.colocation.applications import APPLICATIONS
from lab.colocation.node import Resident, SimulatedNode
from lab.colocation.sharing import SharingModel
from mesh.topology import ContainerName

SETTLE_S, MEASURE_S = 60.0, 60.0
ALLOWED_LATE = 0.01
SETTLED_S = 5.0


@dataclass
class Trace:
    """One run, tick by tick: the end of each tick, the true late parts, units, migrations asked for, reasons."""

    names: tuple[ContainerName, ...]
    times_s: list[float] = field(default_factory=list)
    late: list[tuple[float, ...]] = field(default_factory=list)
    units: list[tuple[Grant, ...]] = field(default_factory=list)
    suspended: list[tuple[ContainerName, ...]] = field(default_factory=list)
    migrations: list[tuple[float, Migration]] = field(default_factory=list)
    reasons: list[tuple[float, str]] = field(default_factory=list)

    def good(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return whether each service met its target in each tick, shape ``(ticks, services)``."""
        return np.array(self.late).reshape(len(self.late), -1) <= ALLOWED_LATE

    def settled_s(self) -> float | None:
        """Return the time from which all targets were met for 5 s on end, None if never."""
        run = 0
        step_s = self.times_s[0] if self.times_s else 0.0
        together = [all(row) for row in self.good().tolist()]
        for time_s, good in zip(self.times_s, together, strict=True):
            run = run + 1 if good else 0
            if run * step_s >= SETTLED_S - 1e-9:
                return max(0.0, time_s - run * step_s)
        return None

    def kept_by_each(self, start_s: float) -> tuple[bool, ...]:
        """Return for each service whether its p99 over all requests from then on met its target (at constant load)."""
        late = np.array(self.late).reshape(len(self.late), -1)[np.array(self.times_s) > start_s]
        return tuple((late.mean(axis=0) <= ALLOWED_LATE).tolist()) if len(late) else (False,) * len(self.names)


def residents_of(names: tuple[str, ...], *, jobs: int = 0) -> tuple[Resident, ...]:
    """Return services by application name (a second one of a kind gets a number), and best-effort jobs."""
    seen: dict[str, int] = {}
    residents = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        called = name if seen[name] == 1 else f"{name}-{seen[name]}"
        residents.append(Resident(ContainerName(called), APPLICATIONS[name]))
    residents += [Resident(ContainerName(f"job-{at}"), None) for at in range(jobs)]
    return tuple(residents)


def run_loop(
    strategy: Partitioner[Any],
    residents: tuple[Resident, ...],
    loads: Callable[[float], Mapping[ContainerName, float]],
    *,
    seconds: float,
    seed: int,
    sharing: SharingModel | None = None,
    give_up: Callable[[Trace], bool] | None = None,
    start_from: Mapping[ContainerName, Units] | None = None,
) -> Trace:
    """Run a strategy for so many simulated seconds.

    ``loads`` gives each service's part of its maximum load at a time; ``give_up`` ends a run early; ``start_from``
    replaces the strategy's own start.
    """
    node = SimulatedNode(residents, loads(0.0), np.random.default_rng(seed), sharing=sharing or SharingModel())
    step = strategy.start(node.first_view(), seed=seed)
    wanted = step.wanted
    if start_from is not None:
        wanted = tuple(Grant((name,), units) for name, units in start_from.items())
    trace = Trace(tuple(resident.container for resident in residents if resident.application is not None))
    for _ in range(round(seconds / strategy.tick_s)):
        node.loads, node.grants, node.suspended = loads(node.time_s), wanted, step.suspended
        view = node.tick(strategy.tick_s)
        late = node.late_parts()
        trace.times_s.append(node.time_s)
        trace.late.append(tuple(late[name] for name in trace.names))
        trace.units.append(wanted)
        trace.suspended.append(step.suspended)
        step = strategy.step(step.memory, view)
        wanted = step.wanted
        trace.migrations += [(node.time_s, migration) for migration in step.migrations]
        trace.reasons += [(node.time_s, reason) for reason in step.reasons]
        if give_up is not None and give_up(trace):
            break
    return trace


def finds(trace: Trace) -> float | None:
    """Return when a strategy found a partition: all targets were met for 5 s on end within a minute; None if not.

    What PARTIES' section 5 asks: where no allocation that meets all is found after one minute, it has failed. Who asks
    for a migration has given up.
    """
    settled_s = trace.settled_s()
    if settled_s is None or settled_s > SETTLE_S or any(time_s <= SETTLE_S for time_s, _ in trace.migrations):
        return None
    return settled_s


def holds(trace: Trace) -> float | None:
    """Return when a strategy found a partition that it kept, None if it did not.

    Over the minute after the first the p99 of every service is within its target, too.
    """
    return finds(trace) if all(trace.kept_by_each(SETTLE_S)) else None


def found_or_hopeless(trace: Trace) -> bool:
    """Whether a run need not go on where it is enough to find a partition."""
    return hopeless(trace) or trace.settled_s() is not None


def hopeless(trace: Trace) -> bool:
    """Whether a run need not go on: a migration was asked for, or the first minute passed without rest."""
    if trace.migrations:
        return True
    return abs(trace.times_s[-1] - SETTLE_S - SETTLED_S) < 0.26 and holds_not_yet(trace)


def holds_not_yet(trace: Trace) -> bool:
    """Whether no rest began within the first minute."""
    settled_s = trace.settled_s()
    return settled_s is None or settled_s > SETTLE_S
