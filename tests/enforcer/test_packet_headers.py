"""Packets made byte by byte, whole and mutilated."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcer.errors import UnreadableAnswerError
from enforcer.packet_headers import ETH_P_8021AD, ETH_P_8021Q, ETH_P_IP, ETH_P_IPV6, Packet, parse_packet
from tests.enforcer.packet_bytes import ACK, SYN, ipv4, ipv6, tcp, udp


def read(data: bytes, ethertype: int = ETH_P_IP, *, wire_bytes: int = 0) -> Packet:
    return parse_packet(data, ethertype, wire_bytes=wire_bytes or len(data))


def test_tcp_over_ipv4() -> None:
    """Payload is what is left of IP's length behind both headers, options included."""
    packet = read(ipv4(tcp(40000, 80), payload=1448, options=8))
    assert (packet.source, packet.destination) == (bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]))
    assert (packet.source_port, packet.destination_port, packet.ports_known) == (40000, 80, True)
    assert (packet.payload_bytes, packet.ip_bytes, packet.opens) == (1448, 1508, False)


def test_tcp_over_ipv6() -> None:
    """IPv6's length leaves out its own header."""
    packet = read(ipv6(tcp(40000, 80), payload=100), ETH_P_IPV6)
    assert (packet.payload_bytes, packet.ip_bytes, packet.source[-1]) == (100, 40 + 32 + 100, 1)


def test_extension_headers_are_stepped_over() -> None:
    """Hop-by-hop, destination options and an authentication header before TCP."""
    hop, options = struct.pack(">BB6x", 60, 0), struct.pack(">BB14x", 51, 1)
    authentication = struct.pack(">BB22x", 6, 4)
    packet = read(ipv6(hop + options + authentication + tcp(1, 2), payload=7, next_header=0), ETH_P_IPV6)
    assert (packet.protocol, packet.destination_port, packet.payload_bytes) == (6, 2, 7)


def test_udp_counts_without_its_header() -> None:
    """Eight bytes of header."""
    packet = read(ipv4(udp(5, 53, payload=30), payload=30, protocol=17))
    assert (packet.payload_bytes, packet.destination_port) == (30, 53)


@pytest.mark.parametrize(("flags", "opens"), [(SYN, True), (SYN | ACK, False), (ACK, False)])
def test_only_a_bare_syn_opens(flags: int, opens: bool) -> None:
    """SYN with ACK is the server's answer."""
    assert read(ipv4(tcp(1, 2, flags=flags))).opens is opens


@pytest.mark.parametrize("tags", [(ETH_P_8021Q,), (ETH_P_8021AD, ETH_P_8021Q)])
def test_vlan_tags_are_stepped_over(tags: tuple[int, ...]) -> None:
    """One tag, or two (QinQ), in front of IP."""
    inner = b"".join(struct.pack(">HH", 5, ethertype) for ethertype in (*tags[1:], ETH_P_IP))
    assert read(inner + ipv4(tcp(1, 2), payload=9), tags[0]).payload_bytes == 9


def test_super_packets_take_the_length_of_the_wire() -> None:
    """Over 64 KiB the length field of IP holds 0."""
    assert read(ipv4(tcp(1, 2), total=0), wire_bytes=100_052).payload_bytes == 100_000
    assert read(ipv6(tcp(1, 2), length=0), ETH_P_IPV6, wire_bytes=100_072).payload_bytes == 100_000


def test_first_fragment_has_ports_and_later_ones_do_not() -> None:
    """Both name the datagram that they are part of."""
    first = read(ipv4(udp(5, 53, payload=2000), payload=1000, protocol=17, identity=77, flags=0x2000))
    later = read(ipv4(b"", payload=1000, protocol=17, identity=77, flags=1008 // 8))
    assert (first.ports_known, first.payload_bytes, first.fragment_of) == (True, 1000, 77)
    assert (later.ports_known, later.payload_bytes, later.fragment_of) == (False, 1000, 77)


def test_ipv6_fragments() -> None:
    """The fragment header holds offset and identity; a later fragment's payload is no TCP header."""
    first = struct.pack(">BxHI", 17, 0x0001, 99) + udp(5, 53, payload=2000)
    later = struct.pack(">BxHI", 17, 1008, 99)
    head = read(ipv6(first, payload=1000, next_header=44), ETH_P_IPV6)
    tail = read(ipv6(later, payload=500, next_header=44), ETH_P_IPV6)
    assert (head.fragment_of, head.payload_bytes, head.destination_port) == (99, 1000, 53)
    assert (tail.fragment_of, tail.payload_bytes, tail.ports_known) == (99, 500, False)


@pytest.mark.parametrize("length", [0, 10, 19, 20, 25, 33])
def test_a_packet_cut_before_its_ports_is_refused(length: int) -> None:
    """Typed, never an index error."""
    with pytest.raises(UnreadableAnswerError):
        read(ipv4(tcp(1, 2), payload=9)[:length], wire_bytes=1000)


@pytest.mark.parametrize(
    "data",
    [b"\x65" + ipv4(tcp(1, 2))[1:], b"\x44" + ipv4(tcp(1, 2))[1:], ipv4(tcp(1, 2), total=19)],
    ids=["version", "header", "length"],
)
def test_a_packet_that_contradicts_itself_is_refused(data: bytes) -> None:
    """Another version, a header shorter than the shortest, a total shorter than the header."""
    with pytest.raises(UnreadableAnswerError):
        read(data)


@given(
    st.binary(max_size=160),
    st.sampled_from([ETH_P_IP, ETH_P_IPV6, ETH_P_8021Q, ETH_P_8021AD, 0, 0x0806]),
    st.integers(0, 1 << 20),
)
def test_any_bytes_are_read_or_refused(data: bytes, ethertype: int, wire_bytes: int) -> None:
    """Nothing but the room's own error, and no negative count."""
    try:
        packet = parse_packet(data, ethertype, wire_bytes=wire_bytes)
    except UnreadableAnswerError:
        return
    assert packet.payload_bytes >= 0


@given(
    st.sampled_from(
        [
            (ipv4(tcp(1, 2), payload=9, options=8), ETH_P_IP),
            (ipv6(struct.pack(">BxHI", 6, 1, 9) + tcp(1, 2), payload=9, next_header=44), ETH_P_IPV6),
        ]
    ),
    st.integers(0, 90),
    st.lists(st.tuples(st.integers(0, 90), st.integers(0, 255)), max_size=6),
)
def test_mutilated_packets_are_read_or_refused(
    good: tuple[bytes, int], cut: int, changes: list[tuple[int, int]]
) -> None:
    """A good packet, cut anywhere and with bytes changed."""
    data = bytearray(good[0])
    for place, value in changes:
        data[place % len(data)] = value
    try:
        packet = parse_packet(bytes(data[:cut]), good[1], wire_bytes=1500)
    except UnreadableAnswerError:
        return
    assert 0 <= packet.payload_bytes <= max(packet.ip_bytes, 1500)
