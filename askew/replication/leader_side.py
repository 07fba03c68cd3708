"""The leader's half: hears what followers' sidecars report, tells every follower each tick."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc
import grpc.aio

from askew.replication import replicas_pb2 as pb
from askew.replication.asked import Asked, AskedReader
from askew.replication.merging import without_records
from askew.replication.wire import SERVICE, Decided, StateEncoder, reported
from mesh.telemetry import Telemetry
from mesh.topology import ServiceName

log = logging.getLogger(__name__)
Context = grpc.aio.ServicerContext[pb.Report, pb.State]


@dataclass(slots=True, eq=False)
class Heard:
    """What one follower said last, and when by our clock."""

    telemetry: Telemetry | None
    at_s: float
    services: frozenset[ServiceName] = frozenset()
    asked: Asked | None = None  # None: it does not tell
    is_unread: bool = False  # what it told last is of another version's types


@dataclass(slots=True, eq=False)
class Follower:
    """One stream of a follower."""

    peer: str
    sent: int = 0  # the number of the tick that it was told last
    news: asyncio.Event = field(default_factory=asyncio.Event)


class LeaderSide:
    """Serves ``Follow``.

    Parameters
    ----------
    leads:
        Whether we may say what is to be, at this very moment.
    refusal:
        Says why a peer is no replica; empty where it is one.
    forget_s:
        What a follower said counts this long after it has gone; its sidecars are elsewhere by then.
    """

    def __init__(
        self,
        leads: Callable[[], bool],
        *,
        refusal: Callable[[Context], str],
        now_s: Callable[[], float],
        forget_s: float = 60.0,
    ) -> None:
        self._leads, self._refusal, self._now_s, self._forget_s = leads, refusal, now_s, forget_s
        self._heard: dict[str, Heard] = {}
        self._followers: set[Follower] = set()
        self._decided: Decided | None = None
        self._encoder, self._encoding = StateEncoder(), asyncio.Lock()
        self._encoded: Decided | None = None
        self._changes = pb.State()
        self._whole: pb.State | None = None

    @property
    def followers(self) -> tuple[str, ...]:
        """The replicas that have a stream open."""
        return tuple(sorted(follower.peer for follower in self._followers))

    @property
    def unread(self) -> tuple[str, ...]:
        """Those of them whose reports are of another version's types, and do not count."""
        return tuple(name for name in self.followers if name in self._heard and self._heard[name].is_unread)

    def handler(self) -> grpc.GenericRpcHandler[pb.Report, pb.State]:
        """Return the handler to add to a grpc.aio server."""
        follow = grpc.stream_stream_rpc_method_handler(
            self._follow, request_deserializer=pb.Report.FromString, response_serializer=pb.State.SerializeToString
        )
        return grpc.method_handlers_generic_handler(SERVICE, {"Follow": follow})

    def publish(self, decided: Decided | None) -> None:
        """Send a tick to every follower; one that is slow gets the newest when it is ready.

        None where nobody followed when it was decided: who comes then waits for the next, and is told nothing old.
        """
        self._decided = decided
        self._wake()

    def step_down(self) -> None:
        """End the followers' streams: somebody else leads, or nobody."""
        self.publish(None)

    def heard(self) -> list[Telemetry]:
        """Return what followers have said; records once, samples until they are old."""
        now_s = self._now_s()
        self._heard = {name: one for name, one in self._heard.items() if now_s - one.at_s < self._forget_s}
        found = [one.telemetry for one in self._heard.values() if one.telemetry is not None]
        for one in self._heard.values():
            one.telemetry = None if one.telemetry is None else without_records(one.telemetry)
        return found

    def services(self) -> frozenset[ServiceName]:
        """Return the services whose endpoints followers' sidecars have asked for, as they said last."""
        return frozenset().union(*(one.services for one in self._heard.values()))

    def asked(self) -> dict[str, Asked]:
        """Return, by follower, which sidecar asks it for what, as it said last; without those that do not tell."""
        return {name: one.asked for name, one in self._heard.items() if one.asked is not None}

    async def _follow(self, _: object, context: Context) -> None:
        why = self._refusal(context)
        if why:
            log.warning("refused %s: %s", context.peer(), why)
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, why)
        if not self._leads():
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "this replica does not lead")
        follower = Follower(context.peer())
        self._followers.add(follower)
        follower.news.set()
        reader = asyncio.create_task(self._read(follower, context), name="replica-reader")
        reader.add_done_callback(lambda _: follower.news.set())
        try:
            await self._write(follower, reader, context)
        finally:
            reader.cancel()
            self._followers.discard(follower)
        if reader.done() and not reader.cancelled() and (error := reader.exception()) is not None:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        if not self._leads():
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "this replica leads no more")

    async def _read(self, follower: Follower, context: Context) -> None:
        """Take reports until the follower ends. Raises CodecError for one of another version."""
        reader = AskedReader()
        while (report := await context.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
            follower.peer = report.replica[:200]
            telemetry, asked = await asyncio.to_thread(reported, report, reader)
            before = self._heard.get(follower.peer)
            is_unread = telemetry is None and (
                report.HasField("telemetry") or (before is not None and before.is_unread)
            )
            if is_unread and (before is None or not before.is_unread):
                log.warning("replica %s is of another version: what its sidecars report does not count", follower.peer)
            if telemetry is None and before is not None:
                telemetry = before.telemetry
            services = frozenset(map(ServiceName, report.asked))
            self._heard[follower.peer] = Heard(telemetry, self._now_s(), services, asked, is_unread)

    async def _write(self, follower: Follower, reader: asyncio.Task[None], context: Context) -> None:
        """Send each new tick until the follower ends or we lead no more."""
        while self._leads() and not reader.done():
            decided = self._decided
            if decided is not None and decided.reign.sequence != follower.sent:
                state = await self._state_for(follower.sent)
                if state is not None and self._decided is not None and self._leads():
                    follower.sent = state.sequence
                    await context.write(state)
                continue
            follower.news.clear()
            await follower.news.wait()

    async def _state_for(self, sent: int) -> pb.State | None:
        """Return the newest tick for who has the one numbered ``sent``: what has changed, or else the whole of it.

        Encoded once for all followers, in a thread, so that sidecars are served meanwhile.
        """
        async with self._encoding:
            decided = self._decided
            if decided is None:
                return None
            if self._encoded is not decided:
                self._changes = await asyncio.to_thread(self._encoder.changes, decided)
                self._encoded, self._whole = decided, None
            if sent and self._changes.base == sent:
                return self._changes
            self._whole = self._whole or await asyncio.to_thread(self._encoder.whole)
            return self._whole

    def _wake(self) -> None:
        for follower in self._followers:
            follower.news.set()
