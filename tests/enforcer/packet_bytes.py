"""Makes IP packets byte by byte, for tests of what reads them."""

from __future__ import annotations

import ipaddress
import struct

SYN, ACK = 0x02, 0x10


def tcp(source_port: int, destination_port: int, *, flags: int = ACK, options: int = 12) -> bytes:
    """Return a TCP header with ``options`` bytes of options."""
    header = struct.pack(">HHIIBBHHH", source_port, destination_port, 0, 0, (20 + options) // 4 << 4, flags, 0, 0, 0)
    return header + bytes(options)


def udp(source_port: int, destination_port: int, *, payload: int) -> bytes:
    """Return a UDP header."""
    return struct.pack(">HHHH", source_port, destination_port, 8 + payload, 0)


def ipv4(
    transport: bytes,
    *,
    payload: int = 0,
    protocol: int = 6,
    source: str = "10.0.0.1",
    destination: str = "10.0.0.2",
    options: int = 0,
    identity: int = 0,
    flags: int = 0,
    total: int | None = None,
) -> bytes:
    """Return an IPv4 packet whose payload was not captured. ``flags`` is the word with the fragment offset."""
    length = 20 + options + len(transport) + payload if total is None else total
    one, other = (ipaddress.ip_address(address).packed for address in (source, destination))
    head = struct.pack(">BBHHHBBH4s4s", 0x45 + options // 4, 0, length, identity, flags, 64, protocol, 0, one, other)
    return head + bytes(options) + transport


def ipv6(
    transport: bytes,
    *,
    payload: int = 0,
    next_header: int = 6,
    source: str = "2001:db8::1",
    destination: str = "2001:db8::2",
    length: int | None = None,
) -> bytes:
    """Return an IPv6 packet; extension headers are part of ``transport``."""
    one, other = (ipaddress.ip_address(address).packed for address in (source, destination))
    carried = len(transport) + payload if length is None else length
    return struct.pack(">IHBB16s16s", 6 << 28, carried, next_header, 64, one, other) + transport
