"""Sidecars that are asked for their statistics: what is read, what fails, and which source of a container counts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from mesh.mesh_file import parse_mesh_file
from mesh.telemetry import ClusterCounters, LatencyHistogram
from mesh.topology import Container, ContainerName, NodeName, ServiceName
from tests.fakes.clock import FakeClock
from tests.xds_server.ingest.reports import START_S, collector
from xds_server.errors import BadSettingsError
from xds_server.ingest.asked_samples import keep_samples
from xds_server.ingest.collector import Collector
from xds_server.ingest.sidecar_pages import SidecarPages, to_be_asked
from xds_server.ingest.stats_page import parse_stats_page

NAME = ContainerName("shop-1")
SHOP = Container(NAME, ServiceName("shop.default"), NodeName("n1"), "127.0.0.1")
PAGE = """\
# TYPE envoy_cluster_upstream_rq_xx counter
envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="inbound|9080||"} 7
envoy_cluster_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="inbound|9080||"} 133
envoy_cluster_upstream_rq_total{envoy_cluster_name="inbound|9080||"} 140
envoy_cluster_my_ns_svc_cluster_local_retry_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="outbound|9080|zone|cart"} 9
envoy_cluster_my_ns_svc_cluster_local_upstream_rq_total{envoy_cluster_name="outbound|9080|zone|cart"} 30
envoy_cluster_upstream_cx_tx_bytes_total{cluster_name="outbound|80||web.shop.svc.cluster.local"} 1.5e+03
envoy_cluster_upstream_rq_total{envoy_cluster_name="askew-xds"} 1
envoy_cluster_upstream_cx_total{envoy_cluster_name="inbound|9080||"} NaN
# TYPE envoy_cluster_upstream_rq_time histogram
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="inbound|9080||",le="1"} 40
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="inbound|9080||",le="10"} 130
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="inbound|9080||",le="+Inf"} 140
envoy_cluster_upstream_rq_time_sum{envoy_cluster_name="inbound|9080||"} 512.5
envoy_cluster_upstream_rq_time_count{envoy_cluster_name="inbound|9080||"} 140
"""  # noqa: E501 - lines of Envoy's


def test_a_page_is_read_by_whole_names_of_clusters() -> None:
    """Cut names are joined, retries are not the cluster's 5xx, strangers are passed over, senseless values counted."""
    page = parse_stats_page(PAGE)
    cart, web_shop = "outbound|9080|zone|cart.my-ns.svc.cluster.local", "outbound|80||web.shop.svc.cluster.local"
    assert {name: dict(one.counts) for name, one in page.clusters.items()} == {
        "inbound|9080||": {"server_errors": 7, "requests": 140},
        cart: {"requests": 30, "server_errors": 0},
        web_shop: {"sent_bytes": 1500},
    }
    times = page.clusters["inbound|9080||"].times
    assert times is not None
    assert (times.bounds_ms, times.counts, times.count, times.sum_ms) == ((1.0, 10.0), (40, 130), 140, 512.5)
    assert page.unreadable == 1


def test_a_histogram_that_falls_or_lacks_its_count_is_none() -> None:
    """Half a histogram is no histogram, and it is counted."""
    falling = PAGE.replace('le="10"} 130', 'le="10"} 30')
    lacking = PAGE.replace("upstream_rq_time_count", "upstream_rq_time_counted")
    for text in (falling, lacking):
        page = parse_stats_page(text)
        assert page.clusters["inbound|9080||"].times is None
        assert page.unreadable == 2


@given(st.text() | st.lists(st.sampled_from(PAGE.splitlines())).map("\n".join))
def test_no_text_is_too_strange_to_read(text: str) -> None:
    """Whatever a page holds, what is read of it is sane."""
    for page in parse_stats_page(text).clusters.values():
        assert all(value >= 0 for value in page.counts.values())
        assert page.times is None or page.times.counts[-1] <= page.times.count


