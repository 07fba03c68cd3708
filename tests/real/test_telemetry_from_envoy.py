"""What real Envoys report is what was really sent: requests, failures, bytes, request times."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh.telemetry import ClusterCounters, LatencyHistogram, LoadReport
from tests.real.sidecar_mesh import SidecarMesh, until
from xds_server.ingest.settings import IngestSettings

pytestmark = pytest.mark.timeout(120)

MESH = """
apiVersion: askew.mesh/v1
nodes: [{name: n1, zone: a}, {name: n2, zone: a}]
services:
  - name: load
    containers: [{name: load-1, node: n1, address: 127.81.1.1}]
  - name: shop
    port: 9080
    annotations: {askew.mesh/routing: uniform}
    containers:
      - {name: shop-1, node: n1, address: 127.81.1.10, app_port: 8080}
      - {name: shop-2, node: n2, address: 127.81.2.10, app_port: 8080}
calls: [{from: load, to: shop}]
"""


@pytest.fixture
async def mesh(tmp_path: Path, envoy: Path) -> AsyncIterator[SidecarMesh]:
    ingest = IngestSettings(load_report_interval_s=0.2)
    async with SidecarMesh(MESH, tmp_path, envoy, flush_interval_s=0.2, ingest=ingest) as running:
        await until(lambda: _loads(running) is not None)
        yield running


def _loads(mesh: SidecarMesh) -> LoadReport | None:
    reports = mesh.plane.collector.reporters.get("load-1")
    return reports.load_report if reports else None


def _issued(mesh: SidecarMesh) -> dict[str, int]:
    report = _loads(mesh)
    assert report is not None
    return {load.address.removesuffix(":9080"): load.issued for load in report.endpoints}


def _counters(mesh: SidecarMesh, name: str) -> list[ClusterCounters]:
    return [one for one in mesh.plane.collector.drain().counters if one.container == name]


def _latencies(mesh: SidecarMesh, name: str) -> list[LatencyHistogram]:
    return [one for one in mesh.plane.collector.drain().latencies if one.container == name]


def _requests(mesh: SidecarMesh, name: str) -> int:
    return sum(one.requests or 0 for one in _counters(mesh, name))


async def test_load_reports_add_up_to_what_each_endpoint_served(mesh: SidecarMesh) -> None:
    """Issued and succeeded, summed over many reports, are the requests that the apps counted; none is in progress."""
    answers = await mesh.send("load-1", "shop", 300)
    await mesh.send("load-1", "shop", 200)
    await until(lambda: sum(_issued(mesh).values()) >= 500)
    assert sum(answers.values()) == 300
    assert _issued(mesh) == {"127.81.1.10": mesh.served["shop-1"], "127.81.2.10": mesh.served["shop-2"]}

    def unfinished() -> int:
        report = _loads(mesh)
        assert report is not None
        return sum(load.issued - load.succeeded + load.failed + load.in_progress for load in report.endpoints)

    await until(lambda: unfinished() == 0)


async def test_metrics_are_what_the_sidecars_count(mesh: SidecarMesh) -> None:
    """Requests and bytes of the client's clusters equal its own admin page; the server's side counts what it served."""
    await mesh.send("load-1", "shop", 300)
    await until(lambda: _requests(mesh, "load-1") == 300)
    await until(lambda: _requests(mesh, "shop-1") + _requests(mesh, "shop-2") == 300)
    page = await mesh.stats("load-1", "^cluster.outbound.*upstream_cx_[rt]x_bytes_total$")
    await until(lambda: sum(one.sent_bytes or 0 for one in _counters(mesh, "load-1")) >= 300)
    pushed = {
        f"cluster.{one.cluster}.upstream_cx_{way}x_bytes_total": value
        for one in _counters(mesh, "load-1")
        for way, value in (("t", one.sent_bytes), ("r", one.received_bytes))
    }
    assert {name: value for name, value in page.items() if value} == {n: v for n, v in pushed.items() if v}
    assert {one.reporter for one in _counters(mesh, "load-1")} == {"client"}
    assert {one.reporter for one in _counters(mesh, "shop-1")} == {"server"}


async def test_request_times_add_up_over_flushes(mesh: SidecarMesh) -> None:
    """Envoy sends what each interval held; the histogram that a tick sees holds all requests."""
    for _ in range(3):
        seen = _requests(mesh, "load-1")
        await mesh.send("load-1", "shop", 100)
        await until(lambda seen=seen: _requests(mesh, "load-1") > seen)  # type: ignore[misc]

    def count() -> int:
        return sum(one.count for one in _latencies(mesh, "load-1"))

    await until(lambda: count() >= 300)
    assert count() == 300
    for one in _latencies(mesh, "load-1"):
        assert one.counts[-1] == one.count
        assert all(after <= 1.101 * before for before, after in itertools.pairwise(one.bounds_ms))
        assert 0 < one.sum_ms <= one.count * one.bounds_ms[-1]


async def test_a_new_control_plane_is_reported_to(mesh: SidecarMesh) -> None:
    """After a restart every sidecar reports again: loads from zero, counters as the sidecar has them."""
    await mesh.send("load-1", "shop", 100)
    await mesh.stop_askew()
    await mesh.start_askew()
    await until(lambda: _loads(mesh) is not None)
    await mesh.send("load-1", "shop", 100)
    await until(lambda: _requests(mesh, "load-1") == 200)
    await until(lambda: sum(_issued(mesh).values()) >= 100)


async def test_failures_are_errors_of_their_endpoint(mesh: SidecarMesh) -> None:
    """A request that an endpoint answers with 503 counts as failed there."""
    await mesh.kill_app("shop-2")
    await mesh.send("load-1", "shop", 50, at_once=1)

    def failed() -> dict[str, int]:
        report = _loads(mesh)
        return {} if report is None else {one.address: one.failed for one in report.endpoints if one.failed}

    await until(failed)
    assert failed().keys() == {"127.81.2.10:9080"}


async def test_where_the_node_has_an_agent_nothing_is_pushed(tmp_path: Path, envoy: Path) -> None:
    """The agent reads statistics itself; load reports come all the same."""
    text = MESH.replace("{name: n1, zone: a}", "{name: n1, zone: a, agent: '127.0.0.1:18100'}")
    ingest = IngestSettings(load_report_interval_s=0.2, scrape="off")
    async with SidecarMesh(text, tmp_path, envoy, flush_interval_s=0.2, ingest=ingest) as mesh:
        await until(lambda: _loads(mesh) is not None)
        await mesh.send("load-1", "shop", 100)
        await until(lambda: _requests(mesh, "shop-2") > 0)
        assert _counters(mesh, "load-1") == []
        assert _counters(mesh, "shop-1") == []
        (line,) = (await mesh.stats("load-1", "^cluster_manager.active_clusters$")).values()
        assert line > 0


async def test_where_the_node_has_an_agent_the_page_is_read(tmp_path: Path, envoy: Path) -> None:
    """Counters and request times of a sidecar that pushes nothing are those of its page, whole, not a reading old."""
    text = MESH.replace("zone: a}", "zone: a, agent: '127.0.0.1:18100'}")
    ingest = IngestSettings(load_report_interval_s=0.2, scrape_interval_s=600.0)
    async with SidecarMesh(text, tmp_path, envoy, ingest=ingest) as mesh:
        for sent in (100, 200):
            await mesh.send("load-1", "shop", 100)
            await mesh.plane.pages.read(mesh.http)
            assert _requests(mesh, "load-1") == sent
            assert _requests(mesh, "shop-1") + _requests(mesh, "shop-2") == sent
            assert sum(one.count for one in _latencies(mesh, "load-1")) == sent
            served = {name: sum(one.count for one in _latencies(mesh, name)) for name in ("shop-1", "shop-2")}
            assert served == {name: mesh.served[name] for name in served}
        clusters = {one.cluster for one in _latencies(mesh, "load-1")}
        assert clusters == {f"outbound|9080|{tier}|shop.default.svc.cluster.local" for tier in ("local", "zone")}
        assert {one.cluster for one in _counters(mesh, "shop-1")} == {"inbound|9080||"}

        await mesh.kill_app("shop-2")
        await mesh.send("load-1", "shop", 50, at_once=1)
        await mesh.plane.pages.read(mesh.http)
        assert sum(one.server_errors or 0 for one in _counters(mesh, "shop-2")) > 0
        assert sum(one.server_errors or 0 for one in _counters(mesh, "shop-1")) == 0

        await mesh.kill_sidecar("shop-2")
        await mesh.plane.pages.read(mesh.http)
        await mesh.plane.pages.read(mesh.http)
        failure = mesh.plane.collector.page_failures.get("shop-2")
        still_connected = any(proxy.startswith("shop-2.") for proxy in mesh.plane.store.clients)
        assert (failure is not None) == still_connected
