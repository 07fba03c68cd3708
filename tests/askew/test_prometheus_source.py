"""A real Prometheus as a source of latency, load and the past; one that is away changes nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from askew.errors import CommandError
from askew.prometheus_source import PrometheusSource, points_of, with_past
from askew.settings import PrometheusSourceSettings, ServeSettings
from askew.settings_check import check
from estimators.expected_service import CALM, learn_points
from estimators.performance_table import HistoryPoint
from istio.call_metrics import CallSource
from istio.errors import QueryRejectedError
from istio.prometheus import Answer, Prometheus, PrometheusSettings, Series
from istio.request_history import PastWindow
from mesh.mesh_file import parse_mesh_file
from mesh.topology import Container, ContainerName, NodeName, Service, ServiceName, ServicePort
from tests.askew.running_plane import running_plane
from tests.istio.istio_metrics_page import pod, series
from tests.real.outside_process import until
from tests.real.prometheus import exporter, missing, prometheus
from tests.xds_server.ingest.reports import collector
from xds_server.ingest.collector import Collector

MESH = """
apiVersion: askew.mesh/v1
nodes: [{name: n1}]
services:
  - name: shop
    port: 80
    annotations: {askew.mesh/routing: imbalance-aware}
    containers:
      - {name: shop-1, node: n1, address: 10.0.0.1}
      - {name: shop-2, node: n1, address: 10.0.0.2}
