"""Addresses and ports: labs side by side do not meet, and a place that is taken is named."""

from __future__ import annotations

import socket

import pytest

from lab.errors import PlaceTakenError
from lab.places import PORTS_PER_BLOCK, Block, refuse_taken, reserve_block


def test_two_labs_get_different_blocks_and_ports() -> None:
    """What one has reserved the next one does not get; a block is free again when its lab has ended."""
    with reserve_block() as one:
        with reserve_block() as other:
            assert one.number != other.number
            ports = [{block.port(index) for index in range(PORTS_PER_BLOCK)} for block in (one, other)]
            assert not ports[0] & ports[1]
        with reserve_block() as again:
            assert again.number == other.number


def test_ports_lie_below_the_kernels_ephemeral_ones() -> None:
    """An outgoing connection can never sit on a port that a sidecar is about to take."""
    assert 1024 < Block(16).port(0) < Block(236).port(PORTS_PER_BLOCK - 1) < 32768


def test_a_block_has_only_so_many_ports() -> None:
    """A mesh too large for its block is refused, not let into its neighbour's."""
    with pytest.raises(PlaceTakenError, match="too many containers"):
        Block(16).port(PORTS_PER_BLOCK)


def test_a_taken_port_is_named() -> None:
    """The first address and port that somebody listens on is in the message, also if he shares ports as Envoy does."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        port = other.getsockname()[1]
        with pytest.raises(PlaceTakenError, match=rf"127\.0\.0\.1:{port}: Address already in use"):
            refuse_taken([("127.0.0.1", port)])

    refuse_taken([("127.0.0.1", port)])
