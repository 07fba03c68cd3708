"""``/debug/perfz``, reasons on ``/debug/allocationz`` and in ``askew explain``, and the metric of targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from askew.explanation import Allocation, explain
from askew.loop_metrics import LoopMetrics
from askew.performance_page import table_json
from tests.askew.running_plane import running_plane
from tests.askew.test_imbalance_loop import SHOP, TICK_S, Loop

MESH = """
apiVersion: askew.mesh/v1
nodes: [{name: n1}]
services:
  - {name: web, containers: [{name: web-1, node: n1, address: 127.5.0.5}]}
  - name: shop
    port: 80
    annotations: {askew.mesh/routing: imbalance-aware}
    containers: [{name: shop-1, node: n1, address: 127.5.0.1}, {name: shop-2, node: n1, address: 127.5.0.2}]
  - {name: cart, port: 81, containers: [{name: cart-1, node: n1, address: 127.5.0.3}]}
calls: [{from: web, to: shop}, {from: web, to: cart}]
"""


@pytest.fixture(scope="module")
def slow() -> Loop:
    loop = Loop(np.random.default_rng(3))
    loop.mesh.service_ms["shop-0-0"] = 60.0
    loop.run(12)
    return loop


async def test_before_telemetry_all_is_unknown(tmp_path: Path) -> None:
    """Null, never zero; targets are fair and say why; a service without targets has a page, too."""
    async with running_plane(tmp_path, MESH) as running:
        status, page = await running.get("/debug/perfz?service=shop")
        assert status == 200
        assert isinstance(page, dict)
        one = page["endpoints"][0]
        assert (one["mean_ms"], one["requests"], one["service_ms"], page["table"]) == (None, None, None, None)
        assert (one["target_share"], one["why"]) == (0.5, "nothing was heard of it yet")
        assert page["reason"].startswith("No telemetry yet")
        _, cart = await running.get("/debug/perfz?service=cart.default:81")
        assert isinstance(cart, dict)
        assert cart["endpoints"][0]["target_share"] is None
        _, everyone = await running.get("/debug/perfz")
        assert isinstance(everyone, list)
        assert [entry["service"] for entry in everyone] == ["shop.default", "cart.default"]
        _, shares = await running.get("/debug/allocationz?service=shop")
        assert isinstance(shares, dict)
        assert shares["target_reasons"]["shop-1"] == "nothing was heard of it yet"


@pytest.mark.parametrize(
    ("asked", "said"), [("nobody", "a service that has a port"), ("shop:9", "found port '9'"), ("web", "has a port")]
)
async def test_an_unknown_service_is_404(tmp_path: Path, asked: str, said: str) -> None:
    """With what is allowed, in JSON."""
    async with running_plane(tmp_path, MESH) as running:
        status, page = await running.get(f"/debug/perfz?service={asked}")

    assert status == 404
    assert said in str(page)


def test_figures_travel_with_counts_and_ages(slow: Loop) -> None:
    """Each endpoint's last window says on how many requests it rests, how long it was and how old it is."""
    figures = slow.picture.endpoint_figures[SHOP]

    assert set(figures) == set(slow.mesh.service_ms)
    assert all(one.window_s == TICK_S and one.age_s == 0.0 and one.issued is not None for one in figures.values())
    busy = [one for one in figures.values() if one.requests > 100]
    assert busy
    for one in busy:
        assert one.mean_ms is not None
        assert one.p50_ms is not None
        assert one.p95_ms is not None
        assert one.p99_ms is not None
        assert one.p50_ms < one.p95_ms <= one.p99_ms


def test_explain_says_why_a_target_is_low(slow: Loop) -> None:
    """The sentence about an endpoint's target holds how much slower it is."""
    plan = slow.plan.services[SHOP]
    page: dict[str, Any] = {
        "service": "shop.default", "port": 80, "managed": True, "applied": True, "reason": plan.reason,
        "clients": list(plan.shares.clients), "endpoints": list(plan.shares.endpoints),
        "shares": plan.shares.fractions.tolist(), "client_rates": [40.0] * 6,
        "targets": [plan.targets[name] for name in plan.shares.endpoints],
        "tiers": [["local"] * 6] * 6, "client_places": [None] * 6, "endpoint_places": [None] * 6,
        "capacities": [1.0] * 6, "connections": 6, "standbys": {}, "unsteered": {},
        "target_reasons": {name: one.why for name, one in slow.chosen.endpoints.items()},
    }  # fmt: skip
    text = explain(Allocation(page, "web-0-0"), "shop-0-0")

    assert "times the median" in text
    assert "shop-0-0 should get" in text


def test_the_table_shows_cells_with_ages(slow: Loop) -> None:
    """Every cell has its place, what it learnt, from how many requests, and since when."""
    found = table_json(slow.memory.tables[SHOP], now_s=slow.mesh.now_s)

    assert found["full_load_per_s"] == 64.0
    assert found["cells"]
    for cell in found["cells"]:
        assert len(cell["place"]) == 4
        assert cell["tail_ms"] >= cell["mean_ms"] > 0.0
        assert cell["count"] > 0
        assert cell["age_s"] >= 0.0


def test_targets_are_a_metric_up_to_a_limit(slow: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """One series for each endpoint, gone with it; none at all past the limit."""
    registry = CollectorRegistry()
    metrics = LoopMetrics(registry)
    metrics.show(slow.picture, slow.plan)

    def value(name: str) -> float | None:
        return registry.get_sample_value("askew_target_share", {"service": "shop.default:80", "endpoint": name})

    assert value("shop-0-0") == pytest.approx(slow.parts[-1]["shop-0-0"])
    assert sum(value(name) or 0.0 for name in slow.mesh.service_ms) == pytest.approx(1.0)
    monkeypatch.setattr("askew.loop_metrics.MOST_TARGETS", 5)
    metrics.show(slow.picture, slow.plan)
    assert value("shop-0-0") is None
