"""One called service port's part of a client's configuration: clusters, endpoints, and the way in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mesh.listeners import tcp_outbound
from mesh.plan import ServicePlan
from mesh.standby import TIERS, Tier, standbys, tier_of
from mesh.topology import Container, ContainerName, Port, Service, Topology
from xds_server.resources.clusters import Balancing, outbound_cluster_bytes
from xds_server.resources.config_source import Transport
from xds_server.resources.endpoints import HEAVIEST, integer_weights, load_assignment_bytes
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
    """From which client to which service port, in which mesh, over which transport."""

    topology: Topology
    client: Container
    service: Service
    port: Port
    transport: Transport = "delta"

    def cluster(self, tier: Tier | None = None) -> str:
        return outbound_cluster(self.service.name, self.port.number, tier=tier)


@dataclass(frozen=True, slots=True)
class _Group:
    """The endpoints behind one cluster, with the client's share to each, and the cluster's part of the whole."""

    cluster: str
    endpoints: Sequence[tuple[Container, float]]
    part: float


def service_piece(way: Way, plan: ServicePlan | None) -> ServicePiece:
    """Return the part of a client's configuration that leads to one port of a service.

    Without a plan (not managed, observed only, or no endpoints): all endpoints, equal weights, one cluster.
    """
    row = _row(way.client, plan)
    if plan is None or not row:
        return _plain(way)
    chosen = [(endpoint, row[endpoint.name]) for endpoint in way.service.containers if endpoint.name in row]
    if plan.programming == "weighted-clusters" and way.port.protocol != "tcp":
        return _piece(way, _tiers(way, chosen))
    return _piece(way, [_Group(way.cluster(), chosen, 1.0)])


def _row(client: Container, plan: ServicePlan | None) -> dict[ContainerName, float]:
    if plan is None or not plan.applied or plan.programming == "istio-native":
        return {}
    try:
        return plan.shares.row(client.name)
    except KeyError:  # a client that came after the plan was made
        return {}


def _plain(way: Way) -> ServicePiece:
    name = way.cluster()
    endpoints = way.service.containers
    body = load_assignment_bytes(way.topology, name, way.port.number, [(endpoint, 1) for endpoint in endpoints])
    # The source may say that a service has no endpoints; a plan may not take a client's last one away.
    assignment = resource(EDS, name, body, may_be_empty=not endpoints)
    return _with_way_in(way, [_cluster(way, name, managed=False), assignment], [(name, 1)])


def _tiers(way: Way, chosen: Sequence[tuple[Container, float]]) -> list[_Group]:
    by_tier: dict[Tier, list[tuple[Container, float]]] = {}
    for endpoint, share in chosen:
        tier = tier_of(way.topology.distance(way.client.node, endpoint.node))
        by_tier.setdefault(tier, []).append((endpoint, share))
    return [
        _Group(way.cluster(tier), by_tier[tier], sum(share for _, share in by_tier[tier]))
        for tier in TIERS
        if tier in by_tier
    ]


def _piece(way: Way, groups: Sequence[_Group]) -> ServicePiece:
    resources = []
    for group in groups:
        resources.append(_cluster(way, group.cluster, managed=True))
        weights = integer_weights([share for _, share in group.endpoints])
        endpoints = [endpoint for endpoint, _ in group.endpoints]
        spare = standbys(way.topology, way.client, way.service.containers, used=endpoints)
        weighted = list(zip(endpoints, weights, strict=True))
        body = load_assignment_bytes(way.topology, group.cluster, way.port.number, weighted, spare)
        resources.append(resource(EDS, group.cluster, body))
    parts = [max(1, round(group.part * HEAVIEST)) for group in groups]
    split = [(group.cluster, part) for group, part in zip(groups, parts, strict=True)]
    return _with_way_in(way, resources, split)


def _cluster(way: Way, name: str, *, managed: bool) -> Resource:
    least_request = managed and way.service.policy.routing == "imbalance-aware"
    balancing: Balancing = "least-request" if least_request else "round-robin"
    body = outbound_cluster_bytes(
        name, way.port.protocol, managed=managed, balancing=balancing, transport=way.transport
    )
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
