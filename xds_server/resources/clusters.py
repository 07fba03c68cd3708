"""Clusters: how a sidecar reaches a service, or the app behind it."""

from __future__ import annotations

from typing import Literal

from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2, outlier_detection_pb2
from envoy.config.core.v3 import address_pb2, base_pb2, protocol_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from envoy.type.v3 import percent_pb2
from google.protobuf import duration_pb2, wrappers_pb2

from mesh.topology import Protocol
from xds_server.resources.config_source import Transport, config_source

UNLIMITED = 2**32 - 1
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
Balancing = Literal["round-robin", "least-request"]
ACTIVE_REQUEST_BIAS = 1.0  # how far a sidecar's own requests in flight bend the plan's shares (docs/decisions/0007)
BIAS_KEY = "askew.active_request_bias"  # in Envoy's runtime, to change it by hand on a sidecar


def outbound_cluster_bytes(
    name: str,
    protocol: Protocol,
    *,
    managed: bool,
    balancing: Balancing = "round-robin",
    active_request_bias: float = ACTIVE_REQUEST_BIAS,
    transport: Transport = "delta",
) -> bytes:
    """Return a serialised EDS cluster. The same for every client, so that it is built once.

    A managed cluster ejects a dead endpoint after 3 failures in a row and never panics, so that a tier whose endpoints
    are all gone fails over to its standbys (priority 1) inside Envoy. An unmanaged one is as Envoy's own defaults have
    it. Circuit breakers are out of the way in both: Envoy's default of 3 concurrent retries loses requests when several
    endpoints die at once.

    ``least-request`` divides an endpoint's weight by (requests in flight + 1)^``active_request_bias``; between equal
    weights Envoy takes the less busy of two at random instead. No slow start in Envoy: it would hold down every
    endpoint that is new to *this* sidecar, however warm it is; the plan warms up those that are new.
    """
    cluster = cluster_pb2.Cluster(
        name=name,
        type=cluster_pb2.Cluster.EDS,
        eds_cluster_config=cluster_pb2.Cluster.EdsClusterConfig(eds_config=config_source(transport)),
        connect_timeout=duration_pb2.Duration(seconds=2),
        circuit_breakers=_no_limits(),
        common_lb_config=cluster_pb2.Cluster.CommonLbConfig(
            # A change of weights is on the wire at once; Envoy would gather those of one second.
            update_merge_window=duration_pb2.Duration()
        ),
    )
    if balancing == "least-request":
        cluster.lb_policy = cluster_pb2.Cluster.LEAST_REQUEST
        bias = base_pb2.RuntimeDouble(default_value=active_request_bias, runtime_key=BIAS_KEY)
        cluster.least_request_lb_config.active_request_bias.CopyFrom(bias)
    if managed:
        cluster.common_lb_config.healthy_panic_threshold.CopyFrom(percent_pb2.Percent(value=0.0))
        cluster.outlier_detection.CopyFrom(_eject_the_dead())
    _set_http_options(cluster, protocol)
    return bytes(cluster.SerializeToString(deterministic=True))


def inbound_cluster_bytes(name: str, protocol: Protocol, *, address: str, app_port: int) -> bytes:
    """Return a serialised static cluster that leads to the app behind the sidecar."""
    socket = address_pb2.SocketAddress(address=address, port_value=app_port)
    endpoint = endpoint_components_pb2.Endpoint(address=address_pb2.Address(socket_address=socket))
    cluster = cluster_pb2.Cluster(
        name=name,
        type=cluster_pb2.Cluster.STATIC,
        connect_timeout=duration_pb2.Duration(seconds=2),
        circuit_breakers=_no_limits(),
        load_assignment=endpoint_pb2.ClusterLoadAssignment(
            cluster_name=name,
            endpoints=[
                endpoint_components_pb2.LocalityLbEndpoints(
                    lb_endpoints=[endpoint_components_pb2.LbEndpoint(endpoint=endpoint)]
                )
            ],
        ),
    )
    _set_http_options(cluster, protocol)
    return bytes(cluster.SerializeToString(deterministic=True))


def _no_limits() -> circuit_breaker_pb2.CircuitBreakers:
    unlimited = wrappers_pb2.UInt32Value(value=UNLIMITED)
    return circuit_breaker_pb2.CircuitBreakers(
        thresholds=[
            circuit_breaker_pb2.CircuitBreakers.Thresholds(
                max_connections=unlimited, max_pending_requests=unlimited, max_requests=unlimited, max_retries=unlimited
            )
        ]
    )


def _eject_the_dead() -> outlier_detection_pb2.OutlierDetection:
    def number(value: int) -> wrappers_pb2.UInt32Value:
        return wrappers_pb2.UInt32Value(value=value)

    return outlier_detection_pb2.OutlierDetection(
        consecutive_gateway_failure=number(3),
        enforcing_consecutive_gateway_failure=number(100),
        # An app's own 500 says nothing about its container; success rates are for the plan to look at.
        enforcing_consecutive_5xx=number(0),
        enforcing_success_rate=number(0),
        interval=duration_pb2.Duration(seconds=1),
        base_ejection_time=duration_pb2.Duration(seconds=5),
        max_ejection_time=duration_pb2.Duration(seconds=30),
        max_ejection_percent=number(100),
    )


def _set_http_options(cluster: cluster_pb2.Cluster, protocol: Protocol) -> None:
    if protocol == "tcp":
        return
    explicit = http_protocol_options_pb2.HttpProtocolOptions.ExplicitHttpConfig()
    if protocol == "grpc":
        explicit.http2_protocol_options.CopyFrom(protocol_pb2.Http2ProtocolOptions())
    else:
        explicit.http_protocol_options.CopyFrom(protocol_pb2.Http1ProtocolOptions())
    options = http_protocol_options_pb2.HttpProtocolOptions(explicit_http_config=explicit)
    cluster.typed_extension_protocol_options[HTTP_OPTIONS].Pack(options, deterministic=True)
