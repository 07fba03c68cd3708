"""The lines to all nodes' agents, while we lead: lists of containers out, wishes and measured links in."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

from askew.agent_channels import AgentChannels
from askew.agent_line import AgentLine, LineWays
from askew.guard import guarded
from askew.link_asking import LinkAsker
from askew.node_observing import NodeObserver
from askew.settings import NodeSettings
from istio.node_containers import NodeLists
from mesh.node_containers import MoveWish
from mesh.picture import Link
from mesh.topology import NodeName, Topology

AT_ONCE = 32
PAUSE_S = 0.5
"""Least time between two looks at the lists: a rollout is a stream of changes, a look takes 40 ms for 5,000 pods."""
CHANCE = random.SystemRandom()


async def anyway(write: Callable[[], Awaitable[None]]) -> None:
    """Do a write without asking who leads: there is only one."""
    await write()


class NodeAgents:
    """``run`` until cancelled; ``note_change`` after whatever may have changed.

    Attributes
    ----------
    lists:
        Returns each node's containers; None where the agents have them from elsewhere (a mesh file's hosts).
    as_leader:
        Guards each list that is told; raises NotLeaderError.
    wished:
        Is set when wishes come or go.
    links:
        Has containers measured where nobody else tells of the ``links`` of the last picture.
    """

    def __init__(
        self,
        settings: NodeSettings,
        channels: AgentChannels,
        *,
        topology: Callable[[], Topology],
        links: Callable[[], tuple[Link, ...]] = tuple,
        is_active: Callable[[], bool] = lambda: True,
        on_error: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings, self._channels = settings, channels
        self._topology, self._is_active, self._on_error = topology, is_active, on_error
        self.lists: Callable[[], NodeLists] | None = None
        self.wrong: tuple[str, ...] = ()
        self.as_leader: Callable[[Callable[[], Awaitable[None]]], Awaitable[None]] = anyway
        self.wished = asyncio.Event()
        self.lines: dict[NodeName, AgentLine] = {}
        self.counts = {"taken": 0, "refused": 0, "failed": 0}
        self.links = LinkAsker(
            settings, channels, known=lambda: (topology(), links()), lines=self.lines, on_error=on_error
        )
        self._tasks: dict[NodeName, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._ways = LineWays(
            channels=channels,
            deadline_s=settings.deadline_s,
            at_once=asyncio.Semaphore(AT_ONCE),
            as_leader=lambda write: self.as_leader(write),
            now_s=time.time,
            about=lambda seconds: seconds * CHANCE.uniform(0.8, 1.2),
            on_told=self._count,
            on_wishes=self.wished.set,
            on_error=on_error,
        )

    def note_change(self) -> None:
        """Look again: nodes, lists or leadership may be others."""
        self._changed.set()

    def wishes(self) -> tuple[MoveWish, ...]:
        """Return the containers that want to leave their nodes, by node and name."""
        found = [wish for line in self.lines.values() for wish in line.wishes.values()]
        return tuple(sorted(found, key=lambda one: (one.node, one.container)))

    async def run(self) -> None:
        """Keep a line to each agent while we lead."""
        try:
            async with asyncio.TaskGroup() as lines:
                lines.create_task(guarded("links of agents", self.links.run()), name="links-of-agents")
                while True:
                    self._changed.clear()
                    await self._adjust(lines)
                    await asyncio.sleep(PAUSE_S)
                    await self._changed.wait()
        finally:
            await self._channels.close()

    async def _adjust(self, group: asyncio.TaskGroup) -> None:
        nodes = {node.name: node.agent for node in self._topology().nodes if node.agent}
        active = nodes if self._is_active() else {}
        for name in [name for name, line in self.lines.items() if active.get(name) != line.address]:
            task = self._tasks.pop(name)
            task.cancel()
            await asyncio.wait((task,))
            if self.lines.pop(name).wishes:
                self.wished.set()
        await self._channels.keep(nodes.values())
        lists = self.lists() if self.lists is not None and active else None
        self.wrong = () if lists is None else lists.wrong
        for name, address in active.items():
            line = self.lines.get(name)
            if line is None:
                line = self.lines[name] = AgentLine(name, address, self._ways)
                self._tasks[name] = group.create_task(guarded(f"agent of {name}", line.run()), name=f"agent-{name}")
            if lists is not None:
                line.want(lists.of.get(name, ()))

    def _count(self, result: str) -> None:
        self.counts[result] += 1

    def page(self) -> dict[str, Any]:
        """Return what ``/debug/nodez`` shows of the agents."""
        now_s = time.time()
        known = {node.name: node.agent for node in self._topology().nodes}
        return {
            "watches": self._is_active(),
            "nodes": [
                {"node": name, "agent": agent or None} | _line_json(self.lines.get(name), now_s)
                for name, agent in known.items()
            ],
            "links": self.links.page(),
            "wrong": list(self.wrong),
            "wishes": [
                {
                    "node": one.node, "container": one.container, "reason": one.reason, "certain": one.certain,
                    "since_s_ago": round(now_s - one.since_s, 1),
                }
                for one in self.wishes()
            ],
        }  # fmt: skip


def _line_json(line: AgentLine | None, now_s: float) -> dict[str, Any]:
    if line is None:
        return {}
    wanted = None if line.wanted is None else len(line.wanted)
    return {
        "connected": line.connected,
        "since_s_ago": round(now_s - line.since_s, 1),
        "failures": line.failures,
        "error": line.error,
        "containers": wanted,
        "told": line.told is not None and line.told == line.wanted,
        "generation": line.generation or None,
        "unsupported": {name: said for name, said in line.status.capabilities.items() if said != "supported"},
        "conflicts": list(line.status.conflicts),
    }


def towards_nodes(
    settings: NodeSettings,
    *,
    check: bool,
    topology: Callable[[], Topology],
    links: Callable[[], tuple[Link, ...]],
    is_active: Callable[[], bool],
    on_error: Callable[[], None],
) -> tuple[NodeAgents, NodeObserver]:
    """Return both that speak to nodes, over the same channels.

    ``check``: certificates are there already (in a cluster the Secret may come after us, with the agents); raises
    CommandError for some that cannot be used.
    """
    channels = AgentChannels(settings)
    if check:
        channels.check()
    agents = NodeAgents(settings, channels, topology=topology, links=links, is_active=is_active, on_error=on_error)
    observer = NodeObserver(settings, channels=channels, topology=topology, is_active=is_active, on_error=on_error)
    return agents, observer
