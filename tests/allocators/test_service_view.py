"""A service's view put together, and targets decided from it."""

from __future__ import annotations

import numpy as np
import pytest

from allocators.service_view import view_of
from allocators.target_decision import decide_targets
from estimators.endpoint_windows import EndpointWindow
from estimators.latency import LatencyWindow
from mesh.mesh_file import parse_mesh_file
from mesh.topology import ContainerName, ServiceName, ServicePort, Topology

MESH = """
apiVersion: askew.mesh/v1
nodes: [{name: n1}, {name: n2}]
services:
- name: front
  containers:
  - {name: front-0, node: n1, address: 127.0.1.1}
  - {name: front-1, node: n1, address: 127.0.1.3}
- name: back
  port: 9080
  containers:
  - {name: back-0, node: n1, address: 127.0.1.2}
  - {name: back-1, node: n2, address: 127.0.2.2, capacity: 2}
calls: [{from: front, to: back}]
"""
BACK = ServicePort(ServiceName("back.default"), 9080)
ZERO, ONE = ContainerName("back-0"), ContainerName("back-1")


@pytest.fixture
def topology() -> Topology:
    """Return two clients on one node, and an endpoint on each of two nodes."""
    return parse_mesh_file(MESH)


def window(*counts: int, sum_ms: float, failures: int = 0, issued: int | None = None) -> EndpointWindow:
    return EndpointWindow(LatencyWindow(0.0, 5.0, (10.0, 20.0), counts, sum_ms), failures, issued)


def test_a_view_has_the_services_endpoints_in_order(topology: Topology) -> None:
    """Counts, means, windows, capacities, demand by node, and p99 of all together."""
    windows = {ZERO: window(99, 1, 0, sum_ms=500.0, failures=3, issued=120), ONE: window(0, 100, 0, sum_ms=1500.0)}
    rates = {ContainerName("front-0"): 15.0, ContainerName("front-1"): 25.0}
    seen = view_of(topology, BACK, windows, rates=rates, now_s=6.0, crossing_price_ms=0.5)

    assert seen.endpoints == (ZERO, ONE)
    assert seen.nodes == ("n1", "n2")
    assert seen.capacities.tolist() == [1.0, 2.0]
    assert seen.requests.tolist() == [100.0, 100.0]
    assert seen.mean_ms.tolist() == [5.0, 15.0]
    assert (seen.failures.tolist(), seen.newest_s, seen.demand_per_s) == ([3.0, 0.0], 5.0, {"n1": 40.0})
    assert seen.issued is not None
    assert seen.issued.tolist() == [120.0, 0.0]
    assert seen.tail_ms == pytest.approx(10.0 + 10.0 * 99.0 / 101.0)


def test_who_has_no_window_is_not_heard(topology: Topology) -> None:
    """NaN, and held by the decision."""
    seen = view_of(topology, BACK, {ONE: window(0, 100, 0, sum_ms=1500.0)}, rates={}, now_s=6.0)

    assert np.isnan(seen.window_s[0])
    assert np.isnan(seen.mean_ms[0])
    assert decide_targets(seen, None, now_s=6.0, interval_s=5.0).targets == pytest.approx([1 / 3, 2 / 3])


def test_no_window_at_all_is_no_news(topology: Topology) -> None:
    """Before any telemetry: by capacity."""
    seen = view_of(topology, BACK, {}, rates={}, now_s=6.0)
    decision = decide_targets(seen, None, now_s=6.0, interval_s=5.0)

    assert (seen.newest_s, seen.tail_ms, seen.issued) == (None, None, None)
    assert "No telemetry" in decision.reason


def test_expectations_and_unsteered_load_are_columns(topology: Topology) -> None:
    """Endpoints that a mapping leaves out have none."""
    seen = view_of(topology, BACK, {}, rates={}, now_s=0.0, table_service_ms={ONE: 7.0}, unsteered_per_s={ZERO: 3.0})

    assert seen.table_service_ms is not None
    assert np.isnan(seen.table_service_ms[0])
    assert seen.table_service_ms[1] == 7.0
    assert seen.unsteered_per_s is not None
    assert seen.unsteered_per_s.tolist() == [3.0, 0.0]
