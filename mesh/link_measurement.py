"""What a measurement of one container's links says, and the one interface that every way of measuring has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from mesh.topology import Container, ContainerName

Side = Literal["client", "server", "unknown"]
Method = Literal["sidecar", "sockets", "capture"]


@dataclass(frozen=True, slots=True)
class LinkBytes:
    """What one container exchanged with one peer in the window.

    ``peer`` is an IP address, or a full service name where the source knows only services (a sidecar). ``side`` is the
    part that the measured container plays; ``port`` is the server's: the peer's for a client, its own for a server,
    0 where the source cannot tell. ``connections`` is 0 where the source does not count them.
    """

    peer: str
    port: int
    side: Side
    bytes_sent: int
    bytes_received: int
    connections: int = 0


@dataclass(frozen=True, slots=True)
class Measurement:
    """The links of one container over one window.

    ``covers`` is "client" where only the calls that the container makes are seen. ``complete`` says that the source
    knows of no byte that it missed inside what it covers; ``notes`` say what was missed or assumed. ``cost_cpu_s``
    is the processor time that the measuring itself took.
    """

    container: ContainerName
    method: Method
    window_s: float
    links: tuple[LinkBytes, ...]
    cost_cpu_s: float
    complete: bool
    covers: Literal["client", "both"] = "both"
    notes: tuple[str, ...] = ()

    @property
    def bytes_sent(self) -> int:
        return sum(link.bytes_sent for link in self.links)

    @property
    def bytes_received(self) -> int:
        return sum(link.bytes_received for link in self.links)


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """This way could not measure this container, and why: a result, not an error."""

    container: ContainerName
    method: Method
    reason: str


class LinkMeasurer(Protocol):
    """One way to measure the links of a container."""

    @property
    def method(self) -> Method: ...

    async def measure(self, container: Container, *, window_s: float) -> Measurement | Unmeasured:
        """Watch ``container`` for ``window_s`` seconds; return what it exchanged with whom, or why that is unknown."""
        ...


def scaled_to_counters(
    links: Iterable[LinkBytes], *, transmit_bytes: float, receive_bytes: float
) -> tuple[LinkBytes, ...]:
    """Return ``links`` scaled so that they sum to the container's own counters over the same window.

    Socket and sidecar counters hold payload, interface counters hold frames; the shares between the peers are what a
    measurement adds. A direction in which nothing was measured stays as it is. O(links).
    Source: OptTraffic, BreakCycle: sniffed links are rescaled to sum to the vertex's counters.

    >>> one = LinkBytes("10.0.0.2", 80, "client", bytes_sent=300, bytes_received=0)
    >>> two = LinkBytes("10.0.0.3", 80, "client", bytes_sent=100, bytes_received=50)
    >>> [link.bytes_sent for link in scaled_to_counters([one, two], transmit_bytes=440.0, receive_bytes=55.0)]
    [330, 110]
    """
    known = tuple(links)
    sent, received = sum(link.bytes_sent for link in known), sum(link.bytes_received for link in known)
    send_factor = transmit_bytes / sent if sent else 1.0
    receive_factor = receive_bytes / received if received else 1.0
    return tuple(
        replace(
            link,
            bytes_sent=round(link.bytes_sent * send_factor),
            bytes_received=round(link.bytes_received * receive_factor),
        )
        for link in known
    )
