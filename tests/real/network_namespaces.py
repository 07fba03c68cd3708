"""Two real network namespaces joined by a veth pair, and real TCP between them. Needs root and iproute2."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from enforcer.network_namespace import open_inside

FITS_A_BUFFER = 4096  # bytes that a socket takes without a reader

_NUMBERS = itertools.count()


def missing() -> str:
    """Return what this machine lacks for these tests, or an empty string."""
    if os.geteuid() != 0:
        return "needs root to make network namespaces"
    return "" if shutil.which("ip") else "needs the program ip (Debian package iproute2)"


@dataclass(frozen=True)
class Host:
    """One namespace with an address of each family."""

    name: str
    ipv4: str
    ipv6: str
    mac: str

    @property
    def namespace(self) -> Path:
        return Path("/run/netns") / self.name

    def listen(self, address: str, *, port: int = 0) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return open_inside(self.namespace, lambda: socket.create_server((address, port), family=family, backlog=512))

    def clients(self, listener: socket.socket, *, count: int = 1) -> list[socket.socket]:
        """Return sockets of this host for ``listener``'s family, not connected yet."""
        return open_inside(self.namespace, lambda: [socket.socket(listener.family) for _ in range(count)])

    def datagrams(self) -> socket.socket:
        """Return a UDP socket of this host."""
        return open_inside(self.namespace, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=20)


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Yield two hosts that reach each other; remove them afterwards, come what may."""
    number = next(_NUMBERS)
    hosts = tuple(
        Host(
            f"askew-test-{os.getpid()}-{number}{side}",
            f"198.51.100.{place}",
            f"2001:db8::{place}",
            f"02:00:00:00:00:0{place}",
        )
        for place, side in enumerate("ab", start=1)
    )
    try:
        for host in hosts:
            _ip("netns", "add", host.name)
        one, other = hosts
        _ip("-n", one.name, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", other.name)
        for host in hosts:
            _ip("-n", host.name, "address", "add", f"{host.ipv4}/24", "dev", "eth0")
            _ip("-n", host.name, "address", "add", f"{host.ipv6}/64", "dev", "eth0", "nodad")
            _ip("-n", host.name, "link", "set", "lo", "up")
            _ip("-n", host.name, "link", "set", "eth0", "address", host.mac, "up")
        for host, peer in ((one, other), (other, one)):
            # Without this the first IPv6 packets of a fresh link wait 2 s for the neighbour to be found.
            _ip("-n", host.name, "neighbour", "add", peer.ipv6, "lladdr", peer.mac, "nud", "permanent", "dev", "eth0")
        yield one, other
    finally:
        for host in hosts:
            with suppress(subprocess.SubprocessError):
                _ip("netns", "delete", host.name)


@dataclass
class Talk:
    """One connection over which exactly the bytes go that are asked for."""

    client: socket.socket
    server: socket.socket
    _closed: bool = field(default=False)

    @classmethod
    def between(cls, client_host: Host, listener: socket.socket) -> Talk:
        return cls.over(client_host.clients(listener)[0], listener)

    @classmethod
    def over(cls, client: socket.socket, listener: socket.socket) -> Talk:
        client.settimeout(10.0)
        client.connect(listener.getsockname()[:2])
        server, _ = listener.accept()
        server.settimeout(10.0)
        return cls(client, server)

    def exchange(self, *, request_bytes: int, response_bytes: int) -> None:
        """Send a request and, when it is there, a response; return when both have arrived."""
        _carry(self.client, self.server, request_bytes)
        _carry(self.server, self.client, response_bytes)

    def repeated_bytes(self) -> tuple[int, int]:
        """Return what the client and the server have had to send again (``tcpi_bytes_retrans``, linux/tcp.h)."""
        infos = (end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 280) for end in (self.client, self.server))
        client, server = (int.from_bytes(info[208:216], sys.byteorder) for info in infos)
        return client, server

    def close(self) -> None:
        """Close in order, the client first, and wait for the server's end of file."""
        if not self._closed:
            self._closed = True
            self.client.close()
            self.server.recv(1)
            self.server.close()


def _carry(sender: socket.socket, receiver: socket.socket, amount: int) -> None:
    if amount <= FITS_A_BUFFER:
        sender.sendall(bytes(amount))
        _receive(receiver, amount)
        return
    sending = threading.Thread(target=sender.sendall, args=(bytes(amount),))
    sending.start()
    _receive(receiver, amount)
    sending.join()


def _receive(receiver: socket.socket, amount: int) -> None:
    left = amount
    while left:
        left -= len(receiver.recv(min(left, 1 << 20)))
