"""What the xDS port serves beside discovery: reports in, status out, health, reflection."""

from __future__ import annotations

from typing import Any

import grpc

from xds_server import ads
from xds_server.debug import csds
from xds_server.health import HEALTH, Health, reflection_handlers
from xds_server.ingest import access_logs, load_reports, metrics_service, spans
from xds_server.ingest.collector import Collector
from xds_server.proxy import Proxy
from xds_server.resources.names import CDS
from xds_server.store import Store

SERVICES = (
    *ads.METHODS,
    load_reports.SERVICE,
    metrics_service.SERVICE,
    access_logs.SERVICE,
    spans.SERVICE,
    csds.SERVICE,
    HEALTH,
)


class Extras:
    """The handlers of all these services over one store and one collector."""

    def __init__(self, store: Store, collector: Collector) -> None:
        self._store, self._collector = store, collector
        self._health = Health()

    def handlers(self) -> list[grpc.GenericRpcHandler[Any, Any]]:
        """Return the handlers to add to a grpc.aio server."""
        return [
            load_reports.LoadReports(self._collector, self._clusters_of).handler(),
            metrics_service.MetricsService(self._collector).handler(),
            access_logs.AccessLogs(self._collector).handler(),
            spans.Traces(self._collector).handler(),
            csds.ClientStatus(self._store, self._collector.admission).handler(),
            self._health.handler(),
            *reflection_handlers(SERVICES),
        ]

    async def start(self) -> None:
        """Say SERVING."""
        await self._health.serve(SERVICES)

    async def drain(self) -> None:
        """Say NOT_SERVING; the streams are the server's to end."""
        await self._health.drain()

    def _clusters_of(self, proxy: Proxy) -> list[str]:
        client = self._store.clients.get(proxy.id)
        return [] if client is None or client.snapshot is None else list(client.snapshot.of(CDS))