@asynccontextmanager
async def pages(
    found: Collector, answer: Callable[[int], web.Response], *containers: Container
) -> AsyncIterator[tuple[SidecarPages, aiohttp.ClientSession, list[str]]]:
    """Serve one page for all of ``containers``; yield who reads them, its session, and the queries that came."""
    asked: list[str] = []

    async def serve(request: web.Request) -> web.Response:
        asked.append(request.query_string)
        return answer(len(asked))

    app = web.Application()
    app.router.add_get("/stats/prometheus", serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/stats/prometheus"
    try:
        async with aiohttp.ClientSession() as session:
            yield SidecarPages(found, lambda: containers, url_of=lambda _: url), session, asked
    finally:
        await runner.cleanup()


async def test_each_page_is_read_twice_and_kept_with_our_time() -> None:
    """The first reading is empty and only brings the second up to date."""
    found = collector()
    async with pages(found, lambda _: web.Response(text=PAGE), SHOP) as (reader, session, asked):
        await reader.read(session)
    first, second = asked
    assert first == "filter=^$"
    assert "usedonly" in second
    [latency] = found.drain().latencies
    assert (latency.container, latency.reporter, latency.time_s, latency.count) == (NAME, "server", START_S, 140)
    assert {one.reporter for one in found.drain().counters} == {"client", "server"}
    assert found.drops() == {("sidecar_page", "bad-value"): 1}


async def test_a_page_that_fails_is_counted_and_the_others_are_read() -> None:
    """Failures in a row are counted by sidecar with their reason, and forgotten with the first success."""
    found, other = collector(), replace(SHOP, name=ContainerName("shop-2"))
    status = [503]
    async with pages(found, lambda _: web.Response(text=PAGE, status=status[0]), SHOP, other) as (reader, session, _):
        await reader.read(session)
        await reader.read(session)
        assert {name: one.times for name, one in found.page_failures.items()} == {"shop-1": 2, "shop-2": 2}
        assert "status 503" in found.page_failures["shop-1"].why
        assert found.drops() == {("sidecar_page", "no-answer"): 4}
        assert found.drain().latencies == ()
        status[0] = 200
        await reader.read(session)
    assert found.page_failures == {}
    assert {one.container for one in found.drain().latencies} == {"shop-1", "shop-2"}


async def test_who_pushes_is_not_asked() -> None:
    """A sidecar that spoke by the metrics service within ``forget_s`` is left alone; after that it is asked."""
    clock = FakeClock(START_S)
    found = collector(clock)
    reports = found.reports_of(NAME, "metrics_service")
    assert reports is not None
    reports.heard_at_s["metrics_service"] = START_S
    async with pages(found, lambda _: web.Response(text=PAGE), SHOP) as (reader, session, asked):
        await reader.read(session)
        assert asked == []
        clock.now_s += 61
        await reader.read(session)
        assert len(asked) == 2


def test_a_container_has_one_source_and_a_new_one_starts_anew() -> None:
    """What a worse source left goes when a better one speaks, and the worse is not heard any more."""
    found = collector()
    histogram = LatencyHistogram(NAME, "inbound|80||", None, "server", START_S, (1.0,), (1,), 1, 1.0)
    counted = ClusterCounters(NAME, "inbound|9080||", None, "server", START_S, requests=1)
    assert keep_samples(found, NAME, "prometheus", counters=[], latencies=[histogram])
    assert keep_samples(found, NAME, "sidecar_page", counters=[counted], latencies=[])
    assert not keep_samples(found, NAME, "prometheus", counters=[], latencies=[histogram])
    told = found.drain()
    assert (told.latencies, told.counters) == ((), (counted,))


@pytest.mark.parametrize("settings", [{"scrape": "some"}, {"scrape_interval_s": 0.0}, {"scrape_at_once": 0}])
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object]) -> None:
    """The message says what is allowed."""
    with pytest.raises(BadSettingsError, match="allowed: "):
        SidecarPages(collector(**settings), list)


def test_agents_means_the_sidecars_on_nodes_with_an_agent() -> None:
    """``all`` means every sidecar, ``off`` none."""
    topology = parse_mesh_file(
        "apiVersion: askew.mesh/v1\n"
        "nodes: [{name: n1, agent: '127.0.0.1:18100'}, {name: n2}]\n"
        "services: [{name: a, port: 80, containers: [{name: a-1, node: n1, address: 127.1.0.1, app_port: 8080},"
        " {name: a-2, node: n2, address: 127.1.0.2, app_port: 8080}]}]\n"
        "calls: []\n"
    )
    named = {whom: [one.name for one in to_be_asked(topology, whom)] for whom in ("agents", "all", "off")}
    assert named == {"agents": ["a-1"], "all": ["a-1", "a-2"], "off": []}
