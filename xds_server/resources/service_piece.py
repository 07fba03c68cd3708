"""One called service port's part of a client's configuration: clusters, endpoints, and the way in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from mesh.listeners import tcp_outbound
from mesh.plan import ServicePlan
from mesh.standby import TIERS, Tier, standbys, tier_of
from mesh.topology import Container, ContainerName, Port, Protocol, Service, Topology
from xds_server.resources.clusters import Balancing, outbound_cluster_bytes
from xds_server.resources.config_source import Transport
from xds_server.resources.endpoints import HEAVIEST, EndpointFrame, integer_weights
from xds_server.resources.listeners import tcp_listener_bytes
from xds_server.resources.names import CDS, EDS, LDS, outbound_cluster
from xds_server.resources.routes import virtual_host_bytes
from xds_server.snapshot import Resource, resource


@dataclass(frozen=True, slots=True)
class ServicePiece:
    """Resources of its own, and what it adds to the client's route configuration."""

    resources: tuple[Resource, ...]
    virtual_host: bytes = b""
    route_clusters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Way:
    """From which client to which service port, in which mesh, over which transport.

    ``frame`` holds the service port's endpoints, ``spares`` the standbys chosen before, by cluster, with what was in
    use then: choosing them anew costs more than everything else while weights alone change.
    """

    topology: Topology
    client: Container
    service: Service
    port: Port
    frame: EndpointFrame
    spares: dict[str, tuple[tuple[ContainerName, ...], tuple[int, ...]]]
    transport: Transport = "delta"

    def cluster(self, tier: Tier | None = None) -> str:
        return outbound_cluster(self.service.name, self.port.number, tier=tier)


@dataclass(frozen=True, slots=True)
class _Group:
    """The endpoints behind one cluster, with the client's share to each, and the cluster's part of the whole."""

    cluster: str
    names: tuple[ContainerName, ...]
    shares: tuple[float, ...]


def service_piece(way: Way, plan: ServicePlan | None) -> ServicePiece:
    """Return the part of a client's configuration that leads to one port of a service.

    Without a plan (not managed, observed only, or no endpoints): all endpoints, equal weights, one cluster.
    """
    row = _row(way, plan)
    if plan is None or not row:
        return _plain(way)
    if plan.programming == "weighted-clusters" and way.port.protocol != "tcp":
        return _piece(way, _tiers(way, row))
    return _piece(way, [_Group(way.cluster(), tuple(row), tuple(row.values()))])


def _row(way: Way, plan: ServicePlan | None) -> dict[ContainerName, float]:
    if plan is None or not plan.applied or plan.programming == "istio-native":
        return {}
    try:
        row = plan.shares.row(way.client.name)
    except KeyError:  # a client that came after the plan was made
        return {}
    known = way.frame.position
    return row if row.keys() <= known.keys() else {name: share for name, share in row.items() if name in known}


def _plain(way: Way) -> ServicePiece:
    name = way.cluster()
    body, load = way.frame.assignment(name, [(position, 1) for position in way.frame.position.values()])
    # The source may say that a service has no endpoints; a plan may not take a client's last one away.
    assignment = resource(EDS, name, body, may_be_empty=not way.service.containers, load=load)
    return _with_way_in(way, [_cluster(way, name, managed=False), assignment], [(name, 1)])


def _tiers(way: Way, row: Mapping[ContainerName, float]) -> list[_Group]:
    by_tier: dict[Tier, dict[ContainerName, float]] = {}
    containers = way.topology.container_by_name
    for name, share in row.items():
        tier = tier_of(way.topology.distance(way.client.node, containers[name].node))
        by_tier.setdefault(tier, {})[name] = share
    return [
        _Group(way.cluster(tier), tuple(by_tier[tier]), tuple(by_tier[tier].values()))
        for tier in TIERS
        if tier in by_tier
    ]


def _piece(way: Way, groups: Sequence[_Group]) -> ServicePiece:
    resources = []
    for group in groups:
        resources.append(_cluster(way, group.cluster, managed=True))
        position = way.frame.position
        weights = integer_weights(group.shares)
        weighted = [(position[name], weight) for name, weight in zip(group.names, weights, strict=True)]
        body, load = way.frame.assignment(group.cluster, weighted, _spares(way, group))
        resources.append(resource(EDS, group.cluster, body, load=load))
    split = [(group.cluster, max(1, round(sum(group.shares) * HEAVIEST))) for group in groups]
    return _with_way_in(way, resources, split)


def _spares(way: Way, group: _Group) -> tuple[int, ...]:
    known = way.spares.get(group.cluster)
    if known is None or known[0] != group.names:
        used = [way.topology.container_by_name[name] for name in group.names]
        chosen = standbys(way.topology, way.client, way.service.containers, used=used)
        known = (group.names, tuple(way.frame.position[container.name] for container in chosen))
        way.spares[group.cluster] = known
    return known[1]


def _cluster(way: Way, name: str, *, managed: bool) -> Resource:
    least_request = managed and way.service.policy.routing == "imbalance-aware"
    balancing: Balancing = "least-request" if least_request else "round-robin"
    return _cluster_resource(name, way.port.protocol, managed, balancing, way.transport)


@lru_cache(maxsize=16384)
def _cluster_resource(
    name: str,
    protocol: Protocol,
    managed: bool,
    balancing: Balancing,
    transport: Transport,
) -> Resource:
    """Return the cluster, the same for every client, so that it is built and hashed once."""
    body = outbound_cluster_bytes(name, protocol, managed=managed, balancing=balancing, transport=transport)
    return resource(CDS, name, body, refers=((EDS, name),))


def _with_way_in(way: Way, resources: Iterable[Resource], split: Sequence[tuple[str, int]]) -> ServicePiece:
    client, service, port = way.client, way.service, way.port
    if port.protocol != "tcp":
        same_namespace = client.namespace == service.namespace
        host = virtual_host_bytes(service, port, split, same_namespace=same_namespace)
        return ServicePiece(tuple(resources), host, tuple(cluster for cluster, _ in split))
    own = way.topology.service_by_name[client.service]
    if (service, port) not in tcp_outbound(way.topology, own):
        return ServicePiece(tuple(resources))
    name = f"{client.address}_{port.outbound_port}"
    body = tcp_listener_bytes(name, client.address, port.outbound_port, cluster=split[0][0])
    return ServicePiece((*resources, resource(LDS, name, body, refers=((CDS, split[0][0]),))))
