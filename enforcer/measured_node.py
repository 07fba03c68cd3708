"""Which containers' links this role can measure, and how: from the kernel's sockets, then from packets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from enforcer.errors import UnsupportedError
from enforcer.host import Host
from enforcer.measuring_thread import nobody
from enforcer.network_namespace import ContainerNetwork, as_enforcer_error
from enforcer.packet_capture import PacketCapture
from enforcer.socket_counters import SocketCounters
from mesh.link_measurement import LinkMeasurer
from mesh.topology import Container, ContainerName, NodeName, ServiceName


class HostLinks:
    """The containers of a host as something to measure. ``on_open`` is called once a window is open."""

    def __init__(self, host: Host, *, on_open: Callable[[], None] = nobody) -> None:
        self._host = host
        self.measurers: Sequence[LinkMeasurer] = (
            SocketCounters(self._network_of, on_open=on_open),
            PacketCapture(self._network_of, on_open=on_open),
        )

    def find(self, name: str) -> Container | None:
        """Return a container of this host, or None."""
        try:
            found = self._host.find(ContainerName(name))
        except (LookupError, OSError):
            return None
        return None if found is None or found.pid is None else _container(found.name)

    def _network_of(self, container: Container) -> ContainerNetwork | None:
        found = self._host.find(container.name)
        if found is None or found.pid is None:
            return None
        try:
            is_everybodys = self._host.is_on_host_network(found.pid)
        except OSError as error:
            raise as_enforcer_error(error, f"network of {container.name}") from error
        if is_everybodys:
            raise UnsupportedError(f"{container.name} uses the host's own network: all of the node's links are there")
        return ContainerNetwork(Path(self._host.paths.proc, str(found.pid), "ns", "net"))


def _container(name: ContainerName) -> Container:
    return Container(name=name, service=ServiceName(""), node=NodeName(""), address="")
