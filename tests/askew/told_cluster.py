"""A cluster whose traffic only a real Prometheus tells of, and Askew on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from askew.control_plane import ControlPlane
from askew.kubernetes_source import KubernetesSource
from askew.settings import HttpSettings, LoopSettings, PrometheusSourceSettings, ServeSettings
from istio.settings import KubernetesSettings
from tests.fakes.api_server import ApiServer
from tests.istio.cluster_objects import endpoint, endpoint_slice, node, pod, service
from tests.real.prometheus import exporter, prometheus
from xds_server.settings import XdsSettings

WINDOW_S = 3.0
ALL_NODES = ["n1", "n2", "n3"]


@dataclass(frozen=True)
class ToldPlane:
    """What a test asks: the cluster's API server, and Askew's own pages."""

    api: ApiServer
    http: aiohttp.ClientSession
    own: str

    async def links(self) -> dict[tuple[str, str], Any]:
        """Return ``/debug/linkz`` by both ends."""
        async with self.http.get(f"{self.own}/debug/linkz") as answer:
            return {(one["from"], one["to"]): one for one in (await answer.json())["links"]}

    async def note(self) -> str:
        """Return ``/debug/telemetryz``, which says what is in use."""
        async with self.http.get(f"{self.own}/debug/telemetryz") as answer:
            return str(await answer.text())


@asynccontextmanager
async def told_plane(folder: Path, page: Callable[[], str]) -> AsyncIterator[ToldPlane]:
    """Run all of it: what ``page`` returns is scraped by the Prometheus."""
    async with (
        aiohttp.ClientSession() as http,
        exporter(page) as target,
        prometheus(folder, target, session=http) as base_url,
        _api_server() as api,
        _control_plane(api, base_url) as plane,
    ):
        yield ToldPlane(api, http, f"http://127.0.0.1:{plane.http_port}")


@asynccontextmanager
async def _api_server() -> AsyncIterator[ApiServer]:
    """A cluster of three nodes: reviews on n1, web's two pods on n2, db on n3."""
    async with ApiServer() as api:
        for name in ALL_NODES:
            api.put(node(name))
        labels = {"app": "reviews", "pod-template-hash": "7d9f"}
        api.put(pod("reviews-1", on="n1", ip="10.0.0.1", labels=labels, owner=("ReplicaSet", "reviews-7d9f")))
        api.put(pod("db-1", on="n3", ip="10.0.0.3", labels={"app": "db"}, sidecar=False))
        for number in (1, 2):
            labels = {"app": "web", "pod-template-hash": "abcd"}
            owner = ("ReplicaSet", "web-abcd")
            api.put(pod(f"web-{number}", on="n2", ip=f"10.0.1.{number}", labels=labels, owner=owner))
        ports = [{"name": "tcp-db", "port": 5432, "protocol": "TCP", "targetPort": 5432}]
        api.put(service())
        api.put(service("db", ports=ports))
        api.put(endpoint_slice(endpoint("10.0.0.1", "reviews-1")))
        api.put(endpoint_slice(endpoint("10.0.0.3", "db-1", on="n3"), of="db", ports={"tcp-db": 5432}))
        yield api


@asynccontextmanager
async def _control_plane(api: ApiServer, base_url: str) -> AsyncIterator[ControlPlane]:
    """Askew on this cluster, with this Prometheus."""
    plane = ControlPlane(
        KubernetesSource(KubernetesSettings(api_server=api.url, build_pause_s=0.0)),
        ServeSettings(
            xds=XdsSettings(port=0, drain_s=0.1),
            http=HttpSettings(port=0),
            loop=LoopSettings(tick_s=0.1),
            prometheus=PrometheusSourceSettings(url=base_url, interval_s=0.2, flow_window_s=WINDOW_S),
        ),
    )
    ready = asyncio.Event()
    task = asyncio.create_task(plane.run(on_ready=ready.set))
    try:
        await asyncio.wait_for(ready.wait(), 10)
        yield plane
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
