"""The bootstrap of a sidecar of ours: who it is, where Askew is, what it must have before Askew answers."""

from __future__ import annotations

import ipaddress
from typing import Any

from mesh.topology import Container, Topology
from xds_server.resources.config_source import (
    TRANSPORT_METADATA,
    Transport,
    api_config_source,
    as_json,
    config_source,
    is_aggregated,
)
from xds_server.resources.names import REST_CLUSTER, XDS_CLUSTER
from xds_server.resources.statistics import Statistics, default_statistics, load_reports, statistics_settings

PROMETHEUS_PORT = 15090
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
TYPE = "type.googleapis.com/"
UNLIMITED = 2**32 - 1


def render_bootstrap(
    topology: Topology,
    container: Container,
    *,
    xds_address: tuple[str, int],
    admin_port: int,
    transport: Transport = "delta",
    rest_address: tuple[str, int] = ("127.0.0.1", 18080),
    statistics: Statistics | None = None,
    flush_interval_s: float = 5.0,
) -> dict[str, Any]:
    """Return Envoy's bootstrap (v3) for the sidecar of ``container``, ready for YAML or JSON.

    The admin listens on 127.0.0.1:``admin_port``; Prometheus statistics stand on ``<address>:15090``. Load reports
    go to Askew in any case; ``statistics`` and ``flush_interval_s`` are explained in ``statistics.py``. A container on
    a loopback address binds its upstream sockets to that address, so that servers see who calls.

    Source: Envoy v3 API, ``config.bootstrap.v3.Bootstrap``.
    """
    node = topology.node_by_name[container.node]
    clusters = [_xds_cluster(xds_address), _plain_cluster("prometheus_stats", ("127.0.0.1", admin_port))]
    if transport == "rest":
        clusters.append(_plain_cluster(REST_CLUSTER, rest_address))
    bootstrap: dict[str, Any] = {
        "node": {
            "id": container.proxy_id,
            "cluster": container.service,
            "locality": {"region": node.region, "zone": node.zone, "sub_zone": node.name},
            "metadata": {
                "NODE_NAME": node.name,
                "NAMESPACE": container.namespace,
                "NAME": container.name,
                TRANSPORT_METADATA: transport,
            },
        },
        "admin": {"address": _socket("127.0.0.1", admin_port)},
        "dynamic_resources": _dynamic_resources(transport),
        "static_resources": {
            "clusters": clusters,
            "listeners": [_prometheus_listener(container.address)],
        },
        **statistics_settings(statistics or default_statistics(node), flush_interval_s=flush_interval_s),
        "cluster_manager": {"load_stats_config": load_reports()},
        "layered_runtime": {
            # Without a limit of connections Envoy warns at start that it has none: an Istio sidecar has this one too.
            "layers": [
                {"name": "askew", "static_layer": {"overload": {"global_downstream_max_connections": 2**31 - 1}}}
            ]
        },
    }
    if ipaddress.ip_address(container.address).is_loopback:
        bootstrap["cluster_manager"]["upstream_bind_config"] = {"source_address": _bind(container.address)}
    return bootstrap


def _dynamic_resources(transport: Transport) -> dict[str, Any]:
    # Without a limit: a sidecar that starts before Askew waits for it, rather than to serve without routes.
    source = as_json(config_source(transport)) | {"initial_fetch_timeout": "0s"}
    resources: dict[str, Any] = {"cds_config": source, "lds_config": source}
    if is_aggregated(transport):
        resources["ads_config"] = as_json(api_config_source(transport))
    return resources


def _xds_cluster(xds_address: tuple[str, int]) -> dict[str, Any]:
    host, port = xds_address
    return {
        "name": XDS_CLUSTER,
        "type": "STATIC" if _is_address(host) else "STRICT_DNS",
        "connect_timeout": "1s",
        "load_assignment": _one_endpoint(XDS_CLUSTER, host, port),
        "typed_extension_protocol_options": {
            HTTP_OPTIONS: {
                "@type": TYPE + HTTP_OPTIONS,
                "explicit_http_config": {
                    # A control plane that hangs is noticed in 40 s, and then another replica is asked.
                    "http2_protocol_options": {"connection_keepalive": {"interval": "30s", "timeout": "10s"}}
                },
            }
        },
        "circuit_breakers": {
            "thresholds": [{"max_connections": UNLIMITED, "max_pending_requests": UNLIMITED, "max_requests": UNLIMITED}]
        },
    }


def _plain_cluster(name: str, address: tuple[str, int]) -> dict[str, Any]:
    host, port = address
    return {
        "name": name,
        "type": "STATIC" if _is_address(host) else "STRICT_DNS",
        "connect_timeout": "1s",
        "load_assignment": _one_endpoint(name, host, port),
    }


def _prometheus_listener(address: str) -> dict[str, Any]:
    manager = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = "envoy.extensions.filters.http.router.v3.Router"
    route = {"match": {"path": "/stats/prometheus"}, "route": {"cluster": "prometheus_stats"}}
    return {
        "name": "prometheus_stats",
        "address": _socket(address, PROMETHEUS_PORT),
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": {
                            "@type": TYPE + manager,
                            "stat_prefix": "prometheus_stats",
                            "route_config": {
                                "name": "prometheus_stats",
                                "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}],
                            },
                            "http_filters": [
                                {"name": "envoy.filters.http.router", "typed_config": {"@type": TYPE + router}}
                            ],
                        },
                    }
                ]
            }
        ],
    }


def _one_endpoint(cluster: str, host: str, port: int) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _socket(host, port)}}
    return {"cluster_name": cluster, "endpoints": [{"lb_endpoints": [endpoint]}]}


def _socket(address: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": address, "port_value": port}}


def _bind(address: str) -> dict[str, Any]:
    return {"address": address, "port_value": 0}


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
