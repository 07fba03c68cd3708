"""From two snapshots of sockets and those that closed in between to bytes per link. Pure arithmetic."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from enforcer.inet_diag import LISTENING, SocketReading
from mesh.link_measurement import LinkBytes, Side

Endpoint = tuple[bytes, int]


@dataclass(frozen=True, slots=True)
class SocketDeltas:
    """Bytes per link, and what is known to be missing.

    ``lost`` sockets were open at the start and then neither open nor reported as closed. ``aborted`` ones were reset by
    their own side, which wipes their counters before the kernel reports them. ``uncounted`` ones carry no byte counts
    (Linux before 4.1). ``inside`` ones have both ends in the container and are no links.
    """

    links: tuple[LinkBytes, ...]
    lost: int
    aborted: int
    uncounted: int
    inside: int


def packed_addresses(addresses: Iterable[str]) -> frozenset[bytes]:
    """Return ``addresses`` as the kernel has them; raises ValueError for text that is no IP address."""
    return frozenset(ipaddress.ip_address(address).packed for address in addresses)


def socket_deltas(
    first: Collection[SocketReading],
    last: Collection[SocketReading],
    closed: Collection[SocketReading],
    *,
    addresses: Collection[bytes] = frozenset(),
) -> SocketDeltas:
    """Return what moved between ``first`` and ``last``, summed per peer, server port and side. O(sockets).

    Parameters
    ----------
    first, last:
        All sockets of the namespace at the start and at the end of the window, listeners included.
    closed:
        The kernel's reports of sockets that were destroyed since before ``first`` was taken, in any order.
    addresses:
        Keep only sockets with one of these local addresses; empty keeps all of the namespace.
    """
    at_start = {reading.cookie: reading for reading in first if reading.counted}
    at_end = {reading.cookie: reading for reading in last if reading.counted}
    at_close = {reading.cookie: reading for reading in closed if reading.cookie not in at_end}
    listeners = {reading.cookie: reading for reading in (*first, *last) if reading.state == LISTENING}
    served = {reading.local_port for reading in listeners.values()}
    both_ends_here = _EndsInside((*first, *last, *closed), addresses)

    sums: dict[tuple[bytes, int, Side], list[int]] = {}
    aborted = inside = 0
    for reading in _of_container((*at_end.values(), *at_close.values()), addresses):
        if reading.cookie in listeners or reading.local_port == 0:
            continue
        if reading.remote_port == 0:
            aborted += 1
            continue
        if both_ends_here(reading):
            inside += 1
            continue
        before = at_start.get(reading.cookie)
        sent = max(0, reading.bytes_sent - (before.bytes_sent if before else 0))
        received = max(0, reading.bytes_received - (before.bytes_received if before else 0))
        if sent or received:
            _add(sums, reading, served, sent, received)
    return SocketDeltas(
        links=tuple(_links(sums)),
        lost=sum(1 for reading in _of_container(at_start.values(), addresses) if _gone(reading, at_end, at_close)),
        aborted=aborted,
        uncounted=sum(1 for reading in last if not reading.counted and reading.state != LISTENING),
        inside=inside,
    )


def _of_container(readings: Iterable[SocketReading], addresses: Collection[bytes]) -> Iterator[SocketReading]:
    return (reading for reading in readings if not addresses or reading.local in addresses or not any(reading.local))


def _gone(reading: SocketReading, at_end: dict[int, SocketReading], at_close: dict[int, SocketReading]) -> bool:
    return reading.cookie not in at_end and reading.cookie not in at_close


class _EndsInside:
    """Tell whether both ends of a connection are in the container: then its bytes never leave it.

    A namespace of its own holds both sockets of such a connection, so one's local end is the other's remote end. That
    also finds an app whose call to a service is redirected to its sidecar: the app's socket names the service as its
    peer, but the sidecar's socket names the app's.
    """

    def __init__(self, readings: Iterable[SocketReading], addresses: Collection[bytes]) -> None:
        self._addresses = addresses
        connected = [reading for reading in readings if reading.remote_port]
        self._locals: set[Endpoint] = {(reading.local, reading.local_port) for reading in connected}
        self._remotes: set[Endpoint] = {(reading.remote, reading.remote_port) for reading in connected}

    def __call__(self, reading: SocketReading) -> bool:
        if self._addresses:
            return reading.remote in self._addresses
        return (
            _is_loopback(reading.remote)
            or (reading.local, reading.local_port) in self._remotes
            or (reading.remote, reading.remote_port) in self._locals
        )


def _is_loopback(address: bytes) -> bool:
    return address[0] == 127 if len(address) == 4 else address == b"\0" * 15 + b"\1"


def _add(
    sums: dict[tuple[bytes, int, Side], list[int]],
    reading: SocketReading,
    served: Collection[int],
    sent: int,
    received: int,
) -> None:
    server = reading.local_port in served
    key: tuple[bytes, int, Side] = (
        reading.remote,
        reading.local_port if server else reading.remote_port,
        "server" if server else "client",
    )
    link = sums.setdefault(key, [0, 0, 0])
    link[0] += sent
    link[1] += received
    link[2] += 1


def _links(sums: dict[tuple[bytes, int, Side], list[int]]) -> Iterator[LinkBytes]:
    for (remote, port, side), (sent, received, connections) in sorted(sums.items()):
        yield LinkBytes(
            peer=address_text(remote),
            port=port,
            side=side,
            bytes_sent=sent,
            bytes_received=received,
            connections=connections,
        )


def address_text(address: bytes) -> str:
    """Return a packed address as people write it.

    >>> address_text(bytes([10, 0, 0, 1])), address_text(bytes(15) + b"\\x01")
    ('10.0.0.1', '::1')
    """
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)
