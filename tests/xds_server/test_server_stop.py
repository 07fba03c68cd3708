"""The end of the xDS server: cancelled, it has stopped when its part has ended."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from prometheus_client import CollectorRegistry

from xds_server.metrics import XdsMetrics
from xds_server.server import XdsServer
from xds_server.settings import XdsSettings
from xds_server.store import Store


async def test_a_cancelled_server_has_stopped() -> None:
    """gRPC's own server ends too: nobody listens on the port any more, and nothing is left to say at the exit."""
    server = XdsServer(Store(lambda _: None), XdsSettings(port=0, drain_s=0.1), XdsMetrics(CollectorRegistry()))
    await server.start()
    running = asyncio.create_task(server.run())
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.close()

    running.cancel()
    with suppress(asyncio.CancelledError):
        await running

    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", server.port)
    assert server._server is not None
    timed_out = await server._server.wait_for_termination(5)
    assert not timed_out
