"""The loop of a node: read, have it decided, apply, every half second.

What is decided is not this room's: ``decide`` comes from ``askew/node_agent.py``.

    latency pages ─┐
    control groups ┼─► NodeReading ─► decide ─► Decision ─► the writer (leases that this loop renews)
    leases in force┘
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from enforcer.agent import NodeAgent
from enforcer.api_messages import MigrationWish
from enforcer.container_paths import ContainerClass
from enforcer.containers_file import ListedContainer
from enforcer.errors import StaleGenerationError, UnknownContainerError
from enforcer.latency_page import LatencySample
from enforcer.latency_source import LatencySource
from enforcer.observe import ContainerUse
from enforcer.results import ActionResult
from enforcer.settings import AgentSettings
from mesh.actions import Action, ActionSet
from mesh.topology import ContainerName

log = logging.getLogger(__name__)
RENEW_AFTER = 1.0 / 3.0  # of the lease
HOPELESS = ("unsupported", "refused")
NOT_DONE = (*HOPELESS, "failed")


@dataclass(frozen=True, slots=True)
class ContainerReading:
    """One container now.

    ``sample`` is cumulative; None where it could not be read, with the reason in ``why``; ``stalled_s`` is
    how long its page has not answered. ``held`` is what the loop's
    leases give it, by resource. ``use`` is cumulative.
    """

    name: ContainerName
    container_class: ContainerClass
    target_ms: float
    percentile: float
    sample: LatencySample | None = None
    why: str = ""
    stalled_s: float = 0.0
    use: ContainerUse = field(default_factory=ContainerUse)
    held: Mapping[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NodeReading:
    """A node at one instant of the monotonic clock. Containers that have gone are not in it."""

    time_s: float
    containers: tuple[ContainerReading, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What shall hold from now on: all actions of the loop, changed or not, and why."""

    actions: tuple[Action, ...] = ()
    reasons: tuple[str, ...] = ()
    migrations: tuple[MigrationWish, ...] = ()
    slack: Mapping[ContainerName, float] = field(default_factory=dict)
    latency_ms: Mapping[ContainerName, float] = field(default_factory=dict)


Decide = Callable[[NodeReading], Decision]


@dataclass(slots=True)
class LoopFigures:
    """What the loop has done so far, for pages and metrics."""

    steps: int = 0
    changes: int = 0
    late: int = 0
    cpu_s: float = 0.0
    last: Decision = field(default_factory=Decision)
    reading: NodeReading = field(default_factory=lambda: NodeReading(0.0))
    not_done: tuple[ActionResult, ...] = ()


class NodeLoop:
    """Runs until cancelled. ``listed`` says which containers there are now."""

    def __init__(
        self,
        agent: NodeAgent,
        settings: AgentSettings,
        *,
        listed: Callable[[], Sequence[ListedContainer]],
        decide: Decide,
    ) -> None:
        self._agent, self._settings, self._listed, self._decide = agent, settings, listed, decide
        self._renewed_s = float("-inf")
        self._elsewhere: dict[tuple[ContainerName, str], float | str] = {}  # what the other role holds for this loop
        self.figures = LoopFigures()

    async def run(self) -> None:
        """Step every ``tick_s``; a step that takes longer is followed by the next at once."""
        source = LatencySource(self._settings)
        try:
            next_s = time.monotonic()
            while True:
                cpu_s = time.process_time()
                await self.step(source)
                self.figures.cpu_s += time.process_time() - cpu_s
                next_s += self._settings.tick_s
                now_s = time.monotonic()
                if next_s < now_s:
                    self.figures.late += 1
                    next_s = now_s
                await asyncio.sleep(next_s - now_s)
        finally:
            await source.close()

    async def step(self, source: LatencySource) -> None:
        """Read, decide and apply once. Raises JournalError: then nothing may be written any more."""
        reading = await self.read(source)
        decision = self._decide(reading)
        for reason in decision.reasons:
            log.info("%s", reason)
        figures, agent = self.figures, self._agent
        figures.steps, figures.reading, figures.last = figures.steps + 1, reading, decision
        agent.migrations = decision.migrations
        agent.governed = frozenset((action.container, action.resource) for action in decision.actions)
        held = {(c.name, resource): value for c in reading.containers for resource, value in c.held.items()}
        # What cannot be done here is asked for again with the next renewal, not at every step.
        hopeless = {(r.container, r.resource) for r in figures.not_done if r.result in HOPELESS}
        changed = any(
            held.get((a.container, a.resource)) != a.value and (a.container, a.resource) not in hopeless
            for a in decision.actions
        )
        due = reading.time_s - self._renewed_s >= self._settings.lease_s * RENEW_AFTER
        if decision.actions and (changed or due):
            figures.changes += changed
            await self._apply(decision, reading.time_s)

    async def read(self, source: LatencySource) -> NodeReading:
        """Return what the node is like now."""
        listed = tuple(self._listed())
        latencies, uses = await asyncio.gather(
            source.read(listed), self._agent.writer.uses([container.name for container in listed])
        )
        held: dict[ContainerName, dict[str, float | str]] = {}
        for lease in self._agent.writer.state.leases.values():
            held.setdefault(lease.action.container, {})[lease.action.resource] = lease.action.value
        for (name, resource), value in self._elsewhere.items():
            held.setdefault(name, {})[resource] = value
        return NodeReading(
            time.monotonic(),
            tuple(
                ContainerReading(
                    name=container.name,
                    container_class=container.container_class,
                    target_ms=container.target_ms,
                    percentile=container.percentile,
                    sample=latency.sample,
                    why=latency.why if container.target_ms else "",
                    stalled_s=latency.stalled_s,
                    use=uses[container.name],
                    held=held.get(container.name, {}),
                )
                for container, latency in zip(listed, latencies, strict=True)
                if container.name in uses
            ),
        )

    async def _apply(self, decision: Decision, now_s: float) -> None:
        generation = self._agent.writer.state.generation
        action_set = ActionSet(generation, self._settings.lease_s, decision.actions)
        try:
            results = await self._agent.apply(action_set, dry_run=self._agent.writer.is_dry_run, from_loop=True)
        except (UnknownContainerError, StaleGenerationError) as error:
            log.info("this step's actions are dropped: %s", error)  # a container went, or a set came in, meanwhile
            return
        self._renewed_s = now_s
        if not self._agent.writer.is_dry_run:
            self._elsewhere = {
                (action.container, action.resource): action.value
                for action, result in zip(decision.actions, results, strict=True)
                if not self._agent.writes(action.resource) and result.result not in NOT_DONE
            }
        not_done = tuple(replace(result, writes=()) for result in results if result.result in NOT_DONE)
        for result in not_done:
            if result not in self.figures.not_done:
                log.warning("%s %s: %s: %s", result.container, result.resource, result.result, result.detail)
        self.figures.not_done = not_done
        if self._agent.writer.is_dry_run:
            for write in (write for result in results for write in result.writes):
                log.info("would write %s: %s -> %s", write.path, write.before, write.after)
