"""Listeners of a sidecar: outbound by authority, outbound TCP, inbound to the app."""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import address_pb2, base_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from google.protobuf import any_pb2, duration_pb2, wrappers_pb2
from google.protobuf.message import Message

from xds_server.resources.config_source import Transport, config_source
from xds_server.resources.names import OUTBOUND_ROUTES
from xds_server.resources.routes import UNREACHED_HEADER

HCM_NAME = "envoy.filters.network.http_connection_manager"
TCP_NAME = "envoy.filters.network.tcp_proxy"


def outbound_listener_bytes(address: str, port: int, *, transport: Transport = "delta") -> bytes:
    """Return the serialised listener that routes an app's requests by authority (routes come by RDS)."""
    manager = _manager("outbound")
    manager.rds.CopyFrom(
        hcm_pb2.Rds(
            route_config_name=OUTBOUND_ROUTES,
            config_source=config_source(transport),
        )
    )
    return _serialised("outbound", address, port, [_chain(HCM_NAME, manager)])


def tcp_listener_bytes(name: str, address: str, port: int, *, cluster: str) -> bytes:
    """Return the serialised listener that leads one TCP service's connections into ``cluster``."""
    proxy = tcp_proxy_pb2.TcpProxy(stat_prefix=cluster, cluster=cluster)
    proxy.idle_timeout.CopyFrom(duration_pb2.Duration())  # as Istio: an idle TCP connection is the apps' affair
    return _serialised(name, address, port, [_chain(TCP_NAME, proxy)])


def inbound_listener_bytes(name: str, address: str, port: int, *, cluster: str, is_tcp: bool) -> bytes:
    """Return the serialised listener that leads from a sidecar's port to the app behind it."""
    if is_tcp:
        return tcp_listener_bytes(name, address, port, cluster=cluster)
    return _serialised(name, address, port, [_chain(HCM_NAME, inbound_manager("inbound", cluster))])


def inbound_manager(stat_prefix: str, cluster: str) -> hcm_pb2.HttpConnectionManager:
    """Return the connection manager in front of an app.

    A request that could not be delivered because the app is gone (response flag UF) is marked, so that the client's
    sidecar may send it elsewhere: the app never saw it.
    """
    manager = _manager(stat_prefix)
    action = route_components_pb2.RouteAction(cluster=cluster, timeout=duration_pb2.Duration())
    route = route_components_pb2.Route(name="default", match=route_components_pb2.RouteMatch(prefix="/"), route=action)
    host = route_components_pb2.VirtualHost(name=cluster, domains=["*"], routes=[route])
    manager.route_config.CopyFrom(route_pb2.RouteConfiguration(name=cluster, virtual_hosts=[host]))
    unreached = base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=UNREACHED_HEADER, value="true"),
        append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
    flag = accesslog_pb2.AccessLogFilter(response_flag_filter=accesslog_pb2.ResponseFlagFilter(flags=["UF"]))
    manager.local_reply_config.CopyFrom(
        hcm_pb2.LocalReplyConfig(mappers=[hcm_pb2.ResponseMapper(filter=flag, headers_to_add=[unreached])])
    )
    return manager


def _manager(stat_prefix: str) -> hcm_pb2.HttpConnectionManager:
    """Return what all connection managers of a sidecar share; as Istio's, it adds no limit of its own to a request."""
    router = any_pb2.Any()
    router.Pack(router_pb2.Router(), deterministic=True)
    return hcm_pb2.HttpConnectionManager(
        stat_prefix=stat_prefix,
        use_remote_address=wrappers_pb2.BoolValue(value=False),
        skip_xff_append=True,
        stream_idle_timeout=duration_pb2.Duration(),
        server_header_transformation=hcm_pb2.HttpConnectionManager.PASS_THROUGH,
        upgrade_configs=[hcm_pb2.HttpConnectionManager.UpgradeConfig(upgrade_type="websocket")],
        http_filters=[hcm_pb2.HttpFilter(name="envoy.filters.http.router", typed_config=router)],
    )


def _chain(name: str, config: Message) -> listener_components_pb2.FilterChain:
    typed = any_pb2.Any()
    typed.Pack(config, deterministic=True)
    return listener_components_pb2.FilterChain(filters=[listener_components_pb2.Filter(name=name, typed_config=typed)])


def _serialised(name: str, address: str, port: int, chains: Iterable[listener_components_pb2.FilterChain]) -> bytes:
    socket = address_pb2.SocketAddress(address=address, port_value=port)
    listener = listener_pb2.Listener(
        name=name, address=address_pb2.Address(socket_address=socket), filter_chains=list(chains)
    )
    return bytes(listener.SerializeToString(deterministic=True))
