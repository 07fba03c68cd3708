"""An HTTP server that nobody can hold up: connections that get nowhere are ended, and one address has not all of them.

Whoever reaches a port can connect, and say or read a byte a minute. All our answers come at once, but for a poll that
is held for half a second; so a connection on which no request has begun for a minute is of no use to anybody.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from weakref import WeakKeyDictionary

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Middleware

from xds_server.loopback import is_loopback

IDLE_S = 60.0
"""A connection that asks nothing for this long is closed."""
STUCK_S = 75.0
"""And one that is not through with what it asked: it sends its request, or reads its answer, too slowly."""
LOOK_S = 1.0
MOST_OF_ADDRESS = 1024
"""Connections of one address; this machine's are not counted (a proxy of a mesh stands there for everybody)."""


class _NotTheClients(logging.Filter):
    """Leaves out what a client did wrong: it is told so by a 400, and could fill the log with tracebacks."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


log = logging.getLogger(__name__)
log.addFilter(_NotTheClients())


async def http_runner(routes: Iterable[web.RouteDef], rules: Sequence[Middleware]) -> web.AppRunner:
    """Return a runner that is set up; the caller adds sites and cleans it up."""
    connections = Connections()
    app = web.Application(middlewares=[connections.rule(), *rules])
    app.add_routes(routes)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, keepalive_timeout=IDLE_S, logger=log)

    async def looking(_: web.Application) -> AsyncIterator[None]:
        looks = asyncio.create_task(connections.run(runner), name="http-connections")
        yield
        looks.cancel()
        with suppress(asyncio.CancelledError):
            await looks

    app.cleanup_ctx.append(looking)
    await runner.setup()
    return runner


class Connections:
    """Knows when something last began on each connection of a server."""

    def __init__(self, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._began_s: WeakKeyDictionary[asyncio.BaseTransport, float] = WeakKeyDictionary()

    def rule(self) -> Middleware:
        """Return the middleware that notes when a request begins; the outermost."""

        @web.middleware
        async def rule(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            if request.transport is not None:
                self._began_s[request.transport] = self._now_s()
            return await handler(request)

        return rule

    async def run(self, runner: web.AppRunner) -> None:
        """Look at the server's connections until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            if runner.server is not None:
                self.look([one.transport for one in runner.server.connections if one.transport is not None])

    def look(self, transports: Sequence[asyncio.Transport]) -> None:
        """End connections that are stuck, and of an address with too many the newest. O(connections)."""
        now_s, of_address = self._now_s(), Counter[str]()
        for transport in transports:  # the oldest first
            is_stuck = now_s - self._began_s.setdefault(transport, now_s) > STUCK_S
            address = str((transport.get_extra_info("peername") or ("",))[0])
            of_address[address] += not is_loopback(address)
            if is_stuck or of_address[address] > MOST_OF_ADDRESS:
                transport.abort()
