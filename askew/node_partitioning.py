"""Between the node's loop and the partitioning strategies: readings to a view, a step's grants to actions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from allocators.partitioning.node_view import Divisible, NodeView, Tenant
from allocators.partitioning.step import Partitioner, Step
from enforcer.api_messages import MigrationWish
from enforcer.extents import Extents
from enforcer.node_loop import ContainerReading, Decision, NodeReading
from estimators.latency import CumulativeHistogram, LatencyWindow, difference, merge, quantile_of
from mesh.actions import Action, Resource
from mesh.errors import BadInputError
from mesh.topology import ContainerName

CPU_STEP_CORES = 0.1
CPUSET_FROM = 8  # fewer CPUs are too coarse to be given out whole
FREQUENCY_STEP_MHZ = 100.0
DIVISIBLE: tuple[Resource, ...] = ("cpu", "cpuset", "cache", "cpu_frequency")
SHOWN_REQUESTS = 100  # for a p99 to have one request beyond it
LONGEST_SHOWN_S = 30.0


def divisibles(
    capabilities: Mapping[str, str], extents: Extents, *, wanted: str, reserve_cores: float
) -> tuple[Divisible, ...]:
    """Return what a node's strategy divides.

    Parameters
    ----------
    wanted:
        Resources, commas between, or ``auto``.

    Raises
    ------
    BadInputError
        where a resource is named that is not divided, or that this node does not have.
    """
    possible: dict[Resource, Divisible] = {}
    cpus = extents.cpus - reserve_cores
    possible["cpu"] = Divisible("cpu", "cores", CPU_STEP_CORES, max(1, math.floor(cpus / CPU_STEP_CORES + 1e-9)))
    possible["cpuset"] = Divisible("cpuset", "cpus", 1.0, max(1, math.floor(cpus)))
    if extents.cache_ways:
        possible["cache"] = Divisible("cache", "ways", 1.0, extents.cache_ways)
    steps = round((extents.highest_mhz - extents.lowest_mhz) / FREQUENCY_STEP_MHZ)
    if steps > 0:
        possible["cpu_frequency"] = Divisible(
            "cpu_frequency", "mhz", FREQUENCY_STEP_MHZ, steps, origin=extents.lowest_mhz, pooled=False
        )
    have = {resource: one for resource, one in possible.items() if capabilities.get(resource) == "supported"}
    if wanted == "auto":
        processor: Resource = "cpuset" if extents.cpus >= CPUSET_FROM and "cpuset" in have else "cpu"
        chosen = [name for name in (processor, "cache", "cpu_frequency") if name in have]
    else:
        chosen = [name.strip() for name in wanted.split(",") if name.strip()]  # type: ignore[misc]
    for name in chosen:
        if name not in DIVISIBLE:
            raise BadInputError("agent.resources", name, "auto, or of " + ", ".join(DIVISIBLE))
        if name not in have:
            raise BadInputError("agent.resources", name, f"what this node has ({capabilities.get(name, 'unknown')})")
    return tuple(have[name] for name in chosen)


@dataclass(slots=True)
class NodePartitioning:
    """Decides for one node, step by step. Call :meth:`decide` with each reading, in order.

    Parameters
    ----------
    least_ways:
        The fewest cache ways that a container may have.
    """

    strategy: Partitioner[Any]
    resources: tuple[Divisible, ...]
    seed: int = 0
    least_ways: int = 1
    _memory: Any = None
    _started: bool = False
    _last: dict[ContainerName, ContainerReading] = field(default_factory=dict)
    _last_s: float = 0.0
    _samples: dict[ContainerName, CumulativeHistogram] = field(default_factory=dict)
    _shown: dict[ContainerName, tuple[LatencyWindow, ...]] = field(default_factory=dict)

    def decide(self, reading: NodeReading) -> Decision:
        """Return what shall hold from now on."""
        if not self.resources or not reading.containers:
            return Decision(reasons=())
        windows = {container.name: self._window(container, reading.time_s) for container in reading.containers}
        view = NodeView(
            reading.time_s,
            self.resources,
            tuple(self._tenant(container, windows[container.name], reading.time_s) for container in reading.containers),
        )
        if self._started:
            step = self.strategy.step(self._memory, view)
        else:
            step = self.strategy.start(view, seed=self.seed)
        self._memory, self._started = step.memory, True
        self._last, self._last_s = {one.name: one for one in reading.containers}, reading.time_s
        latency_ms = self._latencies(reading, windows)
        return Decision(
            actions=actions_of(step, self.resources),
            reasons=step.reasons,
            migrations=tuple(MigrationWish(w.container, w.reason, w.certain) for w in step.migrations),
            slack={
                one.name: (one.target_ms - latency_ms[one.name]) / one.target_ms
                for one in reading.containers
                if one.target_ms and one.name in latency_ms
            },
            latency_ms=latency_ms,
        )

    def _tenant(self, now: ContainerReading, window: LatencyWindow | None, time_s: float) -> Tenant:
        elapsed_s = time_s - self._last_s
        before = self._last.get(now.name)
        used = math.nan
        if before is not None and before.cpu_s is not None and now.cpu_s is not None and elapsed_s > 0:
            used = max(0.0, now.cpu_s - before.cpu_s) / elapsed_s
        is_critical = now.container_class == "latency-critical"
        return Tenant(
            container=now.name,
            kind=now.container_class,
            units=self._units(now),
            least=tuple(self._least(one, is_critical=is_critical) for one in self.resources),
            most=tuple(one.total for one in self.resources),
            target_ms=now.target_ms or None if is_critical else None,
            percentile=now.percentile,
            window=window,
            requests_per_s=window.count / (window.end_s - window.start_s) if window is not None else 0.0,
            cpu_cores=used,
            memory_bytes=math.nan if now.memory_bytes is None else float(now.memory_bytes),
        )

    def _least(self, divisible: Divisible, *, is_critical: bool) -> int:
        if divisible.resource == "cache":
            return self.least_ways
        return 1 if divisible.pooled or is_critical else 0

    def _units(self, now: ContainerReading) -> tuple[int, ...] | None:
        """Return what a container really holds, None for one that the loop has not given everything yet."""
        values = [now.held.get(divisible.resource) for divisible in self.resources]
        if not all(isinstance(value, (int, float)) for value in values):
            return None
        return tuple(
            min(one.total, max(0, round((float(value) - one.origin) / one.step)))  # type: ignore[arg-type]
            for one, value in zip(self.resources, values, strict=True)
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


def actions_of(step: Step[Any], resources: Sequence[Divisible]) -> tuple[Action, ...]:
    """Return the actions that make a step's grants true; a grant without a partition asks for none."""
    return tuple(
        Action(grant.containers[0], one.resource, one.amount(units), one.unit)
        for grant in step.wanted
        if grant.units is not None and len(grant.containers) == 1
        for one, units in zip(resources, grant.units, strict=True)
    )
