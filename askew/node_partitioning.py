"""Between the node's loop and the partitioning strategies: readings to a view, a step's grants to actions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from allocators.partitioning.node_view import Divisible, NodeView, Tenant
from allocators.partitioning.step import Partitioner, Step
from enforcer.api_messages import MigrationWish
from enforcer.node_loop import ContainerReading, Decision, NodeReading
from enforcer.observe import ContainerUse
from estimators.latency import CumulativeHistogram, LatencyWindow, difference, merge, quantile_of
from mesh.actions import Action, Resource
from mesh.topology import ContainerName

SHOWN_REQUESTS = 100  # for a p99 to have one request beyond it
LONGEST_SHOWN_S = 30.0
WISHED_S = 75.0  # strategies say a wish anew every minute, for as long as there is cause


@dataclass(slots=True)
class NodePartitioning:
    """Decides for one node, step by step. Call :meth:`decide` with each reading, in order.

    Parameters
    ----------
    least_ways, least_bandwidth_percent:
        The fewest cache ways and the least memory bandwidth that a container may have.
    """

    strategy: Partitioner[Any]
    resources: tuple[Divisible, ...]
    seed: int = 0
    least_ways: int = 1
    least_bandwidth_percent: int = 0
    _memory: Any = None
    _started: bool = False
    _last: dict[ContainerName, ContainerReading] = field(default_factory=dict)
    _last_s: float = 0.0
    _samples: dict[ContainerName, CumulativeHistogram] = field(default_factory=dict)
    _granted: dict[tuple[ContainerName, Resource], float] = field(default_factory=dict)
    _left_out: frozenset[Resource] = frozenset()
    _wishes: dict[ContainerName, tuple[MigrationWish, float]] = field(default_factory=dict)
    _shown: dict[ContainerName, tuple[LatencyWindow, ...]] = field(default_factory=dict)

    def decide(self, reading: NodeReading) -> Decision:
        """Return what shall hold from now on."""
        if not self.resources or not reading.containers:
            return Decision(reasons=())
        resources, crowded = self._fitting(reading)
        if not resources:
            self._last = {one.name: one for one in reading.containers}
            return Decision(reasons=crowded)
        windows = {container.name: self._window(container, reading.time_s) for container in reading.containers}
        view = NodeView(
            reading.time_s,
            resources,
            tuple(
                self._tenant(container, windows[container.name], reading.time_s, resources)
                for container in reading.containers
            ),
        )
        if self._started:
            step = self.strategy.step(self._memory, view)
        else:
            step = self.strategy.start(view, seed=self.seed)
        self._memory, self._started = step.memory, True
        self._last, self._last_s = {one.name: one for one in reading.containers}, reading.time_s
        actions = actions_of(step, resources)
        self._granted = {(one.container, one.resource): float(one.value) for one in actions}
        latency_ms = self._latencies(reading, windows)
        return Decision(
            actions=actions,
            reasons=(*crowded, *step.reasons),
            migrations=self._standing(step, reading),
            slack={
                one.name: (one.target_ms - latency_ms[one.name]) / one.target_ms
                for one in reading.containers
                if one.target_ms and one.name in latency_ms
            },
            latency_ms=latency_ms,
        )

    def _standing(self, step: Step[Any], reading: NodeReading) -> tuple[MigrationWish, ...]:
        """Return the wishes that were said lately: who watches must not have to look at the very step."""
        said = {
            one.container: (MigrationWish(one.container, one.reason, one.certain), reading.time_s)
            for one in step.migrations
        }
        here = {one.name for one in reading.containers}
        self._wishes = {
            name: (wish, said_s)
            for name, (wish, said_s) in (self._wishes | said).items()
            if name in here and reading.time_s - said_s < WISHED_S
        }
        return tuple(wish for wish, _ in self._wishes.values())

    def _fitting(self, reading: NodeReading) -> tuple[tuple[Divisible, ...], tuple[str, ...]]:
        """Return the resources of which there is enough for all containers' least parts, and what that leaves out.

        What was left out stays so until containers come or go: a strategy starts anew when its resources change.
        """
        if {one.name for one in reading.containers} != set(self._last):
            left_out: frozenset[Resource] = frozenset()
        else:
            left_out = self._left_out
        reasons = []
        for one in self.resources:
            needed = sum(self._least(one, container) for container in reading.containers)
            if one.pooled and one.resource not in left_out and needed > one.total:
                left_out |= {one.resource}
                amounts = f"{one.amount(needed):g} of {one.amount(one.total):g} {one.unit}"
                reasons.append(f"{one.resource} is not divided: its containers need {amounts} at the least.")
        if left_out != self._left_out:
            self._started, self._left_out = False, left_out
        return tuple(one for one in self.resources if one.resource not in left_out), tuple(reasons)

    def _tenant(
        self, now: ContainerReading, window: LatencyWindow | None, time_s: float, resources: tuple[Divisible, ...]
    ) -> Tenant:
        elapsed_s = time_s - self._last_s
        before = self._last.get(now.name)
        then = before.use if before is not None else ContainerUse()
        is_critical = now.container_class == "latency-critical"
        return Tenant(
            container=now.name,
            kind=now.container_class,
            units=self._units(now, resources),
            least=tuple(self._least(one, now) for one in resources),
            most=tuple(one.total for one in resources),
            target_ms=now.target_ms or None if is_critical else None,
            percentile=now.percentile,
            window=window,
            requests_per_s=window.count / (window.end_s - window.start_s) if window is not None else 0.0,
            cpu_cores=_rate((then.cpu_s,), (now.use.cpu_s,), elapsed_s),
            memory_bytes=math.nan if now.use.memory_bytes is None else float(now.use.memory_bytes),
            disk_bytes_per_s=_rate(then.disk_bytes, now.use.disk_bytes, elapsed_s),
            network_bits_per_s=8.0 * _rate(then.network_bytes, now.use.network_bytes, elapsed_s),
        )

    def _least(self, divisible: Divisible, now: ContainerReading) -> int:
        if divisible.resource == "cache":
            return self.least_ways
        if divisible.resource == "memory":  # what it cannot drop is never squeezed out of it
            return 1 + math.ceil((now.use.kept_memory_bytes or 0) / divisible.step)
        if divisible.resource == "memory_bandwidth":
            return max(1, math.ceil(self.least_bandwidth_percent / divisible.step))
        return 1 if divisible.pooled or now.container_class == "latency-critical" else 0

    def _units(self, now: ContainerReading, resources: tuple[Divisible, ...]) -> tuple[int, ...] | None:
        """Return what a container holds, None for one that was not yet given a part of everything.

        Where the host could not give it what was granted (the network role is away), it counts as held: it is asked for
        again, and does not make a newcomer of who has all the rest.
        """
        values = [now.held.get(one.resource, self._granted.get((now.name, one.resource))) for one in resources]
        if not all(isinstance(value, (int, float)) for value in values):
            return None
        return tuple(
            min(one.total, max(0, round((float(value) - one.origin) / one.step)))  # type: ignore[arg-type]
            for one, value in zip(resources, values, strict=True)
        )

    def _window(self, container: ContainerReading, time_s: float) -> LatencyWindow | None:
        if container.sample is None:
            return self._stalled(container, time_s)
        step = difference(self._samples.get(container.name), container.sample)
        if step.last is not None:
            self._samples[container.name] = step.last
        return step.window

    def _stalled(self, container: ContainerReading, time_s: float) -> LatencyWindow | None:
        """Return a missed window for a container that answered before and does not any more.

        Its page waits behind its requests: where that takes longer than the target, they do too. Without this, who
        decides would be blind exactly when a container has been given far too little.
        """
        last = self._samples.get(container.name)
        if last is None or not container.target_ms or container.stalled_s * 1000.0 <= container.target_ms:
            return None
        counts = (*(0 for _ in last.bounds_ms), SHOWN_REQUESTS)
        sum_ms = SHOWN_REQUESTS * max(container.stalled_s * 1000.0, last.bounds_ms[-1])
        return LatencyWindow(max(last.time_s, self._last_s), time_s, last.bounds_ms, counts, sum_ms)

    def _latencies(
        self, reading: NodeReading, windows: Mapping[ContainerName, LatencyWindow | None]
    ) -> dict[ContainerName, float]:
        """Return each container's tail over the shortest past that holds enough requests, for people to see."""
        shown, found = {}, {}
        for container in reading.containers:
            window = windows[container.name]
            past = (*self._shown.get(container.name, ()), *((window,) if window is not None else ()))
            past = tuple(one for one in past if reading.time_s - one.end_s < LONGEST_SHOWN_S)
            while len(past) > 1 and sum(one.count for one in past[1:]) >= SHOWN_REQUESTS:
                past = past[1:]
            shown[container.name] = past
            merged = merge(past).window
            quantile = None if merged is None else quantile_of(merged, container.percentile)
            if quantile is not None and merged is not None and merged.count >= SHOWN_REQUESTS:
                found[container.name] = quantile.value_ms
        self._shown = shown
        return found


def _rate(then: Sequence[float | None] | None, now: Sequence[float | None] | None, elapsed_s: float) -> float:
    """Return how fast the fastest of some counters rose; NaN where that is not known.

    >>> _rate((0, 10), (4, 30), 2.0)
    10.0
    """
    rises = [new - old for old, new in zip(then or (), now or (), strict=False) if old is not None and new is not None]
    return max(0.0, *rises) / elapsed_s if rises and elapsed_s > 0 else math.nan


def actions_of(step: Step[Any], resources: Sequence[Divisible]) -> tuple[Action, ...]:
    """Return the actions that make a step's grants true; a grant without a partition asks for none."""
    return tuple(
        Action(grant.containers[0], one.resource, one.amount(units), one.unit)
        for grant in step.wanted
        if grant.units is not None and len(grant.containers) == 1
        for one, units in zip(resources, grant.units, strict=True)
    )
