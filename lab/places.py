"""Addresses and ports of one lab: a block of loopback addresses of its own, and a look whether all are free."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lab.errors import PlaceTakenError
from lab.topology_file import MOST_NODES

FIRST_BLOCK, LAST_BLOCK, BLOCK_STEP = 16, 236, MOST_NODES + 1
# Below the kernel's ephemeral ports, so that no outgoing connection can take one first.
FIRST_PORT, PORTS_PER_BLOCK = 20_000, 400
_LOCK_PORT = 15_000


@dataclass(frozen=True, slots=True)
class Block:
    """``127.<number>.0.0/16`` and the next ones, one for each node, and ``PORTS_PER_BLOCK`` ports of 127.0.0.1."""

    number: int

    def port(self, index: int) -> int:
        """Return the ``index``-th port on 127.0.0.1 that belongs to this block.

        >>> Block(26).port(3)
        20403
        """
        if not 0 <= index < PORTS_PER_BLOCK:
            raise PlaceTakenError(f"port {index} of a block of {PORTS_PER_BLOCK}: too many containers for one lab")
        return FIRST_PORT + (self.number - FIRST_BLOCK) // BLOCK_STEP * PORTS_PER_BLOCK + index


@contextmanager
def reserve_block() -> Iterator[Block]:
    """Reserve a block for as long as the context lasts: the lock is a listening socket, which dies with its process.

    Raises
    ------
    PlaceTakenError
        where all blocks are in use.
    """
    for number in range(FIRST_BLOCK, LAST_BLOCK + 1, BLOCK_STEP):
        with socket.socket() as lock:
            try:
                lock.bind((f"127.{number}.255.254", _LOCK_PORT))
                lock.listen(1)
            except OSError:
                continue
            yield Block(number)
            return
    raise PlaceTakenError("all blocks of loopback addresses are in use by other labs; end one of them")


def refuse_taken(places: Iterable[tuple[str, int]]) -> None:
    """Raise PlaceTakenError for the first (address, port) that somebody listens on.

    Needed because Envoy shares ports (SO_REUSEPORT): a second one on the same port would take half of the connections
    instead of failing.
    """
    for address, port in places:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
            try:
                probe.bind((address, port))
            except OSError as error:
                raise PlaceTakenError(f"{address}:{port}: {error.strerror}; end what uses it, or wait") from error
