"""Configuration as istiod generates it for a sidecar: clusters, endpoints, an outbound listener and routes.

Follows Istio's ``cluster_builder.go``, ``endpoint_builder.go`` and ``route.go`` in the fields that our patches meet;
mTLS is left out unless a test asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2
from google.protobuf import json_format

from tests.fakes import istiod_merge

KNOWN = (router_pb2, http_connection_manager_pb2, raw_buffer_pb2, istiod_merge)
TYPE = "type.googleapis.com/"
HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "envoy.extensions.filters.http.router.v3.Router"
MOST = 2**32 - 1


@dataclass(frozen=True, slots=True)
class IstioService:
    """A Service as istiod sees it: its ready endpoints, subsets by name, and what its DestinationRule says."""

    name: str  # "reviews.default"
    port: int
    endpoints: Sequence[tuple[str, int]]
    subsets: Sequence[str] = ()
    policy: dict[str, Any] = field(default_factory=dict)  # laid over the generated cluster
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # of endpoints, by address
    subset_labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # a subset without: all endpoints

    @property
    def host(self) -> str:
        return f"{self.name}.svc.cluster.local"

    @property
    def cluster_names(self) -> list[str]:
        return [f"outbound|{self.port}|{subset}|{self.host}" for subset in ("", *self.subsets)]


def clusters(service: IstioService) -> list[cluster_pb2.Cluster]:
    """Return the outbound clusters of a Service: LEAST_REQUEST, endpoints over ADS, without a time limit."""
    return [_cluster(name, service) for name in service.cluster_names]


def _cluster(name: str, service: IstioService) -> cluster_pb2.Cluster:
    limits = {"max_connections": MOST, "max_pending_requests": MOST, "max_requests": MOST, "max_retries": MOST}
    short, namespace = service.name.split(".")
    generated = {
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {
            "eds_config": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
            "service_name": name,
        },
        "connect_timeout": "10s",
        "lb_policy": "LEAST_REQUEST",
        "circuit_breakers": {"thresholds": [limits | {"track_remaining": True}]},
        "common_lb_config": {},
        "metadata": {
            "filter_metadata": {
                "istio": {
                    "default_original_port": service.port,
                    "services": [{"host": service.host, "name": short, "namespace": namespace}],
                }
            }
        },
    }
    found: cluster_pb2.Cluster = json_format.ParseDict({**generated, **service.policy}, cluster_pb2.Cluster())
    return found


def assignment(name: str, service: IstioService) -> endpoint_pb2.ClusterLoadAssignment:
    """Return a cluster's endpoints: all that are ready, each with the weight 1."""
    found = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    group = found.endpoints.add()
    wanted = service.subset_labels.get(name.split("|")[2], {}).items()
    chosen = [one for one in service.endpoints if wanted <= service.labels.get(one[0], {}).items()]
    for address, port in chosen:
        one = group.lb_endpoints.add()
        one.endpoint.address.socket_address.address = address
        one.endpoint.address.socket_address.port_value = port
        one.load_balancing_weight.value = 1
    group.load_balancing_weight.value = max(1, len(chosen))
    return found


def listener(address: str, port: int) -> listener_pb2.Listener:
    """Return an outbound listener of a sidecar; its routes come by RDS, named for the port."""
    source = {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
    manager = {
        "@type": TYPE + HCM,
        "stat_prefix": f"outbound_{address}_{port}",
        "rds": {"config_source": source, "route_config_name": str(port)},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": TYPE + ROUTER}}],
    }
    text = {
        "name": f"{address}_{port}",
        "address": {"socket_address": {"address": address, "port_value": port}},
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    found: listener_pb2.Listener = json_format.ParseDict(text, listener_pb2.Listener())
    return found


def routes(
    port: int, services: Sequence[IstioService], ways: Mapping[str, Sequence[dict[str, Any]]] | None = None
) -> route_pb2.RouteConfiguration:
    """Return the routes of a port, with Istio's default retries.

    ``ways`` holds, by host, what a VirtualService says of this port: where each of its routes leads.
    """
    retries = {
        "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
        "num_retries": 2,
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {
                    "@type": TYPE + "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                },
            }
        ],
        "host_selection_retry_max_attempts": "5",
        "retriable_status_codes": [503],
    }
    hosts = [
        {
            "name": f"{service.host}:{service.port}",
            "domains": [service.host, f"{service.host}:{service.port}", service.name.split(".")[0]],
            "routes": [
                {
                    "name": "default",
                    "match": {"prefix": "/"},
                    "route": {**way, "timeout": "0s", "retry_policy": retries},
                }
                for way in (ways or {}).get(service.host) or [{"cluster": service.cluster_names[0]}]
            ],
        }
        for service in services
        if service.port == port
    ]
    text = {"name": str(port), "virtual_hosts": hosts, "validate_clusters": False}
    found: route_pb2.RouteConfiguration = json_format.ParseDict(text, route_pb2.RouteConfiguration())
    return found
