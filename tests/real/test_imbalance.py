"""Imbalance-aware on real Envoys: a container that becomes slow loses load, and has it back once it is well again."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from lab.application import ServiceTime
from lab.service_queue import ServiceQueue
from mesh.topology import ServiceName, ServicePort
from tests.real.sidecar_mesh import SidecarMesh, until
from xds_server.ingest.settings import IngestSettings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SHOP = ServicePort(ServiceName("shop.default"), 9080)
SHOPS = ("shop-1a", "shop-1b", "shop-2a", "shop-2b")
TICK_S = 1.0
PER_S = 60.0  # of each client
MESH = """
apiVersion: askew.mesh/v1
nodes: [{name: n1, zone: a}, {name: n2, zone: a}]
services:
  - name: load
    containers:
      - {name: load-1, node: n1, address: 127.77.1.1}
      - {name: load-2, node: n2, address: 127.77.2.1}
  - name: shop
    port: 9080
    annotations: {askew.mesh/routing: imbalance-aware}
    containers:
      - {name: shop-1a, node: n1, address: 127.77.1.10, app_port: 8080}
      - {name: shop-1b, node: n1, address: 127.77.1.11, app_port: 8080}
      - {name: shop-2a, node: n2, address: 127.77.2.10, app_port: 8080}
      - {name: shop-2b, node: n2, address: 127.77.2.11, app_port: 8080}
calls: [{from: load, to: shop}]
"""


class Traffic:
    """A steady open load from both clients; what failed is counted."""

    def __init__(self, mesh: SidecarMesh) -> None:
        self.mesh, self.failures = mesh, Counter[str]()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as sources:
            for client in ("load-1", "load-2"):
                sources.create_task(self._send_from(client))

    async def _send_from(self, client: str) -> None:
        container = self.mesh.plane.topology.container_by_name[client]  # type: ignore[index]
        url, rng = f"http://{container.address}:{container.outbound_port}/", random.Random(client)
        under_way = set[asyncio.Task[None]]()
        try:
            while True:
                await asyncio.sleep(rng.expovariate(PER_S))
                task = asyncio.create_task(self._one(url))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
        finally:
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _one(self, url: str) -> None:
        try:
            async with self.mesh.http.get(url, headers={"Host": "shop"}) as response:
                if response.status != 200:
                    self.failures[str(response.status)] += 1
        except (aiohttp.ClientError, TimeoutError) as error:
            self.failures[repr(error)] += 1


@pytest.fixture
async def mesh(tmp_path: Path, envoy: Path) -> AsyncIterator[SidecarMesh]:
    ingest = IngestSettings(load_report_interval_s=TICK_S / 2)
    async with SidecarMesh(MESH, tmp_path, envoy, tick_s=TICK_S, flush_interval_s=TICK_S, ingest=ingest) as running:
        work = ServiceTime("exponential", mean_ms=20.0)
        for name in SHOPS:
            running.queues[name] = ServiceQueue(work, workers=2, speed=1.0, rng=random.Random(name))
        yield running


def _targets(mesh: SidecarMesh) -> dict[str, float]:
    """Return each endpoint's target in parts of its fair share."""
    plan = mesh.plane.plan.services.get(SHOP)
    chosen = plan.chosen if plan is not None else None
    return {} if chosen is None else {name: one.part / one.fair_part for name, one in chosen.endpoints.items()}


async def _served_parts(mesh: SidecarMesh, *, seconds: float) -> dict[str, float]:
    """Return what each endpoint serves from now on, in parts of a fair share."""
    before = mesh.served.copy()
    await asyncio.sleep(seconds)
    served = mesh.served - before
    return {name: 4.0 * served[name] / served.total() for name in SHOPS}


async def test_load_leaves_a_slow_container_and_returns(mesh: SidecarMesh) -> None:
    """One of four at a third of its speed: its target and its load fall; healed, both come back; nothing fails."""
    traffic = Traffic(mesh)
    sending = asyncio.create_task(traffic.run())
    try:
        await until(lambda: all(one.service_ms for one in mesh.plane.plan.services[SHOP].chosen.endpoints.values()))  # type: ignore[union-attr]
        mesh.queues["shop-1a"].speed = 1.0 / 3.0
        await until(lambda: _targets(mesh)["shop-1a"] < 0.6, deadline_s=40.0 * TICK_S)
        assert (await _served_parts(mesh, seconds=4.0))["shop-1a"] < 0.8
        url = f"http://127.0.0.1:{mesh.plane.http_port}/debug/perfz?service=shop"
        async with mesh.http.get(url) as response:
            page = await response.json()
        (slow,) = [one for one in page["endpoints"] if one["endpoint"] == "shop-1a"]
        assert "times the median" in slow["why"]
        assert slow["target_share"] < slow["fair_share"]
        assert page["table"]["cells"]

        mesh.queues["shop-1a"].speed = 1.0
        await until(lambda: _targets(mesh)["shop-1a"] > 0.8, deadline_s=60.0 * TICK_S)
        assert (await _served_parts(mesh, seconds=4.0))["shop-1a"] > 0.6
    finally:
        sending.cancel()
        with suppress(asyncio.CancelledError):
            await sending
    assert not traffic.failures
