"""OTLP traces: spans of sidecars and apps, straight or through a collector.

An export says nothing that we could trust about who sends it, so the budget and the limits are its host's.
Source: opentelemetry-proto, collector/trace/v1/trace_service.proto; OTLP specification, "Failures".
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import chain
from typing import Any, Final, Literal, NoReturn

import grpc
from google.protobuf.message import DecodeError

from mesh.telemetry import SpanRecord
from xds_server.ingest.collector import Collector, Reports, Source
from xds_server.ingest.intake import SMALLEST_CHARGE_BYTES, STEPS_BETWEEN_TURNS, Context
from xds_server.ingest.messages import ExportTraceServiceRequest, ExportTraceServiceResponse
from xds_server.ingest.names import shortened

SERVICE: Final = "opentelemetry.proto.collector.trace.v1.TraceService"
SOURCE: Final[Source] = "spans"
LATEST_NS: Final = 10**19  # year 2286: later times are nonsense
SpanKind = Literal["internal", "server", "client", "producer", "consumer", "unknown"]
KINDS: Final[tuple[SpanKind, ...]] = ("unknown", "internal", "server", "client", "producer", "consumer")
INSTANCE_KEYS: Final = ("k8s.pod.name", "service.instance.id", "host.name")
_ERROR: Final = 2


class Traces:
    """Serves OTLP's TraceService into a collector."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def handler(self) -> grpc.GenericRpcHandler[bytes, bytes]:
        return grpc.method_handlers_generic_handler(
            SERVICE, {"Export": grpc.unary_unary_rpc_method_handler(self._export)}
        )

    async def _export(self, data: bytes, context: Context) -> bytes:
        collector = self._collector
        collector.messages[SOURCE] += 1
        reports = collector.reports_of(host_of(context.peer()), SOURCE)
        now_s = collector.now_s()
        if reports is None or not reports.budget.pay(max(len(data), SMALLEST_CHARGE_BYTES), now_s=now_s):
            if reports is not None:
                collector.drop(SOURCE, "over-budget")
            await _refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "more than this host's part; try again later")
        try:
            message = ExportTraceServiceRequest.FromString(data)
        except DecodeError:
            collector.drop(SOURCE, "malformed")
            await _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, f"{len(data)} bytes that are no export request")
        reports.heard_at_s[SOURCE] = now_s
        rejected = 0
        for step, kept in enumerate(take(collector, reports, message), 1):
            rejected += not kept
            if step % STEPS_BETWEEN_TURNS == 0:
                await asyncio.sleep(0)
        return _response(rejected)


def host_of(peer: str) -> str:
    """Return the reporter's name for a gRPC peer: its host without the port, which changes with each connection.

    >>> host_of("ipv4:127.0.0.1:4317")
    'host ipv4:127.0.0.1'
    """
    return "host " + (peer.rpartition(":")[0] or peer)


def take(collector: Collector, reports: Reports, message: Any) -> Iterator[bool]:
    """Keep the spans of an export; yield for each whether it was."""
    for group in message.resource_spans:
        service, instance = _who(group.resource.attributes)
        for span in chain.from_iterable(scope.spans for scope in group.scope_spans):
            record = _record(service, instance, span)
            if record is None:
                collector.drop(SOURCE, "bad-value")
            else:
                reports.spans.put(record, limit=collector.limits.records)
            yield record is not None


def _who(attributes: Any) -> tuple[str, str]:
    found = {one.key: one.value.string_value for one in attributes if one.value.string_value}
    instance = next((found[key] for key in INSTANCE_KEYS if key in found), "")
    return shortened(found.get("service.name", "")), shortened(instance)


def _record(service: str, instance: str, span: Any) -> SpanRecord | None:
    start_ns, end_ns = span.start_time_unix_nano, span.end_time_unix_nano
    if len(span.trace_id) != 16 or len(span.span_id) != 8 or len(span.parent_span_id) not in (0, 8):
        return None
    if not any(span.trace_id) or not any(span.span_id) or not 0 < start_ns <= end_ns < LATEST_NS:
        return None
    said = {one.key: one.value.string_value for one in span.attributes if one.key in ("upstream_cluster", "node_id")}
    return SpanRecord(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex() if any(span.parent_span_id) else "",
        service=service,
        instance=instance or shortened(said.get("node_id", "")),
        operation=shortened(span.name),
        kind=KINDS[span.kind] if 0 <= span.kind < len(KINDS) else "unknown",
        start_s=start_ns * 1e-9,
        duration_s=(end_ns - start_ns) * 1e-9,
        failed=span.status.code == _ERROR,
        upstream_cluster=shortened(said.get("upstream_cluster", "")),
    )


def _response(rejected: int) -> bytes:
    response = ExportTraceServiceResponse()
    if rejected:
        response.partial_success.rejected_spans = rejected
        response.partial_success.error_message = "ids of wrong length or zero, or times that make no sense"
    data: bytes = response.SerializeToString()
    return data


async def _refuse(context: Context, status: grpc.StatusCode, why: str) -> NoReturn:
    await context.abort(status, why)
    raise AssertionError("abort raises")
