"""Links from whole pods' counters: exact where all stays in the mesh, never sure, absent where nobody knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest

from estimators.ages import Heard
from estimators.pod_links import OpenLinks, PodLinks, open_links, pod_links
from estimators.sidecar_counters import SidecarCounts, Sidecars
from mesh.mesh_file import parse_mesh_file
from mesh.picture import Link, LinkMethod
from mesh.telemetry import PodBytes
from mesh.topology import Call, ContainerName, ServiceName, Topology

MESH = """
apiVersion: askew.mesh/v1
nodes: [{name: n1}]
services:
  - name: web
    containers: [{name: web-1, node: n1, address: 127.5.0.1}, {name: web-2, node: n1, address: 127.5.0.2}]
  - name: shop
    port: 80
    annotations: {askew.mesh/routing: local-first}
    containers: [{name: shop-1, node: n1, address: 127.5.0.3}]
  - {name: db, port: 80, containers: [{name: db-1, node: n1, address: 127.5.0.4}]}
  - {name: far, port: 80, containers: [{name: far-1, node: n1, address: 127.5.0.5}]}
  - {name: away, port: 80, containers: [{name: away-1, node: n1, address: 127.5.0.6}]}
calls: [{from: web, to: shop}, {from: shop, to: db}, {from: far, to: away}]
"""
TOPOLOGY = parse_mesh_file(MESH)
LEARNT = tuple(
    Call(ServiceName(f"{a}.default"), ServiceName(f"{b}.default")) for a, b in (("web", "shop"), ("shop", "db"))
)
UNSAID = replace(TOPOLOGY, calls=None)
BYTES = {("web", "shop"): 400.0, ("shop", "web"): 4000.0, ("shop", "db"): 100.0, ("db", "shop"): 900.0}
Rates = Mapping[str, tuple[float, float]]
SEEN: Rates = {"web-1": (3000.0, 5300.0), "web-2": (1500.0, 700.0), "shop-1": (1300.0, 4100.0), "db-1": (100.0, 900.0)}
"""What each pod receives and sends a second; web is asked from elsewhere, which is most of what it sends."""


def pods(rates: Rates) -> list[PodBytes]:
    """Return what cAdvisor tells of these pods, each scraped a second after the one before."""
    return [
        PodBytes(ContainerName(name), 985.0 + place, received, sent)
        for place, (name, (received, sent)) in enumerate(rates.items())
    ]


def wanted(topology: Topology = TOPOLOGY, sidecars: Sidecars | None = None, known: Iterable[Link] = ()) -> OpenLinks:
    found = open_links(topology, LEARNT, sidecars or {}, known)
    assert found is not None
    return found


def read(counts: list[PodBytes], topology: Topology = TOPOLOGY, *, known: Iterable[Link] = ()) -> PodLinks:
    return pod_links(topology, wanted(topology, known=known), {}, counts)


def rates_of(found: PodLinks) -> dict[tuple[str, str], float]:
    return {(one.source.split(".")[0], one.target.split(".")[0]): one.rate_bytes_per_s for one in found.links}


@pytest.mark.parametrize("topology", [TOPOLOGY, UNSAID], ids=["declared", "learnt"])
def test_counters_that_add_up_give_exact_links(topology: Topology) -> None:
    """Each once, half sure, as old as the oldest last sample at its ends; what an entry counts besides is in none."""
    found = read(pods(SEEN), topology)
    assert rates_of(found) == pytest.approx(BYTES)
    assert {one.method for one in found.links} == {"cadvisor"}
    assert [one.confidence for one in found.links] == pytest.approx([0.5] * 4)
    ages = {one.target.split(".")[0]: one.time_s for one in found.links}
    assert ages == {"web": 985.0, "shop": 987.0, "db": 987.0}
    assert found.left_out == ()


def test_only_what_is_around_planned_services_is_asked_for() -> None:
    """Everybody who can be reached from them over calls; nobody at all where no service is planned for."""
    assert wanted().containers == {"web-1", "web-2", "shop-1", "db-1"}
    nobody = replace(
        TOPOLOGY, services=tuple(replace(one, policy=replace(one.policy, routing="off")) for one in TOPOLOGY.services)
    )
    assert open_links(nobody, LEARNT, {}, ()) is None
    assert open_links(UNSAID, (), {}, ()) is None


@pytest.mark.parametrize(
    ("method", "is_open"), [("measured", False), ("prometheus", False), ("agent", False), ("estimated", True)]
)
def test_links_that_are_told_better_are_not_asked_for(method: LinkMethod, is_open: bool) -> None:
    """What was counted for the pair itself is better, what was worked out is not."""
    known = [Link(f"{one}.default", f"{other}.default", rate, method) for (one, other), rate in BYTES.items()]
    assert (open_links(TOPOLOGY, (), {}, known) is not None) is is_open


def test_what_is_known_is_taken_off() -> None:
    """Istio tells of web and shop; shop's counters less that are its link to a database that nobody counts."""
    known = [
        Link("web.default", "shop.default", 400.0, "prometheus"),
        Link("shop.default", "web.default", 4000.0, "prometheus"),
    ]
    found = read(pods({name: rate for name, rate in SEEN.items() if name != "db-1"}), known=known)
    assert rates_of(found) == pytest.approx({("shop", "db"): 100.0, ("db", "shop"): 900.0})
    assert {one.confidence for one in found.links} == {0.5}


