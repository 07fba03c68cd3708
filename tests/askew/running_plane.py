"""A control plane in the test's process, and a client of its HTTP port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp

from askew.control_plane import ControlPlane
from askew.settings import HttpSettings, PrometheusSourceSettings, ServeSettings
from xds_server.settings import XdsSettings

NO_PROMETHEUS = PrometheusSourceSettings()


class Running:
    """A control plane in this process, and a client of its HTTP port."""

    def __init__(self, plane: ControlPlane, file: Path, http: aiohttp.ClientSession) -> None:
        self.plane, self.file, self.http = plane, file, http

    @property
    def url(self) -> str:
        """Where its pages are."""
        return f"http://127.0.0.1:{self.plane.http_port}"

    async def get(self, path: str) -> tuple[int, object]:
        """Return a page's status and its JSON or text."""
        async with self.http.get(self.url + path) as response:
            if response.content_type == "application/json":
                return response.status, await response.json()
            return response.status, await response.text()

    async def until(self, path: str, wanted: str) -> object:
        """Ask for a page until it holds ``wanted``."""
        async with asyncio.timeout(10):
            while True:
                _, page = await self.get(path)
                if wanted in str(page):
                    return page
                await asyncio.sleep(0.02)


@asynccontextmanager
async def running_plane(
    folder: Path, mesh: str, *, prometheus: PrometheusSourceSettings = NO_PROMETHEUS
) -> AsyncIterator[Running]:
    """Run a control plane on free ports for the text of a mesh file, which stands in ``folder``."""
    file = folder / "mesh.yaml"
    file.write_text(mesh)
    settings = ServeSettings(xds=XdsSettings(port=0), http=HttpSettings(port=0), prometheus=prometheus)
    plane = ControlPlane(str(file), settings)
    ready = asyncio.Event()
    task = asyncio.create_task(plane.run(on_ready=ready.set))
    await asyncio.wait_for(ready.wait(), 10)
    try:
        async with aiohttp.ClientSession() as http:
            yield Running(plane, file, http)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
