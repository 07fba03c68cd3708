"""What tests with a real program beside them need: free ports, and waiting until it is ready."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import ExitStack


def free_ports(count: int) -> list[int]:
    """Return ``count`` different ports of loopback that are free now; all are held until the last is found."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


async def until(condition: Callable[[], Awaitable[bool]], *, deadline_s: float = 30.0) -> None:
    """Ask ``condition`` of another process every 50 ms until it holds; TimeoutError after ``deadline_s``."""
    async with asyncio.timeout(deadline_s):
        while not await condition():  # noqa: ASYNC110 - another process's state, nothing here could set an event
            await asyncio.sleep(0.05)
