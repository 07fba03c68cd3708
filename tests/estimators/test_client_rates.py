"""Whose rates count: given, measured, last known, assumed, in this order."""

from __future__ import annotations

import numpy as np
import pytest

from estimators.client_rates import KnownRates, client_rates
from estimators.load_reports import Requests, read_load_reports
from mesh.mesh_file import parse_mesh_file
from mesh.picture import ClientRates
from mesh.topology import ServiceName, ServicePort, Topology
from tests.fakes.sidecars import FakeSidecars

MESH = """
apiVersion: askew.mesh/v1
nodes: [{name: n1}, {name: n2}, {name: n3}]
services:
  - name: web
    containers:
      - {name: web-1, node: n1, address: 127.5.0.1}
      - {name: web-2, node: n2, address: 127.5.0.2}
      - {name: web-3, node: n3, address: 127.5.0.3}
  - name: shop
    port: 80
    containers: [{name: shop-1, node: n1, address: 127.5.0.4}, {name: shop-2, node: n2, address: 127.5.0.5}]
calls: [{from: web, to: shop}]
"""
SHOP = ServicePort(ServiceName("shop.default"), 80)
WEB = ("web-1", "web-2", "web-3")
RATES = {("web-1", "shop.default"): 40.0, ("web-2", "shop.default"): 20.0, ("web-3", "shop.default"): 0.0}


def with_rates(text: str) -> Topology:
    return parse_mesh_file(f"{MESH}rates: [{text}]\n")


class Estimating:
    """Reads what fake sidecars report, tick by tick."""

    def __init__(self, rng: np.random.Generator, topology: Topology | None = None) -> None:
        self.topology = topology or parse_mesh_file(MESH)
        self.sidecars = FakeSidecars(self.topology, RATES, rng)
        self.requests: Requests = {}
        self.known = KnownRates()

    def after(self, ticks: int) -> ClientRates:
        for _ in range(ticks):
            telemetry = self.sidecars.advance(5.0)
            names = self.topology.container_by_name
            self.requests, _ = read_load_reports(self.requests, telemetry.loads, clients=names, tick_s=5.0)
            now_s = telemetry.time_s
            rates, self.known = client_rates(self.topology, self.requests, self.known, now_s=now_s)
        return rates[SHOP]


@pytest.fixture
def estimating(rng: np.random.Generator) -> Estimating:
    return Estimating(rng)


def test_before_the_first_report_all_count_the_same(estimating: Estimating) -> None:
    """Nothing is known: equal rates, called assumed."""
    estimating.sidecars.silent.update(WEB)
    rates = estimating.after(1)

    assert (dict(rates.requests_per_s), rates.method) == (dict.fromkeys(WEB, 1.0), "assumed")


def test_rates_are_learnt(estimating: Estimating) -> None:
    """Each client's rate as it is; a client that reports nothing sent has 0, and that is measured."""
    rates = estimating.after(12)

    assert [rates.requests_per_s[name] for name in WEB] == pytest.approx([40.0, 20.0, 0.0], rel=0.1)
    assert rates.method == "measured"
    assert dict(rates.methods) == dict.fromkeys(WEB, "measured")
    assert dict(rates.age_s) == dict.fromkeys(WEB, 0.0)


def test_too_few_requests_say_nothing(estimating: Estimating) -> None:
    """With fewer than 50 requests in all, who sends more is chance."""
    estimating.sidecars.rates = {("web-1", "shop.default"): 0.1}

    assert estimating.after(3).method == "assumed"


@pytest.mark.parametrize(("first", "second"), [(0.9, 0.02), (0.02, 0.9), (0.5, 0.05), (1.0, 0.3)])
def test_a_start_that_reports_cut_differently_is_never_half_told(
    estimating: Estimating, first: float, second: float
) -> None:
    """Load begins for all at once, but each client's report holds another part of it: nobody seems idle meanwhile."""
    web_1, web_2 = ("web-1", "shop.default"), ("web-2", "shop.default")
    estimating.sidecars.rates = {}
    estimating.after(3)
    estimating.sidecars.rates = {web_1: 40.0 * first, web_2: 40.0 * second}
    seen = [estimating.after(1)]
    estimating.sidecars.rates = {web_1: 40.0, web_2: 40.0}
    seen += [estimating.after(1) for _ in range(6)]
    measured = [rates.requests_per_s for rates in seen if rates.method == "measured"]

    assert len(measured) >= 4
    for rates in measured:
        assert rates["web-1"] / rates["web-2"] == pytest.approx(1.0, abs=0.25)


