"""A bounded AF_PACKET capture of headers, through a ring of memory that the kernel fills (TPACKET_V3).

One system call a block of packets instead of two a packet. The kernel copies only the first bytes of each packet
(a filter cuts it), and counts what it had to drop. Needs CAP_NET_RAW.
Source: Documentation/networking/packet_mmap.rst; linux/if_packet.h; Linux 3.2 or newer.
"""

from __future__ import annotations

import ctypes
import mmap
import select
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from enforcer.network_namespace import open_inside

SOL_PACKET = 263
PACKET_RX_RING, PACKET_STATISTICS, PACKET_VERSION = 5, 6, 10
TPACKET_V3 = 2
ETH_P_ALL = 0x0003
SO_ATTACH_FILTER = 26
TP_STATUS_KERNEL, TP_STATUS_USER = 0, 1

_REQUEST = struct.Struct("=7I")  # tpacket_req3: block size, blocks, frame size, frames, retire ms, private, features
_BLOCK = struct.Struct("=8xIII")  # tpacket_block_desc: status, packets, offset of the first
_FRAME = struct.Struct("=I8xII4xHH20x")  # tpacket3_hdr: next, snaplen, length, mac, net
_FRAME_BYTES = 48
_LINK = struct.Struct(">HH")  # at the frame's end, sockaddr_ll: family (host order, unused here), protocol
_LINK_TYPE = struct.Struct("=HB")  # sockaddr_ll: hardware type, packet type
_STATISTICS = struct.Struct("=III")
_STATUS = struct.Struct("=I")
_FRAME_SIZE = 2048


@dataclass(frozen=True, slots=True)
class RingSettings:
    """How much memory the capture may take and how often it wakes."""

    snap_bytes: int = 128
    """Of each packet: IPv6 with one extension header and TCP with options fit."""
    block_bytes: int = 1 << 17
    """A block is handed over when it is full or old."""
    blocks: int = 32
    """32 blocks of 128 KiB hold about 18,000 packets."""
    retire_ms: int = 50
    """A block that is not full is handed over at this age."""


Take = Callable[[memoryview, int, int, int, int], None]
"""Called for each packet: header bytes, ethertype, whole length, packet type and hardware type of ``sockaddr_ll``."""


class PacketRing:
    """Packets of every interface of one namespace, both directions, from the network header on.

    Use as a context manager; ``take_ready`` hands the packets that are there to a function and gives the memory back.
    """

    def __init__(self, namespace: Path, *, settings: RingSettings = RingSettings()) -> None:
        self._settings = settings
        self._socket, self._ring = open_inside(namespace, self._open)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN | select.POLLERR)
        self._next_block = 0
        self._dropped = 0

    def __enter__(self) -> PacketRing:
        return self

    def __exit__(self, *_: object) -> None:
        self._ring.close()
        self._socket.close()

    def _open(self) -> tuple[socket.socket, mmap.mmap]:
        settings = self._settings
        # Only a socket for all protocols sees packets that leave. What comes in before the filter and the ring stand
        # goes to the socket's own queue, which the ring replaces.
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, socket.htons(ETH_P_ALL))
        try:
            _attach_filter(opened, _headers_only(settings.snap_bytes))
            opened.setsockopt(SOL_PACKET, PACKET_VERSION, TPACKET_V3)
            frames = settings.block_bytes // _FRAME_SIZE * settings.blocks
            request = (settings.block_bytes, settings.blocks, _FRAME_SIZE, frames, settings.retire_ms, 0, 0)
            opened.setsockopt(SOL_PACKET, PACKET_RX_RING, _REQUEST.pack(*request))
            ring = mmap.mmap(opened.fileno(), settings.block_bytes * settings.blocks)
        except OSError:
            opened.close()
            raise
        return opened, ring

    def wait(self, timeout_s: float) -> None:
        """Wait until a block is ready, at most ``timeout_s`` seconds."""
        self._poll.poll(max(0, round(timeout_s * 1000)))

    def close_intake(self) -> None:
        """Let no further packet in; those that wait stay."""
        _attach_filter(self._socket, _NOTHING)

    def take_ready(self, take: Take, *, most: int) -> int:
        """Hand packets of full blocks to ``take`` until there is no more or ``most`` were taken; return how many."""
        taken = 0
        view = memoryview(self._ring)
        try:
            while taken < most:
                start = self._next_block * self._settings.block_bytes
                status, packets, first = _BLOCK.unpack_from(view, start)
                if not status & TP_STATUS_USER:
                    break
                taken += _walk_block(view, start + first, min(packets, most - taken), take)
                _STATUS.pack_into(view, start + 8, TP_STATUS_KERNEL)
                self._next_block = (self._next_block + 1) % self._settings.blocks
        finally:
            view.release()
        return taken

    def dropped(self) -> int:
        """Return how many packets the kernel had no room for since the capture began."""
        # Reading resets the kernel's own count.
        statistics = self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, _STATISTICS.size)
        self._dropped += int(_STATISTICS.unpack(statistics)[1])
        return self._dropped


def _walk_block(view: memoryview, at: int, packets: int, take: Take) -> int:
    for _ in range(packets):
        to_next, captured, length, _, network_at = _FRAME.unpack_from(view, at)
        link_at = at + _FRAME_BYTES
        (_, ethertype), (hardware, direction) = (
            _LINK.unpack_from(view, link_at),
            _LINK_TYPE.unpack_from(view, link_at + 8),
        )
        with view[at + network_at : at + network_at + captured] as data:
            take(data, ethertype, length, direction, hardware)
        at += to_next
    return packets


_Instruction = tuple[int, int, int, int]  # struct sock_filter: code, jump if true, jump if false, constant
_NOTHING: tuple[_Instruction, ...] = ((0x06, 0, 0, 0),)  # ret 0


def _headers_only(snap_bytes: int) -> tuple[_Instruction, ...]:
    """Keep IPv4, IPv6 and tagged packets, and of each only the first ``snap_bytes``."""
    load_protocol = (0x28, 0, 0, 0xFFFFF000)  # ldh SKF_AD_OFF + SKF_AD_PROTOCOL
    kept = (0x0800, 0x86DD, 0x8100, 0x88A8)
    jumps = [(0x15, len(kept) - index, 0, ethertype) for index, ethertype in enumerate(kept)]
    return (load_protocol, *jumps, *_NOTHING, (0x06, 0, 0, snap_bytes))


def _attach_filter(opened: socket.socket, program: tuple[_Instruction, ...]) -> None:
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    memory = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog: the number of instructions and a pointer to them.
    opened.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(program), ctypes.addressof(memory)))
