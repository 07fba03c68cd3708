"""Routes: a client's RouteConfiguration, one virtual host for each HTTP port that it calls."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, lru_cache

from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from google.protobuf import any_pb2, duration_pb2, wrappers_pb2

from mesh.topology import Port, Service, ServiceName
from xds_server.resources.names import OUTBOUND_ROUTES, host_name
from xds_server.resources.wire import field, number_field, text_field, wrapped_number_field

UNREACHED_HEADER = "x-askew-unreached"

# Field numbers of envoy.config.route.v3.
_CONFIG_NAME, _CONFIG_VIRTUAL_HOSTS, _CONFIG_VALIDATE_CLUSTERS = 1, 2, 7
_HOST_NAME, _HOST_DOMAINS, _HOST_ROUTES = 1, 2, 3
_ROUTE_MATCH, _ROUTE_ACTION, _ROUTE_NAME = 1, 2, 14
_ACTION_CLUSTER, _ACTION_WEIGHTED = 1, 3
_WEIGHTED_CLUSTERS, _WEIGHT_NAME, _WEIGHT_WEIGHT = 1, 1, 2


def virtual_host_bytes(
    service: Service, port: Port, clusters: Sequence[tuple[str, int]], *, same_namespace: bool
) -> bytes:
    """Return a serialised VirtualHost that splits all requests over ``clusters`` (name, weight > 0).

    No timeout, and retries only of what never reached an app: connect failures, refused streams, resets before the
    request was sent, and a server sidecar's own word that its app could not be reached.
    """
    first = next(candidate for candidate in service.ports if candidate.protocol != "tcp")
    return _virtual_host(service.name, port.number, port is first, same_namespace, tuple(clusters))


@lru_cache(maxsize=65536)
def _virtual_host(
    service: ServiceName,
    port: int,
    is_first: bool,  # positional, for the cache's key; so is the next
    same_namespace: bool,
    clusters: tuple[tuple[str, int], ...],
) -> bytes:
    """Return the bytes; cached, since clients of one service often split alike, and with endpoint weights always do."""
    if len(clusters) == 1:
        target = text_field(_ACTION_CLUSTER, clusters[0][0])
    else:
        split = (
            field(_WEIGHTED_CLUSTERS, text_field(_WEIGHT_NAME, cluster) + wrapped_number_field(_WEIGHT_WEIGHT, weight))
            for cluster, weight in clusters
        )
        target = field(_ACTION_WEIGHTED, b"".join(split))
    route = _match() + field(_ROUTE_ACTION, target + _action_defaults()) + text_field(_ROUTE_NAME, "default")
    domains = domains_of(service, port, is_first=is_first, same_namespace=same_namespace)
    hosts = b"".join(text_field(_HOST_DOMAINS, domain) for domain in domains)
    return text_field(_HOST_NAME, f"{host_name(service)}:{port}") + hosts + field(_HOST_ROUTES, route)


def domains_of(service: ServiceName, port: int, *, is_first: bool, same_namespace: bool) -> list[str]:
    """Return the authorities that lead to this port; those without a number lead to the first HTTP port."""
    hosts = [host_name(service), service, service + ".svc"]
    if same_namespace:
        hosts.append(service.rsplit(".", 1)[0])
    with_port = [f"{host}:{port}" for host in hosts]
    return [*hosts, *with_port] if is_first else with_port


def route_configuration_bytes(virtual_hosts: Iterable[bytes]) -> bytes:
    """Return a serialised RouteConfiguration of serialised virtual hosts, in their order. No match is a 404."""
    hosts = b"".join(field(_CONFIG_VIRTUAL_HOSTS, host) for host in virtual_hosts)
    validate = field(_CONFIG_VALIDATE_CLUSTERS, number_field(1, 0))
    return text_field(_CONFIG_NAME, OUTBOUND_ROUTES) + hosts + validate


@cache
def _match() -> bytes:
    return field(_ROUTE_MATCH, route_components_pb2.RouteMatch(prefix="/").SerializeToString(deterministic=True))


@cache
def _action_defaults() -> bytes:
    previous_hosts = any_pb2.Any()
    previous_hosts.Pack(previous_hosts_pb2.PreviousHostsPredicate(), deterministic=True)
    header = route_components_pb2.HeaderMatcher(name=UNREACHED_HEADER, present_match=True)
    retry = route_components_pb2.RetryPolicy(
        retry_on="connect-failure,refused-stream,reset-before-request,retriable-headers",
        num_retries=wrappers_pb2.UInt32Value(value=4),
        retry_host_predicate=[
            route_components_pb2.RetryPolicy.RetryHostPredicate(
                name="envoy.retry_host_predicates.previous_hosts", typed_config=previous_hosts
            )
        ],
        host_selection_retry_max_attempts=5,
        retriable_headers=[header],
        retry_back_off=route_components_pb2.RetryPolicy.RetryBackOff(
            base_interval=duration_pb2.Duration(nanos=5_000_000), max_interval=duration_pb2.Duration(nanos=50_000_000)
        ),
    )
    action = route_components_pb2.RouteAction(
        timeout=duration_pb2.Duration(),
        max_stream_duration=route_components_pb2.RouteAction.MaxStreamDuration(
            max_stream_duration=duration_pb2.Duration(), grpc_timeout_header_max=duration_pb2.Duration()
        ),
        retry_policy=retry,
    )
    return bytes(action.SerializeToString(deterministic=True))
