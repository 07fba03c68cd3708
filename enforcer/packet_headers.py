"""The headers of one captured packet, from the network layer on: who, to whom, how many bytes. Pure parsing.

Sources: RFC 791 (IPv4), RFC 8200 (IPv6 and its extension headers), RFC 9293 (TCP), RFC 768 (UDP), RFC 2675
(jumbograms), IEEE 802.1Q. Lengths come from the headers: only the first bytes of a packet are captured.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from enforcer.errors import UnreadableAnswerError

ETH_P_IP, ETH_P_IPV6, ETH_P_8021Q, ETH_P_8021AD = 0x0800, 0x86DD, 0x8100, 0x88A8
TCP, UDP = 6, 17
VLAN_TAGS = 2  # QinQ; deeper stacks are not the kernel's to make
EXTENSION_HEADERS = 8

_HOP_BY_HOP, _ROUTING, _FRAGMENT, _DESTINATION, _AUTHENTICATION = 0, 43, 44, 60, 51
_EXTENSIONS = frozenset({_HOP_BY_HOP, _ROUTING, _DESTINATION, _AUTHENTICATION})
_PORTS = struct.Struct(">HH")
_VLAN = struct.Struct(">HH")
_IPV4 = struct.Struct(">BxHHHxBxx4s4s")
_IPV6 = struct.Struct(">IHBx16s16s")
_IPV6_FRAGMENT = struct.Struct(">BxHI")


@dataclass(frozen=True, slots=True)
class Packet:
    """One IP packet. ``payload_bytes`` is what TCP or UDP carried, or, of anything else, what IP carried.

    ``ports_known`` is False for a later fragment and for protocols without ports; ``fragment_of`` then names the
    fragmented datagram (or is None), as it does for the first fragment, which has the ports.
    """

    source: bytes
    destination: bytes
    protocol: int
    ip_bytes: int
    payload_bytes: int
    source_port: int = 0
    destination_port: int = 0
    ports_known: bool = False
    opens: bool = False  # a SYN without ACK: the source is the client
    fragment_of: int | None = None


@dataclass(frozen=True, slots=True)
class _Network:
    """What the network layer says of its payload."""

    source: bytes
    destination: bytes
    protocol: int
    ip_bytes: int
    payload_at: int
    fragment_offset: int
    fragment_of: int | None


def parse_packet(data: bytes | memoryview, ethertype: int, *, wire_bytes: int) -> Packet:
    """Return what the headers in ``data`` say.

    Parameters
    ----------
    data:
        The packet from its network header on, cut off anywhere.
    ethertype:
        The protocol of ``data``; VLAN tags that the card did not strip are stepped over.
    wire_bytes:
        The whole length of the packet; stands in where the IP header's own length field is too small for it
        (segmentation offload with jumbo sizes).

    Raises
    ------
    UnreadableAnswerError
        for what is neither IPv4 nor IPv6, or is cut off before the ports, or contradicts itself.
    """
    offset = 0
    for _ in range(VLAN_TAGS):
        if ethertype not in (ETH_P_8021Q, ETH_P_8021AD):
            break
        _need(data, offset + _VLAN.size)
        _, ethertype = _VLAN.unpack_from(data, offset)
        offset += _VLAN.size
    if ethertype == ETH_P_IP:
        network = _ipv4(data, offset, wire_bytes - offset)
    elif ethertype == ETH_P_IPV6:
        network = _ipv6(data, offset, wire_bytes - offset)
    else:
        raise UnreadableAnswerError(f"packet: found ethertype {ethertype:#06x}, allowed: IPv4 and IPv6")
    return _transport(data, offset, network)


def _need(data: bytes | memoryview, length: int) -> None:
    if len(data) < length:
        raise UnreadableAnswerError(f"packet: found {len(data)} bytes, allowed: at least {length}")


def _ipv4(data: bytes | memoryview, offset: int, wire_bytes: int) -> _Network:
    _need(data, offset + _IPV4.size)
    first, total, identity, flags, protocol, source, destination = _IPV4.unpack_from(data, offset)
    header = (first & 0x0F) * 4
    if first >> 4 != 4 or header < 20:
        raise UnreadableAnswerError(f"packet: found IPv4 first byte {first:#04x}, allowed: 0x45 to 0x4f")
    total = total or wire_bytes  # a super-packet over 64 KiB has 0 here
    if total < header:
        raise UnreadableAnswerError(f"packet: found IPv4 length {total}, allowed: at least {header}")
    fragmented = bool(flags & 0x3FFF)  # more-fragments, or an offset
    return _Network(
        source, destination, protocol, total, header, (flags & 0x1FFF) * 8, identity if fragmented else None
    )


def _ipv6(data: bytes | memoryview, offset: int, wire_bytes: int) -> _Network:
    _need(data, offset + _IPV6.size)
    first, length, next_header, source, destination = _IPV6.unpack_from(data, offset)
    if first >> 28 != 6:
        raise UnreadableAnswerError(f"packet: found IP version {first >> 28}, allowed: 6")
    total = length + _IPV6.size if length else max(wire_bytes, _IPV6.size)  # a jumbogram has 0 here
    at, fragment_offset, fragment_of = _IPV6.size, 0, None
    for _ in range(EXTENSION_HEADERS):
        if next_header == _FRAGMENT:
            _need(data, offset + at + _IPV6_FRAGMENT.size)
            next_header, place, fragment_of = _IPV6_FRAGMENT.unpack_from(data, offset + at)
            fragment_offset, at = place & 0xFFF8, at + _IPV6_FRAGMENT.size
        elif next_header in _EXTENSIONS and fragment_offset == 0:
            _need(data, offset + at + 2)
            # The authentication header counts in words of 4 bytes, less 2; the others in 8 bytes, less 1.
            size = (
                (data[offset + at + 1] + 2) * 4 if next_header == _AUTHENTICATION else (data[offset + at + 1] + 1) * 8
            )
            next_header, at = data[offset + at], at + size
        else:
            break
    return _Network(source, destination, next_header, total, at, fragment_offset, fragment_of)


def _transport(data: bytes | memoryview, offset: int, network: _Network) -> Packet:
    at = offset + network.payload_at
    carried = max(0, network.ip_bytes - network.payload_at)
    if network.protocol not in (TCP, UDP) or network.fragment_offset:
        return Packet(
            network.source,
            network.destination,
            network.protocol,
            network.ip_bytes,
            carried,
            fragment_of=network.fragment_of,
        )
    header, opens = (8, False) if network.protocol == UDP else _tcp_header(data, at)
    _need(data, at + _PORTS.size)
    source_port, destination_port = _PORTS.unpack_from(data, at)
    return Packet(
        network.source,
        network.destination,
        network.protocol,
        network.ip_bytes,
        max(0, carried - header),
        source_port,
        destination_port,
        ports_known=True,
        opens=opens,
        fragment_of=network.fragment_of,
    )


def _tcp_header(data: bytes | memoryview, at: int) -> tuple[int, bool]:
    """Return the length of the TCP header and whether it opens a connection."""
    _need(data, at + 14)
    header = (data[at + 12] >> 4) * 4
    if header < 20:
        raise UnreadableAnswerError(f"packet: found TCP header of {header} bytes, allowed: 20 to 60")
    return header, data[at + 13] & 0x12 == 0x02