def test_sidecars_that_count_bytes_go_before_their_pods() -> None:
    """Such a container is not asked for, and what its pod counts besides does not come in."""
    own = SidecarCounts(Heard(990.0, 5.0))  # has told that it carried nothing
    idle: Sidecars = {ContainerName(name): own for name in ("web-1", "web-2")}
    asked = wanted(sidecars=idle)
    assert asked.containers == {"shop-1", "db-1"}
    counts = pods({"web-1": (9e9, 9e9), "shop-1": (900.0, 100.0), "db-1": (100.0, 900.0)})
    found = rates_of(pod_links(TOPOLOGY, asked, idle, counts))
    assert found == pytest.approx(
        {("web", "shop"): 0.0, ("shop", "web"): 0.0, ("shop", "db"): 100.0, ("db", "shop"): 900.0}
    )


def test_pods_on_the_hosts_network_are_not_asked_for() -> None:
    """Their counters are the node's."""

    def on_host(name: str) -> bool:
        return name == "web-2"

    services = tuple(
        replace(one, containers=tuple(replace(c, on_host_network=on_host(c.name)) for c in one.containers))
        for one in TOPOLOGY.services
    )
    assert "web-2" not in wanted(replace(TOPOLOGY, services=services)).containers


def test_one_end_is_enough_where_calls_are_declared_only() -> None:
    """A pod without counters makes its whole service unknown: too few bytes would pass for all."""
    counts = pods({name: rate for name, rate in SEEN.items() if name != "web-2"})
    found = read(counts)
    assert rates_of(found) == pytest.approx(BYTES)
    assert found.left_out == ("services with pods that nobody counted",)
    learnt = read(counts, UNSAID)
    assert rates_of(learnt) == pytest.approx({("shop", "db"): 100.0, ("db", "shop"): 900.0})
    assert "links that nobody confirms" in learnt.left_out


def test_no_link_is_larger_than_what_either_end_counted() -> None:
    """db saves itself elsewhere, more than shop receives in all: db's counters tell nothing of that link then."""
    found = read(pods({**SEEN, "db-1": (100.0, 2000.0)}))
    assert rates_of(found) == pytest.approx({("shop", "db"): 100.0, ("shop", "web"): 4000.0})
    assert found.left_out == ("links that counters do not settle",)


def test_disagreement_costs_confidence_and_then_the_link() -> None:
    """db's rest cannot be explained by shop's counters: a little is doubt, as much as a link itself is no knowledge."""
    little = read(pods({**SEEN, "db-1": (100.0, 1320.0)}))
    assert {one.confidence < 0.5 for one in little.links} == {True}
    assert ("web", "shop") not in rates_of(little)
    assert all(one.residual > 0.0 for one in little.links)


def test_a_circle_that_counters_cannot_tell_apart_is_not_told() -> None:
    """Three services that all call each other: infinitely many rates fit."""
    calls = (*LEARNT, Call(ServiceName("web.default"), ServiceName("db.default")))
    topology = replace(TOPOLOGY, calls=calls)
    even = {"web-1": (100.0, 100.0), "web-2": (100.0, 100.0), "shop-1": (200.0, 200.0), "db-1": (200.0, 200.0)}
    found = read(pods(even), topology)
    assert found.links == ()
    assert found.left_out == ("links that counters do not settle",)


def test_pods_that_nobody_counts_give_no_link() -> None:
    """What is not known is absent, never zero."""
    found = read([])
    assert (found.links, found.left_out) == (
        (),
        ("services with pods that nobody counted", "links that nobody confirms"),
    )
