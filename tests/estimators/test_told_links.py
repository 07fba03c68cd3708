"""Links that a Prometheus tells of: beside those that sidecars measured, never in their stead, and never both."""

from __future__ import annotations

import pytest

from estimators.live_links import LiveLinks, live_links
from estimators.sidecar_counters import Sidecars, read_sidecar_counters
from estimators.told_links import told_links, with_told_links
from mesh.mesh_file import parse_mesh_file
from mesh.picture import Link, LinkMethod
from mesh.telemetry import ByteExchange, ClusterCounters, ToldLinks
from mesh.topology import ContainerName, ServiceName

SERVICES = frozenset({"web", "shop", "db"})
NOW_S = 1000.0


def told(
    client: str, server: str, sent: float, received: float, *, age_s: float = 10.0, residual: float | None = 0.0
) -> ByteExchange:
    return ByteExchange(ServiceName(client), ServiceName(server), NOW_S - age_s, 300.0, sent, received, residual)


def joined(*exchanges: ByteExchange, links: tuple[Link, ...] = ()) -> tuple[Link, ...]:
    return with_told_links(LiveLinks(links), reading(*exchanges), services=SERVICES, now_s=NOW_S).links


def reading(*exchanges: ByteExchange) -> ToldLinks:
    return ToldLinks(NOW_S, 300.0, told_links(exchanges))


def test_both_directions_become_links_busiest_first() -> None:
    """What the client sent, and what it got."""
    assert joined(told("web", "shop", 10.0, 40.0), told("shop", "db", 20.0, 0.0)) == (
        Link("shop", "web", 40.0, "prometheus", time_s=990.0),
        Link("shop", "db", 20.0, "prometheus", time_s=990.0),
        Link("web", "shop", 10.0, "prometheus", time_s=990.0),
        Link("db", "shop", 0.0, "prometheus", time_s=990.0),
    )


def test_a_pair_that_sidecars_measured_stays() -> None:
    """Both directions of it, even where only one has a link; the other pairs are added."""
    own = (Link("web", "shop", 7.0, "measured"),)
    found = joined(told("web", "shop", 10.0, 40.0), told("shop", "db", 5.0, 1.0), links=own)
    assert [(one.source, one.target, one.method) for one in found] == [
        ("web", "shop", "measured"), ("shop", "db", "prometheus"), ("db", "shop", "prometheus")]  # fmt: skip


@pytest.mark.parametrize("method", ["peeled", "estimated"])
def test_what_was_counted_goes_before_what_was_worked_out(method: LinkMethod) -> None:
    """An exchange takes the place of arithmetic, and stands once for each direction."""
    found = joined(
        told("web", "shop", 10.0, 40.0), links=(Link("web", "shop", 7.0, method), Link("db", "web", 1.0, method))
    )
    assert [(one.source, one.target, one.method) for one in found] == [
        ("shop", "web", "prometheus"), ("web", "shop", "prometheus"), ("db", "web", method)]  # fmt: skip


def test_services_that_call_each_other_have_one_link_each_way() -> None:
    """Rates add; the older age, the larger residual and the lower confidence count."""
    found = joined(
        told("web", "shop", 10.0, 40.0, residual=0.25), told("shop", "web", 2.0, 1.0, age_s=30.0, residual=None)
    )
    assert found == (
        Link("shop", "web", 42.0, "prometheus", confidence=0.5, residual=0.25, time_s=970.0),
        Link("web", "shop", 11.0, "prometheus", confidence=0.5, residual=0.25, time_s=970.0),
    )


@pytest.mark.parametrize(("residual", "confidence"), [(0.0, 1.0), (0.25, 0.8), (1.0, 0.5), (None, 0.5)])
def test_confidence_is_how_far_both_sides_agree(residual: float | None, confidence: float) -> None:
    """One side alone is as good as two that agree on nothing."""
    assert {one.confidence for one in joined(told("web", "shop", 1.0, 1.0, residual=residual))} == {confidence}


