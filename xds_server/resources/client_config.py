"""A client's whole configuration: from topology and plan to its snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mesh.plan import Plan, ServicePlan
from mesh.topology import Container, ContainerName, Port, Service, ServicePort, Topology
from xds_server.resources.clusters import inbound_cluster_bytes
from xds_server.resources.config_source import Transport
from xds_server.resources.endpoints import EndpointFrame
from xds_server.resources.listeners import inbound_listener_bytes, outbound_listener_bytes
from xds_server.resources.names import CDS, LDS, OUTBOUND_ROUTES, RDS, inbound_cluster
from xds_server.resources.routes import route_configuration_bytes
from xds_server.resources.service_piece import ServicePiece, Way, service_piece
from xds_server.snapshot import Resource, Snapshot, resource, snapshot


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
        if predecessor is not None and predecessor.topology is topology and predecessor.pinned == self.pinned:
            # Shared, not copied: who asks an older one again only makes the newer one build a piece anew.
            self._clients, self._frames = predecessor._clients, predecessor._frames

    def snapshot(self, client: Container, *, inbound: bool = True, transport: Transport = "delta") -> Snapshot:
        """Return what the sidecar of ``client`` should have; the same object as before where nothing has changed.

        ``inbound`` is False for a sidecar whose bootstrap already holds its inbound listener.
        """
        key = (client.name, transport, inbound)
        known = self._clients.get(key)
        if known is None:
            known = self._clients[key] = _Client(self._own(client, inbound=inbound, transport=transport))
        pieces = [self._piece(known, client, *wanted, transport) for wanted in self._called(client)]
        return known.joined(pieces, calls=bool(self.topology.servers_of[client.service]))

    def piece_of(self, client: Container, service_port: ServicePort, transport: Transport) -> ServicePiece | None:
        """Return a client's piece as of this configuration; None where it did not have the client or the port then."""
        then = self.topology.container_by_name.get(client.name)
        if then is None:
            return None
        wanted = next((one for one in self._called(then) if one[0].service_port(one[1]) == service_port), None)
        return None if wanted is None else self._piece(_Client(()), then, *wanted, transport)

    def _called(self, client: Container) -> Iterator[tuple[Service, Port]]:
        for server in self.topology.servers_of[client.service]:
            service = self.topology.service_by_name[server]
            for port in service.ports:
                yield service, port

    def _piece(
        self, known: _Client, client: Container, service: Service, port: Port, transport: Transport
    ) -> ServicePiece:
        service_port = ServicePort(service.name, port.number)
        earlier = self.pinned.get(service_port)
        if earlier is not None:
            piece = earlier.piece_of(client, service_port, transport)
            if piece is not None:
                return piece
        plan = self.plan.services.get(service_port)
        before = known.pieces.get(service_port)
        if before is not None and before[0] is plan:
            return before[1]
        spares = known.spares.setdefault(service_port, {})
        way = Way(self.topology, client, service, port, self._frame(service, service_port), spares, transport)
        piece = service_piece(way, plan)
        known.pieces[service_port] = (plan, piece)
        return piece

    def _frame(self, service: Service, service_port: ServicePort) -> EndpointFrame:
        frame = self._frames.get(service_port)
        if frame is None:
            frame = EndpointFrame(self.topology, service.containers, service_port.port)
            self._frames[service_port] = frame
        return frame

    def _own(self, client: Container, *, inbound: bool, transport: Transport) -> tuple[Resource, ...]:
        """Return what no plan changes: the client's own listeners, and the cluster of its app."""
        own = list(_inbound(self.topology, client)) if inbound else []
        if self.topology.servers_of[client.service]:
            body = outbound_listener_bytes(client.address, client.outbound_port, transport=transport)
            own.append(resource(LDS, "outbound", body, refers=((RDS, OUTBOUND_ROUTES),)))
        return tuple(own)


class _Client:
    """What was built for one client: its pieces by service port, and the snapshot that they made."""

    def __init__(self, own: tuple[Resource, ...]) -> None:
        self._own = own
        self.pieces: dict[ServicePort, tuple[ServicePlan | None, ServicePiece]] = {}
        self.spares: dict[ServicePort, dict[str, tuple[tuple[ContainerName, ...], tuple[int, ...]]]] = {}
        self._joined: list[ServicePiece] = []
        self._hosts: list[bytes] = []
        self._routes: Resource | None = None
        self._snapshot: Snapshot | None = None

    def joined(self, pieces: list[ServicePiece], *, calls: bool) -> Snapshot:
        """Return the snapshot of these pieces and the client's own resources."""
        if self._snapshot is not None and list(map(id, pieces)) == list(map(id, self._joined)):
            return self._snapshot
        resources = [one for piece in pieces for one in piece.resources]
        if calls:
            resources.append(self._route_configuration(pieces))
        self._joined = pieces
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
