"""A client's whole configuration: from topology and plan to its snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mesh.plan import Plan
from mesh.topology import Container, Port, Service, ServiceName, ServicePort, Topology
from xds_server.resources.clusters import inbound_cluster_bytes
from xds_server.resources.config_source import Transport
from xds_server.resources.endpoints import EndpointFrame
from xds_server.resources.istio_endpoints import IstioEndpoints
from xds_server.resources.listeners import inbound_listener_bytes, outbound_listener_bytes
from xds_server.resources.names import CDS, LDS, OUTBOUND_ROUTES, RDS, inbound_cluster
from xds_server.resources.routes import route_configuration_bytes
from xds_server.resources.service_piece import PlannedWeights, ServicePiece, Way, service_piece
from xds_server.snapshot import Resource, Snapshot, resource, snapshot

Spares = dict[str, tuple[tuple[bool, ...], tuple[int, ...]]]


class ClientConfigs:
    """Builds the snapshots of all clients of one topology and one plan.

    Pieces of the predecessor are taken over where neither the topology nor the service's plan has changed, so that a
    change of one service costs only its own clients' pieces.

    Parameters
    ----------
    pinned:
        Service ports whose pieces come from an earlier configuration, because proxies refused the present one.
    """

    def __init__(
        self,
        topology: Topology,
        plan: Plan,
        *,
        predecessor: ClientConfigs | None = None,
        pinned: Mapping[ServicePort, ClientConfigs] | None = None,
    ) -> None:
        self.topology, self.plan = topology, plan
        self.pinned = dict(pinned or {})
        self._clients: dict[tuple[str, Transport, bool], _Client] = {}
        self._frames: dict[ServicePort, EndpointFrame] = {}
        self._planned: dict[ServicePort, PlannedWeights] = {}
        self._called_by: dict[ServiceName, tuple[_Called, ...]] = {}
        self.istio: IstioEndpoints = IstioEndpoints(
            topology,
            plan,
            predecessor=None if predecessor is None else predecessor.istio,
            pinned={service_port: earlier.istio for service_port, earlier in self.pinned.items()},
        )
        if predecessor is not None and predecessor.topology is topology and predecessor.pinned == self.pinned:
            # Shared, not copied: who asks an older one again only makes the newer one build a piece anew.
            self._clients, self._frames = predecessor._clients, predecessor._frames
            self._planned = predecessor._planned

    def snapshot(self, client: Container, *, inbound: bool = True, transport: Transport = "delta") -> Snapshot:
        """Return what the sidecar of ``client`` should have; the same object as before where nothing has changed.

        ``inbound`` is False for a sidecar whose bootstrap already holds its inbound listener.
        """
        key = (client.name, transport, inbound)
        known = self._clients.get(key)
        called = self._called(client.service)
        if known is None:
            own = self._own(client, inbound=inbound, transport=transport)
            known = self._clients[key] = _Client(own, len(called))
        for i, one in enumerate(called):
            # What is pinned comes from another configuration, which answers for itself.
            if known.made_for[i] is not one.planned or one.earlier is not None or known.pieces[i] is None:
                known.pieces[i] = self._piece(client, one, known.spares[i], transport)
                known.made_for[i] = one.planned
        return known.joined(calls=bool(self.topology.servers_of[client.service]))

    def piece_of(self, client: Container, service_port: ServicePort, transport: Transport) -> ServicePiece | None:
        """Return a client's piece as of this configuration; None where it did not have the client or the port then."""
        then = self.topology.container_by_name.get(client.name)
        if then is None:
            return None
        wanted = next((one for one in self._called(then.service) if one.service_port == service_port), None)
        return None if wanted is None else self._piece(then, wanted, {}, transport)

    def _called(self, service: ServiceName) -> tuple[_Called, ...]:
        """Return what the containers of a service call; the same for all of them."""
        called = self._called_by.get(service)
        if called is None:
            servers = (self.topology.service_by_name[name] for name in self.topology.servers_of[service])
            called = tuple(self._call(server, port) for server in servers for port in server.ports)
            self._called_by[service] = called
        return called

    def _call(self, server: Service, port: Port) -> _Called:
        service_port = server.service_port(port)
        frame = self._frames.get(service_port)
        if frame is None:
            frame = self._frames[service_port] = EndpointFrame(self.topology, server.containers, port.number)
        plan = self.plan.services.get(service_port)
        planned = self._planned.get(service_port)
        if plan is None:
            planned = None
        elif planned is None or planned.plan is not plan:
            planned = self._planned[service_port] = PlannedWeights(plan, frame)
        return _Called(server, port, service_port, frame, planned, self.pinned.get(service_port))

    def _piece(self, client: Container, called: _Called, spares: Spares, transport: Transport) -> ServicePiece:
        if called.earlier is not None:
            piece = called.earlier.piece_of(client, called.service_port, transport)
            if piece is not None:
                return piece
        way = Way(self.topology, client, called.service, called.port, called.frame, spares, transport)
        return service_piece(way, called.planned)

    def _own(self, client: Container, *, inbound: bool, transport: Transport) -> tuple[Resource, ...]:
        """Return what no plan changes: the client's own listeners, and the cluster of its app."""
        own = list(_inbound(self.topology, client)) if inbound else []
        if self.topology.servers_of[client.service]:
            body = outbound_listener_bytes(client.listens_on, client.outbound_port, transport=transport)
            own.append(resource(LDS, "outbound", body, refers=((RDS, OUTBOUND_ROUTES),)))
        return tuple(own)


