"""The control plane with made telemetry: pages and metrics show what was learnt, and proxies hear only of changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from mesh.telemetry import Telemetry
from tests.askew.running_plane import Running, running_plane
from tests.fakes.sidecars import FakeSidecars

MESH = """
apiVersion: askew.mesh/v1
nodes: [{name: n1}, {name: n2}]
services:
  - name: web
    containers: [{name: web-1, node: n1, address: 127.5.0.1}, {name: web-2, node: n2, address: 127.5.0.2}]
  - name: shop
    port: 80
    annotations: {askew.mesh/routing: local-first}
    containers: [{name: shop-1, node: n1, address: 127.5.0.3}, {name: shop-2, node: n2, address: 127.5.0.4}]
calls: [{from: web, to: shop}]
"""


class Live:
    """A running control plane whose collector hands over what fake sidecars report."""

    def __init__(self, running: Running, rng: np.random.Generator) -> None:
        self.running, self.plane = running, running.plane
        rates = {("web-1", "shop.default"): 90.0, ("web-2", "shop.default"): 30.0}
        self.sidecars = FakeSidecars(self.plane.topology, rates, rng)
        self._telemetry = Telemetry()
        self.plane.collector.drain = lambda: self._telemetry  # type: ignore[method-assign]

    def after(self, ticks: int) -> None:
        for _ in range(ticks):
            self._telemetry = self.sidecars.advance(5.0)
            self.plane._tick()

    async def page(self, path: str) -> dict[str, object]:
        status, page = await self.running.get(path)
        assert status == 200
        assert isinstance(page, dict)
        return page

    async def metrics(self) -> dict[str, float]:
        _, text = await self.running.get("/metrics")
        lines = [line.rsplit(" ", 1) for line in str(text).splitlines() if line.startswith("askew_")]
        return {name: float(value) for name, value in lines}


@pytest.fixture
async def live(tmp_path: Path, rng: np.random.Generator) -> AsyncIterator[Live]:
    async with running_plane(tmp_path, MESH) as running:
        yield Live(running, rng)


async def test_allocationz_tells_how_rates_are_known(live: Live) -> None:
    """Assumed before telemetry; then measured, client by client, with ages, and what endpoints receive."""
    before = await live.page("/debug/allocationz?service=shop")
    assert (before["client_rates_method"], before["client_rates_age_s"]) == ("assumed", [None, None])
    live.after(12)
    after = await live.page("/debug/allocationz?service=shop")

    assert after["client_rates"] == pytest.approx([90.0, 30.0], rel=0.1)
    assert after["client_rates_methods"] == ["measured", "measured"]
    assert after["client_rates_age_s"] == [0.0, 0.0]
    assert after["endpoint_loads"] == pytest.approx({"shop-1": 60.0, "shop-2": 60.0}, rel=0.1)
    assert after["unsteered"] == {"shop-1": 0.0, "shop-2": 0.0}
    assert "Client rates: measured" in str(after["reason"])


async def test_linkz_lists_the_busiest_links_first(live: Live) -> None:
    """The documented shape; ``limit`` cuts the list and says how many there are."""
    assert await live.page("/debug/linkz") == {"links": [], "to_measure": [], "links_in_all": 0}
    live.after(12)
    page = await live.page("/debug/linkz?limit=1")
    links = page["links"]
    assert isinstance(links, list)
    (link,) = links

    assert (link["from"], link["to"], link["method"], link["residual"]) == (
        "shop.default",
        "web.default",
        "measured",
        0,
    )
    assert link["bytes_per_s"] == pytest.approx(120 * 1000, rel=0.1)
    assert (page["to_measure"], page["links_in_all"]) == ([], 2)


@pytest.mark.parametrize("limit", ["-1", "all", "1e3", "99999999999"])
async def test_a_limit_that_is_none_is_refused(live: Live, limit: str) -> None:
    """400 with what was found and what is allowed."""
    status, page = await live.running.get(f"/debug/linkz?limit={limit}")

    assert status == 400
    assert "allowed" in str(page)


async def test_links_are_metrics(live: Live) -> None:
    """Bytes per second of each link; links that plans open and close are counted."""
    live.after(12)
    found = await live.metrics()

    assert found['askew_link_bytes_per_second{from="web.default",to="shop.default"}'] == pytest.approx(12_000, rel=0.1)
    opened, closed = found["askew_links_opened_total"], found["askew_links_closed_total"]
    assert opened - closed == found['askew_connections{service="shop.default:80"}'] == 3


async def test_links_of_services_that_have_gone_are_no_metrics_any_more(live: Live) -> None:
    """A gauge of yesterday's link would be a lie."""
    live.after(12)
    live.sidecars.silent.update(live.plane.topology.container_by_name)
    live.after(13)

    assert not [name for name in await live.metrics() if name.startswith("askew_link_bytes_per_second")]


async def test_figures_alone_are_not_pushed(live: Live) -> None:
    """A plan whose rates moved and whose shares did not reaches the pages, not the store."""
    live.after(30)
    pushes, configs, rates = live.plane.store.generation, live.plane.configs, live.plane.plan
    live.sidecars.rates["web-1", "shop.default"] *= 2
    live.sidecars.rates["web-2", "shop.default"] *= 2
    live.after(30)

    assert live.plane.plan is not rates
    assert (await live.page("/debug/allocationz?service=shop"))["client_rates"] == pytest.approx([180, 60], rel=0.1)
    assert live.plane.store.generation == pushes
    assert live.plane.configs is configs
    assert (await live.metrics())['askew_cross_node_share{service="shop.default:80"}'] == pytest.approx(0.25, abs=0.03)


async def test_a_change_of_one_service_leaves_the_others_plans_by_identity(live: Live) -> None:
    """What proxies are told of a service is one object until it changes: nothing is built anew for it."""
    text = MESH.replace("calls: [", "calls: [{from: web, to: cart}, ")
    cart = "  - name: cart\n    port: 80\n    annotations: {askew.mesh/routing: uniform}\n"
    containers = "    containers: [{name: cart-1, node: n1, address: 127.5.0.5}]\n"
    live.running.file.write_text(text.replace("calls:", f"{cart}{containers}calls:"))
    await live.running.until("/debug/allocationz?service=cart", "cart-1")
    live.sidecars.topology = live.plane.topology
    live.after(30)
    before = live.plane.configs.plan.services
    live.sidecars.rates = {("web-1", "shop.default"): 30.0, ("web-2", "shop.default"): 90.0}
    live.after(12)
    after = live.plane.configs.plan.services
    same = {str(key): after[key] is before[key] for key in after}

    assert same == {"shop.default:80": False, "cart.default:80": True}
