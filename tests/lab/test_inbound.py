"""The inbound side of a lab's sidecar, on the real Envoy: who calls is counted by source node, strangers pay."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from lab.application import Application
from lab.children import Children
from lab.envoy_admin import EnvoyAdmin, admin_session
from lab.http_wire import ClientConnection, Request, Response, ServerConnection
from lab.inbound import INBOUND_KEY, add_inbound
from lab.mesh_document import mesh_document, node_prefixes
from lab.places import Block, reserve_block
from lab.sidecars import envoy_binary
from lab.topology_file import APP_PORT, load_application, shipped_file
from lab.traffic import Amount, Link
from mesh.topology import Container, ContainerName
from xds_server.resources.bootstrap import render_bootstrap

REQUEST = b"GET /get HTTP/1.1\r\nhost: ratings\r\n\r\n"


def bookinfo() -> Application:
    return load_application(shipped_file("bookinfo"))


def sidecar_bootstrap(block: Block) -> tuple[Container, dict[str, Any]]:
    """Return ratings-0 (on n1) and its bootstrap, without the control plane: here only the static part is tested."""
    topology = mesh_document(bookinfo(), block=block.number, annotations={}).topology
    container = topology.container_by_name[ContainerName("ratings-0")]
    bootstrap = render_bootstrap(
        topology, container, xds_address=("127.0.0.1", block.port(0)), admin_port=block.port(2)
    )
    prefixes = node_prefixes(bookinfo(), block=block.number)
    bootstrap = add_inbound(bootstrap, container, node_prefixes=prefixes, cross_node_delay_ms=1)
    del bootstrap["dynamic_resources"]
    return container, bootstrap


@asynccontextmanager
async def sidecar(block: Block, directory: Path) -> AsyncIterator[EnvoyAdmin]:
    """Yield the sidecar of ratings-0 with an app behind it."""

    async def answer(request: Request) -> Response:
        return Response(200, b"x" * 1000)

    container, bootstrap = sidecar_bootstrap(block)
    file = directory / "bootstrap.json"
    file.write_text(json.dumps(bootstrap))
    app = await asyncio.get_running_loop().create_server(lambda: ServerConnection(answer), container.address, APP_PORT)
    children = Children(directory)
    try:
        children.start("envoy", [envoy_binary(), "-c", str(file), "--concurrency", "1", "--disable-hot-restart"])
        async with admin_session() as session:
            admin = EnvoyAdmin(container, block.port(2), session)
            while not await admin.is_ready():  # noqa: ASYNC110 - Envoy starts in its own time
                await asyncio.sleep(0.02)
            yield admin
    finally:
        children.stop()
        app.close()


async def ask_from(source: str, container: Container, *, times: int) -> None:
    """Send requests to the sidecar as a container at ``source`` would."""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(
        ClientConnection, container.address, container.ports[9080], local_addr=(source, 0)
    )
    for _ in range(times):
        assert (await connection.exchange(REQUEST)).status == 200
    connection.close()


async def delays_injected(admin: EnvoyAdmin) -> dict[str, int]:
    async with aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{admin.port}/stats?filter=delays_injected$&format=json"
        async with session.get(url) as response:
            stats = (await response.json())["stats"]
    return {stat["name"]: stat["value"] for stat in stats if stat.get("value")}


async def test_requests_are_counted_by_source_node_and_strangers_wait(tmp_path: Path, envoy: Path) -> None:
    """Callers are told apart by address; only those from other nodes go through the delay."""
    with reserve_block() as block:
        async with sidecar(block, tmp_path) as admin:
            for offset, times in enumerate((3, 5, 7)):  # from n1, its own node, then from n2 and n3
                await ask_from(f"127.{block.number + offset}.77.77", admin.container, times=times)
            await ask_from("127.0.0.1", admin.container, times=2)
            counted = dict(await admin.inbound_traffic())
            delayed = await delays_injected(admin)

    links = [Link("ratings.default", node, "n1") for node in ("n1", "n2", "n3")]
    assert [counted[link].requests for link in links] == [3, 5, 7]
    assert all(counted[link].bytes > 1000 * counted[link].requests for link in links)
    assert delayed == {"http.from_n2.fault.delays_injected": 5, "http.from_n3.fault.delays_injected": 7}


def test_askew_is_told_to_send_no_inbound_listener() -> None:
    """Two listeners on one address and port would share the connections between them."""
    with reserve_block() as block:
        _, bootstrap = sidecar_bootstrap(block)

    assert bootstrap["node"]["metadata"][INBOUND_KEY] == "bootstrap"


def test_a_container_without_ports_has_no_inbound_listener() -> None:
    """The load's sidecars only send."""
    topology = mesh_document(bookinfo(), block=16, annotations={}).topology
    container = topology.container_by_name[ContainerName("load-n1")]
    bare = render_bootstrap(topology, container, xds_address=("127.0.0.1", 1), admin_port=2)
    dressed = add_inbound(bare, container, node_prefixes={"n1": "127.16.0.0/16"}, cross_node_delay_ms=1)

    assert dressed["static_resources"] == bare["static_resources"]


def test_readings_of_nothing_are_nothing() -> None:
    """An amount starts at zero, so that a sidecar without traffic adds none."""
    assert Amount() + Amount(2, 3) == Amount(2, 3)
