"""Askew's own xDS server as a target of the suite: in this process, or with the HTTP control beside it.

``python -m tests.xds.askew_target --xds 127.0.0.1:18000 --admin 127.0.0.1:18081`` serves until it is ended.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

from aiohttp import web
from google.protobuf import any_pb2, json_format
from prometheus_client import CollectorRegistry

from tests.xds.control import Control
from tests.xds.messages import Message, name_of, parse, refers_of, type_of
from xds_server.metrics import XdsMetrics
from xds_server.proxy import Proxy
from xds_server.rest import RestDiscovery
from xds_server.server import XdsServer
from xds_server.settings import XdsSettings
from xds_server.snapshot import Resource, Snapshot, resource, snapshot
from xds_server.store import Store

EMPTY = snapshot(())


class StoreControl(Control):
    """Control over a store in this process; the store's source is this object's dictionary."""

    def __init__(self) -> None:
        self._snapshots: dict[str, Snapshot] = {}
        # The protocol is tried with loose ends on purpose: names that do not exist yet, resources that come one by one.
        self.store = Store(self._of, check=lambda snapshot, previous=None, *, looked_at: [])

    def _of(self, proxy: Proxy) -> Snapshot:
        return self._snapshots.get(proxy.id, EMPTY)

    async def put(self, node: str, resources: Sequence[Message], ttl_s: Mapping[str, float]) -> None:
        """See Control."""
        self._snapshots[node] = snapshot(as_resource(one, ttl_s.get(name_of(one))) for one in resources)
        self.store.apply(self._of, only=[node])

    async def delete(self, node: str) -> None:
        """See Control."""
        self._snapshots.pop(node, None)
        self.store.apply(self._of, only=[node])


def as_resource(message: Message, ttl_s: float | None = None) -> Resource:
    """Return a message as the store holds it."""
    body = message.SerializeToString(deterministic=True)
    return resource(type_of(message), name_of(message), body, refers=refers_of(message), ttl_s=ttl_s)


@asynccontextmanager
async def serving(control: StoreControl, settings: XdsSettings | None = None) -> AsyncIterator[str]:
    """Serve the control's store on a free port, or that of ``settings``; the value is HOST:PORT."""
    settings = settings or XdsSettings(port=0, drain_s=0.1)
    server = XdsServer(control.store, settings, XdsMetrics(CollectorRegistry()))
    await server.start()
    running = asyncio.create_task(server.run(), name="xds-server")
    try:
        yield f"127.0.0.1:{server.port}"
    finally:
        running.cancel()
        await asyncio.wait((running,))


@asynccontextmanager
async def polled(control: StoreControl) -> AsyncIterator[str]:
    """Serve the control's store to polling clients; the value is the base URL."""
    rest = RestDiscovery(control.store, XdsSettings(rest_hold_s=0.2), XdsMetrics(CollectorRegistry()))
    app = web.Application()
    app.add_routes(rest.routes())
    async with _listening(app, "127.0.0.1", 0) as url:
        yield url


def control_app(control: Control) -> web.Application:
    """Return the HTTP side of ``tests/xds/control.py``."""

    async def put(request: web.Request) -> web.Response:
        body = json.loads(await request.text())
        resources = [parse(json_format.ParseDict(one, any_pb2.Any())) for one in body["resources"]]
        await control.put(request.match_info["node"], resources, body.get("ttl_s", {}))
        return web.Response(status=204)

    async def delete(request: web.Request) -> web.Response:
        await control.delete(request.match_info["node"])
        return web.Response(status=204)

    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.add_routes([web.put("/nodes/{node}", put), web.delete("/nodes/{node}", delete)])
    return app


@asynccontextmanager
async def controlled(control: Control, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve the HTTP control; the value is its base URL."""
    async with _listening(control_app(control), host, port) as url:
        yield url


@asynccontextmanager
async def _listening(app: web.Application, host: str, port: int) -> AsyncIterator[str]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _main(xds: str, admin: str) -> None:
    host, _, port = xds.rpartition(":")
    admin_host, _, admin_port = admin.rpartition(":")
    control = StoreControl()
    async with (
        serving(control, XdsSettings(host=host, port=int(port))) as target,
        controlled(control, admin_host, int(admin_port)) as url,
        polled(control) as rest_url,
    ):
        print(f"xDS on {target}, control on {url}, polling on {rest_url}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--xds", default="127.0.0.1:18000", metavar="HOST:PORT")
    parser.add_argument("--admin", default="127.0.0.1:18081", metavar="HOST:PORT")
    arguments = parser.parse_args()
    with suppress(KeyboardInterrupt):
        asyncio.run(_main(arguments.xds, arguments.admin))
