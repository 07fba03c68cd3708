"""One stream's way into the collector: who speaks, what it may still say, and what becomes of the rest.

Envoy names itself in a stream's first message only. A stream that does not is read on, and nothing is taken from it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from envoy.config.core.v3 import base_pb2
from google.protobuf.message import DecodeError

from xds_server.admission import Connection
from xds_server.errors import RefusePeerError, RefuseStreamError
from xds_server.ingest.collector import Collector, Reports, Source
from xds_server.proxy import Proxy, proxy_of

Context = grpc.aio.ServicerContext[bytes, bytes]
Message = Any  # a protobuf class made at run time, or generated code without types
SMALLEST_CHARGE_BYTES = 2048  # a message costs about as much as this many bytes of one, however short it is
STEPS_BETWEEN_TURNS = 200
LONGEST_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Kind:
    """What one of Envoy's reporting services sends.

    Attributes
    ----------
    node_of:
        Returns the bytes of a message's node; empty where it has none.
    take:
        Takes a message into a proxy's reports, in steps between which others may have a turn.
    """

    source: Source
    parse: Callable[[bytes], Message]
    node_of: Callable[[Message], bytes]
    take: Callable[[Collector, Reports, Message, float], Iterator[None]]


class Intake:
    """The state of one stream. ``connection`` proves who speaks, where that is asked."""

    def __init__(self, collector: Collector, kind: Kind, connection: Connection | None = None) -> None:
        self.collector, self.kind, self.connection = collector, kind, connection
        self.proxy: Proxy | None = None
        self._own_budget = collector.budget()
        self._budget = self._own_budget

    def receive(self, data: bytes) -> Iterator[None]:
        """Take one message in; each step is a short piece of work.

        Raises
        ------
        RefusePeerError
            for a client whose certificate is not the proxy's that it speaks for; for nothing else that it sent.
        """
        collector, source = self.collector, self.kind.source
        collector.messages[source] += 1
        if not self._budget.pay(_charge(data), now_s=collector.now_s()):
            collector.drop(source, "over-budget")
            return
        try:
            message = self.kind.parse(data)
        except DecodeError:
            collector.drop(source, "malformed")
            return
        reports = self._reports(message)
        if reports is not None:
            reports.heard_at_s[source] = collector.now_s()
            yield from self.kind.take(collector, reports, message, collector.now_s())

    def pause_s(self, data: bytes) -> float:
        """Return how long the stream is to be left unread: nothing, unless its proxy has spent its budget."""
        return min(LONGEST_PAUSE_S, self._budget.wait_s(_charge(data)))

    def _reports(self, message: Message) -> Reports | None:
        source = self.kind.source
        if self.proxy is None:
            self.proxy = self._admitted(_proxy(self.kind.node_of(message)))
        if self.proxy is None:
            self.collector.drop(source, "unidentified")
            return None
        container = self.collector.identify(self.proxy)
        if container is None:
            self._budget = self._own_budget
            self.collector.drop(source, "unknown-proxy")
            return None
        reports = self.collector.reports_of(container, source)
        if reports is not None:
            self._budget = reports.budget
        return reports

    def _admitted(self, proxy: Proxy | None) -> Proxy | None:
        admission = self.collector.admission
        if proxy is not None and admission is not None and self.connection is not None:
            try:
                admission.check(proxy.id, self.connection)
            except RefusePeerError:
                self.collector.drop(self.kind.source, "refused")
                raise
        return proxy


async def read_stream(
    context: Context,
    intake: Intake,
    *,
    answer: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Read a stream to its end; call ``answer`` after each message of a client that has said who it is.

    A client that speaks for another's proxy is told PERMISSION_DENIED, as on a discovery stream.
    """
    streams, source = intake.collector.streams, intake.kind.source
    streams[source] += 1
    try:
        while (data := await context.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
            await _take_in(intake, data)
            if answer is not None and intake.proxy is not None:
                await answer()
            await asyncio.sleep(intake.pause_s(data))
    except RefusePeerError as error:
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
    finally:
        streams[source] -= 1


async def _take_in(intake: Intake, data: bytes) -> None:
    for step, _ in enumerate(intake.receive(data), 1):
        if step % STEPS_BETWEEN_TURNS == 0:
            await asyncio.sleep(0)


def _charge(data: bytes) -> int:
    return max(len(data), SMALLEST_CHARGE_BYTES)


def _proxy(node: bytes) -> Proxy | None:
    if not node:
        return None
    try:
        return proxy_of(base_pb2.Node.FromString(node))
    except (DecodeError, RefuseStreamError):
        return None
