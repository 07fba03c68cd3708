"""Measure a container's links from the byte counters that the kernel keeps for each TCP socket.

```
 subscribe to destroyed sockets ─► first snapshot ─► the window, collecting reports ─► last snapshot ─► late reports
```

The reports (``SKNLGRP_INET_TCP_DESTROY`` and its IPv6 sibling, Linux 4.3) carry the last counters of a socket, so that
a connection which opens and closes inside the window is not lost. Payload bytes of TCP; UDP has no such counters.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from pyroute2.netlink import NETLINK_SOCK_DIAG
from pyroute2.netlink.diag import SKNLGRP_INET6_TCP_DESTROY, SKNLGRP_INET_TCP_DESTROY

from enforcer.errors import EnforcerError, UnsupportedError
from enforcer.inet_diag import LISTENING, Batch, SocketReading, dump_request, parse_datagram
from enforcer.measuring_thread import nobody, run_in_thread
from enforcer.network_namespace import ContainerNetwork, NetworkOf, as_enforcer_error, open_inside
from enforcer.socket_deltas import SocketDeltas, packed_addresses, socket_deltas
from mesh.link_measurement import Measurement, Method, Unmeasured
from mesh.topology import Container

SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP = 1
SO_RCVBUFFORCE = 33
DATAGRAM_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class SocketSettings:
    """How the kernel is asked."""

    drain_s: float = 0.1
    """Reports are fetched this often: rarely enough to cost little, often enough for the buffer."""
    report_buffer_bytes: int = 4 << 20
    """Room for reports between two fetches: about 4,000, or 40,000 closed connections a second."""
    answer_deadline_s: float = 2.0
    """A snapshot that takes longer than this is given up."""
    late_reports_s: float = 0.2
    """The kernel sends reports from a work queue: at most this long is waited for those of the window."""


@dataclass
class _Watched:
    """What one window brought."""

    first: list[SocketReading] = field(default_factory=list)
    last: list[SocketReading] = field(default_factory=list)
    closed: list[SocketReading] = field(default_factory=list)
    window_s: float = 0.0
    notes: list[str] = field(default_factory=list)
    malformed: int = 0
    missed: bool = False  # bytes may be missing


class SocketCounters:
    """Measures through ``inet_diag`` in the container's network namespace.

    Parameters
    ----------
    network_of:
        Finds the container's namespace; None for a container that is not on this node.
    settings:
        How the kernel is asked.
    on_open:
        Called in the measuring thread once the window is open; whoever makes known traffic starts it then.
    """

    method: Method = "sockets"

    def __init__(
        self,
        network_of: NetworkOf,
        *,
        settings: SocketSettings = SocketSettings(),
        on_open: Callable[[], None] = nobody,
    ) -> None:
        self._network_of, self._settings, self._on_open = network_of, settings, on_open

    async def measure(self, container: Container, *, window_s: float) -> Measurement | Unmeasured:
        """Return the TCP payload that ``container`` exchanged with each peer in ``window_s`` seconds."""
        try:
            network = self._network_of(container)
            if network is None:
                return Unmeasured(container.name, self.method, "the container is not on this node")
            ran = await run_in_thread(
                "socket-counters",
                lambda stop: _measurement(
                    container, network, _watch(network, window_s, stop, self._settings, self._on_open)
                ),
            )
        except EnforcerError as error:
            return Unmeasured(container.name, self.method, str(error))
        return replace(ran.result, cost_cpu_s=ran.cpu_s)


def _measurement(container: Container, network: ContainerNetwork, watched: _Watched) -> Measurement:
    deltas = socket_deltas(watched.first, watched.last, watched.closed, addresses=packed_addresses(network.addresses))
    return Measurement(
        container=container.name,
        method="sockets",
        window_s=watched.window_s,
        links=deltas.links,
        cost_cpu_s=0.0,  # known when the thread has ended
        complete=not (watched.missed or deltas.lost or deltas.aborted or deltas.uncounted or watched.malformed),
        notes=(*watched.notes, *_notes(deltas, watched.malformed)),
    )


def _notes(deltas: SocketDeltas, malformed: int) -> Iterator[str]:
    if deltas.lost:
        yield f"{deltas.lost} connections ended unseen: their bytes in the window are missing"
    if deltas.aborted:
        yield f"{deltas.aborted} connections were reset by the container, which wipes their counters: bytes missing"
    if deltas.uncounted:
        yield f"{deltas.uncounted} sockets without byte counters: this kernel is older than 4.1, or they are not TCP"
    if deltas.inside:
        yield f"{deltas.inside} sockets of connections inside the container left out"
    if malformed:
        yield f"{malformed} entries of the kernel's answer could not be read"


def _watch(
    network: ContainerNetwork,
    window_s: float,
    stop: threading.Event,
    settings: SocketSettings,
    on_open: Callable[[], None],
) -> _Watched:
    asking = open_inside(network.namespace, _netlink)
    try:
        reports = open_inside(network.namespace, _netlink)
    except EnforcerError:
        asking.close()
        raise
    with asking, reports:
        asking.settimeout(settings.answer_deadline_s)
        watched = _Watched()
        subscribed = _subscribe(reports, watched, settings)
        watched.first = _snapshot(asking, watched)
        started = time.monotonic()
        on_open()
        while not stop.is_set() and (left_s := started + window_s - time.monotonic()) > 0:
            stop.wait(min(left_s, settings.drain_s))
            if subscribed:
                _drain(reports, watched)
        watched.last = _snapshot(asking, watched)
        watched.window_s = time.monotonic() - started
        if subscribed:
            _drain_late(reports, watched, stop, settings)
    return watched


def listening_ports(namespace: Path) -> frozenset[int]:
    """Return the TCP ports that are listened on in ``namespace``; empty where the kernel does not say."""
    try:
        with open_inside(namespace, _netlink) as asking:
            asking.settimeout(SocketSettings().answer_deadline_s)
            readings = _snapshot(asking, _Watched())
    except UnsupportedError:
        return frozenset()
    return frozenset(reading.local_port for reading in readings if reading.state == LISTENING)


def _netlink() -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG)
    opened.bind((0, 0))
    return opened


def _subscribe(reports: socket.socket, watched: _Watched, settings: SocketSettings) -> bool:
    try:
        # Past net.core.rmem_max with CAP_NET_ADMIN; up to it without.
        reports.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, settings.report_buffer_bytes)
    except OSError:
        reports.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, settings.report_buffer_bytes)
    try:
        for group in (SKNLGRP_INET_TCP_DESTROY, SKNLGRP_INET6_TCP_DESTROY):
            reports.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
    except OSError as error:
        watched.missed = True
        watched.notes.append(
            f"no reports of closed sockets ({error.strerror}): connections that end inside the window are missing"
        )
        return False
    reports.setblocking(False)
    return True


def _snapshot(asking: socket.socket, watched: _Watched) -> list[SocketReading]:
    readings: list[SocketReading] = []
    for sequence, family in enumerate((socket.AF_INET, socket.AF_INET6), start=1):
        for batch in _batches(asking, dump_request(family, sequence=sequence)):
            readings.extend(batch.readings)
            watched.malformed += batch.malformed
            if batch.interrupted:
                watched.missed = True
                watched.notes.append("the socket table changed while it was read: some sockets may be missing")
    return readings


def _batches(asking: socket.socket, request: bytes) -> Iterator[Batch]:
    """Yield the datagrams of the answer to ``request``."""
    ended = False
    try:
        asking.send(request)
        while not ended:
            batch = parse_datagram(asking.recv(DATAGRAM_BYTES))
            if batch.error:
                # ENOENT here is the kernel's word for a diag module that is not there.
                raise UnsupportedError(f"inet_diag: {os.strerror(batch.error)}")
            ended = batch.ended
            yield batch
    except OSError as error:
        raise as_enforcer_error(error, "socket table") from error


def _drain(reports: socket.socket, watched: _Watched) -> int:
    """Take all reports that wait; return how many datagrams there were."""
    taken = 0
    while True:
        try:
            batch = parse_datagram(reports.recv(DATAGRAM_BYTES))
        except BlockingIOError:
            return taken
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise as_enforcer_error(error, "reports of closed sockets") from error
            watched.missed = True
            watched.notes.append("more connections closed than the buffer for reports holds: some are missing")
            continue
        taken += 1
        watched.closed.extend(batch.readings)
        watched.malformed += batch.malformed


def _drain_late(reports: socket.socket, watched: _Watched, stop: threading.Event, settings: SocketSettings) -> None:
    """Wait for reports that are still on their way, until every socket is accounted for and none comes any more."""
    deadline_s = time.monotonic() + settings.late_reports_s
    step_s = settings.late_reports_s / 10
    quiet = 0
    while quiet < 2 and time.monotonic() < deadline_s and not stop.is_set():
        stop.wait(step_s)
        quiet = 0 if _drain(reports, watched) else quiet + 1
