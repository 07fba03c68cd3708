"""The xDS port with all its services on a free port of loopback, and a channel to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc.aio
from prometheus_client import CollectorRegistry

from tests.fakes.clock import FakeClock
from tests.xds_server.ingest.reports import START_S, identify
from xds_server.extras import Extras
from xds_server.ingest.collector import Collector
from xds_server.ingest.settings import IngestSettings
from xds_server.metrics import XdsMetrics
from xds_server.server import XdsServer
from xds_server.settings import XdsSettings
from xds_server.snapshot import Snapshot
from xds_server.store import Store

DEFAULT = IngestSettings()


@dataclass
class Port:
    """A running server; what proxies should have is ``snapshot``."""

    snapshot: Snapshot
    store: Store
    collector: Collector
    server: XdsServer
    channel: grpc.aio.Channel

    def apply(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.store.apply(lambda proxy: self.snapshot)

    def stream(self, method: str) -> grpc.aio.StreamStreamCall[bytes, bytes]:
        """Open a stream of plain bytes."""
        return self.channel.stream_stream(method)()


@asynccontextmanager
async def open_port(snapshot: Snapshot, ingest: IngestSettings = DEFAULT) -> AsyncIterator[Port]:
    """Serve ``snapshot`` to every proxy until the block is left."""
    store = Store(lambda proxy: found.snapshot, check=lambda *_, **__: [])
    collector = Collector(ingest, identify=identify, now_s=FakeClock(START_S))
    metrics = XdsMetrics(CollectorRegistry())
    server = XdsServer(store, XdsSettings(port=0, drain_s=0.2), metrics, extras=Extras(store, collector))
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        found = Port(snapshot, store, collector, server, channel)
        yield found
    await server.stop()
