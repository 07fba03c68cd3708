"""The descriptors of all services on the xDS port, in protobuf's default pool, where reflection finds them.

Importing this module registers them. ``xds-protos`` has all but Envoy's MetricsService; that one is declared here, with
the part of Prometheus's messages that Envoy fills. Sources: envoy/service/metrics/v3/metrics_service.proto,
io/prometheus/client/metrics.proto.
"""

from __future__ import annotations

from envoy.config.core.v3 import base_pb2
from envoy.service.accesslog.v3 import als_pb2  # noqa: F401
from envoy.service.cluster.v3 import cds_pb2  # noqa: F401
from envoy.service.discovery.v3 import ads_pb2  # noqa: F401
from envoy.service.endpoint.v3 import eds_pb2  # noqa: F401
from envoy.service.listener.v3 import lds_pb2  # noqa: F401
from envoy.service.load_stats.v3 import lrs_pb2  # noqa: F401
from envoy.service.route.v3 import rds_pb2  # noqa: F401
from envoy.service.status.v3 import csds_pb2  # noqa: F401
from google.protobuf import descriptor_pb2, descriptor_pool
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2  # noqa: F401

from xds_server.proto_file import Fields, proto_file

_PROMETHEUS: dict[str, Fields] = {
    "LabelPair": (("name", 1, "string"), ("value", 2, "string")),
    "Gauge": (("value", 1, "double"),),
    "Counter": (("value", 1, "double"),),
    "Quantile": (("quantile", 1, "double"), ("value", 2, "double")),
    "Summary": (("sample_count", 1, "uint64"), ("sample_sum", 2, "double"), ("quantile", 3, "[Quantile]")),
    "Histogram": (("sample_count", 1, "uint64"), ("sample_sum", 2, "double"), ("bucket", 3, "[Bucket]")),
    "Bucket": (("cumulative_count", 1, "uint64"), ("upper_bound", 2, "double")),
    "Metric": (
        ("label", 1, "[LabelPair]"),
        ("gauge", 2, "Gauge"),
        ("counter", 3, "Counter"),
        ("summary", 4, "Summary"),
        ("timestamp_ms", 6, "int64"),
        ("histogram", 7, "Histogram"),
    ),
    # In the original, type is the enumeration MetricType.
    "MetricFamily": (("name", 1, "string"), ("help", 2, "string"), ("type", 3, "int32"), ("metric", 4, "[Metric]")),
}
_METRICS_SERVICE: dict[str, Fields] = {
    "StreamMetricsMessage": (
        ("identifier", 1, ".envoy.service.metrics.v3.StreamMetricsMessage.Identifier"),
        ("envoy_metrics", 2, "[.io.prometheus.client.MetricFamily]"),
    ),
    "StreamMetricsResponse": (),
}
_IDENTIFIER: dict[str, Fields] = {"Identifier": (("node", 1, ".envoy.config.core.v3.Node"),)}


def _prometheus_file() -> descriptor_pb2.FileDescriptorProto:
    return proto_file("io/prometheus/client/metrics.proto", "io.prometheus.client", _PROMETHEUS, syntax="proto2")


def _metrics_service_file() -> descriptor_pb2.FileDescriptorProto:
    package = "envoy.service.metrics.v3"
    file = proto_file(
        "envoy/service/metrics/v3/metrics_service.proto",
        package,
        _METRICS_SERVICE,
        dependencies=(base_pb2.DESCRIPTOR.name, "io/prometheus/client/metrics.proto"),
    )
    file.message_type[0].nested_type.add().CopyFrom(proto_file("", package, _IDENTIFIER).message_type[0])
    file.service.add(name="MetricsService").method.add(
        name="StreamMetrics",
        input_type=f".{package}.StreamMetricsMessage",
        output_type=f".{package}.StreamMetricsResponse",
        client_streaming=True,
    )
    return file


def _register(*files: descriptor_pb2.FileDescriptorProto) -> None:
    pool = descriptor_pool.Default()
    for file in files:
        try:
            pool.FindFileByName(file.name)  # somebody else's, and then whole
        except KeyError:
            pool.Add(file)


_register(_prometheus_file(), _metrics_service_file())
