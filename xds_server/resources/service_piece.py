"""One called service port's part of a client's configuration: clusters, endpoints, and the way in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from mesh.listeners import tcp_outbound
from mesh.plan import ServicePlan
from mesh.standby import TIERS, Tier, standbys, tier_of
from mesh.topology import Container, ContainerName, Port, Protocol, Service, Topology
from xds_server.resources.clusters import Balancing, outbound_cluster_bytes
from xds_server.resources.config_source import Transport
from xds_server.resources.endpoints import HEAVIEST, EndpointFrame, integer_weights
from xds_server.resources.istio_frame import IstioFrame
from xds_server.resources.listeners import tcp_listener_bytes
from xds_server.resources.names import CDS, EDS, LDS, outbound_cluster
from xds_server.resources.routes import virtual_host_bytes
from xds_server.snapshot import Resource, resource


class ServicePiece(NamedTuple):
    """Resources of its own, and what it adds to the client's route configuration."""

    resources: tuple[Resource, ...]
    virtual_host: bytes = b""
    route_clusters: tuple[str, ...] = ()


class Way(NamedTuple):
    """From which client to which service port, in which mesh, over which transport.

    ``frame`` holds the service port's endpoints, ``spares`` the standbys chosen before, by cluster, with what was in
    use then: choosing them anew costs more than everything else while weights alone change.
    """

    topology: Topology
    client: Container
    service: Service
    port: Port
    frame: EndpointFrame
    spares: dict[str, tuple[tuple[bool, ...], tuple[int, ...]]]
    transport: Transport = "delta"

    def cluster(self, tier: Tier | None = None) -> str:
        return outbound_cluster(self.service.name, self.port.number, tier=tier)


class PlannedWeights:
    """A service plan's shares as integer weights, in the order of a frame; made once for all clients."""

    def __init__(self, plan: ServicePlan, frame: EndpointFrame | IstioFrame) -> None:
        self.plan = plan
        known = [(j, frame.position[name]) for j, name in enumerate(plan.shares.endpoints) if name in frame.position]
        columns, positions = [j for j, _ in known], [position for _, position in known]
        self._fractions = np.zeros((len(plan.shares.clients), len(frame.names)))
        self._fractions[:, positions] = plan.shares.fractions[:, columns]
        self._weights = integer_weights(self._fractions)
        self._row_of = {client: i for i, client in enumerate(plan.shares.clients)}

    def row(self, client: ContainerName) -> list[int]:
        """Return a client's weights by position; all 0 for one that the plan does not know."""
        i = self._row_of.get(client)
        row: list[int] = self._weights[i].tolist() if i is not None else [0] * self._weights.shape[1]
        return row

    def part(self, client: ContainerName, first: int, last: int) -> float:
        """Return a client's share to the endpoints from position ``first`` to before ``last``."""
        return float(self._fractions[self._row_of[client], first:last].sum())


class _Group(NamedTuple):
    """The endpoints behind one cluster: of which groups of the frame, and the client's share to them."""

    cluster: str
    groups: tuple[int, ...]
    part: float


def service_piece(way: Way, planned: PlannedWeights | None) -> ServicePiece:
    """Return the part of a client's configuration that leads to one port of a service.

    Without a plan (not managed, observed only, or no endpoints): all endpoints, equal weights, one cluster.
    """
    plan = planned.plan if planned is not None else None
    if planned is None or plan is None or not plan.applied or plan.programming == "istio-native":
        return _plain(way)
    row = planned.row(way.client.name)
    if not any(row):  # a client that came after the plan was made, or one without an endpoint left
        return _plain(way)
    if plan.programming == "weighted-clusters" and way.port.protocol != "tcp":
        return _piece(way, row, _tiers(way, row, planned))
    return _piece(way, row, [_Group(way.cluster(), tuple(range(len(way.frame.nodes))), 1.0)])


def _plain(way: Way) -> ServicePiece:
    name = way.cluster()
    body, load = way.frame.assignment(name, [1] * len(way.frame.names))
    # The source may say that a service has no endpoints; a plan may not take a client's last one away.
    assignment = resource(EDS, name, body, may_be_empty=not way.service.containers, load=load)
    return _with_way_in(way, [_cluster(way, name, managed=False), assignment], [(name, 1)])


def _tiers(way: Way, row: Sequence[int], planned: PlannedWeights) -> list[_Group]:
    by_tier: dict[Tier, list[int]] = {}
    for group, node in enumerate(way.frame.nodes):
        first, last = way.frame.bounds[group]
        if any(row[first:last]):
            by_tier.setdefault(tier_of(way.topology.distance(way.client.node, node)), []).append(group)
    found = []
    for tier in TIERS:
        if tier in by_tier:
            parts = (planned.part(way.client.name, *way.frame.bounds[group]) for group in by_tier[tier])
            found.append(_Group(way.cluster(tier), tuple(by_tier[tier]), sum(parts)))
    return found


def _piece(way: Way, row: list[int], groups: Sequence[_Group]) -> ServicePiece:
    resources = []
    for group in groups:
        resources.append(_cluster(way, group.cluster, managed=True))
        spares = _spares(way, row, group)
        groups_used = group.groups if len(group.groups) < len(way.frame.nodes) else None
        body, load = way.frame.assignment(group.cluster, row, spares, groups=groups_used)
        resources.append(resource(EDS, group.cluster, body, load=load))
    split = [(group.cluster, max(1, round(group.part * HEAVIEST))) for group in groups]
    return _with_way_in(way, resources, split)


def _spares(way: Way, row: Sequence[int], group: _Group) -> tuple[int, ...]:
    frame = way.frame
    used = tuple(map(bool, row))
    if len(group.groups) < len(frame.nodes):
        used = tuple(is_used and frame.group_of[p] in group.groups for p, is_used in enumerate(used))
    known = way.spares.get(group.cluster)
    if known is None or known[0] != used:
        containers = way.topology.container_by_name
        taken = [containers[name] for name, is_used in zip(frame.names, used, strict=True) if is_used]
        chosen = standbys(way.topology, way.client, way.service.containers, used=taken)
        known = (used, tuple(frame.position[container.name] for container in chosen))
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
    name = f"{client.listens_on}_{port.outbound_port}"
    body = tcp_listener_bytes(name, client.listens_on, port.outbound_port, cluster=split[0][0])
    return ServicePiece((*resources, resource(LDS, name, body, refers=((CDS, split[0][0]),))))
