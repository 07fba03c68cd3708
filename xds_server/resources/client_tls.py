"""A sidecar's mTLS towards Askew, with its certificate from files that Envoy follows.

A certificate that stands in the bootstrap itself is never read again; one that comes as a secret from a file is. So
the bootstrap leads to two small secret files, and those to the certificates, which Envoy reads again when something is
renamed in their folders: a file, or the link by which Kubernetes renews a mounted secret. Source: Envoy's
documentation, "Secret discovery service", "Key rotation"; seen on Envoy 1.40 in ``tests/real/test_envoy_mtls.py``.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from xds_server.resources.names import XDS_CLUSTER

TYPE = "type.googleapis.com/"
TLS = "envoy.extensions.transport_sockets.tls.v3."
CERTIFICATE_SECRET, AUTHORITY_SECRET = "askew-xds-certificate", "askew-xds-authority"


@dataclass(frozen=True, slots=True)
class ClientTls:
    """The files that a sidecar shows and trusts, as absolute paths on its machine.

    ``server_name`` is the name or address that Askew's certificate must have, or a ``spiffe://`` id; without such a
    check every workload with a certificate of the same authority could pass for Askew. ``folder`` is for the secrets.
    """

    certificate: str
    key: str
    ca: str
    server_name: str
    folder: str


def secret_files(tls: ClientTls) -> dict[str, dict[str, Any]]:
    """Return the contents of the secret files, by path; they are to stand there before Envoy starts."""
    certificate = {"certificate_chain": {"filename": tls.certificate}, "private_key": {"filename": tls.key}}
    validation = {"trusted_ca": {"filename": tls.ca}, "match_typed_subject_alt_names": [_server_is(tls.server_name)]}
    return {
        _path(tls, CERTIFICATE_SECRET): _secret(CERTIFICATE_SECRET, {"tls_certificate": certificate}),
        _path(tls, AUTHORITY_SECRET): _secret(AUTHORITY_SECRET, {"validation_context": validation}),
    }


def with_client_tls(bootstrap: dict[str, Any], tls: ClientTls) -> dict[str, Any]:
    """Return a bootstrap whose xDS cluster speaks mTLS; the one given is left as it is."""
    static = bootstrap["static_resources"]
    clusters = [
        cluster | {"transport_socket": _transport_socket(tls)} if cluster["name"] == XDS_CLUSTER else cluster
        for cluster in static["clusters"]
    ]
    return bootstrap | {"static_resources": static | {"clusters": clusters}}


def _transport_socket(tls: ClientTls) -> dict[str, Any]:
    context: dict[str, Any] = {
        "@type": f"{TYPE}{TLS}UpstreamTlsContext",
        "common_tls_context": {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "alpn_protocols": ["h2"],
            "tls_certificate_sds_secret_configs": [_from_file(tls, CERTIFICATE_SECRET)],
            "validation_context_sds_secret_config": _from_file(tls, AUTHORITY_SECRET),
        },
    }
    if _kind(tls.server_name) == "DNS":
        context["sni"] = tls.server_name
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def _from_file(tls: ClientTls, name: str) -> dict[str, Any]:
    source = {"path_config_source": {"path": _path(tls, name)}, "resource_api_version": "V3"}
    return {"name": name, "sds_config": source}


def _secret(name: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"resources": [{"@type": f"{TYPE}{TLS}Secret", "name": name} | body]}


def _path(tls: ClientTls, name: str) -> str:
    return str(PurePath(tls.folder) / f"{name}.json")


def _server_is(name: str) -> dict[str, Any]:
    return {"san_type": _kind(name), "matcher": {"exact": name}}


def _kind(name: str) -> str:
    if "://" in name:
        return "URI"
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return "DNS"
    return "IP_ADDRESS"
