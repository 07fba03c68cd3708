"""Listeners: where they stand and where they lead."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2

from xds_server.resources.config_source import TRANSPORTS, Transport, config_source
from xds_server.resources.listeners import inbound_listener_bytes, outbound_listener_bytes, tcp_listener_bytes


def read(body: bytes, kind: Any) -> tuple[listener_pb2.Listener, Any]:
    """Return a listener and its one filter's configuration."""
    listener = listener_pb2.Listener.FromString(body)
    (chain,) = listener.filter_chains
    (one,) = chain.filters
    config = kind()
    assert one.typed_config.Unpack(config)
    return listener, config


def where(listener: listener_pb2.Listener) -> tuple[str, int]:
    socket = listener.address.socket_address
    return socket.address, socket.port_value


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_outbound_listener_routes_by_rds(transport: Transport) -> None:
    """On the client's own address; its routes come the way it came."""
    body = outbound_listener_bytes("127.0.1.1", 15001, transport=transport)
    listener, manager = read(body, hcm_pb2.HttpConnectionManager)

    assert (listener.name, where(listener)) == ("outbound", ("127.0.1.1", 15001))
    assert manager.rds.route_config_name == "outbound"
    assert manager.rds.config_source == config_source(transport)


def test_a_manager_adds_no_limits_of_its_own() -> None:
    """As Istio's: no idle timeout of streams, websockets pass, headers stay."""
    _, manager = read(outbound_listener_bytes("127.0.1.1", 15001), hcm_pb2.HttpConnectionManager)

    assert manager.HasField("stream_idle_timeout")
    assert manager.stream_idle_timeout.ToMilliseconds() == 0
    assert [one.upgrade_type for one in manager.upgrade_configs] == ["websocket"]
    assert manager.server_header_transformation == hcm_pb2.HttpConnectionManager.PASS_THROUGH
    assert manager.skip_xff_append


def test_a_tcp_listener_leads_into_one_cluster() -> None:
    """And an idle connection is the apps' affair."""
    listener, proxy = read(tcp_listener_bytes("t", "127.0.1.1", 16379, cluster="c"), tcp_proxy_pb2.TcpProxy)

    assert (listener.name, where(listener), proxy.cluster) == ("t", ("127.0.1.1", 16379), "c")
    assert proxy.idle_timeout.ToMilliseconds() == 0


def test_an_inbound_listener_leads_to_the_app() -> None:
    """Every path; a request that could not be delivered is marked for the client's sidecar."""
    body = inbound_listener_bytes("inbound|80", "::1", 80, cluster="inbound|80||", is_tcp=False)
    listener, manager = read(body, hcm_pb2.HttpConnectionManager)
    (host,) = manager.route_config.virtual_hosts
    (mapper,) = manager.local_reply_config.mappers

    assert where(listener) == ("::1", 80)
    assert (list(host.domains), host.routes[0].route.cluster) == (["*"], "inbound|80||")
    assert list(mapper.filter.response_flag_filter.flags) == ["UF"]
    assert mapper.headers_to_add[0].header.key == "x-askew-unreached"


def test_an_inbound_tcp_listener() -> None:
    """The same for bytes."""
    body = inbound_listener_bytes("inbound|80", "127.0.0.1", 80, cluster="c", is_tcp=True)

    assert read(body, tcp_proxy_pb2.TcpProxy)[1].cluster == "c"


def test_the_same_in_gives_the_same_bytes() -> None:
    """Versions are hashes of bytes: a listener that has not changed must not look as if it had."""
    assert outbound_listener_bytes("127.0.1.1", 15001) == outbound_listener_bytes("127.0.1.1", 15001)
