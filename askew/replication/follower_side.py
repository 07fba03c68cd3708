"""A follower's half: finds the leader, tells it what our sidecars report, takes its ticks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any

import grpc
import grpc.aio

from askew.replication import replicas_pb2 as pb
from askew.replication.asked import Asked, AskedWriter
from askew.replication.errors import CodecError
from askew.replication.wire import FOLLOW, Decided, Reign, StateDecoder, report_message
from mesh.telemetry import Telemetry

log = logging.getLogger(__name__)
SHORTEST_BACK_OFF_S = 0.2
LONGEST_BACK_OFF_S = 5.0
NOBODY: Asked = {}
Call = grpc.aio.StreamStreamCall[pb.Report, pb.State]
Dial = Callable[[str], AbstractAsyncContextManager[grpc.aio.Channel]]
"""Opens a channel to ``HOST:PORT``, and closes it."""


class FollowerSide:
    """Follows whoever leads while ``run`` runs, unless that is ourselves.

    Parameters
    ----------
    replica:
        Our name, unique among the replicas.
    leader:
        Returns ``HOST:PORT`` of another replica that leads; empty for nobody, or ourselves.
    term:
        Returns the term of the Lease as we see it ourselves.
    on_decided:
        Is told each tick of the leader, never one that is older than what it was told before.
    """

    def __init__(
        self,
        replica: str,
        *,
        leader: Callable[[], str],
        term: Callable[[], int],
        dial: Dial,
        on_decided: Callable[[Decided], None],
    ) -> None:
        self._replica, self._leader, self._term = replica, leader, term
        self._dial, self._on_decided = dial, on_decided
        self._telemetry: Telemetry | None = None
        self._asked: Asked = {}
        self._news = asyncio.Event()
        self._changed = asyncio.Event()
        self.reign = Reign()
        self.error = ""
        self.follows = ""
        self.unread: tuple[str, ...] = ()

    def report(self, telemetry: Telemetry, asked: Asked = NOBODY) -> None:
        """Have this sent to the leader; what has not gone yet is superseded (its records are given up)."""
        self._telemetry, self._asked = telemetry, asked
        self._news.set()

    def note_asked(self, asked: Asked) -> None:
        """Have it sent at once if other sidecars ask, or for something else, than when we reported last."""
        if self._telemetry is not None and asked != self._asked:
            self._asked = asked
            self._news.set()

    def leader_changed(self) -> None:
        """Look for the leader at once."""
        self._changed.set()

    async def run(self) -> None:
        """Follow until cancelled."""
        back_off_s = SHORTEST_BACK_OFF_S
        while True:
            self._changed.clear()
            address = self._leader()
            if address:
                before = self.reign
                await self._follow_until_changed(address)
                back_off_s = SHORTEST_BACK_OFF_S if self.reign > before else min(LONGEST_BACK_OFF_S, 2 * back_off_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(back_off_s):
                    await self._changed.wait()

    async def _follow_until_changed(self, address: str) -> None:
        following = asyncio.create_task(self._follow(address), name=f"follow-{address}")
        changed = asyncio.create_task(self._changed.wait(), name="leader-changed")
        try:
            await asyncio.wait((following, changed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.follows, self.unread = "", ()
            for task in (following, changed):
                task.cancel()
            await asyncio.wait((following, changed))
        error = None if following.cancelled() else following.exception()
        said = "" if error is None else _words(error)
        if said and said != self.error:
            log.warning("leader %s: %s; its last plan stays", address, said)
        self.error = said

    async def _follow(self, address: str) -> None:
        async with self._dial(address) as channel:
            follow: Any = channel.stream_stream(
                FOLLOW, request_serializer=pb.Report.SerializeToString, response_deserializer=pb.State.FromString
            )
            call: Call = follow()
            writer = asyncio.create_task(self._write(call), name="report-to-leader")
            try:
                decoder = StateDecoder()
                while isinstance(message := await call.read(), pb.State):
                    self.follows, self.error = address, ""
                    self._take(await asyncio.to_thread(decoder.decided, message))
                await _raise_status(call)
            finally:
                writer.cancel()
                call.cancel()

    def _take(self, decided: Decided) -> None:
        # Of an old leader that does not know yet that it is one, nothing is taken. A Lease that was deleted and made
        # anew counts from the beginning again: what we see in it ourselves is as good as a later term.
        if decided.unread and decided.unread != self.unread:
            log.warning(
                "leader %s is of another version: not taken over: %s", decided.leader, ", ".join(decided.unread)
            )
        self.unread = decided.unread
        begins_anew = decided.reign.term == self._term() != self.reign.term
        if decided.reign > self.reign or begins_anew:
            self.reign = decided.reign
            self._on_decided(decided)

    async def _write(self, call: Call) -> None:
        self._news.set()  # a new leader has heard nothing of us
        asked, told = AskedWriter(), None
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # the reader says why
            while True:
                await self._news.wait()
                self._news.clear()
                now = self._telemetry
                if now is not None:
                    news, told = (None if now is told else now), now
                    report = await asyncio.to_thread(report_message, self._replica, news, self._asked, asked)
                    await call.write(report)


async def _raise_status(call: Call) -> None:
    code = await call.code()
    if code is not grpc.StatusCode.OK:
        raise CodecError(f"{code.name}: {await call.details()}")


def _words(error: BaseException) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return str(error) or type(error).__name__
