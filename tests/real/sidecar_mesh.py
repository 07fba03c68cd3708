"""A mesh for tests: the real control plane in this process, a real Envoy for every container, apps that say their name.

Only loopback addresses; every process is ended by ``__aexit__``, also when a test fails.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from askew.control_plane import ControlPlane
from askew.settings import HttpSettings, LoopSettings, ServeSettings, SourceSettings
from lab.service_queue import ServiceQueue
from mesh.topology import Container
from tests.real.outside_process import free_port
from xds_server.ingest.settings import IngestSettings
from xds_server.resources.bootstrap import render_bootstrap
from xds_server.resources.client_tls import ClientTls, secret_files, with_client_tls
from xds_server.resources.config_source import Transport
from xds_server.settings import XdsSettings

DEADLINE_S = 20.0
PLACEHOLDER = "127.77."  # what meshes of tests write; each process has a block of its own
DEFAULT_INGEST = IngestSettings()


async def until(condition: Callable[[], Any], *, deadline_s: float = DEADLINE_S, every_s: float = 0.02) -> float:
    """Wait until ``condition()`` (plain or awaitable) is true; return the seconds it took. Fails at the deadline."""
    started_s = time.monotonic()
    while True:
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return time.monotonic() - started_s
        if time.monotonic() - started_s > deadline_s:
            raise AssertionError(f"not true within {deadline_s} s")
        await asyncio.sleep(every_s)


class SidecarMesh:
    """``async with SidecarMesh(...) as mesh``: up when entered, gone when left."""

    def __init__(
        self,
        text: str,
        folder: Path,
        envoy: Path,
        *,
        transport: Transport = "delta",
        brisk: bool = False,
        tick_s: float = 5.0,
        flush_interval_s: float = 5.0,
        ingest: IngestSettings = DEFAULT_INGEST,
        tls: XdsSettings | None = None,
        client_tls: Callable[[Container], ClientTls] | None = None,
        envoy_arguments: tuple[str, ...] = (),
    ) -> None:
        self.block = 64 + os.getpid() % 60  # of loopback addresses, so that two test runs do not meet
        self.file = folder / "mesh.yaml"
        self.file.write_text(text.replace(PLACEHOLDER, f"127.{self.block}."))
        self._tick_s = tick_s
        self._brisk = brisk  # read the file and take changes at once, for tests of many changes
        self._folder, self._envoy, self._transport = folder, envoy, transport
        self._envoy_arguments = envoy_arguments
        self._flush_interval_s, self._ingest = flush_interval_s, ingest
        self._xds_port, self._http_port = free_port(), free_port()
        self._xds, self._client_tls = tls or XdsSettings(), client_tls
        self._plane_task: asyncio.Task[None] | None = None
        self.plane: ControlPlane
        self.admin_ports: dict[str, int] = {}
        self.envoys: dict[str, asyncio.subprocess.Process] = {}
        self.apps: dict[str, web.AppRunner] = {}
        self.served: Counter[str] = Counter()
        self.queues: dict[str, ServiceQueue] = {}  # of apps that take their time
        self.http: aiohttp.ClientSession

    async def __aenter__(self) -> SidecarMesh:
        self.http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=15)
        )
        try:
            await self.start_askew()
            containers = list(self.plane.topology.container_by_name.values())
            await asyncio.gather(*(self._start_app(container) for container in containers if container.app_ports))
            await asyncio.gather(*(self._start_envoy(container) for container in containers))
            await until(self.all_synced)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for name in list(self.envoys):
            await self.kill_sidecar(name)
        for runner in self.apps.values():
            await runner.cleanup()
        await self.stop_askew()
        await self.http.close()

    # -- parts --------------------------------------------------------------------------------------------------------

    async def start_askew(self) -> None:
        settings = ServeSettings(
            xds=replace(self._xds, port=self._xds_port, drain_s=0.2),
            http=HttpSettings(port=self._http_port),
            ingest=self._ingest,
            loop=LoopSettings(tick_s=self._tick_s),
        )
        if self._brisk:
            loop = LoopSettings(tick_s=self._tick_s, debounce_s=0.0)
            settings = replace(settings, loop=loop, source=SourceSettings(poll_s=0.01))
        self.plane = ControlPlane(str(self.file), settings)
        ready = asyncio.Event()
        self._plane_task = asyncio.create_task(self.plane.run(on_ready=ready.set), name="askew")
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait((self._plane_task, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._plane_task.done():
            await self._plane_task

    async def stop_askew(self) -> None:
        if self._plane_task is not None:
            self._plane_task.cancel()
            with suppress(asyncio.CancelledError):
                await self._plane_task
            self._plane_task = None

    async def _start_app(self, container: Container) -> None:
        async def answer(_: web.Request) -> web.Response:
            if container.name in self.queues:
                await self.queues[container.name].work()
            self.served[container.name] += 1
            return web.Response(text=container.name)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = self.apps[container.name] = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        for port in container.app_ports.values():
            await web.TCPSite(runner, container.address, port).start()

    async def _start_envoy(self, container: Container) -> None:
        port = self.admin_ports[container.name] = free_port()
        bootstrap = render_bootstrap(
            self.plane.topology,
            container,
            xds_address=("127.0.0.1", self._xds_port),
            admin_port=port,
            transport=self._transport,
            rest_address=("127.0.0.1", self.plane.http_port),
            flush_interval_s=self._flush_interval_s,
        )
        if self._client_tls is not None:
            bootstrap = _over_tls(bootstrap, self._client_tls(container))
        file = self._folder / f"{container.name}.json"
        file.write_text(json.dumps(bootstrap))
        arguments = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "warning", *self._envoy_arguments)
        with open(self._folder / f"{container.name}.log", "wb") as log:  # noqa: ASYNC230 - a new local file
            self.envoys[container.name] = await asyncio.create_subprocess_exec(
                str(self._envoy), "-c", str(file), *arguments, stdout=log, stderr=log
            )

    async def kill_sidecar(self, name: str) -> None:
        process = self.envoys.pop(name)
        if process.returncode is None:
            os.kill(process.pid, signal.SIGKILL)
        await process.wait()

    async def kill_app(self, name: str) -> None:
        await self.apps.pop(name).cleanup()

    # -- what is said and seen ----------------------------------------------------------------------------------------

    def rewrite(self, *changes: tuple[str, str]) -> None:
        """Replace texts in the mesh file, by renaming over it as an operator's tool would."""
        text = self.file.read_text()
        for old, new in changes:
            assert old in text, f"{old!r} is not in the mesh file"
            text = text.replace(old, new)
        fresh = self.file.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(self.file)

    def all_synced(self) -> bool:
        """Whether every sidecar is connected and has accepted all that it should have."""
        clients = self.plane.store.clients
        ready = [name for name, client in clients.items() if client.converged()]
        return len(ready) == len(self.plane.topology.container_by_name)

    async def synced(self, generation: int) -> float:
        """Wait until every sidecar has accepted a plan newer than ``generation``; return the seconds it took."""
        return await until(lambda: self.plane.plan.generation > generation and self.all_synced())

    async def stats(self, name: str, pattern: str) -> dict[str, int]:
        """Return the counters and gauges of a sidecar whose names match ``pattern``."""
        url = f"http://127.0.0.1:{self.admin_ports[name]}/stats?format=json"
        async with self.http.get(url, params={"filter": pattern}) as response:
            found = json.loads(await response.text())
        return {one["name"]: one["value"] for one in found["stats"] if "value" in one}

    async def connections(self, name: str) -> set[str]:
        """Return the endpoints (address:port) to which a sidecar has an outbound connection open."""
        async with self.http.get(f"http://127.0.0.1:{self.admin_ports[name]}/clusters") as response:
            lines = (await response.text()).splitlines()
        found = (re.match(r"outbound\|.*::([0-9.]+:[0-9]+)::cx_active::([0-9]+)$", line) for line in lines)
        return {match[1] for match in found if match and int(match[2])}

    async def send(self, client: str, service: str, count: int, *, at_once: int = 8) -> Counter[str]:
        """Send ``count`` requests through a client's sidecar; return who answered, failures as ``failed: why``."""
        container = self.plane.topology.container_by_name[client]  # type: ignore[index]
        url = f"http://{container.address}:{container.outbound_port}/"
        answers: Counter[str] = Counter()
        left = iter(range(count))

        async def worker() -> None:
            for _ in left:
                answers[await self._one(url, service)] += 1

        await asyncio.gather(*(worker() for _ in range(at_once)))
        return answers

    async def send_steadily(self, client: str, service: str, per_s: float, *, body: bytes) -> None:
        """POST ``body`` at a steady rate until cancelled, whether answers come or not; a failure ends it."""
        container = self.plane.topology.container_by_name[client]  # type: ignore[index]
        url = f"http://{container.address}:{container.outbound_port}/"

        async def post() -> None:
            async with self.http.post(url, data=body, headers={"Host": service}) as response:
                assert response.status == 200, await response.text()

        async with asyncio.TaskGroup() as requests:
            started_s = time.monotonic()
            for number in itertools.count():
                await asyncio.sleep(started_s + number / per_s - time.monotonic())
                requests.create_task(post())

    async def _one(self, url: str, service: str) -> str:
        try:
            async with self.http.get(url, headers={"Host": service}) as response:
                text = await response.text()
                return text if response.status == 200 else f"failed: {response.status} {text[:160]}"
        except (aiohttp.ClientError, TimeoutError) as error:
            return f"failed: {error!r}"


def _over_tls(bootstrap: dict[str, Any], tls: ClientTls) -> dict[str, Any]:
    for path, content in secret_files(tls).items():
        Path(path).write_text(json.dumps(content))
    return with_client_tls(bootstrap, tls)


def failures(answers: Iterable[str] | Counter[str]) -> list[str]:
    """Return the answers that are failures."""
    return [answer for answer in answers if answer.startswith("failed")]
