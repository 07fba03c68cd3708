"""Packets to bytes per link."""

from __future__ import annotations

from enforcer.packet_headers import Packet
from enforcer.packet_tally import FRAGMENTED_AT_ONCE, PacketTally
from mesh.link_measurement import LinkBytes

ME, PEER = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])


def sent(payload: int, *, port: int = 40000, to: int = 80, opens: bool = False) -> Packet:
    return Packet(ME, PEER, 6, payload + 40, payload, port, to, ports_known=True, opens=opens)


def received(payload: int, *, port: int = 40000, at: int = 80, opens: bool = False) -> Packet:
    return Packet(PEER, ME, 6, payload + 40, payload, at, port, ports_known=True, opens=opens)


def fragment(payload: int, *, of: int, first: bool = False) -> Packet:
    ports = (40005, 53) if first else (0, 0)
    return Packet(ME, PEER, 17, payload, payload, *ports, ports_known=first, fragment_of=of)


def test_both_directions_of_a_connection_are_one_link() -> None:
    """Sent and received meet under the peer and the server's port."""
    tally = PacketTally()
    tally.add(sent(100), outgoing=True)
    tally.add(received(900), outgoing=False)
    assert tally.links() == (LinkBytes("10.0.0.2", 80, "client", 100, 900, 1),)


def test_the_syn_tells_who_is_the_server() -> None:
    """Even where both ports are high or the client's is the lower one."""
    tally = PacketTally()
    tally.add(received(0, port=50000, at=1000, opens=True), outgoing=False)
    tally.add(received(10, port=50000, at=1000), outgoing=False)
    assert tally.links() == (LinkBytes("10.0.0.2", 50000, "server", 0, 10, 1),)


def test_served_ports_tell_it_for_older_connections() -> None:
    """No SYN was seen, but the container listens on the port."""
    tally = PacketTally(served={45000})
    tally.add(received(10, port=45000, at=80), outgoing=False)
    assert [(link.port, link.side) for link in tally.links()] == [(45000, "server")]


def test_without_either_the_ephemeral_port_is_the_clients() -> None:
    """The last resort; of two alike, the lower one is served."""
    tally = PacketTally()
    tally.add(sent(10, port=40000, to=8080), outgoing=True)
    tally.add(sent(10, port=9090, to=50000), outgoing=True)
    tally.add(sent(10, port=3000, to=4000), outgoing=True)
    assert [(link.port, link.side) for link in tally.links()] == [(3000, "server"), (8080, "client"), (9090, "server")]


def test_fragments_count_to_the_connection_of_their_first() -> None:
    """Later fragments have no ports of their own."""
    tally = PacketTally()
    tally.add(fragment(1472, of=7, first=True), outgoing=True)
    tally.add(fragment(1480, of=7), outgoing=True)
    assert [(link.port, link.bytes_sent) for link in tally.links()] == [(53, 2952)]
    assert tally.unattributed_bytes == 0


def test_fragments_without_their_first_count_to_the_peer_only() -> None:
    """Port 0, side unknown, and the bytes are said to be unattributed."""
    tally = PacketTally()
    tally.add(fragment(1480, of=8), outgoing=True)
    assert tally.links() == (LinkBytes("10.0.0.2", 0, "unknown", 1480, 0, 1),)
    assert tally.unattributed_bytes == 1480


def test_the_memory_for_fragments_is_bounded() -> None:
    """A flood of first fragments pushes out the oldest."""
    tally = PacketTally()
    for identity in range(FRAGMENTED_AT_ONCE + 1):
        tally.add(fragment(1, of=identity, first=True), outgoing=True)
    tally.add(fragment(5, of=0), outgoing=True)
    tally.add(fragment(5, of=FRAGMENTED_AT_ONCE), outgoing=True)
    assert tally.unattributed_bytes == 5


def test_other_protocols_and_multicast_are_no_links() -> None:
    """ICMP, neighbour discovery and routing chatter have no peer container."""
    tally = PacketTally()
    tally.add(Packet(ME, PEER, 1, 84, 64), outgoing=True)
    tally.add(Packet(ME, bytes([224, 0, 0, 251]), 17, 84, 64, 5353, 5353, ports_known=True), outgoing=True)
    assert (tally.links(), tally.others) == ((), 2)