calls: []
"""
SHOP = ServicePort(ServiceName("shop.default"), 80)
TOPOLOGY = parse_mesh_file(MESH)
WORKLOAD = ServiceName("workload:web.default")
WITH_WORKLOADS = replace(
    TOPOLOGY,
    calls=None,
    services=(
        *TOPOLOGY.services,
        Service(WORKLOAD, containers=(Container(ContainerName("web-1"), WORKLOAD, NodeName("n1"), "10.0.0.4"),)),
    ),
)
AWAY = PrometheusSourceSettings(url="http://127.0.0.1:9", interval_s=600.0, backfill_h=1.0, deadline_s=1.0)
ON_BYTES = PrometheusSourceSettings(url="http://127.0.0.1:9", interval_s=15.0)
needs_prometheus = pytest.mark.skipif(bool(missing()), reason=missing() or "-")


def source(found: Collector, settings: PrometheusSourceSettings, past: list[object] | None = None) -> PrometheusSource:
    learn: Callable[[object], None] = (lambda _: None) if past is None else past.append
    return PrometheusSource(settings, found, topology=lambda: TOPOLOGY, learn=learn)


class Shop:
    """Pages of two pods that answer 100 requests from one scrape to the next, from two clients each."""

    def __init__(self, *, reporter: str = "destination", names: tuple[str, str] = ("namespace", "pod")) -> None:
        self.scrapes, self._reporter, self._names = 0, reporter, names

    def page(self) -> str:
        self.scrapes += 1
        n = self.scrapes
        lines = ["# TYPE istio_requests_total counter"]
        for name in ("shop-1", "shop-2"):
            for client, errors in (("web", 0), ("load", n)):
                labels = pod(name, source=client, names=self._names)
                counts = [10 * n, 20 * n, 40 * n, 48 * n, 50 * n, 50 * n]
                lines += series(labels, counts, sum_ms=400.0 * n, errors=errors, reporter=self._reporter)
        return "\n".join(lines) + "\n"


@needs_prometheus
@pytest.mark.slow
async def test_real_prometheus_gives_samples_and_the_past(tmp_path: Path) -> None:
    """Both clients of a pod are summed, each scrape is a sample with its time, and φ learns what was before."""
    shop, past = Shop(), []
    found = replace_clock(collector())
    async with (
        aiohttp.ClientSession() as session,
        exporter(shop.page) as target,
        prometheus(tmp_path, target, session=session) as base_url,
    ):
        client = Prometheus(session, PrometheusSettings(base_url, deadline_s=5.0))
        settings = PrometheusSourceSettings(url=base_url, interval_s=1.0, backfill_h=4.0 / 3600.0, flow_window_s=0.0)
        asking = source(found, settings, past)

        async def enough() -> bool:
            await asking.read(client, now_s=time.time())
            return shop.scrapes >= 30 and len(found.drain().latencies) == 2

        await until(enough)
        before = {one.container: one for one in found.drain().latencies}
        at_s = time.time()

        async def more() -> bool:
            await asking.read(client, now_s=time.time())
            return all(one.time_s > at_s for one in found.drain().latencies)

        await until(more)
        told = found.drain()
        await asking.back_fill(client, now_s=time.time())
        [called] = await CallSource(client).read(WITH_WORKLOADS, time_s=time.time())
    assert (called.service, called.clients, called.is_whole) == ("shop.default", ("workload:web.default",), True)
    for one in told.latencies:
        scrapes = one.count // 100
        assert one.counts == tuple(2 * scrapes * count for count in (10, 20, 40, 48, 50))
        assert one.sum_ms == 800.0 * scrapes
        assert before[one.container].count < one.count <= 100 * shop.scrapes
        assert before[one.container].time_s < one.time_s <= time.time()
    assert {(one.container, one.requests) for one in told.counters} == {(o.container, o.count) for o in told.latencies}
    assert all(one.server_errors == (one.requests or 0) // 100 for one in told.counters)
    assert found.notes["prometheus"] == "request times of pods known by namespace and pod"
    [learnt] = past
    tables = with_past({}, learnt, before_s=0.0)  # type: ignore[arg-type]
    cells = list(tables[SHOP].cells.values())
    assert {round(cell.mean_ms, 1) for cell in cells} == {8.0}
    assert all(10.0 < cell.tail_ms < 25.0 for cell in cells)
    assert max(cell.load_per_s for cell in cells) > 100.0


@needs_prometheus
@pytest.mark.slow
@pytest.mark.parametrize(
    ("shop", "note"),
    [
        (Shop(reporter="source"), "only reporter source: no sidecar in front of an app is scraped"),
        (Shop(names=("", "")), "series of no container of this mesh"),
    ],
)  # fmt: skip
async def test_real_prometheus_without_what_is_needed_gives_nothing(tmp_path: Path, shop: Shop, note: str) -> None:
    """Only clients' views, or no pod: no sample, and the note says why."""
    found = replace_clock(collector())
    async with (
        aiohttp.ClientSession() as session,
        exporter(shop.page) as target,
        prometheus(tmp_path, target, session=session) as base_url,
    ):
        client = Prometheus(session, PrometheusSettings(base_url, deadline_s=5.0))
        asking = source(found, PrometheusSourceSettings(url=base_url, interval_s=1.0, flow_window_s=0.0))

        async def said() -> bool:
            await asking.read(client, now_s=time.time())
            return found.notes.get("prometheus") == f"no request times; left out: {note}"

        await until(said)
    assert (found.drain().latencies, found.drain().counters) == ((), ())


def replace_clock(found: Collector) -> Collector:
    """Let the collector have the clock of the Prometheus."""
    found.now_s = time.time
    return found


class Answering(Prometheus):
    """Says that web sent shop 10 bytes/s, the clients' side telling, and nothing else; or refuses to."""

    def __init__(self) -> None:
        self.rates_asked, self.knows, self.refuses = 0, True, False

    async def instant(self, query: str, *, time_s: float | None = None) -> Answer:
        if "rate(istio_request_bytes_sum" not in query:
            return Answer(())
        self.rates_asked += 1
        if self.refuses:
            raise QueryRejectedError("query: too many series")
        labels = pod("web-1") | {"reporter": "source", "source_workload": "web"}
        return Answer((Series(labels, ((0.0, 10.0),)),) if self.knows else ())


async def test_bytes_are_asked_for_five_times_a_window() -> None:
    """A mean over minutes is no other with the next scrape; what else there is is asked for each time."""
    prometheus, found = Answering(), collector()
    asking = PrometheusSource(ON_BYTES, found, topology=lambda: WITH_WORKLOADS, learn=lambda _: None)
    for now_s in range(1000, 1301, 15):
        await asking.read(prometheus, now_s=float(now_s))
    assert prometheus.rates_asked == 6
    [one, _] = asking.told.links
    assert (one.source, one.target, one.rate_bytes_per_s) == (WORKLOAD, "shop.default", 10.0)
    assert found.notes["prometheus"].endswith("; bytes between services by reporter source")


