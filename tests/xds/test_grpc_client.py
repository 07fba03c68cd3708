"""gRPC's own xDS client resolves through our server, follows a change, and survives our restart (gRFC A27, A57)."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2
from envoy.config.listener.v3 import api_listener_pb2, listener_pb2
from google.protobuf import wrappers_pb2

from tests.xds.askew_target import StoreControl, serving
from tests.xds.messages import CDS, EDS, LDS, RDS, Message, cluster, endpoints, listener, routes
from xds_server.settings import XdsSettings

ROOT = Path(__file__).resolve().parents[2]
NODE, SERVICE = "grpc-client.test", "echo.test"


@asynccontextmanager
async def backend(name: str) -> AsyncIterator[int]:
    """Serve a method that answers with ``name``; the value is its port."""

    async def who(_: bytes, __: object) -> bytes:
        return name.encode()

    server = grpc.aio.server()
    handler = grpc.method_handlers_generic_handler("test.Echo", {"Who": grpc.unary_unary_rpc_method_handler(who)})
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


@asynccontextmanager
async def client(xds_target: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run gRPC's client against our server."""
    bootstrap = {
        "xds_servers": [
            {"server_uri": xds_target, "channel_creds": [{"type": "insecure"}], "server_features": ["xds_v3"]}
        ],
        "node": {"id": NODE, "cluster": "test"},
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.xds.grpc_client",
        SERVICE,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=ROOT,
        env=os.environ | {"GRPC_XDS_BOOTSTRAP_CONFIG": json.dumps(bootstrap)},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def ask(process: asyncio.subprocess.Process) -> str:
    """Let the client make one call; return who answered."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"call\n")
    await process.stdin.drain()
    return (await asyncio.wait_for(process.stdout.readline(), 30)).decode().strip()


def resources(port: int) -> list[Message]:
    """Return what gRPC needs: an API listener named for the target, routes, a cluster, one endpoint."""
    manager = listener("x", "R").filter_chains[0].filters[0].typed_config
    api = listener_pb2.Listener(name=SERVICE, api_listener=api_listener_pb2.ApiListener(api_listener=manager))
    table = routes("R", "A")
    table.virtual_hosts[0].domains[:] = ["*"]
    table.virtual_hosts[0].routes[0].match.prefix = ""
    one = cluster("A")
    one.lb_policy = cluster_pb2.Cluster.ROUND_ROBIN
    assignment = endpoints("A", port)
    locality: endpoint_components_pb2.LocalityLbEndpoints = assignment.endpoints[0]
    locality.load_balancing_weight.CopyFrom(wrappers_pb2.UInt32Value(value=1))
    return [api, table, one, assignment]


async def until(process: asyncio.subprocess.Process, answer: str) -> list[str]:
    """Ask until ``answer`` comes; return all that came."""
    heard: list[str] = []
    while answer not in heard:
        assert len(heard) < 2000, heard[-5:]
        heard.append(await ask(process))
    return heard


async def test_grpc_resolves_and_follows_a_change() -> None:
    """Listener, routes, cluster, endpoints; new endpoints take over; no call fails."""
    control = StoreControl()
    async with backend("one") as one, backend("two") as two, serving(control) as target:
        await control.put(NODE, resources(one), {})
        async with client(target) as process:
            assert await ask(process) == "one"
            asked = {t for s in control.store.clients[NODE].streams for t in s.subscriptions}
            assert asked == {LDS, RDS, CDS, EDS}
            await control.put(NODE, resources(two), {})
            assert set(await until(process, "two")) <= {"one", "two"}
            assert await control.store.apply(control._of).acked([NODE], 10.0) == frozenset()


async def test_grpc_survives_our_restart() -> None:
    """While we are away calls go on; the one that comes back serves what it has now."""
    control = StoreControl()
    async with backend("one") as one, backend("two") as two:
        await control.put(NODE, resources(one), {})
        async with serving(control) as target:
            port = int(target.rpartition(":")[2])
            connection = client(target)
            process = await connection.__aenter__()
            assert await ask(process) == "one"
        try:
            assert [await ask(process) for _ in range(5)] == ["one"] * 5
            await control.put(NODE, resources(two), {})
            async with serving(control, XdsSettings(port=port, drain_s=0.1)):
                assert set(await until(process, "two")) <= {"one", "two"}
        finally:
            await connection.__aexit__(None, None, None)
