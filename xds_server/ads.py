"""The gRPC services of xDS: aggregated and single-type streams in both transports."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import grpc
import grpc.aio

from mesh.errors import one_line
from xds_server.admission import Admission
from xds_server.encode import decode
from xds_server.errors import (
    CannotCheckTokenError,
    RefusePeerError,
    RefuseStreamError,
    RefuseTokenError,
    TooManyOfPeerError,
)
from xds_server.ingest.bounded import Budget
from xds_server.metrics import XdsMetrics
from xds_server.refusal_log import RefusalLog
from xds_server.resources.names import CDS, EDS, LDS, RDS
from xds_server.settings import XdsSettings
from xds_server.store import REQUEST_BURST_BYTES, Client, Store
from xds_server.stream import Stream
from xds_server.subscription import Transport
from xds_server.throttle import Throttle

log = logging.getLogger(__name__)

SMALLEST_CHARGE_BYTES = 512  # a request costs about as much as this many bytes of one, however short it is
LONGEST_SAID = 1000  # characters of a client's words in the log
Context = grpc.aio.ServicerContext[bytes, bytes]
Gate = Callable[[Context], Awaitable[Callable[[str], None]]]
"""Looks at a stream that opens; returns what then checks the ``node.id`` that it claims. Both raise to refuse it."""
STATUS = {
    RefuseStreamError: grpc.StatusCode.INVALID_ARGUMENT,
    RefusePeerError: grpc.StatusCode.PERMISSION_DENIED,
    RefuseTokenError: grpc.StatusCode.UNAUTHENTICATED,
    CannotCheckTokenError: grpc.StatusCode.UNAVAILABLE,
    TooManyOfPeerError: grpc.StatusCode.RESOURCE_EXHAUSTED,
}
# gRPC service to (method, transport, the one type it serves).
METHODS: dict[str, tuple[tuple[str, Transport, str | None], ...]] = {
    "envoy.service.discovery.v3.AggregatedDiscoveryService": (
        ("StreamAggregatedResources", "sotw", None),
        ("DeltaAggregatedResources", "delta", None),
    ),
    "envoy.service.cluster.v3.ClusterDiscoveryService": (
        ("StreamClusters", "sotw", CDS),
        ("DeltaClusters", "delta", CDS),
    ),
    "envoy.service.endpoint.v3.EndpointDiscoveryService": (
        ("StreamEndpoints", "sotw", EDS),
        ("DeltaEndpoints", "delta", EDS),
    ),
    "envoy.service.listener.v3.ListenerDiscoveryService": (
        ("StreamListeners", "sotw", LDS),
        ("DeltaListeners", "delta", LDS),
    ),
    "envoy.service.route.v3.RouteDiscoveryService": (
        ("StreamRoutes", "sotw", RDS),
        ("DeltaRoutes", "delta", RDS),
    ),
}


class DiscoveryService:
    """Serves discovery streams from a store."""

    def __init__(
        self, store: Store, settings: XdsSettings, metrics: XdsMetrics, *, admission: Admission | None = None
    ) -> None:
        self.store, self.settings, self.metrics = store, settings, metrics
        self._new_streams = Throttle(settings.new_streams_per_s, burst=settings.new_streams_burst)
        self._pushes = Throttle(settings.pushes_per_s, burst=settings.pushes_burst)
        self._admission = admission or Admission(settings, metrics)
        self._nacks = RefusalLog(log)
        self._readers: set[asyncio.Task[None]] = set()
        self._draining = False

    def handlers(self, gate: Gate | None = None) -> list[grpc.GenericRpcHandler[bytes, bytes]]:
        """Return the handlers to add to a grpc.aio server; requests and responses are plain bytes.

        ``gate`` lets streams in; without one, the certificate of their connection does.
        """
        let_in = gate or self._by_certificate
        return [
            grpc.method_handlers_generic_handler(
                service,
                {
                    method: grpc.stream_stream_rpc_method_handler(self._handler(transport, only_type, let_in))
                    for method, transport, only_type in methods
                },
            )
            for service, methods in METHODS.items()
        ]

    async def drain(self) -> None:
        """End every stream with OK, so that its client goes to another replica, or comes back, without a back-off."""
        self._draining = True
        readers = list(self._readers)
        for reader in readers:
            reader.cancel()
        if readers:
            await asyncio.wait(readers, timeout=self.settings.drain_s)

    def _handler(
        self, transport: Transport, only_type: str | None, gate: Gate
    ) -> Callable[[object, Context], Awaitable[None]]:
        async def handle(_: object, context: Context) -> None:
            await self._serve(Stream(transport, only_type=only_type, peer=context.peer()), context, gate)

        return handle

    async def _by_certificate(self, context: Context) -> Callable[[str], None]:
        return lambda proxy_id: self._admission.check(proxy_id, context)

    async def _serve(self, stream: Stream, context: Context, gate: Gate) -> None:
        """Read requests until the client ends the stream, or we drain; a task beside it writes."""
        reader = asyncio.current_task()
        assert reader is not None
        self._readers.add(reader)
        ageing = self._end_when_old(stream, reader)
        refusal: tuple[grpc.StatusCode, str] | None = None
        try:
            await self._read(stream, context, await gate(context))
        except tuple(STATUS) as error:
            refusal = STATUS[type(error)], str(error)
        except asyncio.CancelledError:
            if not self._draining and not stream.is_aged:
                raise
            reader.uncancel()
        finally:
            if ageing is not None:
                ageing.cancel()
            self._readers.discard(reader)
            self.store.leave(stream)
            self.metrics.connected.set(len(self.store.clients))
            await self._end_writer(stream)
        if refusal is not None:
            await context.abort(*refusal)

    async def _read(self, stream: Stream, context: Context, admit: Callable[[str], None]) -> None:
        client: Client | None = None
        while (data := await context.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
            if client is not None:
                await _turn(client.budget, len(data))
            message = decode(data, stream.transport)
            proxy = stream.introduce(message)
            if proxy is not None:
                admit(proxy.id)
                await self._new_streams.ready()
                self._new_streams.take()
                client = self.store.join(stream, proxy)
                self.metrics.connected.set(len(self.store.clients))
                stream.writer = self._start_writer(stream, client, context)
            assert client is not None
            await self._receive(stream, client, message)

    async def _end_writer(self, stream: Stream) -> None:
        """Let the writer end the write that it is in: gRPC cannot send a status while a message is on its way."""
        stream.is_closing = True
        writer = stream.writer
        if writer is None:
            return
        stream.dirty.set()
        await asyncio.wait((writer,), timeout=self.settings.drain_s)
        if not writer.done():  # the client reads no more
            writer.cancel()
            await asyncio.wait((writer,))

    def _end_when_old(self, stream: Stream, reader: asyncio.Task[None]) -> asyncio.TimerHandle | None:
        """End the stream with OK at its age, a little spread, so that streams that came together do not go together."""
        age_s = self.settings.max_stream_age_s * random.uniform(0.9, 1.1)

        def end() -> None:
            stream.is_aged = True
            reader.cancel()

        return asyncio.get_running_loop().call_later(age_s, end) if age_s else None

    def _start_writer(self, stream: Stream, client: Client, context: Context) -> asyncio.Task[None]:
        """Start the task that writes; should it fail, the stream ends with it, so that the client comes again."""
        reader = asyncio.current_task()
        assert reader is not None
        writer = asyncio.create_task(self._write(stream, client, context), name=f"xds-writer-{client.proxy.id}")

        def ended(task: asyncio.Task[None]) -> None:
            error = None if task.cancelled() else task.exception()
            if not stream.is_closing:
                log.info("stream of %s ends: %s", client.proxy.id, error)
                reader.cancel()

        writer.add_done_callback(ended)
        return writer

    async def _receive(self, stream: Stream, client: Client, message: object) -> None:
        snapshot = self.store.refresh(client)
        now_s = time.time()
        type_url, received, answered = stream.receive(message, snapshot, client.subscriptions, now_s=now_s)
        if received == "ack":
            client.note_ack(type_url, now_s=now_s)
            if client.converged():
                self._has_all(client)
            else:
                stream.dirty.set()
        else:
            stream.dirty.set()
        if received == "nack":
            self.store.note_refused(client.proxy, answered.news if answered else ())
            self.metrics.nacks.labels(type_url).inc()
            why = one_line(stream.subscriptions[type_url].last_error[:LONGEST_SAID])
            self._nacks.warn(f"{client.proxy.id} refused {one_line(type_url)}: {why}")
        elif received == "stale":
            self.metrics.stale_nonces.labels(type_url).inc()
        if received in ("ack", "nack"):
            client.wake(but=stream)
        await self.store.note_settled()

    def _has_all(self, client: Client) -> None:
        """Note how long it took; nothing is left to write but heartbeats."""
        if client.changed_at_s:
            self.metrics.push_seconds.observe(time.monotonic() - client.changed_at_s)
            client.changed_at_s = 0.0
        for stream in client.streams:
            if stream.has_heartbeats:
                stream.dirty.set()

    async def _write(self, stream: Stream, client: Client, context: Context) -> None:
        while not stream.is_closing:
            await self._until_dirty(stream)
            await self._pushes.ready()
            while not stream.is_closing and (snapshot := self.store.refresh(client)) is not None:
                started_s = time.perf_counter()
                message = stream.next_message(
                    snapshot,
                    client.subscriptions,
                    now_s=time.time(),
                    hold_limit_s=self.settings.hold_limit_s,
                    largest_bytes=self.settings.largest_response_bytes,
                    on_oversized=self._oversized,
                    remove_from_s=client.routed_at_s + self.settings.removal_delay_s,
                    retained=client.retained(),
                )
                if message is None:
                    break
                type_url, response, data = message
                self._pushes.take()
                self.metrics.pushes.labels(type_url).inc()
                self.store.note_sent(client.proxy, response.news)
                await context.write(data)
                self.metrics.response_bytes.labels(type_url).observe(len(data))
                self.metrics.response_seconds.labels(type_url).observe(time.perf_counter() - started_s)
                log.debug("%s gets %s of %s", client.proxy.id, len(response.resources), type_url)
            await self.store.note_settled()  # a change that gives this client nothing new is had without an ACK

    async def _until_dirty(self, stream: Stream) -> None:
        limit_s = stream.wake_in_s(now_s=time.time(), hold_limit_s=self.settings.hold_limit_s)
        if limit_s is None:
            await stream.dirty.wait()
        else:
            with suppress(TimeoutError):
                async with asyncio.timeout(limit_s):
                    await stream.dirty.wait()
        stream.dirty.clear()

    def _oversized(self, type_url: str, name: str) -> None:
        self.metrics.oversized.labels(type_url).inc()
        log.error("%s of %s alone is larger than %d bytes", ascii(name), type_url, self.settings.largest_response_bytes)


async def _turn(budget: Budget, size: int) -> None:
    """Wait until a proxy may have a request of this many bytes read: one that floods us waits, and nobody else."""
    charge, now_s = max(size, SMALLEST_CHARGE_BYTES), asyncio.get_running_loop().time
    while not budget.pay(min(charge, REQUEST_BURST_BYTES), now_s=now_s()):  # noqa: ASYNC110 - it is a time
        await asyncio.sleep(budget.wait_s(charge))
