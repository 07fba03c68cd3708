"""The names in reports: which are kept, and which service port a cluster leads to."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

from mesh.telemetry import Reporter
from mesh.topology import ServicePort
from xds_server.ingest.cluster_bytes import parse_cluster
from xds_server.resources.names import DOMAIN

LONGEST_NAME: Final = 512
_INBOUND: Final = re.compile(r"inbound\|\d{1,5}\|[^|]*\|[^|.]*", re.ASCII)


def is_usable(name: str, *, may_be_empty: bool = False) -> bool:
    """Return whether a name is short and printable enough to be kept."""
    return len(name) <= LONGEST_NAME and (bool(name) or may_be_empty) and name.isprintable()


def shortened(text: str) -> str:
    """Return free text as it is kept: at most ``LONGEST_NAME`` characters, none that breaks a line."""
    text = text[:LONGEST_NAME]
    return text if text.isprintable() else "".join(one if one.isprintable() else "?" for one in text)


@lru_cache(maxsize=16384)
def service_port_of(cluster: str) -> ServicePort | None:
    """Return the service port that an outbound cluster leads to; None for any other cluster."""
    return parse_cluster(cluster) if cluster.endswith(DOMAIN) else None


def reporter_of(cluster: str) -> Reporter | None:
    """Return the side that a sidecar is on in its statistics of ``cluster``; None for clusters that are not the mesh's.

    Envoy keeps statistics of parts under longer names (``<cluster>.external``, ``<cluster>.zone.a.b``): they are None.
    """
    if service_port_of(cluster) is not None:
        return "client"
    return "server" if _INBOUND.fullmatch(cluster) else None


def address_of(address: Any) -> str:
    """Return ``host:port`` of an Envoy address, empty for none or one of another kind."""
    place = address.socket_address
    return f"{place.address}:{place.port_value}" if place.address else ""
