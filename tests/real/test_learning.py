"""Real Envoys, no rates in the mesh file: Askew learns who sends how much, plans accordingly, and knows the links."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mesh.topology import ServiceName, ServicePort
from tests.real.sidecar_mesh import SidecarMesh, until
from xds_server.ingest.settings import IngestSettings

pytestmark = pytest.mark.timeout(120)

MESH = """
apiVersion: askew.mesh/v1
nodes: [{name: n1}, {name: n2}, {name: n3}]
services:
  - name: load
    containers:
      - {name: load-1, node: n1, address: 127.77.1.1}
      - {name: load-2, node: n2, address: 127.77.2.1}
      - {name: load-3, node: n3, address: 127.77.3.1}
  - name: shop
    port: 9080
    annotations: {askew.mesh/routing: local-first}
    containers:
      - {name: shop-1, node: n1, address: 127.77.1.10, app_port: 8080}
      - {name: shop-2, node: n2, address: 127.77.2.10, app_port: 8080}
      - {name: shop-3, node: n3, address: 127.77.3.10, app_port: 8080}
calls: [{from: load, to: shop}]
"""
SHOP = ServicePort(ServiceName("shop.default"), 9080)
RATES = {"load-1": 48.0, "load-2": 16.0, "load-3": 16.0}
BODY = b"x" * 10_000
TICK_S = 1.0


@pytest.fixture
async def mesh(tmp_path: Path, envoy: Path) -> AsyncIterator[SidecarMesh]:
    ingest = IngestSettings(load_report_interval_s=0.25)
    async with SidecarMesh(MESH, tmp_path, envoy, tick_s=TICK_S, flush_interval_s=0.5, ingest=ingest) as running:
        yield running


@asynccontextmanager
async def load(mesh: SidecarMesh, rates: dict[str, float]) -> AsyncIterator[None]:
    """Send at these rates, each client steadily, until the context is left; no request may fail."""
    sending = [
        asyncio.create_task(mesh.send_steadily(client, "shop", rate, body=BODY)) for client, rate in rates.items()
    ]
    try:
        yield
        assert not [task for task in sending if task.done()]
    finally:
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)


def learnt(mesh: SidecarMesh, rates: dict[str, float]) -> bool:
    """Whether the picture has these rates, within a tenth."""
    found = mesh.plane.picture.client_rates[SHOP]
    return found.method == "measured" and all(
        found.requests_per_s[client] == pytest.approx(rate, rel=0.1)  # type: ignore[index]
        for client, rate in rates.items()
    )


async def page(mesh: SidecarMesh, path: str) -> Any:
    async with mesh.http.get(f"http://127.0.0.1:{mesh.plane.http_port}{path}") as response:
        return await response.json()


async def test_unequal_clients_are_learnt_and_obeyed(mesh: SidecarMesh) -> None:
    """Of 80 requests/s one client sends 60 %: its own node takes a third of all, the rest goes to the other two.

    As soon as the plan is on the wire each server gets the same, and nothing more is pushed. A client that begins to
    send more is noticed.
    """
    assert mesh.plane.plan.services[SHOP].shares.row("load-1") == {"shop-1": 1.0}  # type: ignore[arg-type,comparison-overlap]
    async with load(mesh, RATES):
        await until(lambda: learnt(mesh, RATES), deadline_s=30.0)
        row = mesh.plane.plan.services[SHOP].shares.row("load-1")  # type: ignore[arg-type]
        assert row["shop-1"] == pytest.approx(0.556, abs=0.06)  # type: ignore[index]
        await until(mesh.all_synced)
        generation, before = mesh.plane.plan.generation, Counter(mesh.served)
        ticks = mesh.plane.telemetry.time_s + 8 * TICK_S
        await until(lambda: mesh.plane.telemetry.time_s > ticks)
        served = Counter(mesh.served) - before
        # Noise pushes nothing; on a machine short of processors the load itself may really change once or twice.
        assert mesh.plane.plan.generation <= generation + 2
        for name in ("shop-1", "shop-2", "shop-3"):
            assert served[name] / served.total() == pytest.approx(1 / 3, abs=0.05)
        allocation = await page(mesh, "/debug/allocationz?service=shop")
        assert allocation["client_rates_methods"] == ["measured"] * 3
        assert max(allocation["client_rates_age_s"]) < 3 * TICK_S

    async with load(mesh, {"load-3": 48.0}):
        await until(lambda: learnt(mesh, {"load-1": 0.0, "load-2": 0.0, "load-3": 48.0}), deadline_s=30.0)
        row = mesh.plane.plan.services[SHOP].shares.row("load-3")  # type: ignore[arg-type]
        assert row == pytest.approx({"shop-1": 1 / 3, "shop-2": 1 / 3, "shop-3": 1 / 3}, abs=0.05)


async def test_links_carry_what_was_sent(mesh: SidecarMesh) -> None:
    """Bytes of a link are those of the requests, heads and all, within a tenth; nobody but the clients was there."""
    async with load(mesh, RATES):
        await until(lambda: learnt(mesh, RATES), deadline_s=30.0)
        ticks = mesh.plane.telemetry.time_s + 6 * TICK_S
        await until(lambda: mesh.plane.telemetry.time_s > ticks)
        links = {(link["from"], link["to"]): link for link in (await page(mesh, "/debug/linkz"))["links"]}
        allocation = await page(mesh, "/debug/allocationz?service=shop")
    answers = [await mesh.stats(name, "cluster.outbound.*upstream_(cx_rx_bytes_total|rq_completed)$") for name in RATES]
    received = sum(value for one in answers for name, value in one.items() if name.endswith("bytes_total"))
    completed = sum(value for one in answers for name, value in one.items() if name.endswith("rq_completed"))

    assert links["load.default", "shop.default"]["bytes_per_s"] == pytest.approx(80 * len(BODY), rel=0.1)
    assert links["shop.default", "load.default"]["bytes_per_s"] == pytest.approx(80 * received / completed, rel=0.1)
    assert {link["method"] for link in links.values()} == {"measured"}
    assert sum(allocation["endpoint_loads"].values()) == pytest.approx(80, rel=0.1)
    assert allocation["unsteered"] == {"shop-1": 0.0, "shop-2": 0.0, "shop-3": 0.0}
