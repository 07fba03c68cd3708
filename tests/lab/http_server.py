"""A small real server for tests, on a free loopback port, and what it has been asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from lab.http_wire import Handler, Request, Response, ServerConnection


@dataclass
class SmallServer:
    """Where it listens, and every request it has seen."""

    host: str
    port: int
    seen: list[Request] = field(default_factory=list)


@asynccontextmanager
async def small_server(handler: Handler, *, host: str = "127.0.0.1") -> AsyncIterator[SmallServer]:
    """Yield a server that notes each request and answers with ``handler``."""
    server = SmallServer(host, 0)

    async def noting(request: Request) -> Response:
        server.seen.append(request)
        return await handler(request)

    connections: list[ServerConnection] = []

    def accept() -> ServerConnection:
        connections.append(ServerConnection(noting))
        return connections[-1]

    listening = await asyncio.get_running_loop().create_server(accept, host, 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for connection in connections:
            connection.close()
        await asyncio.sleep(0)  # closed transports let go of their sockets in the next step


async def ok(request: Request) -> Response:
    """Answer 200 with the path."""
    return Response(200, request.path.encode())
