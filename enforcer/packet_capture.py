"""Measure a container's links by capturing the headers of its packets for a bounded time: the paper's way.

The dearest way and the last to try: it costs processor time by the packet. It sees what the others do not (UDP,
retransmissions, connections that are reset), in payload bytes as they crossed the interface. A packet that passes
stacked devices of one namespace (VLAN, bond, bridge) shows at each and counts at each: containers have one interface.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

from enforcer.errors import EnforcerError, UnreadableAnswerError
from enforcer.measuring_thread import nobody, run_in_thread
from enforcer.network_namespace import ContainerNetwork, NetworkOf
from enforcer.packet_headers import parse_packet
from enforcer.packet_ring import PacketRing, RingSettings, Take
from enforcer.packet_tally import PacketTally
from enforcer.socket_counters import listening_ports
from enforcer.socket_deltas import packed_addresses
from mesh.link_measurement import Measurement, Method, Unmeasured
from mesh.topology import Container

PACKET_HOST, PACKET_OUTGOING = 0, 4  # linux/if_packet.h
ARPHRD_LOOPBACK = 772  # linux/if_arp.h


@dataclass(frozen=True, slots=True)
class CaptureSettings:
    """Where the capture ends, and its memory."""

    most_packets: int = 500_000
    """The capture ends early at this many packets; at 4 to 8 microseconds each, 2 to 4 s of one core."""
    ring: RingSettings = field(default_factory=RingSettings)
    """The memory that the kernel fills."""


@dataclass
class _Captured:
    tally: PacketTally
    window_s: float = 0.0
    seen: int = 0
    dropped: int = 0
    unreadable: int = 0
    full: bool = False


class PacketCapture:
    """Measures by an AF_PACKET capture in the container's network namespace.

    Parameters
    ----------
    network_of:
        Finds the container's namespace; None for a container that is not on this node.
    settings:
        Limits.
    on_open:
        Called in the measuring thread once the window is open; whoever makes known traffic starts it then.
    """

    method: Method = "capture"

    def __init__(
        self,
        network_of: NetworkOf,
        *,
        settings: CaptureSettings = CaptureSettings(),
        on_open: Callable[[], None] = nobody,
    ) -> None:
        self._network_of, self._settings, self._on_open = network_of, settings, on_open

    async def measure(self, container: Container, *, window_s: float) -> Measurement | Unmeasured:
        """Return the TCP and UDP payload that ``container`` exchanged with each peer in ``window_s`` seconds."""
        try:
            network = self._network_of(container)
            if network is None:
                return Unmeasured(container.name, self.method, "the container is not on this node")
            ran = await run_in_thread(
                "packet-capture",
                lambda stop: _measurement(container, _capture(network, window_s, stop, self._settings, self._on_open)),
            )
        except EnforcerError as error:
            return Unmeasured(container.name, self.method, str(error))
        return replace(ran.result, cost_cpu_s=ran.cpu_s)


def _measurement(container: Container, captured: _Captured) -> Measurement:
    notes = [f"{captured.seen} packets, {captured.tally.ip_bytes} bytes of IP"]
    if captured.dropped:
        notes.append(f"{captured.dropped} packets dropped by the kernel: the ring was full")
    if captured.unreadable:
        notes.append(f"{captured.unreadable} packets could not be read")
    if captured.tally.unattributed_bytes:
        notes.append(f"{captured.tally.unattributed_bytes} bytes of fragments without their first: port 0")
    if captured.full:
        notes.append(f"ended after {captured.seen} packets, the limit")
    return Measurement(
        container=container.name,
        method="capture",
        window_s=captured.window_s,
        links=captured.tally.links(),
        cost_cpu_s=0.0,  # known when the thread has ended
        complete=not (captured.dropped or captured.unreadable),
        notes=tuple(notes),
    )


def _capture(
    network: ContainerNetwork,
    window_s: float,
    stop: threading.Event,
    settings: CaptureSettings,
    on_open: Callable[[], None],
) -> _Captured:
    captured = _Captured(PacketTally(served=listening_ports(network.namespace)))
    count = _counter(captured, packed_addresses(network.addresses))
    with PacketRing(network.namespace, settings=settings.ring) as ring:
        started = time.monotonic()
        on_open()
        wake_s = settings.ring.retire_ms / 1000
        while not (stop.is_set() or captured.full) and (left_s := started + window_s - time.monotonic()) > 0:
            ring.wait(min(left_s, wake_s))
            _take(ring, captured, count, settings)
        ring.close_intake()
        captured.window_s = time.monotonic() - started
        if not captured.full:
            # The last block is handed over when it is old enough.
            stop.wait(2 * wake_s)
            _take(ring, captured, count, settings)
        captured.dropped = ring.dropped()
    return captured


def _take(ring: PacketRing, captured: _Captured, count: Take, settings: CaptureSettings) -> None:
    captured.seen += ring.take_ready(count, most=settings.most_packets - captured.seen)
    captured.full = captured.seen >= settings.most_packets


def _counter(captured: _Captured, own: Collection[bytes]) -> Take:
    """Return what counts one packet of the ring."""

    def count(data: memoryview, ethertype: int, wire_bytes: int, direction: int, hardware: int) -> None:
        loopback = hardware == ARPHRD_LOOPBACK
        if direction not in (PACKET_HOST, PACKET_OUTGOING) or (loopback and not own):
            return
        # On loopback every packet shows twice, leaving and coming in: the second is taken.
        if loopback and direction == PACKET_OUTGOING:
            return
        try:
            packet = parse_packet(data, ethertype, wire_bytes=wire_bytes)
        except UnreadableAnswerError:
            captured.unreadable += 1
            return
        if not own:
            captured.tally.add(packet, outgoing=direction == PACKET_OUTGOING)
            return
        leaves, enters = packet.source in own, packet.destination in own
        if leaves != enters and (loopback or leaves == (direction == PACKET_OUTGOING)):
            captured.tally.add(packet, outgoing=leaves)

    return count
