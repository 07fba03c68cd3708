"""Both ends of a test's traffic: an app that says its name, and clients that send all the time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from aiohttp import web

from tests.real.sidecar_mesh import failures


class Sender(Protocol):
    """Whoever has clients."""

    async def send_until(self, done: asyncio.Event) -> Counter[str]:
        """Send until ``done``; return who answered, failures as ``failed: why``."""


@asynccontextmanager
async def traffic(sender: Sender) -> AsyncIterator[None]:
    """Let all clients send all the time; no request may fail."""
    done = asyncio.Event()
    sending = asyncio.create_task(sender.send_until(done))
    try:
        yield
    finally:
        done.set()
        answers = await sending
    assert failures(answers) == []
    assert sum(answers.values()) > 100


async def start_app(name: str, address: str, port: int) -> web.AppRunner:
    """Serve HTTP that answers with the app's name; the caller cleans the runner up."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=name)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, address, port).start()
    return runner
