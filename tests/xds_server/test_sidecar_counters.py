"""Measuring through a sidecar's own counters: a real Envoy with known bytes, and sidecars that fail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from mesh.link_measurement import LinkBytes, Measurement, Unmeasured
from mesh.topology import Container, ContainerName, NodeName, ServiceName
from tests.real.outside_process import free_ports, until
from xds_server.ingest.cluster_bytes import STATS_PATH
from xds_server.ingest.scrape import ScrapeSettings, SidecarCounters

CLIENT = Container(ContainerName("web-0"), ServiceName("web.shop"), NodeName("n1"), "127.0.0.1")
CLUSTER = "outbound|9080|local|reviews.default.svc.cluster.local"


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@asynccontextmanager
async def serving(*pages: str | int) -> AsyncIterator[str]:
    """Serve one page after the other, the last one for good; a number is a status."""
    left = list(pages)

    async def answer(_: web.Request) -> web.Response:
        page = left.pop(0) if len(left) > 1 else left[0]
        return web.Response(status=page) if isinstance(page, int) else web.Response(text=page)

    app = web.Application()
    app.router.add_get("/stats", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    [port] = free_ports(1)
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{port}/stats"
    finally:
        await runner.cleanup()


def page(sent: int, received: int, cluster: str = CLUSTER) -> str:
    prefix = f"cluster.{cluster}.upstream_cx_"
    counters = {f"{prefix}tx_bytes_total": sent, f"{prefix}rx_bytes_total": received}
    return json.dumps({"stats": [{"name": name, "value": value} for name, value in counters.items()]})


async def measure(
    session: aiohttp.ClientSession, url: str | None, *, most_bytes: int = 1 << 20
) -> Measurement | Unmeasured:
    settings = ScrapeSettings(most_bytes=most_bytes)
    return await SidecarCounters(lambda _: url, session, settings=settings).measure(CLIENT, window_s=0.01)


async def test_two_scrapes_give_the_bytes_of_the_window(session: aiohttp.ClientSession) -> None:
    """Last minus first, per service that the container calls, client side only."""
    async with serving(page(100, 1000), page(150, 5000)) as url:
        result = await measure(session, url)
    assert isinstance(result, Measurement)
    assert result.links == (LinkBytes("reviews.default", 9080, "client", 50, 4000),)
    assert (result.complete, result.covers) == (True, "client")


async def test_a_restarted_sidecar_counts_from_zero_and_says_so(session: aiohttp.ClientSession) -> None:
    """Never a negative number, and incomplete."""
    async with serving(page(100, 1000), page(30, 2000)) as url:
        result = await measure(session, url)
    assert isinstance(result, Measurement)
    assert [(link.bytes_sent, link.bytes_received) for link in result.links] == [(30, 2000)]
    assert not result.complete


@pytest.mark.parametrize(
    ("pages", "reason"),
    [
        ((503,), "found status 503"),
        (("<html>",), "allowed: JSON"),
        ((page(1, 1), 404), "found status 404"),
        ((page(1, 1, "inbound|80||"),), "no byte counters"),
        (("x" * 300,), "more than 256 bytes"),
    ],
    ids=["status", "html", "gone", "none", "long"],
)
async def test_a_sidecar_that_does_not_answer_is_a_result(
    session: aiohttp.ClientSession, pages: tuple[str | int, ...], reason: str
) -> None:
    """Why the sidecar was no use, in one line."""
    async with serving(*pages) as url:
        result = await measure(session, url, most_bytes=256)
    assert isinstance(result, Unmeasured)
    assert reason in result.reason


async def test_no_sidecar_and_a_dead_one_are_results(session: aiohttp.ClientSession) -> None:
    """Neither raises."""
    [port] = free_ports(1)
    for url in (None, f"http://127.0.0.1:{port}/stats"):
        assert isinstance(await measure(session, url), Unmeasured)


def envoy_config(admin: int, listener: int, app: int) -> str:
    def address(port: int) -> dict[str, object]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

    proxy = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "reviews",
        "cluster": CLUSTER,
    }
    endpoint = {"lb_endpoints": [{"endpoint": {"address": address(app)}}]}
    return json.dumps(
        {
            "admin": {"address": address(admin)},
            "static_resources": {
                "listeners": [
                    {
                        "address": address(listener),
                        "filter_chains": [{"filters": [{"name": "tcp", "typed_config": proxy}]}],
                    }
                ],
                "clusters": [
                    {
                        "name": CLUSTER,
                        "type": "STATIC",
                        "connect_timeout": "1s",
                        "load_assignment": {"cluster_name": CLUSTER, "endpoints": [endpoint]},
                    }
                ],
            },
            "stats_flush_on_admin": True,
        }
    )


@asynccontextmanager
async def running_envoy(binary: Path, config: Path, admin: int, session: aiohttp.ClientSession) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        binary, "-c", config, "--disable-hot-restart", "--concurrency", "1", "--log-level", "off"
    )
    try:
        await until(lambda: _ready(admin, session))
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _ready(admin: int, session: aiohttp.ClientSession) -> bool:
    try:
        async with session.get(f"http://127.0.0.1:{admin}/ready") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("path", [STATS_PATH, "/stats/prometheus"], ids=["json", "prometheus"])
async def test_a_real_envoy_counts_every_byte(
    envoy: Path, tmp_path: Path, session: aiohttp.ClientSession, path: str
) -> None:
    """Known bytes through a TCP proxy: both pages of Envoy give them exactly."""
    admin, listener, app = free_ports(3)
    config = tmp_path / "envoy.json"
    config.write_text(envoy_config(admin, listener, app))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(12_345)
        writer.write(bytes(67_890))
        await writer.drain()
        writer.close()

    async def call() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener)
        writer.write(bytes(12_345))
        assert len(await reader.read(-1)) == 67_890
        writer.close()
        await writer.wait_closed()

    opened = asyncio.Event()
    on_open: Callable[[], None] = opened.set
    async with await asyncio.start_server(serve, "127.0.0.1", app), running_envoy(envoy, config, admin, session):
        measurer = SidecarCounters(lambda _: f"http://127.0.0.1:{admin}{path}", session, on_open=on_open)
        await call()  # before the window: not counted
        async with asyncio.TaskGroup() as tasks:
            measuring = tasks.create_task(measurer.measure(CLIENT, window_s=0.5))
            await opened.wait()
            await call()
            await call()
    result = measuring.result()
    assert isinstance(result, Measurement), result
    assert result.links == (LinkBytes("reviews.default", 9080, "client", 2 * 12_345, 2 * 67_890),)
