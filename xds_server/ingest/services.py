"""All services that take reports in, as the xDS port serves them."""

from __future__ import annotations

import grpc

from xds_server.ingest.access_logs import AccessLogs
from xds_server.ingest.collector import Collector
from xds_server.ingest.load_reports import ClustersOf, LoadReports
from xds_server.ingest.metrics_service import MetricsService
from xds_server.ingest.spans import Traces


def ingest_handlers(collector: Collector, *, clusters_of: ClustersOf) -> list[grpc.GenericRpcHandler[bytes, bytes]]:
    """Return the handlers of LRS, MetricsService, ALS and OTLP traces."""
    return [
        LoadReports(collector, clusters_of).handler(),
        MetricsService(collector).handler(),
        AccessLogs(collector).handler(),
        Traces(collector).handler(),
    ]
