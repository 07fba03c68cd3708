"""What tests with a real program beside them need: free ports, and waiting until it is ready."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress

CHANCE = random.SystemRandom()  # two test runs on one machine start from the same seeds
PORTS = range(20_000, 32_000)
"""Below those that Linux gives to clients (``ip_local_port_range``): no connection takes one in the meantime."""


def free_ports(count: int) -> list[int]:
    """Return ``count`` different ports of loopback that are free now; all are held until the last is found."""
    found: list[int] = []
    with ExitStack() as held:
        while len(found) < count:
            one = held.enter_context(socket.socket())
            with suppress(OSError):
                one.bind(("127.0.0.1", CHANCE.choice(PORTS)))
                found.append(one.getsockname()[1])
    return found


def free_port() -> int:
    """Return a TCP port that was free a moment ago on 127.0.0.1."""
    return free_ports(1)[0]


async def until(condition: Callable[[], Awaitable[bool]], *, deadline_s: float = 30.0) -> None:
    """Ask ``condition`` of another process every 50 ms until it holds; TimeoutError after ``deadline_s``."""
    async with asyncio.timeout(deadline_s):
        while not await condition():  # noqa: ASYNC110 - another process's state, nothing here could set an event
            await asyncio.sleep(0.05)
