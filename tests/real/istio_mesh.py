"""A mesh as Istio runs it, without a cluster: sidecars configured by a stand-in of istiod, beside a real Askew.

Clients are real Envoys; servers are plain apps that say their name. Only loopback addresses; every process is ended by
``__aexit__``.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections import Counter
from collections.abc import Iterable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from askew.control_plane import ControlPlane
from askew.settings import HttpSettings, ServeSettings
from istio.envoy_filters import render
from istio.integration import Integration, SteeredService
from mesh.istio_facts import IstioFacts
from mesh.topology import ServiceName
from tests.fakes.istiod import Istiod
from tests.fakes.istiod_config import IstioService
from tests.real.istio_sidecar import IstioSidecar
from tests.real.outside_process import free_port
from tests.real.sidecar_mesh import until
from xds_server.settings import XdsSettings
from xds_server.tokens import CheckToken

PLACEHOLDER = "127.77."
PORT = 9080
SHOP = ServiceName("shop.default")
WHOLE = "outbound|9080||shop.default.svc.cluster.local"
MESH = """
apiVersion: askew.mesh/v1
nodes: [{name: n1}, {name: n2}]
services:
  - name: load
    containers: [{name: load-1, node: n1, address: 127.77.1.1}, {name: load-2, node: n2, address: 127.77.2.1}]
  - name: shop
    port: 9080
    annotations: {askew.mesh/routing: local-first}
    containers:
      - {name: shop-1, node: n1, address: 127.77.1.10}
      - {name: shop-2, node: n2, address: 127.77.2.10}
calls: [{from: load, to: shop}]
rates:
  - {client: load-1, service: shop.default, requests_per_s: 100}
  - {client: load-2, service: shop.default, requests_per_s: 100}
"""


class IstioMesh:
    """``async with IstioMesh(...) as mesh``: apps, istiod and Askew are up; sidecars start with ``add_sidecar``."""

    def __init__(
        self,
        folder: Path,
        envoy: Path,
        *,
        text: str = MESH,
        apps: Iterable[str] = ("shop-1", "shop-2"),
        xds: XdsSettings | None = None,
        check_token: CheckToken | None = None,
    ) -> None:
        self.block = 64 + os.getpid() % 60
        self.file = folder / "mesh.yaml"
        self.file.write_text(text.replace(PLACEHOLDER, f"127.{self.block}."))
        self._folder, self._envoy, self._app_names = folder, envoy, tuple(apps)
        self._check_token = check_token
        self._xds = replace(xds or XdsSettings(), port=free_port(), drain_s=0.2)
        self.istiod = Istiod()
        self.sidecars: dict[str, IstioSidecar] = {}
        self.served: Counter[str] = Counter()
        self.delay_s: dict[str, float] = {}  # by server: how long it takes to answer
        self.plane: ControlPlane
        self._plane_task: asyncio.Task[None] | None = None
        self.http: aiohttp.ClientSession
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> IstioMesh:
        try:
            await self.start_askew()
            self._stack.push_async_callback(self.stop_askew)
            self.http = await self._stack.enter_async_context(
                aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=15))
            )
            for name in self._app_names:
                await self.start_app(name)
            self.istiod.services = [self.shop()]
            await self.istiod.start()
            self._stack.push_async_callback(self.istiod.stop)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for sidecar in self.sidecars.values():
            await sidecar.stop()
        await self._stack.aclose()

    async def start_askew(self) -> None:
        """Start the control plane, on the same port each time."""
        settings = ServeSettings(xds=self._xds, http=HttpSettings(port=0))
        self.plane = ControlPlane(str(self.file), settings, check_token=self._check_token)
        ready = asyncio.Event()
        self._plane_task = asyncio.create_task(self.plane.run(on_ready=ready.set), name="askew")
        await asyncio.wait_for(ready.wait(), 10)

    async def stop_askew(self) -> None:
        if self._plane_task is not None:
            self._plane_task.cancel()
            with suppress(asyncio.CancelledError):
                await self._plane_task
            self._plane_task = None

    async def know(self, facts: IstioFacts) -> None:
        """Give the control plane what a Kubernetes source would know besides."""
        topology = replace(self.plane.topology, istio=facts)
        self.plane.source.topology = topology
        self.plane._mesh_changed(topology)
        await until(lambda: self.plane.topology is topology)

    @property
    def to(self) -> Integration:
        """The way to this Askew."""
        token_port = self._xds.token_port
        return Integration(host="127.0.0.1", port=self._xds.port, token_port=token_port, transport="plaintext")

    def address(self, name: str) -> str:
        return self.plane.topology.container_by_name[name].address  # type: ignore[index]

    def shop(self) -> IstioService:
        """Return the server as istiod sees it."""
        containers = self.plane.topology.service_by_name[SHOP].containers
        return IstioService(SHOP, PORT, [(container.address, PORT) for container in containers])

    def steer(self, to: Integration | None = None) -> None:
        """Put our EnvoyFilters into the mesh, and push."""
        self.istiod.filters = list(render(to or self.to, [SteeredService(SHOP)]))
        self.istiod.push()

    def unsteer(self) -> None:
        """Take them away, and push."""
        self.istiod.filters = []
        self.istiod.push()

    async def add_sidecar(
        self,
        pod: str,
        *,
        wait: bool = True,
        concurrency: int = 1,
        static_clusters: tuple[dict[str, Any], ...] = (),
        stat_prefixes: tuple[str, ...] = (),
    ) -> IstioSidecar:
        """Start a sidecar for a pod of the mesh file."""
        address = self.address(pod)
        port = self.istiod.port
        sidecar = IstioSidecar(pod, address, istiod_port=port, envoy=self._envoy, folder=self._folder)
        self.sidecars[pod] = sidecar
        await sidecar.start(concurrency=concurrency, static_clusters=static_clusters, stat_prefixes=stat_prefixes)
        if wait:
            await until(sidecar.is_live)
        return sidecar

    async def start_app(self, name: str, *, tls: ssl.SSLContext | None = None) -> None:
        """Start a server that answers with its name."""

        async def answer(_: web.Request) -> web.Response:
            self.served[name] += 1
            await asyncio.sleep(self.delay_s.get(name, 0.0))
            return web.Response(text=name)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, self.address(name), PORT, ssl_context=tls).start()

    async def send(self, pod: str, count: int, *, at_once: int = 4) -> Counter[str]:
        """Send requests through a pod's sidecar; return who answered, failures as ``failed: why``."""
        answers: Counter[str] = Counter()
        left = iter(range(count))

        async def worker() -> None:
            for _ in left:
                answers[await self._one(pod)] += 1

        await asyncio.gather(*(worker() for _ in range(at_once)))
        return answers

    async def send_until(self, pod: str, done: asyncio.Event) -> Counter[str]:
        """Send one request after another until ``done``."""
        answers: Counter[str] = Counter()
        while not done.is_set():
            answers[await self._one(pod)] += 1
            await asyncio.sleep(0.002)
        return answers

    async def _one(self, pod: str) -> str:
        headers = {"Host": "shop.default.svc.cluster.local"}
        try:
            async with self.http.get(f"http://{self.address(pod)}:{PORT}/", headers=headers) as response:
                text = await response.text()
                return text if response.status == 200 else f"failed: {response.status} {text[:160]}"
        except (aiohttp.ClientError, TimeoutError) as error:
            return f"failed: {error!r}"
