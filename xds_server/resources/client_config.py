"""A client's whole configuration: from topology and plan to its snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mesh.plan import Plan, ServicePlan
from mesh.topology import Container, Port, Service, ServicePort, Topology
from xds_server.resources.clusters import inbound_cluster_bytes
from xds_server.resources.config_source import Transport
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
        self._pieces: dict[tuple[str, ServicePort, Transport], tuple[ServicePlan | None, ServicePiece]] = {}
        if predecessor is not None and predecessor.topology is topology and predecessor.pinned == self.pinned:
            self._pieces = predecessor._pieces.copy()

    def snapshot(self, client: Container, *, inbound: bool = True, transport: Transport = "delta") -> Snapshot:
        """Return what the sidecar of ``client`` should have.

        ``inbound`` is False for a sidecar whose bootstrap already holds its inbound listener.
        """
        pieces = list(self._pieces_of(client, transport))
        resources = [one for piece in pieces for one in piece.resources]
        hosts = [piece.virtual_host for piece in pieces if piece.virtual_host]
        if self.topology.servers_of[client.service]:
            clusters = dict.fromkeys(name for piece in pieces for name in piece.route_clusters)
            refers = [(CDS, name) for name in clusters]
            resources.append(resource(RDS, OUTBOUND_ROUTES, route_configuration_bytes(hosts), refers=refers))
            body = outbound_listener_bytes(client.address, client.outbound_port, transport=transport)
            resources.append(resource(LDS, "outbound", body, refers=((RDS, OUTBOUND_ROUTES),)))
        if inbound:
            resources += _inbound(self.topology, client)
        return snapshot(resources)

    def _pieces_of(self, client: Container, transport: Transport) -> Iterator[ServicePiece]:
        for server in self.topology.servers_of[client.service]:
            service = self.topology.service_by_name[server]
            for port in service.ports:
                yield self._piece(client, service, port, transport)

    def _piece(self, client: Container, service: Service, port: Port, transport: Transport) -> ServicePiece:
        service_port = service.service_port(port)
        earlier = self.pinned.get(service_port)
        if earlier is not None:
            piece = earlier.piece_of(client, service_port, transport)
            if piece is not None:
                return piece
        key = (client.name, service_port, transport)
        plan = self.plan.services.get(service_port)
        known = self._pieces.get(key)
        if known is None or known[0] is not plan:
            known = (plan, service_piece(Way(self.topology, client, service, port, transport), plan))
            self._pieces[key] = known
        return known[1]

    def piece_of(self, client: Container, service_port: ServicePort, transport: Transport) -> ServicePiece | None:
        """Return a client's piece as of this configuration; None where it did not have the client or the port then."""
        then = self.topology.container_by_name.get(client.name)
        service = self.topology.service_by_name.get(service_port.service)
        if then is None or service is None or service.name not in self.topology.servers_of[then.service]:
            return None
        port = next((port for port in service.ports if port.number == service_port.port), None)
        return None if port is None else self._piece(then, service, port, transport)


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
