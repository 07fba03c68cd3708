"""Envoy's MetricsService: byte and request counters and request times of each cluster, pushed at every flush.

Of some hundred statistics a cluster the few in ``FIELDS`` are read, the others passed over.
Counters come cumulative. Histograms do not: Envoy 1.40 sends what each flush interval held (measured, and so in its
``MetricsFlusher``), so they are added up here. All of a flush bears one time.
Source: envoy/service/metrics/v3/metrics_service.proto; Envoy's docs, "Cluster manager statistics".
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from operator import add, le, lt
from typing import Any, Final

import grpc

from mesh.telemetry import ClusterCounters, LatencyHistogram, Reporter
from mesh.topology import ContainerName
from xds_server.ingest.collector import Collector, Reports
from xds_server.ingest.intake import Context, Intake, Kind, read_stream
from xds_server.ingest.messages import StreamMetricsMessage
from xds_server.ingest.names import LONGEST_NAME, reporter_of, service_port_of

SERVICE: Final = "envoy.service.metrics.v3.MetricsService"
_COUNTER, _GAUGE, _HISTOGRAM = 0, 1, 4
FIELDS: Final = {
    (_COUNTER, "upstream_rq_total"): "requests",
    (_COUNTER, "upstream_rq_5xx"): "server_errors",
    (_COUNTER, "upstream_cx_tx_bytes_total"): "sent_bytes",
    (_COUNTER, "upstream_cx_rx_bytes_total"): "received_bytes",
    (_COUNTER, "upstream_cx_total"): "opened_connections",
    (_GAUGE, "upstream_cx_active"): "open_connections",
    (_HISTOGRAM, "upstream_rq_time"): "latency",
}
MOST_BOUNDS: Final = 512
_PREFIX: Final = "cluster."
_LARGEST: Final = float(1 << 63)


class MetricsService:
    """Serves MetricsService into a collector."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def handler(self) -> grpc.GenericRpcHandler[bytes, bytes]:
        return grpc.method_handlers_generic_handler(
            SERVICE, {"StreamMetrics": grpc.stream_stream_rpc_method_handler(self._serve)}
        )

    async def _serve(self, _: object, context: Context) -> None:
        await read_stream(context, Intake(self._collector, KIND))
        await context.write(b"")


def _node_of(message: Any) -> bytes:
    return bytes(message.identifier.node)


def take(collector: Collector, reports: Reports, message: Any, now_s: float) -> Iterator[None]:
    """Keep what is known of a flush, or of a part of one."""
    for family in message.envoy_metrics:
        name = _known(family)
        if name is None:
            continue
        for metric in family.metric:
            yield
            time_s = _flush_time_s(reports, metric.timestamp_ms, now_s)
            if not _keep(collector, reports, name, metric, time_s):
                collector.drop("metrics_service", "bad-value")


@dataclass(frozen=True, slots=True)
class _Name:
    cluster: str
    reporter: Reporter
    field: str
    kind: int


def _known(family: Any) -> _Name | None:
    """Return what a statistic is, None for one that nobody reads."""
    kind, full_name = family.type, family.name
    if len(full_name) > LONGEST_NAME or not full_name.startswith(_PREFIX):
        return None
    cluster, _, statistic = full_name.removeprefix(_PREFIX).rpartition(".")
    field = FIELDS.get((kind, statistic))
    reporter = reporter_of(cluster) if field else None
    return _Name(cluster, reporter, field, kind) if field and reporter else None


def _flush_time_s(reports: Reports, timestamp_ms: int, now_s: float) -> float:
    """Return when a flush began to arrive. The sidecar's clock tells flushes apart; ages are measured with ours."""
    if timestamp_ms != reports.flush_ms or not timestamp_ms:
        reports.flush_ms, reports.flush_time_s = timestamp_ms, now_s
    return reports.flush_time_s


def _keep(collector: Collector, reports: Reports, name: _Name, metric: Any, time_s: float) -> bool:
    limit = collector.limits.series
    if name.kind == _HISTOGRAM:
        latency = _latency(reports, name, metric.histogram, time_s)
        if latency is not None:
            reports.latencies.put(name.cluster, latency, limit=limit)
        return latency is not None
    value = metric.gauge.value if name.kind == _GAUGE else metric.counter.value
    if not 0.0 <= value < _LARGEST:
        return False
    before = reports.counters.get(name.cluster)
    if before is None or before.time_s != time_s:  # what this flush does not say is not known
        service_port = service_port_of(name.cluster)
        before = ClusterCounters(
            ContainerName(reports.name), name.cluster, service_port, reporter=name.reporter, time_s=time_s
        )
    reports.counters.put(name.cluster, replace(before, **{name.field: int(value)}), limit=limit)  # type: ignore[arg-type]
    return True


def _latency(reports: Reports, name: _Name, histogram: Any, time_s: float) -> LatencyHistogram | None:
    """Return what was kept of a cluster's request times and this interval's, added up; None for a senseless one."""
    buckets = histogram.bucket
    if not 0 < len(buckets) <= MOST_BOUNDS:
        return None
    bounds = tuple([bucket.upper_bound for bucket in buckets])
    counts = tuple([bucket.cumulative_count for bucket in buckets])
    count, sum_ms = histogram.sample_count, histogram.sample_sum
    sane = all(map(lt, bounds, bounds[1:])) and all(map(le, counts, counts[1:])) and counts[-1] <= count
    if not sane or not math.isfinite(bounds[-1] - bounds[0]) or not 0.0 <= sum_ms < _LARGEST:
        return None
    before = reports.latencies.get(name.cluster)
    if before is not None and before.bounds_ms == bounds:
        bounds = before.bounds_ms
        counts = tuple(map(add, before.counts, counts)) if count else before.counts
        count, sum_ms = before.count + count, before.sum_ms + sum_ms
    return LatencyHistogram(
        container=ContainerName(reports.name),
        cluster=name.cluster,
        service_port=service_port_of(name.cluster),
        reporter=name.reporter,
        time_s=time_s,
        bounds_ms=bounds,
        counts=counts,
        count=count,
        sum_ms=sum_ms,
    )


KIND: Final = Kind("metrics_service", StreamMetricsMessage.FromString, _node_of, take)