@pytest.mark.parametrize(
    ("refuses", "note", "errors"),
    [
        (True, "no bytes between services: query: too many series", 1),
        (False, "no bytes between services; left out: no series", 0),
    ],
)
async def test_what_was_told_stays_until_it_is_old(refuses: bool, note: str, errors: int) -> None:
    """A refusal or a Prometheus that begins anew takes nothing away; it is told, and a refusal is counted."""
    prometheus, found, failed = Answering(), collector(), list[int]()
    asking = PrometheusSource(
        ON_BYTES, found, topology=lambda: WITH_WORKLOADS, learn=lambda _: None, on_error=lambda: failed.append(1)
    )
    await asking.read(prometheus, now_s=1000.0)
    told = asking.told.links
    prometheus.refuses, prometheus.knows = refuses, False
    await asking.read(prometheus, now_s=1060.0)
    assert asking.told.links is told
    assert note in found.notes["prometheus"]
    assert len(failed) == errors


async def test_who_no_longer_leads_forgets_links_that_count_no_more() -> None:
    """For two windows it can tell the next leader of them; then there is nothing left to send."""
    asking = PrometheusSource(ON_BYTES, collector(), topology=lambda: WITH_WORKLOADS, learn=lambda _: None)
    await asking.read(Answering(), now_s=1000.0)
    told = asking.told
    asking.forget(now_s=1250.0)
    assert asking.told is told
    asking.forget(now_s=1000.0 + 601.0)
    assert asking.told.links == ()


async def test_one_that_is_away_is_one_line_and_a_count(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The control plane serves, counts each failure, logs the first, and shows it."""
    caplog.set_level(logging.INFO)
    async with running_plane(tmp_path, MESH, prometheus=AWAY) as plane:
        await plane.until("/debug/telemetryz", "Cannot connect")
        page = await plane.until("/metrics", 'askew_source_errors_total{source="prometheus"} 2.0')
    assert 'askew_source_errors_total{source="mesh-file"} 0.0' in str(page)
    lines = [one for one in caplog.records if "127.0.0.1:9" in one.getMessage()]
    assert [one.levelname for one in lines] == ["WARNING"]


def test_something_to_ask_needs_somebody_to_ask() -> None:
    """An interval without a URL is refused in one line."""
    for settings in (PrometheusSourceSettings(interval_s=15.0), PrometheusSourceSettings(backfill_h=1.0)):
        with pytest.raises(CommandError, match=r"prometheus\.url: found nothing, allowed: "):
            check(replace(ServeSettings(), prometheus=settings))


def test_too_few_requests_teach_nothing() -> None:
    """A step of 19 requests says nothing; one of 20 has a mean and a p95."""
    windows = [
        PastWindow("shop-1.default", 60.0, 60.0, (10.0, 20.0), (count, 1.0, 0.0), 100.0) for count in (18.0, 19.2)
    ]
    [point] = points_of(windows)
    assert (point.count, point.load_per_s, point.mean_ms) == (20.0, 20 / 60.0, 5.0)
    assert points_of(windows[:1]) == []


def test_the_past_begins_where_the_memory_file_ends() -> None:
    """What a table knew before this run is not learnt twice; what this run taught it does not count."""

    def at(time_s: float) -> HistoryPoint:
        return HistoryPoint(time_s, CALM, 30.0, 9.0, 5.0, 100.0)

    known = {SHOP: learn_points(None, [at(100.0)])}
    assert with_past(known, {SHOP: [at(50.0), at(100.0)]}, before_s=500.0) == known
    later = with_past(known, {SHOP: [at(50.0), at(160.0)]}, before_s=500.0)
    assert [cell.time_s for cell in later[SHOP].cells.values()] == [160.0]
    fresh = {SHOP: learn_points(None, [at(600.0)])}
    [cell] = with_past(fresh, {SHOP: [at(50.0)]}, before_s=500.0)[SHOP].cells.values()
    assert (cell.time_s, cell.count) == (600.0, 200.0)
