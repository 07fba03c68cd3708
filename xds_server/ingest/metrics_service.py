"""Envoy's MetricsService: byte and request counters and request times of each cluster, pushed at every flush.

Of some hundred statistics a cluster the few in ``FIELDS`` are read, the others passed over.
Counters come cumulative. Histograms do not: Envoy 1.40 sends what each flush interval held (measured, and so in its
``MetricsFlusher``), so they are added up here. All of a flush bears one time.
Source: envoy/service/metrics/v3/metrics_service.proto; Envoy's docs, "Cluster manager statistics".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import add, le, lt
from typing import Any, Final

import grpc

from mesh.telemetry import ClusterCounters, LatencyHistogram, Reporter
from mesh.topology import ContainerName, ServicePort
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
LARGEST_BOUND_MS: Final = 1e12  # thirty years
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
        await read_stream(context, Intake(self._collector, KIND, context))
        await context.write(b"")


def _node_of(message: Any) -> bytes:
    return bytes(message.identifier.node)


def take(collector: Collector, reports: Reports, message: Any, now_s: float) -> Iterator[None]:
    """Keep what is known of a flush, or of a part of one."""
    limit, time_s = collector.limits.series, now_s
    counted: dict[_Cluster, dict[str, int]] = {}
    for family in message.envoy_metrics:
        kind = family.type
        known = _known(kind, family.name)
        if known is None:
            continue
        cluster, field = known
        for metric in family.metric:
            yield
            time_s = _flush_time_s(reports, metric.timestamp_ms, now_s)
            if kind == _HISTOGRAM:
                kept = _add_latency(reports, cluster, metric.histogram, time_s, limit=limit)
            else:
                value = metric.gauge.value if kind == _GAUGE else metric.counter.value
                kept = _add_count(counted, cluster, field, value)
            if not kept:
                collector.drop("metrics_service", "bad-value")
    for cluster, values in counted.items():
        _keep_counts(reports, cluster, values, time_s, limit=limit)


@dataclass(frozen=True, slots=True, eq=False)
class _Cluster:
    name: str
    reporter: Reporter
    service_port: ServicePort | None


@lru_cache(maxsize=65536)  # the same names come with each flush, from every sidecar
def _known(kind: int, full_name: str) -> tuple[_Cluster, str] | None:
    """Return the cluster and the field that a statistic is of, None for one that nobody reads."""
    if len(full_name) > LONGEST_NAME or not full_name.startswith(_PREFIX):
        return None
    cluster, _, statistic = full_name.removeprefix(_PREFIX).rpartition(".")
    field = FIELDS.get((kind, statistic))
    found = _cluster(cluster) if field else None
    return (found, field) if found and field else None


@lru_cache(maxsize=16384)
def _cluster(name: str) -> _Cluster | None:
    reporter = reporter_of(name)
    return _Cluster(name, reporter, service_port_of(name)) if reporter else None


def _flush_time_s(reports: Reports, timestamp_ms: int, now_s: float) -> float:
    """Return when a flush began to arrive. The sidecar's clock tells flushes apart; ages are measured with ours."""
    if timestamp_ms != reports.flush_ms or not timestamp_ms:
        reports.flush_ms, reports.flush_time_s = timestamp_ms, now_s
    return reports.flush_time_s


def _add_count(counted: dict[_Cluster, dict[str, int]], cluster: _Cluster, field: str, value: float) -> bool:
    if not 0.0 <= value < _LARGEST:
        return False
    values = counted.get(cluster)
    if values is None:
        values = counted[cluster] = {}
    values[field] = int(value)
    return True


def _keep_counts(reports: Reports, cluster: _Cluster, values: dict[str, int], time_s: float, *, limit: int) -> None:
    """Keep a cluster's counters; what this flush does not say is not known."""
    before = reports.counters.get(cluster.name)
    if before is None or before.time_s != time_s:
        before = ClusterCounters(
            container=ContainerName(reports.name),
            cluster=cluster.name,
            service_port=cluster.service_port,
            reporter=cluster.reporter,
            time_s=time_s,
        )
    reports.counters.put(cluster.name, replace(before, **values), limit=limit)  # type: ignore[arg-type]


def _add_latency(reports: Reports, cluster: _Cluster, histogram: Any, time_s: float, *, limit: int) -> bool:
    """Add what an interval held to a cluster's request times; return whether it made sense."""
    before = reports.latencies.get(cluster.name)
    if not histogram.sample_count and before is not None and len(histogram.bucket) == len(before.bounds_ms):
        reports.latencies.put(cluster.name, replace(before, time_s=time_s), limit=limit)
        return True
    part = _part(histogram)
    if part is None:
        return False
    bounds, counts, count, sum_ms = part
    if before is not None and before.bounds_ms == bounds:
        bounds, counts = before.bounds_ms, tuple(map(add, before.counts, counts))
        count, sum_ms = before.count + count, before.sum_ms + sum_ms
    sample = LatencyHistogram(
        container=ContainerName(reports.name),
        cluster=cluster.name,
        service_port=cluster.service_port,
        reporter=cluster.reporter,
        time_s=time_s,
        bounds_ms=bounds,
        counts=counts,
        count=count,
        sum_ms=sum_ms,
    )
    reports.latencies.put(cluster.name, sample, limit=limit)
    return True


def _part(histogram: Any) -> tuple[tuple[float, ...], tuple[int, ...], int, float] | None:
    """Return an interval's bounds, counts, count and sum; None for a senseless one."""
    buckets, count, sum_ms = histogram.bucket, histogram.sample_count, histogram.sample_sum
    if not 0 < len(buckets) <= MOST_BOUNDS:
        return None
    bounds = tuple([bucket.upper_bound for bucket in buckets])
    counts = tuple([bucket.cumulative_count for bucket in buckets])
    sane = all(map(lt, bounds, bounds[1:])) and all(map(le, counts, counts[1:])) and counts[-1] <= count
    if not sane or not 0.0 <= bounds[0] <= bounds[-1] <= LARGEST_BOUND_MS or not 0.0 <= sum_ms < _LARGEST:
        return None
    return bounds, counts, count, sum_ms


KIND: Final = Kind("metrics_service", StreamMetricsMessage.FromString, _node_of, take)
