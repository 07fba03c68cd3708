"""Load reports, metrics and spans as messages that hold only what we read; the rest of the bytes is passed over.

Why not the packaged classes? ``xds-protos`` leaves MetricsService out (its package ``io.prometheus`` would hide
Python's ``io``), and its OTLP is of 2021, or another one's if somebody installs ``opentelemetry-proto`` over it. And
Envoy repeats its whole ``node`` with every load report: 60 kB of extension names, of which only the first message's are
looked at; here ``node`` is plain bytes until somebody asks.
Sources: envoy/service/load_stats/v3/lrs.proto, envoy/config/endpoint/v3/load_report.proto,
envoy/service/metrics/v3/metrics_service.proto, io/prometheus/client/metrics.proto,
opentelemetry/proto/collector/trace/v1/trace_service.proto, opentelemetry/proto/trace/v1/trace.proto.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import descriptor_pool, message_factory

from xds_server.proto_file import Fields, proto_file

_PACKAGE: Final = "askew.ingest"
_MESSAGES: Final[dict[str, Fields]] = {
    "Duration": (("seconds", 1, "int64"), ("nanos", 2, "int32")),
    "LoadStatsRequest": (("node", 1, "bytes"), ("cluster_stats", 2, "[ClusterStats]")),
    "ClusterStats": (
        ("cluster_name", 1, "string"),
        ("upstream_locality_stats", 2, "[LocalityStats]"),
        ("load_report_interval", 4, "Duration"),
    ),
    "LocalityStats": (
        ("total_successful_requests", 2, "uint64"),
        ("total_requests_in_progress", 3, "uint64"),
        ("total_error_requests", 4, "uint64"),
        ("upstream_endpoint_stats", 7, "[EndpointStats]"),
        ("total_issued_requests", 8, "uint64"),
    ),
    "EndpointStats": (
        ("address", 1, "Address"),
        ("total_successful_requests", 2, "uint64"),
        ("total_requests_in_progress", 3, "uint64"),
        ("total_error_requests", 4, "uint64"),
        ("total_issued_requests", 7, "uint64"),
    ),
    "Address": (("socket_address", 1, "SocketAddress"),),
    "SocketAddress": (("address", 2, "string"), ("port_value", 3, "uint32")),
    "StreamMetricsMessage": (("identifier", 1, "Identifier"), ("envoy_metrics", 2, "[MetricFamily]")),
    "Identifier": (("node", 1, "bytes"),),
    "MetricFamily": (("name", 1, "string"), ("type", 3, "uint32"), ("metric", 4, "[Metric]")),
    "Metric": (
        ("gauge", 2, "Value"),
        ("counter", 3, "Value"),
        ("timestamp_ms", 6, "int64"),
        ("histogram", 7, "Histogram"),
    ),
    "Value": (("value", 1, "double"),),
    "Histogram": (("sample_count", 1, "uint64"), ("sample_sum", 2, "double"), ("bucket", 3, "[Bucket]")),
    "Bucket": (("cumulative_count", 1, "uint64"), ("upper_bound", 2, "double")),
    "ExportTraceServiceRequest": (("resource_spans", 1, "[ResourceSpans]"),),
    "ExportTraceServiceResponse": (("partial_success", 1, "PartialSuccess"),),
    "PartialSuccess": (("rejected_spans", 1, "int64"), ("error_message", 2, "string")),
    "ResourceSpans": (("resource", 1, "Resource"), ("scope_spans", 2, "[ScopeSpans]")),
    "Resource": (("attributes", 1, "[KeyValue]"),),
    "ScopeSpans": (("spans", 2, "[Span]"),),
    "Span": (
        ("trace_id", 1, "bytes"),
        ("span_id", 2, "bytes"),
        ("parent_span_id", 4, "bytes"),
        ("name", 5, "string"),
        ("kind", 6, "int32"),
        ("start_time_unix_nano", 7, "fixed64"),
        ("end_time_unix_nano", 8, "fixed64"),
        ("attributes", 9, "[KeyValue]"),
        ("status", 15, "Status"),
    ),
    "Status": (("code", 3, "int32"),),
    "KeyValue": (("key", 1, "string"), ("value", 2, "AnyValue")),
    "AnyValue": (("string_value", 1, "string"),),
}


def _classes() -> dict[str, Any]:
    # proto3, so that text that is no UTF-8 is refused when a message is parsed, not when a field is read.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(proto_file("askew/ingest.proto", _PACKAGE, _MESSAGES))
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES
    }


_CLASSES = _classes()
LoadStatsRequest: Any = _CLASSES["LoadStatsRequest"]
StreamMetricsMessage: Any = _CLASSES["StreamMetricsMessage"]
ExportTraceServiceRequest: Any = _CLASSES["ExportTraceServiceRequest"]
ExportTraceServiceResponse: Any = _CLASSES["ExportTraceServiceResponse"]


def seconds_of(duration: Any) -> float:
    """Return a Duration or Timestamp in seconds."""
    return float(duration.seconds) + float(duration.nanos) * 1e-9
