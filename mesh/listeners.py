"""Who binds which port on a container's address: the sidecar's listeners, the app behind it, TCP services' ports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mesh.errors import BadInputError
from mesh.topology import Container, Port, Service, Topology

PROMETHEUS_PORT = 15090


class Bound(NamedTuple):
    """One port on one container's address: the place in the mesh file that says so, its number, and what it is for."""

    path: str
    port: int
    use: str


def tcp_outbound(topology: Topology, client: Service) -> tuple[tuple[Service, Port], ...]:
    """Return the TCP ports that each sidecar of ``client`` listens for, in the order of the source.

    Where the source knows no calls, everyone may call everyone, but nobody calls itself over TCP: a database's own
    sidecar would otherwise listen on the port that the database is on.
    """
    servers = topology.servers_of[client.name]
    return tuple(
        (topology.service_by_name[server], port)
        for server in servers
        if topology.calls is not None or server != client.name
        for port in topology.service_by_name[server].ports
        if port.outbound_port
    )


def refuse_clashes(topology: Topology) -> None:
    """Refuse a mesh in which two listeners would bind one port of one address.

    Raises
    ------
    BadInputError
        names the later of the two, in the order inbound, app, outbound, TCP services.
    """
    index = {service.name: i for i, service in enumerate(topology.services)}
    for i, service in enumerate(topology.services):
        outbound = [
            Bound(_outbound_path(f"services[{index[server.name]}]", server, port), port.outbound_port, str(server.name))
            for server, port in tcp_outbound(topology, service)
        ]
        for j, container in enumerate(service.containers):
            _refuse_clash(container, [*_own(container, f"services[{i}].containers[{j}]"), *outbound])


def _own(container: Container, path: str) -> Iterator[Bound]:
    several = "s" if len(container.ports) > 1 else ""
    for number, port in container.ports.items():
        yield Bound(f"{path}.port{several}", port, f"service port {number}")
    for number, port in container.app_ports.items():
        yield Bound(f"{path}.app_port{several}", port, f"the app's port {number}")
    yield Bound(f"{path}.outbound_port", container.outbound_port, "the sidecar's outbound listener")


def _outbound_path(path: str, service: Service, port: Port) -> str:
    return f"{path}.ports[{service.ports.index(port)}].outbound_port" if port.name else f"{path}.outbound_port"


def _refuse_clash(container: Container, bounds: list[Bound]) -> None:
    seen = {PROMETHEUS_PORT: "the sidecar's Prometheus statistics"}
    for bound in bounds:
        if bound.port in seen:
            allowed = f"a port that nothing else on {container.address} uses (taken: {seen[bound.port]})"
            raise BadInputError(bound.path, bound.port, allowed)
        seen[bound.port] = bound.use
