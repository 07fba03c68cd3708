"""Makes inet_diag messages as the kernel would, for tests of what reads them."""

from __future__ import annotations

import ipaddress
import struct

ESTABLISHED, TIME_WAIT, CLOSED, CLOSE_WAIT, LISTEN = 1, 6, 7, 8, 10


def tcp_info(*, acked: int, received: int, sent: int | None = None, repeated: int = 0, size: int = 280) -> bytes:
    """Return a ``tcp_info`` of ``size`` bytes; older kernels have shorter ones."""
    info = bytearray(280)
    struct.pack_into("=QQ", info, 120, acked, received)
    struct.pack_into("=QQ", info, 200, acked if sent is None else sent, repeated)
    return bytes(info[:size])


def entry(
    *,
    local: str = "10.0.0.1",
    local_port: int = 40000,
    remote: str = "10.0.0.2",
    remote_port: int = 80,
    state: int = ESTABLISHED,
    cookie: int = 1,
    info: bytes | None = None,
    before_info: bytes = b"",
) -> bytes:
    """Return one ``inet_diag_msg``, with ``tcp_info`` behind the attributes ``before_info`` if given."""
    one, other = ipaddress.ip_address(local), ipaddress.ip_address(remote)
    head = struct.pack("=BBBB", 2 if one.version == 4 else 10, state, 0, 0)
    ends = struct.pack(">HH16s16s", local_port, remote_port, one.packed, other.packed)
    body = head + ends + struct.pack("=IQ5I", 0, cookie, 0, 0, 0, 0, 0) + before_info
    return body if info is None else body + struct.pack("=HH", 4 + len(info), 2) + info


def message(body: bytes, *, kind: int = 20, flags: int = 0) -> bytes:
    """Return one netlink message."""
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body + bytes(-len(body) % 4)
