"""The tick: rates learnt from telemetry, plans that follow what changes and nothing else, ages."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from askew.control_loop import Memory, tick
from mesh.mesh_file import parse_mesh_file
from mesh.picture import Picture
from mesh.plan import Plan
from mesh.topology import ServiceName, ServicePort, Topology
from tests.fakes.sidecars import FakeSidecars

NODES, PER_NODE, ENDPOINTS = 4, 3, 3
SHOP = ServicePort(ServiceName("shop.default"), 80)


def topology(*, routing: str = "local-first") -> Topology:
    def container(service: str, node: int, number: int) -> str:
        address = f"127.5.{node + (10 if service == 'web' else 20)}.{number + 1}"
        return f"      - {{name: {service}-{node}-{number}, node: n{node}, address: {address}}}\n"

    web = "".join(container("web", node, number) for node in range(NODES) for number in range(PER_NODE))
    shop = "".join(container("shop", node, number) for node in range(NODES) for number in range(ENDPOINTS))
    nodes = ", ".join(f"{{name: n{node}}}" for node in range(NODES))
    return parse_mesh_file(
        f"apiVersion: askew.mesh/v1\nnodes: [{nodes}]\nservices:\n  - name: web\n    containers:\n{web}"
        f"  - name: shop\n    port: 80\n    annotations: {{askew.mesh/routing: {routing}}}\n    containers:\n{shop}"
        "calls: [{from: web, to: shop}]\n"
    )


class Loop:
    """A control loop without a control plane: each call of ``after`` is ticks of 5 s."""

    def __init__(self, rng: np.random.Generator, *, per_s: float = 20.0, routing: str = "local-first") -> None:
        self.topology = topology(routing=routing)
        clients = [name for name in self.topology.container_by_name if name.startswith("web")]
        # Two nodes send three times as much as the others.
        rates = {(name, "shop.default"): per_s * (3 if name[4] in "01" else 1) for name in clients}
        self.sidecars = FakeSidecars(self.topology, rates, rng)
        self.memory, self.picture, self.plan = Memory(), Picture(), Plan()
        self.generations: list[int] = []

    def after(self, ticks: int, *, tick_s: float = 5.0) -> Plan:
        for _ in range(ticks):
            telemetry = self.sidecars.advance(tick_s)
            self.memory, self.picture, self.plan = tick(self.memory, self.topology, telemetry, tick_s=tick_s)
            self.generations.append(self.plan.generation)
        return self.plan

    def crossing(self) -> float:
        """Return which part of the requests that clients really send the shares in force take off their node."""
        shares = self.plan.services[SHOP].shares
        crossing = total = 0.0
        for (client, _), rate in self.sidecars.rates.items():
            total += rate
            crossing += rate * sum(part for end, part in shares.row(client).items() if end[5] != client[4])  # type: ignore[arg-type]
        return crossing / total


@pytest.fixture
def loop(rng: np.random.Generator) -> Loop:
    return Loop(rng)


def test_rates_are_learnt_and_the_plan_follows(loop: Loop) -> None:
    """Nothing is given: before telemetry all clients count the same, soon after the plan is near the least crossing."""
    loop.sidecars.silent.update(loop.topology.container_by_name)
    loop.after(1)
    assert loop.picture.client_rates[SHOP].method == "assumed"
    assert loop.plan.services[SHOP].cross_node_share == pytest.approx(0.0)
    loop.sidecars.silent.clear()
    loop.after(6)

    assert loop.picture.client_rates[SHOP].method == "measured"
    assert loop.crossing() == pytest.approx(0.25, abs=0.02)  # two nodes send 3/8 each and can keep 1/4


@pytest.mark.parametrize("per_s", [0.5, 5.0, 50.0, 500.0])
@pytest.mark.parametrize("routing", ["local-first", "uniform"])
def test_at_steady_load_nothing_is_pushed(rng: np.random.Generator, routing: str, per_s: float) -> None:
    """Poisson noise is no news: after the first five minutes not one of 300 ticks changes a share."""
    loop = Loop(rng, per_s=per_s, routing=routing)
    loop.after(60)
    settled = loop.plan.generation
    loop.after(300)

    assert loop.plan.generation == settled
    assert settled <= 10


def test_a_small_change_moves_nothing(loop: Loop) -> None:
    """Rates that move by less than 5 % in all leave the shares as they are."""
    loop.after(60)
    generation = loop.plan.generation
    loop.sidecars.rates = {key: rate * (1.03 if key[0][4] == "0" else 1.0) for key, rate in loop.sidecars.rates.items()}
    loop.after(60)

    assert loop.plan.generation == generation


def test_a_large_change_is_followed_within_three_ticks(loop: Loop) -> None:
    """The load moves to the other two nodes: so do the shares, in few pushes, and are near the least crossing again."""
    loop.after(60)
    generation = loop.plan.generation
    loop.sidecars.rates = {key: 20.0 * (3 if key[0][4] in "23" else 1) for key in loop.sidecars.rates}
    loop.after(3)
    assert loop.crossing() < 0.30

    loop.after(60)
    assert loop.crossing() == pytest.approx(0.25, abs=0.02)
    assert loop.plan.generation - generation <= 4


def test_a_plan_without_telemetry_is_held(loop: Loop) -> None:
    """Everyone falls silent: the last rates stay, for 3 intervals, for 12, for an hour; ages are told."""
    loop.after(60)
    generation, rates = loop.plan.generation, loop.picture.client_rates[SHOP].requests_per_s
    loop.sidecars.silent.update(loop.topology.container_by_name)
    for intervals in (3, 9, 708):
        loop.after(intervals)
        assert loop.plan.generation == generation
        assert loop.picture.client_rates[SHOP].requests_per_s == rates
    assert set(loop.picture.client_rates[SHOP].age_s.values()) == {720 * 5.0}


def test_a_silent_client_moves_the_plan_only_after_twelve_intervals(loop: Loop) -> None:
    """Its last rate counts for a minute; then it goes back to the mean by steps, so that no push is a leap."""
    loop.after(60)
    generation = loop.plan.generation
    loop.sidecars.silent.update(name for name in loop.topology.container_by_name if name.startswith("web-0"))
    loop.after(12)
    assert loop.plan.generation == generation

    before = loop.plan
    for _ in range(20):
        plan = loop.after(1)
        moved = np.abs(plan.services[SHOP].shares.fractions - before.services[SHOP].shares.fractions).sum() / 2
        assert moved < 0.25 * NODES * PER_NODE
        before = plan
    assert generation < loop.plan.generation <= generation + 12


def test_ages_count_in_the_sources_own_intervals(rng: np.random.Generator) -> None:
    """With reports every 60 s and ticks of 5 s nobody is called silent in between."""
    loop = Loop(rng)
    for _ in range(30):
        loop.after(1, tick_s=60.0)
        for _ in range(11):
            later = replace(loop.sidecars.telemetry(), time_s=loop.sidecars.now_s + 55.0)
            loop.memory, loop.picture, loop.plan = tick(loop.memory, loop.topology, later, tick_s=5.0)

    assert loop.generations[-1] == loop.generations[5]
    rates = loop.picture.client_rates[SHOP].requests_per_s
    assert rates[loop.topology.services[0].containers[0].name] == pytest.approx(60.0, rel=0.1)


def test_a_tick_that_comes_at_once_uses_the_last_telemetry(loop: Loop) -> None:
    """A change of the mesh is planned for the rates that are known, without a new report."""
    loop.after(12)
    rates = loop.picture.client_rates[SHOP].requests_per_s
    again = loop.sidecars.telemetry()
    loop.memory, loop.picture, loop.plan = tick(loop.memory, topology(routing="uniform"), again)

    assert loop.picture.client_rates[SHOP].requests_per_s == rates
    assert loop.plan.services[SHOP].shares.fractions == pytest.approx(1 / (NODES * ENDPOINTS))


def test_a_tick_is_a_function(loop: Loop) -> None:
    """The same memory and telemetry give the same plan and picture; the memory that was handed in is untouched."""
    loop.after(12)
    telemetry = loop.sidecars.advance(5.0)
    one, other = (tick(loop.memory, loop.topology, telemetry) for _ in range(2))

    assert one[1] == other[1]
    assert one[0].requests == other[0].requests
    shares = [plan.services[SHOP].shares for _, _, plan in (one, other)]
    assert shares[0].same_as(shares[1])


def test_shares_fill_what_strangers_leave(loop: Loop) -> None:
    """A gateway keeps one endpoint busy: steered clients send it less, so that all endpoints have the same in all."""
    loop.sidecars.strangers["shop-0-0"] = 30.0
    loop.after(60)
    plan = loop.plan.services[SHOP]
    whole = 480.0 + 30.0

    assert plan.unsteered["shop-0-0"] == pytest.approx(30.0, rel=0.15)  # type: ignore[index]
    assert plan.targets["shop-0-0"] == pytest.approx(whole / 12 - 30.0, abs=6.0)  # type: ignore[index]
    assert plan.targets["shop-3-0"] == pytest.approx(whole / 12, abs=3.0)  # type: ignore[index]


def test_links_come_with_the_picture(loop: Loop) -> None:
    """Both directions of the only call, measured."""
    loop.after(24)
    links = {(link.source, link.target): link for link in loop.picture.links}

    assert links["web.default", "shop.default"].rate_bytes_per_s == pytest.approx(480 * 100, rel=0.05)
    assert links["shop.default", "web.default"].rate_bytes_per_s == pytest.approx(480 * 1000, rel=0.05)
    assert {link.method for link in links.values()} == {"measured"}


def test_only_who_calls_is_planned_for(rng: np.random.Generator) -> None:
    """Where the mesh does not say who calls: all at first, then callers; a new one two ticks after its first request.

    The plan of those who were known stays one over all endpoints, so that nobody is without.
    """
    loop = Loop(rng)
    loop.topology = replace(loop.topology, calls=None)
    loop.after(1)
    assert len(loop.plan.services[SHOP].shares.clients) == NODES * (PER_NODE + ENDPOINTS)
    loop.after(80)
    callers = loop.plan.services[SHOP].shares.clients
    assert callers == tuple(name for name in loop.topology.container_by_name if name.startswith("web"))
    loop.sidecars.rates["shop-1-0", "shop.default"] = 2.0
    loop.after(2)

    assert len(loop.plan.services[SHOP].shares.clients) == NODES * (PER_NODE + ENDPOINTS)
    sums = loop.plan.services[SHOP].shares.fractions.sum(axis=1)
    assert sums == pytest.approx(1.0)
