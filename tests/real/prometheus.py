"""A real Prometheus on loopback that scrapes an exporter of the test. Needs the Debian package prometheus."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web

from tests.real.outside_process import free_ports, until

PREFIX = "/prometheus"


def missing() -> str:
    """Return what this machine lacks, or an empty string."""
    return "" if shutil.which("prometheus") else "no prometheus on the path (Debian package prometheus)"


@asynccontextmanager
async def exporter(page: Callable[[], str]) -> AsyncIterator[str]:
    """Serve what ``page`` returns at each scrape; yield HOST:PORT."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(text=page(), headers={"Content-Type": "text/plain; version=0.0.4"})

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        [port] = free_ports(1)
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def prometheus(folder: Path, target: str, *, session: aiohttp.ClientSession) -> AsyncIterator[str]:
    """Run Prometheus below the path ``PREFIX``, scraping ``target`` five times a second; yield its base URL."""
    [port] = free_ports(1)
    config = folder / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 200ms, scrape_timeout: 150ms}\n"
        "scrape_configs:\n"
        f"- {{job_name: kubelet, static_configs: [{{targets: ['{target}']}}]}}\n"
    )
    process = await asyncio.create_subprocess_exec(
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        f"--web.route-prefix={PREFIX}",
        "--log.level=error",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    base_url = f"http://127.0.0.1:{port}{PREFIX}"
    try:

        async def ready() -> bool:
            try:
                async with session.get(f"{base_url}/-/ready") as response:
                    return response.status == 200
            except aiohttp.ClientError:
                return False

        await until(ready)
        yield base_url
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
