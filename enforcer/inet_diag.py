"""The kernel's inet_diag messages about TCP sockets: requests to bytes, bytes to values. No socket here.

Layouts: linux/netlink.h, linux/inet_diag.h (``inet_diag_req_v2``, ``inet_diag_msg``), linux/tcp.h (``tcp_info``).
pyroute2 decodes the same messages into dictionaries of 60 fields and takes the fixed layout for granted; we need four
of the fields, of thousands of sockets, from kernels whose ``tcp_info`` is shorter, and a typed error for anything odd.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field

from pyroute2.netlink.diag import (
    SOCK_DIAG_BY_FAMILY,
    SS_CLOSE,
    SS_CLOSE_WAIT,
    SS_CLOSING,
    SS_LAST_ACK,
    SS_LISTEN,
    SS_SYN_RECV,
    SS_TIME_WAIT,
)

from enforcer.errors import UnreadableAnswerError

NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_DUMP_INTR = 0x10  # the table changed in a way that may have lost or doubled entries
DUMP_FLAGS = 0x301  # NLM_F_REQUEST | NLM_F_ROOT | NLM_F_MATCH
INET_DIAG_INFO = 2
GOT_FIN = frozenset({SS_CLOSE_WAIT, SS_LAST_ACK, SS_CLOSING, SS_TIME_WAIT, SS_CLOSE})
# All states but the three that carry no counters: TIME_WAIT (the full socket is gone by then, and was reported as
# destroyed), SYN_RECV requests and unbound closed sockets. LISTEN tells which ports are served.
STATES = (1 << 13) - 1 & ~(1 << SS_TIME_WAIT) & ~(1 << SS_SYN_RECV) & ~(1 << SS_CLOSE)
LISTENING = SS_LISTEN

_NLMSG = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBxI48x")
_ENDPOINTS = struct.Struct(">HH16s16s")
_COOKIE = struct.Struct("=Q")
_ATTRIBUTE = struct.Struct("=HH")
_TWO_COUNTERS = struct.Struct("=QQ")
_ERROR_CODE = struct.Struct("=i")
_DIAG_SIZE = 72
_COOKIE_AT = 44
_ACKED_AT, _SENT_AT = 120, 200  # tcpi_bytes_acked, tcpi_bytes_received | tcpi_bytes_sent, tcpi_bytes_retrans
_MAPPED = bytes(10) + b"\xff\xff"  # an IPv4 peer of a dual-stack IPv6 socket (RFC 4291, 2.5.5.2)


@dataclass(frozen=True, slots=True)
class SocketReading:
    """One TCP socket at one moment. Addresses are packed (4 or 16 bytes); byte counts are payload since it opened.

    ``counted`` is False for a socket whose entry carries no byte counters: a listener, or a kernel before 4.1.
    """

    cookie: int
    state: int
    local: bytes
    local_port: int
    remote: bytes
    remote_port: int
    bytes_sent: int = 0
    bytes_received: int = 0
    counted: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """What one datagram from the kernel held. ``error`` is an errno, 0 for none."""

    readings: list[SocketReading] = field(default_factory=list)
    ended: bool = False
    interrupted: bool = False
    error: int = 0
    malformed: int = 0


def dump_request(family: socket.AddressFamily, *, sequence: int) -> bytes:
    """Return the request for all TCP sockets of ``family`` with their ``tcp_info``."""
    body = _REQUEST.pack(family, socket.IPPROTO_TCP, 1 << (INET_DIAG_INFO - 1), STATES)
    return _NLMSG.pack(_NLMSG.size + len(body), SOCK_DIAG_BY_FAMILY, DUMP_FLAGS, sequence, 0) + body


def parse_datagram(datagram: bytes) -> Batch:
    """Return the sockets in ``datagram``; what cannot be read is counted in ``malformed``. O(n)."""
    readings: list[SocketReading] = []
    ended = interrupted = False
    error = malformed = offset = 0
    while offset < len(datagram):
        if len(datagram) - offset < _NLMSG.size:
            malformed += 1
            break
        length, kind, flags, _, _ = _NLMSG.unpack_from(datagram, offset)
        if not _NLMSG.size <= length <= len(datagram) - offset:
            malformed += 1
            break
        interrupted = interrupted or bool(flags & NLM_F_DUMP_INTR)
        body = datagram[offset + _NLMSG.size : offset + length]
        offset += (length + 3) & ~3
        if kind == NLMSG_DONE:
            ended = True
        elif kind == NLMSG_ERROR:
            error = -_ERROR_CODE.unpack_from(body)[0] if len(body) >= _ERROR_CODE.size else -1
            ended = True
        elif kind == SOCK_DIAG_BY_FAMILY:
            try:
                readings.append(parse_entry(body))
            except UnreadableAnswerError:
                malformed += 1
    return Batch(readings, ended, interrupted, error, malformed)


def parse_entry(entry: bytes) -> SocketReading:
    """Return the socket that one ``inet_diag_msg`` with its attributes describes.

    Raises UnreadableAnswerError for an entry that is cut off, of another family, or with attributes that overrun it.
    """
    if len(entry) < _DIAG_SIZE:
        raise UnreadableAnswerError(f"inet_diag entry: found {len(entry)} bytes, allowed: at least {_DIAG_SIZE}")
    family, state = entry[0], entry[1]
    local_port, remote_port, local, remote = _ENDPOINTS.unpack_from(entry, 4)
    if family == socket.AF_INET:
        local, remote = local[:4], remote[:4]
    elif family == socket.AF_INET6:
        local, remote = _unmapped(local), _unmapped(remote)
    else:
        raise UnreadableAnswerError(f"inet_diag entry: found address family {family}, allowed: 2 and 10")
    (cookie,) = _COOKIE.unpack_from(entry, _COOKIE_AT)
    info = _tcp_info(entry)
    if info is None or len(info) < _ACKED_AT + _TWO_COUNTERS.size:
        return SocketReading(cookie, state, local, local_port, remote, remote_port)
    sent, received = _payload(info, state)
    return SocketReading(cookie, state, local, local_port, remote, remote_port, sent, received, state != LISTENING)


def _unmapped(address: bytes) -> bytes:
    return address[12:] if address.startswith(_MAPPED) else address


def _tcp_info(entry: bytes) -> bytes | None:
    offset, end = _DIAG_SIZE, len(entry)
    while offset + _ATTRIBUTE.size <= end:
        length, kind = _ATTRIBUTE.unpack_from(entry, offset)
        if not _ATTRIBUTE.size <= length <= end - offset:
            raise UnreadableAnswerError(f"inet_diag attribute: found length {length}, allowed: 4 to {end - offset}")
        if kind == INET_DIAG_INFO:
            return entry[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return None


def _payload(info: bytes, state: int) -> tuple[int, int]:
    """Return the payload bytes acknowledged and received.

    The kernel counts a SYN of ours and a FIN in ``tcpi_bytes_acked``, and the peer's FIN in ``tcpi_bytes_received``, as
    one byte each. ``tcpi_bytes_sent - tcpi_bytes_retrans`` (Linux 4.19) holds payload only, so the smaller of the two
    is free of them. The peer's FIN follows from the state; a destroyed socket (CLOSE) is taken to have got one, which
    is one byte too few where it was reset instead.
    """
    acked, received = _TWO_COUNTERS.unpack_from(info, _ACKED_AT)
    if len(info) >= _SENT_AT + _TWO_COUNTERS.size:
        sent, repeated = _TWO_COUNTERS.unpack_from(info, _SENT_AT)
        acked = min(acked, max(0, sent - repeated))
    if state in GOT_FIN and received > 0:
        received -= 1
    return acked, received
