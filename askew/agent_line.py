"""The line to one node's agent: its status is watched, and it is told its containers whenever they are others.

    connect ─► first status ─► tell the list ─► watch: a change of what is wanted, or of what the agent has ─► tell
       ▲                                          │
       └──────────── back-off, jitter ◄───────────┘ any failure

A list's generation is the wall clock's milliseconds, and always more than the newest that the agent says it has: so it
never falls, also when leaders change, their clocks differ, or the Lease is made anew. Only who leads may tell.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc.aio
from google.protobuf.message import DecodeError

from askew.agent_channels import AgentChannels, why
from askew.errors import CommandError
from enforcer.api_messages import message_of_told_list
from enforcer.containers_file import LONGEST_TARGET_MS, ListedContainer
from enforcer.proto import node_agent_pb2 as pb
from enforcer.told_containers import NEWEST, ToldList
from istio.errors import NotLeaderError
from mesh.node_containers import MoveWish, NodeContainer
from mesh.topology import ContainerName, NodeName

log = logging.getLogger(__name__)
SERVICE = "/askew.enforcer.v1.NodeAgent/"
PAUSE_S = 0.1
"""Least time between two statuses of one agent: one that cannot stop must not keep us from all else."""
SHORTEST_BACK_OFF_S, LONGEST_BACK_OFF_S = 0.5, 10.0
Told = tuple[NodeContainer, ...]
AsLeader = Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class LineWays:
    """What all lines share.

    Attributes
    ----------
    at_once:
        Bounds how many connect, or tell a list, at a time.
    as_leader:
        Does a write if we may; raises NotLeaderError.
    about:
        Varies a pause, so that agents that went together are not asked together.
    """

    channels: AgentChannels
    deadline_s: float
    at_once: asyncio.Semaphore
    as_leader: AsLeader
    now_s: Callable[[], float]
    about: Callable[[float], float]
    on_told: Callable[[str], None]
    on_wishes: Callable[[], None]
    on_error: Callable[[], None]


class LineEndedError(Exception):
    """The agent, or we, ended the line: open it again."""


class AgentLine:
    """``run`` until cancelled; ``want`` says what its containers are. The rest is what a page shows."""

    def __init__(self, node: NodeName, address: str, ways: LineWays) -> None:
        self.node, self.address, self._ways = node, address, ways
        self.wanted: Told | None = None
        self.told: Told | None = None
        self.status = pb.StatusResponse()
        self.connected, self.since_s, self.failures, self.error = False, ways.now_s(), 0, ""
        self.generation = 0
        self.wishes: dict[ContainerName, MoveWish] = {}
        self._changed = asyncio.Event()

    def want(self, containers: Told) -> None:
        """Have the agent told these, if they are others than before."""
        if containers != self.wanted:
            self.wanted = containers
            self._changed.set()

    async def run(self) -> None:
        """Keep the line, with pauses that grow while it fails."""
        back_off_s = SHORTEST_BACK_OFF_S
        while True:
            error = await self._once()
            back_off_s = SHORTEST_BACK_OFF_S if self.connected else min(LONGEST_BACK_OFF_S, 2.0 * back_off_s)
            if not isinstance(error, NotLeaderError):
                await self._ways.channels.failed(self.address)
                self._failed(str(error))
            self._note(connected=False)
            await asyncio.sleep(self._ways.about(back_off_s))

    async def _once(self) -> Exception:
        """Follow the agent until that fails, and return why; in a task of its own, which a closed channel cancels."""
        following = asyncio.create_task(self._follow(), name=f"follow-agent-{self.node}")
        try:
            await asyncio.wait((following,))
        finally:
            following.cancel()
            await asyncio.wait((following,))
        if following.cancelled():
            return LineEndedError("the channel was closed")
        error = following.exception()
        if isinstance(error, grpc.aio.AioRpcError):
            return LineEndedError(why(error))
        if isinstance(error, (LineEndedError, NotLeaderError, CommandError, DecodeError, TimeoutError)):
            return error if str(error) else LineEndedError("no answer in time")
        assert error is not None
        raise error

    async def _follow(self) -> None:
        channel = self._ways.channels.to(self.address)
        call = channel.unary_stream(SERVICE + "Watch", request_serializer=None, response_deserializer=None)(b"")
        try:
            async with self._ways.at_once, asyncio.timeout(self._ways.deadline_s):
                self._take(await call.read())
            self.told = None  # it may have lost its list with its state directory: tell it once in each connection
            await self._tell()
            self._note(connected=True)
            await self._watch(call)
        finally:
            call.cancel()

    async def _watch(self, call: Any) -> None:
        reading = asyncio.create_task(_next(call), name=f"watch-agent-{self.node}")
        try:
            while True:
                changed = asyncio.create_task(self._changed.wait(), name=f"list-of-{self.node}")
                try:
                    await asyncio.wait((reading, changed), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    changed.cancel()
                if reading.done():
                    self._take(reading.result())
                    reading = asyncio.create_task(_next(call), name=f"watch-agent-{self.node}")
                await self._tell()
        finally:
            reading.cancel()
            await asyncio.wait((reading,))

    def _take(self, message: Any) -> None:
        if not isinstance(message, bytes):  # EOF
            raise LineEndedError("the agent ended the watch")
        self.status = pb.StatusResponse.FromString(message)
        newest = self.status.containers_generation
        if newest > self.generation or self.generation >= NEWEST:
            self.generation, self.told = newest, None  # another's list is in force
        before, self.wishes = self.wishes, {}
        for one in self.status.migrations:
            name, now_s = ContainerName(one.container), self._ways.now_s()
            since_s = before[name].since_s if name in before else now_s
            self.wishes[name] = MoveWish(self.node, name, one.reason, one.certain, since_s)
        if self.wishes != before:
            self._ways.on_wishes()

    async def _tell(self) -> None:
        """Tell the agent what is wanted, unless it has that."""
        self._changed.clear()
        wanted = self.wanted
        if wanted is None or wanted == self.told:
            return
        if self.generation >= NEWEST:  # its file is broken, or it lies: no list could be newer
            raise LineEndedError(f"containers_generation: found {self.generation}, allowed: less than {NEWEST}")
        self.generation = max(int(self._ways.now_s() * 1000.0), self.generation + 1)
        told = ToldList(self.node, self.generation, tuple(map(_listed, wanted)))
        request = message_of_told_list(told).SerializeToString()
        async with self._ways.at_once:
            await self._ways.as_leader(lambda: self._send(request))
        self.told = wanted
        self._ways.on_told("taken")

    async def _send(self, request: bytes) -> None:
        channel = self._ways.channels.to(self.address)
        asked = channel.unary_unary(SERVICE + "SetContainers", request_serializer=None, response_deserializer=None)
        try:
            await asked(request, timeout=self._ways.deadline_s)
        except grpc.aio.AioRpcError as error:
            away = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
            self._ways.on_told("failed" if away else "refused")
            raise

    def _failed(self, said: str) -> None:
        self.failures += 1
        self._ways.on_error()
        if said != self.error:
            log.warning("the agent of %s at %s: %s", self.node, self.address, said)
        self.error = said

    def _note(self, *, connected: bool) -> None:
        if connected != self.connected:
            self.connected, self.since_s = connected, self._ways.now_s()
        if connected and self.error:
            self.error = ""
            log.info("the agent of %s at %s answers again", self.node, self.address)


async def _next(call: Any) -> Any:
    await asyncio.sleep(PAUSE_S)  # meanwhile HTTP/2's window holds back what comes
    return await call.read()


def _listed(container: NodeContainer) -> ListedContainer:
    """Return a container as the agent lists it.

    A target past the agent's longest is cut to it: the agent would refuse the whole list, with all others' containers.
    """
    return ListedContainer(
        name=container.name,
        cgroup=container.runtime_id,
        container_class="best-effort" if container.best_effort else "latency-critical",
        target_ms=min(container.slo.limit_ms, LONGEST_TARGET_MS) if container.slo else 0.0,
        percentile=container.slo.percentile if container.slo else 99.0,
        latency=container.latency_url,
    )
