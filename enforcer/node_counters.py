"""Read the network counters of a container from its namespace's ``/proc/PID/net/dev``.

The counters hold frames, link-layer headers included, and begin with the interface. Source: proc(5), proc_pid_net(5).
A container's namespace may hold several interfaces; stacked ones (a bond and its members, a bridge and its ports)
count the same frame twice, so name the one that holds the address.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from enforcer.errors import UnreadableAnswerError
from enforcer.network_namespace import as_enforcer_error
from mesh.counter_sample import CounterSample
from mesh.topology import ContainerName

LOOPBACK = "lo"
_ROW = re.compile(r"\s*(\S+):\s*(\d+(?:\s+\d+){15,})\s*", re.ASCII)
_TRANSMIT_FIELD = 8  # receive has eight fields; bytes come first in both
_HEADER_LINES = 2


@dataclass(frozen=True, slots=True)
class InterfaceCounters:
    """Bytes of one interface since it was made."""

    interface: str
    receive_bytes: int
    transmit_bytes: int


def parse_net_dev(text: str) -> tuple[InterfaceCounters, ...]:
    """Return the counters in the text of ``/proc/PID/net/dev``, in its order.

    Raises UnreadableAnswerError for a text without the two header lines or with a line that is no interface's.

    >>> head = "Inter-|   Receive  |  Transmit\\n face |bytes ...\\n"
    >>> parse_net_dev(head + "  eth0: 10 1 0 0 0 0 0 0 20 2 0 0 0 0 0 0\\n")
    (InterfaceCounters(interface='eth0', receive_bytes=10, transmit_bytes=20),)
    """
    lines = text.splitlines()
    if len(lines) < _HEADER_LINES or "|" not in lines[0]:
        raise UnreadableAnswerError(f"net/dev: found {text[:40]!a}, allowed: two header lines and one per interface")
    return tuple(_interface(line) for line in lines[_HEADER_LINES:] if line.strip())


def _interface(line: str) -> InterfaceCounters:
    match = _ROW.fullmatch(line)
    if match is None:
        raise UnreadableAnswerError(f"net/dev: found {line[:40]!a}, allowed: NAME: and 16 numbers")
    fields = match[2].split()
    return InterfaceCounters(match[1], int(fields[0]), int(fields[_TRANSMIT_FIELD]))


def read_counters(
    container: ContainerName,
    pid: int,
    *,
    time_s: float,
    proc_root: Path = Path("/proc"),
    interfaces: Collection[str] = frozenset(),
) -> CounterSample:
    """Return what ``container`` has received and sent, summed over its interfaces.

    Parameters
    ----------
    pid:
        Any process of the container.
    time_s:
        The time to put on the sample, read by the caller just before.
    interfaces:
        Count only these; empty counts all but ``lo``.

    Raises
    ------
    VanishedError
        where the process is gone.
    NotPermittedError, UnsupportedError, UnreadableAnswerError
        where the file cannot be read or understood, or holds none of ``interfaces``.
    """
    file = proc_root / str(pid) / "net" / "dev"
    try:
        text = file.read_text(encoding="ascii", errors="backslashreplace")
    except OSError as error:
        raise as_enforcer_error(error, str(file)) from error
    found = parse_net_dev(text)
    counted = [one for one in found if (one.interface in interfaces if interfaces else one.interface != LOOPBACK)]
    if not counted:
        names = ", ".join(one.interface for one in found) or "none"
        wanted = ", ".join(sorted(interfaces)) or "any but lo"
        raise UnreadableAnswerError(f"{file}: found the interfaces {names}, allowed: {wanted}")
    return CounterSample(
        container=container,
        time_s=time_s,
        receive_bytes=sum(one.receive_bytes for one in counted),
        transmit_bytes=sum(one.transmit_bytes for one in counted),
    )
