"""Small real resources for the conformance suite: valid for Envoy, told apart by one number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import address_pb2, base_pb2, config_source_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2, duration_pb2, struct_pb2

Message = Any  # a protobuf message; the generated code has no types

_TYPE = "type.googleapis.com/"
CDS = _TYPE + "envoy.config.cluster.v3.Cluster"
EDS = _TYPE + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LDS = _TYPE + "envoy.config.listener.v3.Listener"
RDS = _TYPE + "envoy.config.route.v3.RouteConfiguration"
WRAPPER = _TYPE + "envoy.service.discovery.v3.Resource"


def cluster(name: str, content: int = 1, *, padding: int = 0) -> Message:
    """Return an EDS cluster; ``padding`` makes it that many bytes larger."""
    ads = config_source_pb2.ConfigSource(
        ads=config_source_pb2.AggregatedConfigSource(), resource_api_version=config_source_pb2.ApiVersion.V3
    )
    message = cluster_pb2.Cluster(
        name=name,
        type=cluster_pb2.Cluster.EDS,
        eds_cluster_config=cluster_pb2.Cluster.EdsClusterConfig(eds_config=ads),
        connect_timeout=duration_pb2.Duration(seconds=content),
    )
    if padding:
        text = struct_pb2.Struct(fields={"text": struct_pb2.Value(string_value="x" * padding)})
        message.metadata.CopyFrom(base_pb2.Metadata(filter_metadata={"padding": text}))
    return message


def endpoints(name: str, content: int = 1) -> Message:
    """Return the one endpoint of a cluster; its port is ``content``."""
    endpoint = endpoint_components_pb2.Endpoint(address=_socket("127.0.0.1", content))
    locality = endpoint_components_pb2.LocalityLbEndpoints(
        locality=base_pb2.Locality(region="r", zone="z"),
        lb_endpoints=[endpoint_components_pb2.LbEndpoint(endpoint=endpoint)],
    )
    return endpoint_pb2.ClusterLoadAssignment(cluster_name=name, endpoints=[locality])


def routes(name: str, *clusters: str) -> Message:
    """Return a route configuration with one virtual host for each cluster."""
    hosts = [
        route_components_pb2.VirtualHost(
            name=one,
            domains=[one],
            routes=[
                route_components_pb2.Route(
                    match=route_components_pb2.RouteMatch(prefix="/"),
                    route=route_components_pb2.RouteAction(cluster=one),
                )
            ],
        )
        for one in clusters
    ]
    return route_pb2.RouteConfiguration(name=name, virtual_hosts=hosts)


def listener(name: str, route: str, content: int = 1) -> Message:
    """Return a listener on port 10000 + ``content`` whose routes come by RDS."""
    router = any_pb2.Any()
    router.Pack(router_pb2.Router())
    manager = hcm_pb2.HttpConnectionManager(
        stat_prefix=name,
        rds=hcm_pb2.Rds(
            route_config_name=route,
            config_source=config_source_pb2.ConfigSource(
                ads=config_source_pb2.AggregatedConfigSource(), resource_api_version=config_source_pb2.ApiVersion.V3
            ),
        ),
        http_filters=[hcm_pb2.HttpFilter(name="router", typed_config=router)],
    )
    typed = any_pb2.Any()
    typed.Pack(manager)
    chain = listener_components_pb2.FilterChain(
        filters=[listener_components_pb2.Filter(name="manager", typed_config=typed)]
    )
    return listener_pb2.Listener(name=name, address=_socket("127.0.0.1", 10_000 + content), filter_chains=[chain])


def _socket(address: str, port: int) -> Message:
    return address_pb2.Address(socket_address=address_pb2.SocketAddress(address=address, port_value=port))


def type_of(message: Message) -> str:
    """Return the type URL of a message."""
    return _TYPE + str(message.DESCRIPTOR.full_name)


def name_of(message: Message) -> str:
    """Return the name under which xDS knows a resource."""
    name: str = message.cluster_name if type_of(message) == EDS else message.name
    return name


def unwrap(body: any_pb2.Any) -> tuple[Message, discovery_pb2.Resource | None]:
    """Return the resource in a state-of-the-world response, and the wrapper around it if there is one."""
    wrapper = None
    if body.type_url == WRAPPER:
        wrapper = discovery_pb2.Resource.FromString(body.value)
        body = wrapper.resource
    return parse(body), wrapper


def parse(body: any_pb2.Any) -> Message:
    """Return the message in an Any of one of the four core types."""
    kinds = {
        CDS: cluster_pb2.Cluster,
        EDS: endpoint_pb2.ClusterLoadAssignment,
        LDS: listener_pb2.Listener,
        RDS: route_pb2.RouteConfiguration,
    }
    return kinds[body.type_url].FromString(body.value)


def refers_of(message: Message) -> Iterator[tuple[str, str]]:
    """Yield the (type URL, name) of what a resource needs."""
    type_url = type_of(message)
    if type_url == CDS and message.type == cluster_pb2.Cluster.EDS:
        yield EDS, message.eds_cluster_config.service_name or message.name
    elif type_url == LDS:
        managers = [one.typed_config for chain in message.filter_chains for one in chain.filters]
        for typed in [*managers, message.api_listener.api_listener]:
            manager = hcm_pb2.HttpConnectionManager()
            if typed.Unpack(manager) and manager.HasField("rds"):
                yield RDS, manager.rds.route_config_name
    elif type_url == RDS:
        for host in message.virtual_hosts:
            for route in host.routes:
                if route.route.cluster:
                    yield CDS, route.route.cluster