def test_a_client_that_changes_all_the_time_stops_nobody(estimating: Estimating) -> None:
    """Rates are held for 3 intervals of change, not for ever."""
    estimating.after(12)
    for tick in range(12):
        estimating.sidecars.rates["web-1", "shop.default"] = 400.0 if tick % 2 else 40.0
        estimating.sidecars.rates["web-2", "shop.default"] = 80.0
        rates = estimating.after(1)

    assert rates.requests_per_s["web-2"] == pytest.approx(80.0, rel=0.15)


def test_a_client_that_was_never_heard_counts_as_the_mean(estimating: Estimating) -> None:
    """Of the measured ones, and is called assumed."""
    estimating.sidecars.silent.add("web-3")
    rates = estimating.after(12)

    assert rates.methods["web-3"] == "assumed"
    assert rates.requests_per_s["web-3"] == pytest.approx(30.0, rel=0.1)
    assert "web-3" not in rates.age_s


def test_given_rates_win_and_never_age(rng: np.random.Generator) -> None:
    """What the mesh file says counts, whatever is measured; whom it leaves out is measured."""
    text = "{client: web-1, service: shop, requests_per_s: 5}, {client: web-3, service: shop, requests_per_s: 7}"
    rates = Estimating(rng, with_rates(text)).after(12)

    assert (rates.requests_per_s["web-1"], rates.requests_per_s["web-3"]) == (5.0, 7.0)
    assert rates.requests_per_s["web-2"] == pytest.approx(20.0, rel=0.1)
    assert (rates.method, rates.methods["web-2"]) == ("given", "measured")
    assert set(rates.age_s) == {"web-2"}


def test_given_zeros_say_nothing(rng: np.random.Generator) -> None:
    """All given rates 0: nobody can be told from another, so measured ones count."""
    rates = Estimating(rng, with_rates("{client: web-1, service: shop, requests_per_s: 0}")).after(12)

    assert rates.requests_per_s["web-1"] == pytest.approx(40.0, rel=0.1)


def test_a_quiet_night_does_not_forget(estimating: Estimating) -> None:
    """When all clients stop, the last rates stay: who sends how much to nobody is no news."""
    before = estimating.after(12).requests_per_s
    estimating.sidecars.rates = {}
    after = estimating.after(50).requests_per_s

    assert after == before


def test_a_silent_client_keeps_its_last_rate_for_twelve_intervals(estimating: Estimating) -> None:
    """Silent is unknown, not idle; its age is told."""
    before = estimating.after(12).requests_per_s["web-1"]
    estimating.sidecars.silent.add("web-1")
    rates = estimating.after(12)

    assert rates.requests_per_s["web-1"] == before
    assert rates.age_s["web-1"] == 60.0


def test_a_client_silent_for_longer_goes_back_to_the_mean_by_steps(estimating: Estimating) -> None:
    """A twelfth of the way each interval, to the mean of those that are heard."""
    estimating.after(12)
    estimating.sidecars.silent.add("web-1")
    rates = [estimating.after(1) for _ in range(30)]
    heard = rates[-1].requests_per_s["web-2"] + rates[-1].requests_per_s["web-3"]
    steps = np.diff([rate.requests_per_s["web-1"] for rate in rates])

    assert rates[-1].requests_per_s["web-1"] == pytest.approx(heard / 2)
    assert np.count_nonzero(steps) == 12
    assert (steps <= 0).all()
    assert steps.min() > 1.5 * steps.mean() * 30 / 12


def test_where_nobody_is_heard_the_last_rates_stay(estimating: Estimating) -> None:
    """The neutral plan has rates as last known."""
    before = estimating.after(12).requests_per_s
    estimating.sidecars.silent.update(estimating.topology.container_by_name)

    assert estimating.after(100).requests_per_s == before


def test_a_client_that_has_gone_is_forgotten(estimating: Estimating) -> None:
    """A container that comes back under its name starts unknown."""
    estimating.after(12)
    (first, *_), *_ = (service.containers for service in estimating.topology.services)
    estimating.topology = parse_mesh_file(MESH.replace("      - {name: web-3, node: n3, address: 127.5.0.3}\n", ""))
    rates = estimating.after(1)

    assert set(rates.requests_per_s) == {"web-1", "web-2"}
    assert first.name in estimating.requests
    assert "web-3" not in estimating.requests
