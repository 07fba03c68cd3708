"""Loads of endpoints, and what of them no steered client sent."""

from __future__ import annotations

import numpy as np
import pytest

from estimators.endpoint_loads import EndpointCounts, EndpointLoads, endpoint_loads
from estimators.load_reports import Requests, read_load_reports
from estimators.sidecar_counters import Sidecars, read_sidecar_counters
from mesh.mesh_file import parse_mesh_file
from mesh.topology import ServiceName, ServicePort
from tests.fakes.sidecars import FakeSidecars

MESH = """
apiVersion: askew.mesh/v1
nodes: [{name: n1}]
services:
  - name: web
    containers: [{name: web-1, node: n1, address: 127.5.0.1}, {name: web-2, node: n1, address: 127.5.0.2}]
  - name: shop
    port: 80
    containers: [{name: shop-1, node: n1, address: 127.5.0.3}, {name: shop-2, node: n1, address: 127.5.0.4}]
calls: [{from: web, to: shop}]
"""
SHOP = ServicePort(ServiceName("shop.default"), 80)


class Watching:
    """Reads what fake sidecars count, tick by tick."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.topology = parse_mesh_file(MESH)
        rates = {("web-1", "shop.default"): 60.0, ("web-2", "shop.default"): 40.0}
        self.sidecars = FakeSidecars(self.topology, rates, rng)
        self.requests: Requests = {}
        self.counts: Sidecars = {}
        self.known: EndpointCounts = {}

    def after(self, ticks: int) -> EndpointLoads:
        names = self.topology.container_by_name
        for _ in range(ticks):
            telemetry = self.sidecars.advance(5.0)
            self.requests, issued = read_load_reports(self.requests, telemetry.loads, clients=names, tick_s=5.0)
            self.counts, served = read_sidecar_counters(self.counts, telemetry.counters, containers=names, tick_s=5.0)
            loads, self.known = endpoint_loads(
                self.topology,
                self.known,
                sidecars=self.counts,
                requests=self.requests,
                served=served,
                issued=issued,
                now_s=self.sidecars.now_s,
            )
        return loads


def test_where_all_clients_are_steered_nothing_is_unsteered(rng: np.random.Generator) -> None:
    """Each endpoint's load is what its sidecar saw; all of it has a sender, and that is known."""
    found = Watching(rng).after(24)

    assert dict(found.loads[SHOP]) == pytest.approx({"shop-1": 50.0, "shop-2": 50.0}, rel=0.1)
    assert dict(found.unsteered[SHOP]) == {"shop-1": 0.0, "shop-2": 0.0}


def test_what_strangers_send_is_unsteered(rng: np.random.Generator) -> None:
    """A gateway calls one endpoint directly: its part shows there, and only there."""
    watching = Watching(rng)
    watching.sidecars.strangers["shop-2"] = 40.0
    found = watching.after(24)

    assert found.loads[SHOP]["shop-2"] == pytest.approx(90.0, rel=0.1)
    assert dict(found.unsteered[SHOP]) == pytest.approx({"shop-1": 0.0, "shop-2": 40.0}, rel=0.15)


def test_noise_does_not_move_what_is_told(rng: np.random.Generator) -> None:
    """Unsteered load is part of targets: it must not make the plan restless."""
    watching = Watching(rng)
    watching.sidecars.strangers["shop-2"] = 40.0
    watching.after(24)

    assert len({watching.after(1).unsteered[SHOP]["shop-2"] for _ in range(200)}) <= 3


def test_strangers_that_go_leave_nothing_behind(rng: np.random.Generator) -> None:
    """Within some minutes nothing is told of them."""
    watching = Watching(rng)
    watching.sidecars.strangers["shop-2"] = 40.0
    watching.after(24)
    watching.sidecars.strangers.clear()

    assert watching.after(60).unsteered[SHOP]["shop-2"] == 0.0


def test_with_a_silent_client_nothing_is_known(rng: np.random.Generator) -> None:
    """It may be steered and only not heard: its requests are nobody's fault."""
    watching = Watching(rng)
    watching.sidecars.silent.add("web-2")
    found = watching.after(24)

    assert SHOP not in found.unsteered
    assert set(found.loads[SHOP]) == {"shop-1", "shop-2"}


def test_an_endpoint_without_counters_is_absent(rng: np.random.Generator) -> None:
    """What is not known is absent, never zero."""
    watching = Watching(rng)
    watching.sidecars.without_counters.add("shop-1")
    found = watching.after(24)

    assert set(found.loads[SHOP]) == set(found.unsteered[SHOP]) == {"shop-2"}
