"""Where a sidecar fetches its resources: one aggregated stream, a stream for each subscription, or by polling."""

from __future__ import annotations

from functools import cache
from typing import Literal, get_args

from envoy.config.core.v3 import config_source_pb2, grpc_service_pb2
from google.protobuf import duration_pb2, json_format

from xds_server.resources.names import REST_CLUSTER, XDS_CLUSTER

Transport = Literal["delta", "sotw", "delta-single", "sotw-single", "rest"]
TRANSPORTS: tuple[Transport, ...] = get_args(Transport)
TRANSPORT_METADATA = "ASKEW_TRANSPORT"
POLL = duration_pb2.Duration(nanos=200_000_000)
POLL_TIMEOUT = duration_pb2.Duration(seconds=5)


def is_aggregated(transport: Transport) -> bool:
    """Whether all types come over one stream (ADS)."""
    return transport in ("delta", "sotw")


@cache
def config_source(transport: Transport) -> config_source_pb2.ConfigSource:
    """Return the ``ConfigSource`` of every resource that a sidecar with this transport fetches."""
    source = config_source_pb2.ConfigSource(resource_api_version=config_source_pb2.ApiVersion.V3)
    if is_aggregated(transport):
        source.ads.CopyFrom(config_source_pb2.AggregatedConfigSource())
    else:
        source.api_config_source.CopyFrom(api_config_source(transport))
    return source


def api_config_source(transport: Transport) -> config_source_pb2.ApiConfigSource:
    """Return how to reach Askew with this transport."""
    api = config_source_pb2.ApiConfigSource
    source = api(transport_api_version=config_source_pb2.ApiVersion.V3)
    if transport == "rest":
        source.api_type = api.REST
        source.cluster_names.append(REST_CLUSTER)
        source.refresh_delay.CopyFrom(POLL)
        source.request_timeout.CopyFrom(POLL_TIMEOUT)
        return source
    source.api_type = api.DELTA_GRPC if transport.startswith("delta") else api.GRPC
    source.set_node_on_first_message_only = True
    envoy_grpc = grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=XDS_CLUSTER)
    source.grpc_services.append(grpc_service_pb2.GrpcService(envoy_grpc=envoy_grpc))
    return source


def as_json(message: config_source_pb2.ConfigSource | config_source_pb2.ApiConfigSource) -> dict[str, object]:
    """Return the message as a bootstrap writes it."""
    return dict(json_format.MessageToDict(message, preserving_proto_field_name=True))
