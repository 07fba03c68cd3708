"""ALS: single requests and connections, as far as a listener's access log samples them.

Source: envoy/service/accesslog/v3/als.proto, envoy/data/accesslog/v3/accesslog.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal

import grpc
from envoy.service.accesslog.v3 import als_pb2

from mesh.telemetry import AccessRecord
from mesh.topology import ContainerName
from xds_server.ingest.collector import Collector, Reports
from xds_server.ingest.intake import Context, Intake, Kind, read_stream
from xds_server.ingest.messages import seconds_of
from xds_server.ingest.names import address_of, is_usable, service_port_of

SERVICE: Final = "envoy.service.accesslog.v3.AccessLogService"
LATEST_S: Final = 1e11  # year 5138: later times are nonsense
LONGEST_S: Final = 1e8


class AccessLogs:
    """Serves ALS into a collector."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def handler(self) -> grpc.GenericRpcHandler[bytes, bytes]:
        return grpc.method_handlers_generic_handler(
            SERVICE, {"StreamAccessLogs": grpc.stream_stream_rpc_method_handler(self._serve)}
        )

    async def _serve(self, _: object, context: Context) -> None:
        await read_stream(context, Intake(self._collector, KIND, context))
        await context.write(b"")


def _node_of(message: Any) -> bytes:
    data: bytes = message.identifier.node.SerializeToString()
    return data


def take(collector: Collector, reports: Reports, message: Any, _: float) -> Iterator[None]:
    """Keep each entry of a batch; an intermediate entry of a long connection is passed over, its last one counts."""
    entries: tuple[tuple[Literal["http", "tcp"], Any], ...] = (
        ("http", message.http_logs.log_entry),
        ("tcp", message.tcp_logs.log_entry),
    )
    for protocol, of_protocol in entries:
        for entry in of_protocol:
            yield
            if entry.common_properties.intermediate_log_entry:
                continue
            record = _record(reports.name, protocol, entry)
            if record is None:
                collector.drop("access_logs", "bad-value")
            else:
                reports.accesses.put(record, limit=collector.limits.records)


def _record(name: str, protocol: Literal["http", "tcp"], entry: Any) -> AccessRecord | None:
    about = entry.common_properties
    cluster, address = about.upstream_cluster, address_of(about.upstream_remote_address)
    time_s, duration_s, rate = seconds_of(about.start_time), _duration_s(about), about.sample_rate
    if not is_usable(cluster, may_be_empty=True) or not is_usable(address, may_be_empty=True):
        return None
    if not 0.0 < time_s < LATEST_S or not 0.0 <= (duration_s or 0.0) < LONGEST_S or not 0.0 <= rate <= 1.0:
        return None
    received, sent, status = _http(entry) if protocol == "http" else _tcp(entry)
    return AccessRecord(
        container=ContainerName(name),
        protocol=protocol,
        cluster=cluster,
        service_port=service_port_of(cluster),
        upstream_address=address,
        time_s=time_s,
        duration_s=duration_s,
        status=status,
        received_bytes=received,
        sent_bytes=sent,
        sample_rate=rate or None,
    )


def _duration_s(about: Any) -> float | None:
    """Return the time to the last byte sent downstream; Envoy's ``duration`` where that was never sent."""
    for field in ("time_to_last_downstream_tx_byte", "duration"):
        if about.HasField(field):
            return seconds_of(getattr(about, field))
    return None


def _http(entry: Any) -> tuple[int, int, int | None]:
    request, response = entry.request, entry.response
    status = response.response_code.value if response.HasField("response_code") else 0
    return (
        request.request_headers_bytes + request.request_body_bytes,
        response.response_headers_bytes + response.response_body_bytes,
        status or None,
    )


def _tcp(entry: Any) -> tuple[int, int, int | None]:
    return entry.connection_properties.received_bytes, entry.connection_properties.sent_bytes, None


KIND: Final = Kind("access_logs", als_pb2.StreamAccessLogsMessage.FromString, _node_of, take)
