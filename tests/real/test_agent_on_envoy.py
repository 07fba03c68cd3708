"""The node agent reads a live Envoy's own page: our sidecar's fine buckets, and Envoy's defaults, which are refused."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from enforcer.containers_file import ListedContainer
from enforcer.latency_source import LatencyReading, LatencySource
from enforcer.settings import AgentSettings
from lab.application import ServiceTime
from lab.service_queue import ServiceQueue
from mesh.topology import ContainerName
from tests.real.sidecar_mesh import SidecarMesh, until

pytestmark = pytest.mark.timeout(120)

MESH = """
apiVersion: askew.mesh/v1
nodes: [{name: n1, zone: a, agent: '127.0.0.1:18100'}]
services:
  - name: load
    containers: [{name: load-1, node: n1, address: 127.77.1.1}]
  - name: shop
    port: 9080
    annotations: {askew.mesh/routing: uniform}
    containers: [{name: shop-1, node: n1, address: 127.77.1.10, app_port: 8080}]
calls: [{from: load, to: shop}]
"""
SHOP = ContainerName("shop-1")
WORK_MS, TARGET_MS = 20.0, 30.0


@pytest.fixture
async def mesh(tmp_path: Path, envoy: Path) -> AsyncIterator[SidecarMesh]:
    """A node with an agent: its sidecars bring their statistics up to date when their page is read."""
    async with SidecarMesh(MESH, tmp_path, envoy) as running:
        work = ServiceTime("fixed", mean_ms=WORK_MS)
        running.queues[SHOP] = ServiceQueue(work, workers=8, speed=1.0, rng=random.Random(1))
        yield running


@pytest.fixture
async def source() -> AsyncIterator[LatencySource]:
    made = LatencySource(AgentSettings(scrape_deadline_s=10.0))
    yield made
    await made.close()


async def read(source: LatencySource, mesh: SidecarMesh) -> LatencyReading:
    """Return what the agent reads of ``shop-1``, as its containers file names the page."""
    page = f"http://127.0.0.1:{mesh.admin_ports[SHOP]}/stats/prometheus?filter=downstream_rq_time"
    (reading,) = await source.read([ListedContainer(SHOP, cgroup="shop", target_ms=TARGET_MS, latency=page)])
    return reading


async def test_our_sidecars_page_shows_what_was_served_until_now(mesh: SidecarMesh, source: LatencySource) -> None:
    """No request is missing or faster than its work, bounds are 10 % apart; and a look holds what went before it.

    Envoy answers before it has merged its histograms: a page that is asked once is always one look late. A worker that
    the machine keeps waiting may still be late now and then.
    """
    seen: list[int] = []
    for _ in range(5):
        await mesh.send("load-1", "shop", 10)
        sample = (await read(source, mesh)).sample
        assert sample is not None
        seen.append(sample.count)

    async def complete() -> bool:
        reading = await read(source, mesh)
        return reading.sample is not None and reading.sample.count == 50

    await until(complete)
    last = (await read(source, mesh)).sample

    assert sum(count == 10 * (look + 1) for look, count in enumerate(seen)) >= 3, seen
    assert last is not None
    assert all(above <= 1.101 * below for below, above in itertools.pairwise(last.bounds_ms))
    too_fast = [count for bound, count in zip(last.bounds_ms, last.counts, strict=True) if bound < WORK_MS]
    assert (last.count, max(too_fast), last.sum_ms >= 50 * WORK_MS) == (50, 0, True)


async def test_the_same_sidecar_with_envoys_own_buckets_is_refused(
    mesh: SidecarMesh, source: LatencySource, tmp_path: Path, envoy: Path
) -> None:
    """25 and 50 ms around 30 ms, as Istio's sidecars have them, cannot show a slack of 5 %: a reason, no sample."""
    await mesh.kill_sidecar(SHOP)
    file = tmp_path / f"{SHOP}.json"
    bootstrap = json.loads(file.read_text())
    del bootstrap["stats_config"]["histogram_bucket_settings"]
    file.write_text(json.dumps(bootstrap))
    arguments = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "error")
    mesh.envoys[SHOP] = await asyncio.create_subprocess_exec(str(envoy), "-c", str(file), *arguments)

    async def served() -> bool:
        return bool((await mesh.send("load-1", "shop", 1))[SHOP])

    await until(served)
    reading = await read(source, mesh)

    assert reading.sample is None
    assert "found buckets of 25 and 50 ms around the target of 30 ms, allowed: at most 30 % apart" in reading.why
    assert "name the app's own metrics instead" in reading.why
