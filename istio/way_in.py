"""The cluster that leads an Istio sidecar to Askew, and how a cluster of Istio's says that its endpoints are there.

Pure. Source: Envoy v3 API ``config.cluster.v3``, ``config.core.v3.ConfigSource``; Istio's bootstrap template for the
names ``sds-grpc``, ``default`` and ``ROOTCA``.
"""

from __future__ import annotations

from typing import Any

from istio.integration import CLUSTER, Integration

TYPE = "type.googleapis.com/"
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
UPSTREAM_TLS = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
FILE_METADATA = "envoy.grpc_credentials.file_based_metadata"
FILE_METADATA_TYPE = "envoy.config.grpc_credential.v3.FileBasedMetadataConfig"
MOST = 100_000


def xds_cluster(to: Integration) -> dict[str, Any]:
    """Return the cluster ``askew-xds`` as JSON of ``envoy.config.cluster.v3.Cluster``.

    One connection carries a stream for each steered cluster, so Envoy's default limits would be too low. A replica that
    hangs is noticed by the HTTP/2 keepalive.
    """
    address = {"socket_address": {"address": to.host, "port_value": to.port}}
    limits = {"max_connections": MOST, "max_pending_requests": MOST, "max_requests": MOST}
    keepalive = {"connection_keepalive": {"interval": "30s", "timeout": "5s"}}
    cluster: dict[str, Any] = {
        "name": CLUSTER,
        "type": "STRICT_DNS",
        "dns_lookup_family": "V4_PREFERRED",
        "dns_refresh_rate": "5s",
        "connect_timeout": "1s",
        "lb_policy": "ROUND_ROBIN",
        "load_assignment": {
            "cluster_name": CLUSTER,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        "circuit_breakers": {"thresholds": [limits]},
        "upstream_connection_options": {"tcp_keepalive": {"keepalive_time": 300}},
        "typed_extension_protocol_options": {
            HTTP_OPTIONS: {
                "@type": TYPE + HTTP_OPTIONS,
                "explicit_http_config": {"http2_protocol_options": keepalive},
            }
        },
    }
    if to.transport == "mtls":
        cluster["transport_socket"] = _workload_mtls(to)
    return cluster


def eds_source(to: Integration) -> dict[str, Any]:
    """Return the ``eds_config`` that takes a cluster's endpoints from us.

    ``DELTA_GRPC``, never ``GRPC``: Envoy refuses the latter over a cluster that came by CDS (``Utility::
    checkApiConfigSourceSubscriptionBackingCluster``).
    """
    return {
        "resource_api_version": "V3",
        "initial_fetch_timeout": f"{to.initial_fetch_timeout_s}s",
        "api_config_source": {
            "api_type": "DELTA_GRPC",
            "transport_api_version": "V3",
            "set_node_on_first_message_only": True,
            "grpc_services": [_google_grpc(to) if to.mode == "googleGrpc" else _envoy_grpc(to)],
        },
    }


def _envoy_grpc(to: Integration) -> dict[str, Any]:
    # A cluster's name, with its bars, would be the ":authority" otherwise, which some gRPC servers refuse.
    authority = to.host.removesuffix(".cluster.local")
    return {"envoy_grpc": {"cluster_name": CLUSTER, "authority": authority}}


def _google_grpc(to: Integration) -> dict[str, Any]:
    port = to.token_port if to.transport == "mtls" else to.port
    service: dict[str, Any] = {"target_uri": f"dns:///{to.host}:{port}", "stat_prefix": CLUSTER.replace("-", "_")}
    if to.transport == "mtls":
        # gRPC's own TLS cannot show the workload's certificate, whose key is in memory; the token says who it is. Envoy
        # reads the file for each stream that it opens, so a token that the kubelet has renewed is used.
        token = {
            "@type": TYPE + FILE_METADATA_TYPE,
            "secret_data": {"filename": "/var/run/secrets/tokens/istio-token"},
            "header_key": "authorization",
            "header_prefix": "Bearer ",
        }
        root = {"root_certs": {"filename": "/var/run/secrets/istio/root-cert.pem"}}
        service["channel_credentials"] = {"ssl_credentials": root}
        service["credentials_factory_name"] = FILE_METADATA
        service["call_credentials"] = [{"from_plugin": {"name": FILE_METADATA, "typed_config": token}}]
    return {"google_grpc": service}


def _workload_mtls(to: Integration) -> dict[str, Any]:
    host, port = to.host, to.port
    san = {"san_type": "URI", "matcher": {"exact": to.identity}}
    context = {
        "@type": TYPE + UPSTREAM_TLS,
        "sni": f"outbound_.{port}_._.{host}",
        "common_tls_context": {
            # "istio" first: should our pod itself stand behind a permissive sidecar, that is how it knows mesh traffic.
            "alpn_protocols": ["istio", "h2"],
            "tls_certificate_sds_secret_configs": [{"name": "default", "sds_config": _agent_sds()}],
            "combined_validation_context": {
                "default_validation_context": {"match_typed_subject_alt_names": [san]},
                "validation_context_sds_secret_config": {"name": "ROOTCA", "sds_config": _agent_sds()},
            },
        },
    }
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def _agent_sds() -> dict[str, Any]:
    return {
        "resource_api_version": "V3",
        "initial_fetch_timeout": "0s",
        "api_config_source": {
            "api_type": "GRPC",
            "transport_api_version": "V3",
            "set_node_on_first_message_only": True,
            "grpc_services": [{"envoy_grpc": {"cluster_name": "sds-grpc"}}],
        },
    }
