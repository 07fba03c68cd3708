"""A client's whole configuration: from topology and plan to its snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mesh.plan import Plan, ServicePlan
from mesh.standby import TIERS, Tier, standbys, tier_of
from mesh.topology import Container, ContainerName, Port, Service, ServicePort, Topology
from xds_server.resources.clusters import Balancing, inbound_cluster_bytes, outbound_cluster_bytes
from xds_server.resources.endpoints import HEAVIEST, integer_weights, load_assignment_bytes
from xds_server.resources.listeners import inbound_listener_bytes, outbound_listener_bytes, tcp_listener_bytes
from xds_server.resources.names import CDS, EDS, LDS, OUTBOUND_ROUTES, RDS, inbound_cluster, outbound_cluster
from xds_server.resources.routes import route_configuration_bytes, virtual_host_bytes
from xds_server.snapshot import Resource, Snapshot, resource, snapshot


@dataclass(frozen=True, slots=True)
class ServicePiece:
    """One called service port's part of a client's configuration."""

    resources: tuple[Resource, ...]
    virtual_host: bytes = b""
    route_clusters: tuple[str, ...] = ()


class ClientConfigs:
    """Builds the snapshots of all clients of one topology and one plan.

    Pieces of the predecessor are taken over where neither the topology nor the service's plan has changed, so that a
    change of one service costs only its own clients' pieces.
    """

    def __init__(self, topology: Topology, plan: Plan, *, predecessor: ClientConfigs | None = None) -> None:
        self.topology, self.plan = topology, plan
        self._pieces: dict[tuple[str, ServicePort], tuple[ServicePlan | None, ServicePiece]] = {}
        if predecessor is not None and predecessor.topology is topology:
            self._pieces = predecessor._pieces.copy()

    def snapshot(self, client: Container, *, inbound: bool = True) -> Snapshot:
        """Return what the sidecar of ``client`` should have.

        ``inbound`` is False for a sidecar whose bootstrap already holds its inbound listener.
        """
        pieces = list(self._pieces_of(client))
        resources = [one for piece in pieces for one in piece.resources]
        hosts = [piece.virtual_host for piece in pieces if piece.virtual_host]
        if self.topology.servers_of[client.service]:
            clusters = dict.fromkeys(name for piece in pieces for name in piece.route_clusters)
            resources.append(
                resource(
                    RDS, OUTBOUND_ROUTES, route_configuration_bytes(hosts), refers=[(CDS, name) for name in clusters]
                )
            )
            body = outbound_listener_bytes(client.address, client.outbound_port)
            resources.append(resource(LDS, "outbound", body, refers=((RDS, OUTBOUND_ROUTES),)))
        if inbound:
            resources += self._inbound(client)
        return snapshot(resources)

    def _pieces_of(self, client: Container) -> Iterator[ServicePiece]:
        for server in self.topology.servers_of[client.service]:
            service = self.topology.service_by_name[server]
            for port in service.ports:
                service_port = service.service_port(port)
                plan = self.plan.services.get(service_port)
                known = self._pieces.get((client.name, service_port))
                if known is None or known[0] is not plan:
                    known = (plan, service_piece(self.topology, client, service, port, plan))
                    self._pieces[client.name, service_port] = known
                yield known[1]

    def _inbound(self, client: Container) -> Iterator[Resource]:
        for port in self.topology.service_by_name[client.service].ports:
            if port.number not in client.app_ports:
                continue
            name, own_port = inbound_cluster(port.number), client.ports[port.number]
            app_port = client.app_ports[port.number]
            body = inbound_cluster_bytes(name, port.protocol, address=client.address, app_port=app_port)
            yield resource(CDS, name, body)
            body = inbound_listener_bytes(
                f"inbound|{port.number}", client.address, own_port, cluster=name, is_tcp=port.protocol == "tcp"
            )
            yield resource(LDS, f"inbound|{port.number}", body, refers=((CDS, name),))


def service_piece(
    topology: Topology, client: Container, service: Service, port: Port, plan: ServicePlan | None
) -> ServicePiece:
    """Return the part of ``client``'s configuration that leads to one port of ``service``.

    Without a plan (not managed, observed only, or no endpoints): all endpoints, equal weights, one cluster.
    """
    row = _row(client, plan)
    if plan is None or not row:
        return _plain(topology, client, service, port)
    chosen = [(endpoint, row[endpoint.name]) for endpoint in service.containers if endpoint.name in row]
    if plan.programming == "weighted-clusters" and port.protocol != "tcp":
        return _tiers(topology, client, service, port, chosen)
    name = outbound_cluster(service.name, port.number)
    return _piece(topology, client, service, port, [_Group(name, chosen, 1.0)])


def _row(client: Container, plan: ServicePlan | None) -> dict[ContainerName, float]:
    if plan is None or not plan.applied or plan.programming == "istio-native":
        return {}
    try:
        return plan.shares.row(client.name)
    except KeyError:  # a client that came after the plan was made
        return {}


@dataclass(frozen=True, slots=True)
class _Group:
    """The endpoints behind one cluster, with the client's share to each, and the cluster's part of the whole."""

    cluster: str
    endpoints: Sequence[tuple[Container, float]]
    part: float


def _plain(topology: Topology, client: Container, service: Service, port: Port) -> ServicePiece:
    name = outbound_cluster(service.name, port.number)
    body = load_assignment_bytes(topology, name, port.number, [(endpoint, 1) for endpoint in service.containers])
    cluster = resource(CDS, name, outbound_cluster_bytes(name, port.protocol, managed=False), refers=((EDS, name),))
    return _with_way_in(client, service, port, [cluster, resource(EDS, name, body)], [(name, 1)])


def _tiers(
    topology: Topology, client: Container, service: Service, port: Port, chosen: Sequence[tuple[Container, float]]
) -> ServicePiece:
    by_tier: dict[Tier, list[tuple[Container, float]]] = {}
    for endpoint, share in chosen:
        tier = tier_of(topology.distance(client.node, endpoint.node))
        by_tier.setdefault(tier, []).append((endpoint, share))
    groups = [
        _Group(
            outbound_cluster(service.name, port.number, tier=tier),
            by_tier[tier],
            sum(share for _, share in by_tier[tier]),
        )
        for tier in TIERS
        if tier in by_tier
    ]
    return _piece(topology, client, service, port, groups)


def _piece(
    topology: Topology, client: Container, service: Service, port: Port, groups: Sequence[_Group]
) -> ServicePiece:
    balancing: Balancing = "least-request" if service.policy.routing == "imbalance-aware" else "round-robin"
    resources = []
    for group in groups:
        body = outbound_cluster_bytes(group.cluster, port.protocol, managed=True, balancing=balancing)
        resources.append(resource(CDS, group.cluster, body, refers=((EDS, group.cluster),)))
        weights = integer_weights([share for _, share in group.endpoints])
        endpoints = [endpoint for endpoint, _ in group.endpoints]
        spare = standbys(topology, client, service.containers, used=endpoints)
        weighted = list(zip(endpoints, weights, strict=True))
        body = load_assignment_bytes(topology, group.cluster, port.number, weighted, spare)
        resources.append(resource(EDS, group.cluster, body))
    parts = [max(1, round(group.part * HEAVIEST)) for group in groups]
    split = [(group.cluster, part) for group, part in zip(groups, parts, strict=True)]
    return _with_way_in(client, service, port, resources, split)


def _with_way_in(
    client: Container, service: Service, port: Port, resources: Iterable[Resource], split: Sequence[tuple[str, int]]
) -> ServicePiece:
    if port.protocol == "tcp":
        name = f"{client.address}_{port.outbound_port}"
        body = tcp_listener_bytes(name, client.address, port.outbound_port, cluster=split[0][0])
        return ServicePiece((*resources, resource(LDS, name, body, refers=((CDS, split[0][0]),))))
    same_namespace = client.namespace == service.namespace
    host = virtual_host_bytes(service, port, split, same_namespace=same_namespace)
    return ServicePiece(tuple(resources), host, tuple(cluster for cluster, _ in split))
