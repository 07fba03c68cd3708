"""A cluster of given objects, and what its topology says."""

from __future__ import annotations

from istio.cluster import Cluster
from istio.kinds import CORE_KINDS, ISTIO_KINDS
from istio.pruning import key_of, prune
from istio.service_piece import TopologySettings
from istio.topology import Seen, topology_of
from mesh.topology import Container, Service, ServiceName
from tests.istio.cluster_objects import Body

KINDS = {kind.name: kind for kind in (*CORE_KINDS, *ISTIO_KINDS)}


def cluster_of(*bodies: Body) -> Cluster:
    """Return a cluster that holds these objects."""
    cluster = Cluster()
    for body in bodies:
        kind = KINDS[body["kind"]]
        cluster.put(kind, key_of(body), prune(kind, body))
    return cluster


def seen(*bodies: Body) -> Seen:
    """Return the topology and findings of these objects."""
    return topology_of(cluster_of(*bodies), TopologySettings())


def service_in(found: Seen, name: str = "reviews.default") -> Service:
    """Return a service of the topology."""
    return found.topology.service_by_name[ServiceName(name)]


def addresses(found: Seen, name: str = "reviews.default") -> list[str]:
    """Return the addresses of a service's endpoints."""
    return [container.address for container in service_in(found, name).containers]


def container(found: Seen, name: str) -> Container:
    """Return a container by its name in the mesh."""
    return next(one for known, one in found.topology.container_by_name.items() if known == name)
