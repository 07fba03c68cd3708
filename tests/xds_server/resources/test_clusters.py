"""Clusters: what a managed one has that a plain one has not, and how each protocol is spoken."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from google.protobuf import json_format

from mesh.topology import PROTOCOLS, Protocol
from xds_server.resources.clusters import HTTP_OPTIONS, UNLIMITED, inbound_cluster_bytes, outbound_cluster_bytes
from xds_server.resources.config_source import TRANSPORTS, Transport, config_source


def outbound(protocol: Protocol = "http", **how: Any) -> dict[str, Any]:
    body = outbound_cluster_bytes("c", protocol, **({"managed": False} | how))
    message = cluster_pb2.Cluster.FromString(body)
    assert message.SerializeToString(deterministic=True) == body
    return dict(json_format.MessageToDict(message, preserving_proto_field_name=True))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_endpoints_come_the_way_the_cluster_came(transport: Transport) -> None:
    """EDS over the same transport as CDS."""
    expected = json_format.MessageToDict(config_source(transport), preserving_proto_field_name=True)

    assert outbound(transport=transport)["eds_cluster_config"] == {"eds_config": expected}


def test_circuit_breakers_are_out_of_the_way() -> None:
    """Envoy's three concurrent retries lose requests when several endpoints die at once."""
    (limits,) = outbound()["circuit_breakers"]["thresholds"]

    assert limits == dict.fromkeys(
        ("max_connections", "max_pending_requests", "max_requests", "max_retries"), UNLIMITED
    )


def test_a_managed_cluster_fails_over_by_itself() -> None:
    """Three failures in a row eject, all may be ejected, and there is no panic."""
    cluster = outbound(managed=True)

    assert cluster["common_lb_config"]["healthy_panic_threshold"] == {}
    assert cluster["outlier_detection"]["consecutive_gateway_failure"] == 3
    assert cluster["outlier_detection"]["max_ejection_percent"] == 100
    assert cluster["outlier_detection"]["enforcing_consecutive_5xx"] == 0


def test_an_unmanaged_cluster_is_as_envoy_has_it() -> None:
    """No ejection, no threshold of our own, round robin."""
    cluster = outbound()

    assert {"outlier_detection", "lb_policy"} & cluster.keys() == set()
    assert "healthy_panic_threshold" not in cluster["common_lb_config"]


def test_changes_of_weights_take_effect_at_once() -> None:
    """Envoy would gather those of one second."""
    assert outbound()["common_lb_config"]["update_merge_window"] == "0s"


def test_least_request_where_it_is_asked_for() -> None:
    """For imbalance-aware services the sidecar handles the last 100 ms."""
    assert outbound(managed=True, balancing="least-request")["lb_policy"] == "LEAST_REQUEST"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_each_protocol_is_spoken_as_such(protocol: Protocol) -> None:
    """HTTP/2 to gRPC, HTTP/1.1 to HTTP, nothing of the kind to TCP; outbound and inbound alike."""
    inbound = cluster_pb2.Cluster.FromString(
        inbound_cluster_bytes("inbound|1||", protocol, address="127.0.0.1", app_port=81)
    )
    found = json_format.MessageToDict(inbound, preserving_proto_field_name=True)
    key = {"http": "http_protocol_options", "grpc": "http2_protocol_options"}.get(protocol)
    for cluster in (found, outbound(protocol)):
        options = cluster.get("typed_extension_protocol_options", {})
        assert [list(one["explicit_http_config"]) for one in options.values()] == ([[key]] if key else [])
        assert list(options) == ([HTTP_OPTIONS] if key else [])


def test_an_inbound_cluster_leads_to_the_app() -> None:
    """Static, one endpoint: the app behind the sidecar."""
    body = inbound_cluster_bytes("inbound|80||", "http", address="127.0.0.1", app_port=81)
    message = cluster_pb2.Cluster.FromString(body)
    socket = message.load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address

    assert message.type == cluster_pb2.Cluster.STATIC
    assert (socket.address, socket.port_value) == ("127.0.0.1", 81)