@dataclass(frozen=True, slots=True)
class _Called:
    """One service port that a client calls, with all that is the same for every client."""

    service: Service
    port: Port
    service_port: ServicePort
    frame: EndpointFrame
    planned: PlannedWeights | None
    earlier: ClientConfigs | None


class _Client:
    """What was built for one client: a piece for each service port that it calls, and the snapshot that they made."""

    def __init__(self, own: tuple[Resource, ...], calls: int) -> None:
        self._own = own
        self.pieces: list[ServicePiece | None] = [None] * calls
        self.made_for: list[PlannedWeights | None] = [None] * calls
        self.spares: list[Spares] = [{} for _ in range(calls)]
        self._joined: list[ServicePiece | None] = []
        self._hosts: list[bytes] = []
        self._routes: Resource | None = None
        self._snapshot: Snapshot | None = None

    def joined(self, *, calls: bool) -> Snapshot:
        """Return the snapshot of the pieces and the client's own resources."""
        if self._snapshot is not None and list(map(id, self.pieces)) == list(map(id, self._joined)):
            return self._snapshot
        pieces = [piece for piece in self.pieces if piece is not None]
        resources = [one for piece in pieces for one in piece.resources]
        if calls:
            resources.append(self._route_configuration(pieces))
        self._joined = self.pieces.copy()
        self._snapshot = snapshot([*resources, *self._own])
        return self._snapshot

    def _route_configuration(self, pieces: list[ServicePiece]) -> Resource:
        hosts = [piece.virtual_host for piece in pieces if piece.virtual_host]
        if self._routes is None or hosts != self._hosts:
            clusters = dict.fromkeys(name for piece in pieces for name in piece.route_clusters)
            refers = [(CDS, name) for name in clusters]
            self._routes = resource(RDS, OUTBOUND_ROUTES, route_configuration_bytes(hosts), refers=refers)
            self._hosts = hosts
        return self._routes


def _inbound(topology: Topology, client: Container) -> Iterator[Resource]:
    for port in topology.service_by_name[client.service].ports:
        if port.number not in client.app_ports:
            continue
        name, own_port = inbound_cluster(port.number), client.ports[port.number]
        app_port = client.app_ports[port.number]
        body = inbound_cluster_bytes(name, port.protocol, address=client.address, app_port=app_port)
        yield resource(CDS, name, body)
        listener = f"inbound|{port.number}"
        body = inbound_listener_bytes(listener, client.address, own_port, cluster=name, is_tcp=port.protocol == "tcp")
        yield resource(LDS, listener, body, refers=((CDS, name),))
