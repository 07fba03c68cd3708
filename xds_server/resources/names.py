"""The names of resources, as Istio writes them, and the type URLs of xDS v3."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from mesh.standby import Tier
from mesh.topology import ServiceName

CDS = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
EDS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
LDS = "type.googleapis.com/envoy.config.listener.v3.Listener"
RDS = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"

OUTBOUND_ROUTES = "outbound"
XDS_CLUSTER = "askew-xds"
REST_CLUSTER = "askew-xds-rest"
DOMAIN = "svc.cluster.local"


def host_name(service: ServiceName) -> str:
    """Return the fully qualified host name of a service.

    >>> host_name(ServiceName("reviews.default"))
    'reviews.default.svc.cluster.local'
    """
    return f"{service}.{DOMAIN}"


def outbound_cluster(service: ServiceName, port: int, *, tier: Tier | None = None) -> str:
    """Return the name of the cluster that leads to a service; a tier stands in Istio's subset slot.

    >>> outbound_cluster(ServiceName("reviews.default"), 9080, tier="local")
    'outbound|9080|local|reviews.default.svc.cluster.local'
    """
    return f"outbound|{port}|{tier or ''}|{host_name(service)}"


def inbound_cluster(port: int) -> str:
    """Return the name of the cluster that leads to the app behind a sidecar.

    >>> inbound_cluster(9080)
    'inbound|9080||'
    """
    return f"inbound|{port}||"


class IstioCluster(NamedTuple):
    """What the name of one of Istio's outbound clusters says."""

    service: ServiceName
    port: int
    subset: str


@lru_cache(maxsize=65536)
def istio_cluster(name: str) -> IstioCluster | None:
    """Return the parts of ``outbound|<port>|<subset>|<service>.<namespace>.svc.<domain>``, None for any other name.

    The domain may be any: it is the cluster's, and a mesh has one.

    >>> istio_cluster("outbound|9080|v2|reviews.default.svc.cluster.local")
    IstioCluster(service='reviews.default', port=9080, subset='v2')
    """
    direction, *rest = name.split("|")
    if direction != "outbound" or len(rest) != 3:
        return None
    port, subset, host = rest
    service, dot, _ = host.partition(".svc.")
    if not dot or service.count(".") != 1 or not port.isdecimal() or len(port) > 5:
        return None
    return IstioCluster(ServiceName(service), int(port), subset)


@lru_cache(maxsize=65536)  # asked for every resource of every push, of a few thousand names
def service_port_of(cluster: str) -> str | None:
    """Return ``<service>:<port>`` of an outbound cluster's name, None for any other name.

    >>> service_port_of("outbound|9080|local|reviews.default.svc.cluster.local")
    'reviews.default:9080'
    """
    parts = cluster.split("|")
    if len(parts) != 4 or parts[0] != "outbound":
        return None
    return f"{parts[3].removesuffix('.' + DOMAIN)}:{parts[1]}"