def test_old_news_is_none() -> None:
    """After two windows without a scrape nothing is known any more."""
    assert joined(told("web", "shop", 1.0, 1.0, age_s=600.0))
    assert joined(told("web", "shop", 1.0, 1.0, age_s=601.0)) == ()


def test_services_that_are_gone_have_no_links() -> None:
    """What was told before the mesh changed."""
    assert joined(told("web", "gone", 1.0, 1.0), told("gone", "web", 1.0, 1.0)) == ()


def test_nothing_told_changes_nothing() -> None:
    """The very same links, so that nobody works anything out anew."""
    links = LiveLinks((Link("web", "shop", 7.0, "measured"),))
    assert with_told_links(links, ToldLinks(), services=SERVICES, now_s=NOW_S) is links


def test_told_links_that_all_count_are_the_same_again() -> None:
    """No tick makes them anew: neither the scheduler's page nor the replicas have anything to do."""
    told_now = reading(told("web", "shop", 10.0, 40.0), told("shop", "db", 5.0, 1.0, age_s=250.0))
    for later_s in (0.0, 5.0, 350.0):
        found = with_told_links(LiveLinks(), told_now, services=SERVICES, now_s=NOW_S + later_s)
        assert found.links is told_now.links
    later = with_told_links(LiveLinks(), told_now, services=SERVICES, now_s=NOW_S + 351.0).links
    assert {(one.source, one.target) for one in later} == {("web", "shop"), ("shop", "web")}
    fewer = with_told_links(LiveLinks(), told_now, services={"web", "shop"}, now_s=NOW_S).links
    assert fewer == later


@pytest.mark.parametrize(
    ("method", "confidence", "stays"),
    [("measured", 1.0, True), ("peeled", 0.6, True), ("estimated", 0.9, True), ("estimated", 0.6, False)],
)
def test_what_pods_counted_is_the_last_choice(method: LinkMethod, confidence: float, stays: bool) -> None:
    """It fills what is open, and takes the place of a guess that is less sure."""
    own = Link("web", "shop", 7.0, method, confidence)
    pods = ToldLinks(
        NOW_S, 300.0, (Link("shop", "web", 5.0, "cadvisor", 0.8), Link("web", "shop", 9.0, "cadvisor", 0.8))
    )
    found = with_told_links(LiveLinks((own,)), pods, services=SERVICES, now_s=NOW_S).links
    assert (own in found) is stays
    assert any(one.source == "shop" for one in found) is (method != "measured")  # a pair is measured both ways


def test_sidecars_whose_requests_a_prometheus_tells_count_no_bytes() -> None:
    """Nothing was measured, least of all zero: the pair is open for what a Prometheus says of its bytes."""
    mesh = parse_mesh_file("""
apiVersion: askew.mesh/v1
nodes: [{name: n1}]
services:
  - {name: web, port: 81, containers: [{name: web-1, node: n1, address: 127.5.0.1}]}
  - {name: shop, port: 80, containers: [{name: shop-1, node: n1, address: 127.5.0.2}]}
calls: [{from: web, to: shop}]
""")
    known: Sidecars = {}
    for time_s in (980.0, 990.0, 1000.0):
        samples = [
            ClusterCounters(ContainerName(name), "inbound|80||", None, "server", time_s, requests=int(time_s))
            for name in ("web-1", "shop-1")
        ]
        known, _ = read_sidecar_counters(known, samples, containers=mesh.container_by_name, tick_s=5.0)
    links = live_links(mesh, known, {}, now_s=NOW_S)
    assert links.links == ()
    exchange = told("web.default", "shop.default", 1.0, 2.0)
    found = with_told_links(links, reading(exchange), services=mesh.service_by_name.keys(), now_s=NOW_S).links
    assert {one.rate_bytes_per_s for one in found} == {1.0, 2.0}
