"""Links of a running mesh: exact where sidecars count, arithmetic where they don't, absent where nothing is known."""

from __future__ import annotations

import numpy as np
import pytest

from estimators.live_links import LiveLinks, live_links
from estimators.load_reports import Requests, read_load_reports
from estimators.sidecar_counters import Sidecars, read_sidecar_counters
from mesh.mesh_file import parse_mesh_file
from tests.fakes.sidecars import ANSWER_BYTES, REQUEST_BYTES, FakeSidecars

MESH = """
apiVersion: askew.mesh/v1
nodes: [{name: n1}]
services:
  - name: web
    containers: [{name: web-1, node: n1, address: 127.5.0.1}, {name: web-2, node: n1, address: 127.5.0.2}]
  - name: shop
    port: 80
    containers: [{name: shop-1, node: n1, address: 127.5.0.3}, {name: shop-2, node: n1, address: 127.5.0.4}]
  - name: cart
    port: 80
    containers: [{name: cart-1, node: n1, address: 127.5.0.5}]
"""
CALLS = "calls: [{from: web, to: shop}, {from: shop, to: cart}]\n"
RATES = {
    ("web-1", "shop.default"): 300.0,
    ("web-2", "shop.default"): 100.0,
    ("shop-1", "cart.default"): 50.0,
    ("shop-2", "cart.default"): 50.0,
}
SENT = {("web", "shop"): 400.0 * REQUEST_BYTES, ("shop", "web"): 400.0 * ANSWER_BYTES,
        ("shop", "cart"): 100.0 * REQUEST_BYTES, ("cart", "shop"): 100.0 * ANSWER_BYTES}  # fmt: skip


class Watching:
    """Reads what fake sidecars count, tick by tick."""

    def __init__(self, rng: np.random.Generator, *, text: str = MESH + CALLS, without: tuple[str, ...] = ()) -> None:
        self.topology = parse_mesh_file(text)
        self.sidecars = FakeSidecars(self.topology, RATES, rng)
        self.sidecars.without_counters.update(without)
        self.requests: Requests = {}
        self.counts: Sidecars = {}

    def after(self, ticks: int) -> LiveLinks:
        names = self.topology.container_by_name
        for _ in range(ticks):
            telemetry = self.sidecars.advance(5.0)
            self.requests, _ = read_load_reports(self.requests, telemetry.loads, clients=names, tick_s=5.0)
            self.counts, _ = read_sidecar_counters(self.counts, telemetry.counters, containers=names, tick_s=5.0)
        return live_links(self.topology, self.counts, self.requests, now_s=self.sidecars.now_s)


def bytes_of(found: LiveLinks) -> dict[tuple[str, str], float]:
    return {
        (link.source.removesuffix(".default"), link.target.removesuffix(".default")): link.rate_bytes_per_s
        for link in found.links
    }


def methods_of(found: LiveLinks) -> dict[str, str]:
    return {f"{link.source.split('.')[0]} {link.target.split('.')[0]}": link.method for link in found.links}


def test_links_are_what_the_clients_sidecars_counted(rng: np.random.Generator) -> None:
    """Both directions of each call, exact but for the noise of the traffic itself; busiest first."""
    found = Watching(rng).after(12)

    assert bytes_of(found) == pytest.approx(SENT, rel=0.05)
    assert set(methods_of(found).values()) == {"measured"}
    assert [link.rate_bytes_per_s for link in found.links] == sorted(bytes_of(found).values(), reverse=True)
    assert (found.to_measure, {link.residual for link in found.links}) == ((), {0.0})


def test_a_client_without_counters_is_peeled(rng: np.random.Generator) -> None:
    """What the server's sidecar saw, less what its own calls were, is the link to the client that nobody counted."""
    found = Watching(rng, without=("web-1", "web-2")).after(12)

    assert methods_of(found) == {
        "web shop": "peeled", "shop web": "peeled", "shop cart": "measured", "cart shop": "measured"}  # fmt: skip
    assert bytes_of(found) == pytest.approx(SENT, rel=0.1)


def test_part_of_the_clients_is_not_the_link(rng: np.random.Generator) -> None:
    """One of two client containers counts: its bytes alone would be too few, so arithmetic decides."""
    found = Watching(rng, without=("web-1",)).after(12)

    assert bytes_of(found)["web", "shop"] == pytest.approx(SENT["web", "shop"], rel=0.1)
    assert methods_of(found)["web shop"] == "peeled"


def test_an_idle_client_is_no_gap(rng: np.random.Generator) -> None:
    """Envoy tells no counter that was never touched: a client whose load reports name no call has sent 0 bytes."""
    watching = Watching(rng)
    del watching.sidecars.rates["web-2", "shop.default"]
    found = watching.after(12)

    assert methods_of(found)["web shop"] == "measured"
    assert bytes_of(found)["web", "shop"] == pytest.approx(300.0 * REQUEST_BYTES, rel=0.05)


def test_without_any_counter_there_is_no_link(rng: np.random.Generator) -> None:
    """What is not known is absent, never zero."""
    everyone = ("web-1", "web-2", "shop-1", "shop-2", "cart-1")

    assert Watching(rng, without=everyone).after(3).links == ()


def test_where_calls_are_unknown_links_are_those_that_carry_something(rng: np.random.Generator) -> None:
    """Without ``calls`` everyone may call everyone; nothing is estimated then."""
    found = Watching(rng, text=MESH).after(12)

    assert bytes_of(found) == pytest.approx(SENT, rel=0.05)


def test_services_that_call_each_other_share_one_link(rng: np.random.Generator) -> None:
    """A link is what one service sends to another, as requests and as answers to requests."""
    calls = "calls: [{from: web, to: shop}, {from: shop, to: cart}, {from: cart, to: shop}]\n"
    watching = Watching(rng, text=MESH + calls)
    watching.sidecars.rates["cart-1", "shop.default"] = 20.0
    found = watching.after(12)

    assert bytes_of(found)["cart", "shop"] == pytest.approx(100.0 * ANSWER_BYTES + 20.0 * REQUEST_BYTES, rel=0.05)
    assert len(found.links) == 4


def test_links_tell_their_age_and_end_with_it(rng: np.random.Generator) -> None:
    """A silent sidecar's figures stay for 12 intervals, with their age; then they are no measurement any more."""
    watching = Watching(rng)
    watching.after(12)
    watching.sidecars.silent.update(("web-1", "web-2"))
    found = watching.after(12)
    now_s = watching.sidecars.now_s
    assert {link.age_s(now_s) for link in found.links if "web.default" in (link.source, link.target)} == {60.0}

    assert methods_of(watching.after(1))["web shop"] == "peeled"
