"""Sum captured packets into bytes per link. Pure: packets in, links out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from enforcer.packet_headers import TCP, UDP, Packet
from enforcer.socket_deltas import address_text
from mesh.link_measurement import LinkBytes, Side

FRAGMENTED_AT_ONCE = 1024  # datagrams whose ports are remembered for their later fragments
FIRST_EPHEMERAL_PORT = 32768  # net.ipv4.ip_local_port_range, its default

_Flow = tuple[bytes, int, int]  # remote address, local port, remote port


@dataclass(slots=True)
class _Sums:
    sent: int = 0
    received: int = 0
    side: Side = "unknown"


@dataclass(slots=True)
class PacketTally:
    """TCP and UDP packets so far, by connection. ``served`` are ports known to be listened on; empty means unknown.

    Packets of other protocols and to many receivers belong to no link and count as ``others``. ``unattributed_bytes``
    are later fragments whose first fragment was not seen: counted to the peer, port 0.
    """

    served: Collection[int] = frozenset()
    packets: int = 0
    others: int = 0
    ip_bytes: int = 0
    unattributed_bytes: int = 0
    _flows: dict[_Flow, _Sums] = field(default_factory=dict)
    _fragmented: OrderedDict[tuple[bytes, bytes, int, int], tuple[int, int]] = field(default_factory=OrderedDict)

    def add(self, packet: Packet, *, outgoing: bool) -> None:
        """Count ``packet``, which left the container if ``outgoing`` and entered it otherwise. O(1)."""
        if packet.protocol not in (TCP, UDP) or _is_multicast(packet.destination):
            self.others += 1
            return
        source_port, destination_port = self._ports(packet)
        if outgoing:
            flow = (packet.destination, source_port, destination_port)
        else:
            flow = (packet.source, destination_port, source_port)
        sums = self._flows.get(flow)
        if sums is None:
            sums = self._flows[flow] = _Sums()
        if outgoing:
            sums.sent += packet.payload_bytes
        else:
            sums.received += packet.payload_bytes
        if packet.opens:
            sums.side = "client" if outgoing else "server"
        self.packets += 1
        self.ip_bytes += packet.ip_bytes

    def links(self) -> tuple[LinkBytes, ...]:
        """Return the sums per peer, server port and side. O(connections)."""
        merged: dict[tuple[bytes, int, Side], list[int]] = {}
        for (remote, local_port, remote_port), sums in self._flows.items():
            if not sums.sent and not sums.received:
                continue
            side = sums.side if sums.side != "unknown" else self._side(local_port, remote_port)
            port = local_port if side == "server" else remote_port
            link = merged.setdefault((remote, port, side), [0, 0, 0])
            link[0] += sums.sent
            link[1] += sums.received
            link[2] += 1
        return tuple(_as_links(merged))

    def _ports(self, packet: Packet) -> tuple[int, int]:
        if packet.fragment_of is None:
            return packet.source_port, packet.destination_port
        datagram = (packet.source, packet.destination, packet.protocol, packet.fragment_of)
        if packet.ports_known:
            self._fragmented[datagram] = (packet.source_port, packet.destination_port)
            if len(self._fragmented) > FRAGMENTED_AT_ONCE:
                self._fragmented.popitem(last=False)
            return packet.source_port, packet.destination_port
        ports = self._fragmented.get(datagram)
        if ports is None:
            self.unattributed_bytes += packet.payload_bytes
            return 0, 0
        return ports

    def _side(self, local_port: int, remote_port: int) -> Side:
        """Guess who opened a connection that stood before the capture began."""
        if local_port == 0 and remote_port == 0:
            return "unknown"
        if self.served:
            return "server" if local_port in self.served else "client"
        local_ephemeral, remote_ephemeral = local_port >= FIRST_EPHEMERAL_PORT, remote_port >= FIRST_EPHEMERAL_PORT
        if local_ephemeral == remote_ephemeral:
            return "server" if local_port < remote_port else "client"
        return "client" if local_ephemeral else "server"


def _is_multicast(address: bytes) -> bool:
    return address[0] == 0xFF if len(address) == 16 else address[0] >= 0xE0


def _as_links(merged: dict[tuple[bytes, int, Side], list[int]]) -> Iterator[LinkBytes]:
    for (remote, port, side), (sent, received, connections) in sorted(merged.items()):
        yield LinkBytes(address_text(remote), port, side, sent, received, connections)
