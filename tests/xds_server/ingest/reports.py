"""Messages as sidecars send them, and a collector that knows two sidecars and has a clock of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.service.accesslog.v3 import als_pb2

from mesh.topology import ContainerName
from tests.fakes.clock import FakeClock
from xds_server.admission import Admission
from xds_server.ingest.collector import Collector
from xds_server.ingest.intake import Intake, Kind
from xds_server.ingest.messages import ExportTraceServiceRequest, LoadStatsRequest, StreamMetricsMessage
from xds_server.ingest.settings import IngestSettings
from xds_server.proxy import Proxy

SHOP = "outbound|9080|local|shop.default.svc.cluster.local"
SIDECARS = {"load-1.default": ContainerName("load-1"), "load-2.default": ContainerName("load-2")}
START_S = 1_700_000_000.0


def identify(proxy: Proxy) -> ContainerName | None:
    """Know the two sidecars."""
    return SIDECARS.get(proxy.workload_id)


def collector(clock: FakeClock | None = None, *, admission: Admission | None = None, **settings: Any) -> Collector:
    """Return a collector with these settings changed."""
    now_s = clock or FakeClock(START_S)
    return Collector(replace(IngestSettings(), **settings), identify=identify, now_s=now_s, admission=admission)


def node(node_id: str = "load-1.default") -> bytes:
    """Return a node's bytes."""
    data: bytes = base_pb2.Node(id=node_id).SerializeToString()
    return data


def send(intake: Intake, *messages: Any) -> None:
    """Receive messages, whole."""
    for message in messages:
        for _ in intake.receive(message.SerializeToString()):
            pass


def said(kind: Kind, *messages: Any, **settings: Any) -> Collector:
    """Return a collector after one stream with these messages."""
    found = collector(**settings)
    send(Intake(found, kind), *messages)
    return found


def load_report(*endpoints: tuple[str, int, int, int, int], interval_s: int = 1, who: str = "load-1.default") -> Any:
    """Return a report of (address, issued, succeeded, failed, in progress) in the cluster ``SHOP``."""
    message = LoadStatsRequest(node=node(who) if who else b"")
    cluster = message.cluster_stats.add(cluster_name=SHOP)
    cluster.load_report_interval.seconds = interval_s
    locality = cluster.upstream_locality_stats.add() if endpoints else None
    for address, issued, succeeded, failed, in_progress in endpoints:
        assert locality is not None
        one = locality.upstream_endpoint_stats.add(
            total_issued_requests=issued,
            total_successful_requests=succeeded,
            total_error_requests=failed,
            total_requests_in_progress=in_progress,
        )
        host, _, port = address.rpartition(":")
        one.address.socket_address.address, one.address.socket_address.port_value = host, int(port)
    return message


def metrics(*families: tuple[str, int, Any], at_ms: int = 1, who: str = "load-1.default") -> Any:
    """Return a part of a flush: (name, type, value), a histogram's value being (bounds, counts, count, sum)."""
    message = StreamMetricsMessage()
    if who:
        message.identifier.node = node(who)
    for name, kind, value in families:
        metric = message.envoy_metrics.add(name=name, type=kind).metric.add(timestamp_ms=at_ms)
        if kind == 0:
            metric.counter.value = value
        elif kind == 1:
            metric.gauge.value = value
        else:
            bounds, counts, metric.histogram.sample_count, metric.histogram.sample_sum = value
            for bound, count in zip(bounds, counts, strict=True):
                metric.histogram.bucket.add(upper_bound=bound, cumulative_count=count)
    return message


def access_logs(*, http: int = 0, tcp: int = 0, who: str = "load-1.default") -> Any:
    """Return a batch of entries: requests that took 20 ms, connections that took 2 s."""
    message = als_pb2.StreamAccessLogsMessage()
    if who:
        message.identifier.node.id = who
    for index in range(http):
        entry = message.http_logs.log_entry.add()
        _common(entry.common_properties, index, nanos=20_000_000)
        entry.request.request_body_bytes, entry.response.response_body_bytes = 10, 1000
        entry.response.response_code.value = 200
    for index in range(tcp):
        entry = message.tcp_logs.log_entry.add()
        _common(entry.common_properties, index, seconds=2)
        entry.connection_properties.received_bytes, entry.connection_properties.sent_bytes = 7, 9
    return message


def _common(about: Any, index: int, *, seconds: int = 0, nanos: int = 0) -> None:
    about.start_time.seconds = int(START_S) + index
    about.duration.seconds, about.duration.nanos = seconds, nanos
    about.upstream_cluster = SHOP
    about.upstream_remote_address.socket_address.address = "10.0.0.1"
    about.upstream_remote_address.socket_address.port_value = 9080


def spans(ids: Iterable[int], *, service: str = "load.default") -> Any:
    """Return an export of one span each, children of the span before."""
    message = ExportTraceServiceRequest()
    group = message.resource_spans.add()
    group.resource.attributes.add(key="service.name").value.string_value = service
    scope = group.scope_spans.add()
    for number in ids:
        scope.spans.add(
            trace_id=(1).to_bytes(16, "big"),
            span_id=(number + 1).to_bytes(8, "big"),
            parent_span_id=number.to_bytes(8, "big") if number else b"",
            name="GET /",
            kind=3,
            start_time_unix_nano=int(START_S) * 10**9,
            end_time_unix_nano=int(START_S) * 10**9 + 5_000_000,
        )
    return message
