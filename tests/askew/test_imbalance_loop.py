"""Imbalance-aware through the whole tick: queues that are slow or fall silent, plans that follow. The clock is fake."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from askew.control_loop import Memory, tick
from mesh.mesh_file import parse_mesh_file
from mesh.picture import Picture
from mesh.plan import ChosenTargets, Plan
from mesh.topology import ContainerName, ServiceName, ServicePort, Topology
from tests.fakes.queueing_mesh import QueueingMesh

SHOP = ServicePort(ServiceName("shop.default"), 80)
NODES = 3
TICK_S = 5.0


def topology(*, shops: int = 2, more: str = "") -> Topology:
    """Return a mesh of 3 nodes with 2 clients and ``shops`` endpoints each; ``more`` are annotations."""
    nodes = ", ".join(f"{{name: n{node}}}" for node in range(NODES))
    lines = {
        service: "".join(
            f"      - {{name: {service}-{node}-{i}, node: n{node}, address: 127.6.{node + first}.{i + 1}}}\n"
            for node in range(NODES)
            for i in range(count)
        )
        for service, count, first in (("web", 2, 10), ("shop", shops, 20))
    }
    return parse_mesh_file(
        f"apiVersion: askew.mesh/v1\nnodes: [{nodes}]\nservices:\n  - name: web\n    containers:\n{lines['web']}"
        f"  - name: shop\n    port: 80\n    annotations: {{askew.mesh/routing: imbalance-aware{more}}}\n"
        f"    containers:\n{lines['shop']}calls: [{{from: web, to: shop}}]\n"
    )


class Loop:
    """The control loop around a mesh of queues; ``slow`` and ``heal`` change one endpoint."""

    def __init__(self, rng: np.random.Generator, *, per_s: float = 40.0, far_ms: float = 0.0, more: str = "") -> None:
        self.topology = topology(more=more)
        clients = [one.name for one in self.topology.clients_of[SHOP.service]]
        shops = [one.name for one in self.topology.service_by_name[SHOP.service].containers]
        service_ms = dict.fromkeys(shops, 20.0)  # 2 workers: 100 requests/s each
        self.mesh = QueueingMesh(self.topology, SHOP, dict.fromkeys(clients, per_s), service_ms, rng, far_ms=far_ms)
        self.memory, self.picture, self.plan = Memory(), Picture(), Plan()
        self.parts: list[dict[str, float]] = []
        self.reasons: list[str] = []

    def run(self, ticks: int) -> ChosenTargets:
        """Run so many ticks and return the last choice."""
        for _ in range(ticks):
            telemetry = self.mesh.advance(self.plan)
            self.memory, self.picture, self.plan = tick(self.memory, self.topology, telemetry, tick_s=TICK_S)
            self.parts.append({name: one.part for name, one in self.chosen.endpoints.items()})
            self.reasons.append(self.chosen.reason)
        return self.chosen

    @property
    def chosen(self) -> ChosenTargets:
        chosen = self.plan.services[SHOP].chosen
        assert chosen is not None
        return chosen

    def part(self, name: str) -> float:
        """Return the last target of an endpoint, in parts of its fair one."""
        one = self.chosen.endpoints[ContainerName(name)]
        return one.part / one.fair_part

    def sent(self, name: str) -> float:
        """Return what the shares in force bring an endpoint, in parts of its fair share."""
        shares, rates = self.plan.services[SHOP].shares, self.mesh.rates
        load = sum(
            rate * shares.row(ContainerName(client)).get(ContainerName(name), 0.0) for client, rate in rates.items()
        )
        return load / sum(rates.values()) * len(shares.endpoints)


@pytest.fixture
def loop(rng: np.random.Generator) -> Loop:
    return Loop(rng)


def test_load_leaves_a_slow_container_and_comes_back_when_it_heals(loop: Loop) -> None:
    """Three times as slow: within 6 ticks it gets under 45 % of its fair share, within 12 of healing 85 % and more."""
    loop.run(10)
    assert loop.part("shop-0-0") == pytest.approx(1.0, abs=0.1)
    loop.mesh.service_ms["shop-0-0"] = 60.0
    loop.run(6)
    assert loop.part("shop-0-0") < 0.45
    assert loop.sent("shop-0-0") < 0.5
    assert "times the median" in loop.chosen.endpoints[ContainerName("shop-0-0")].why
    loop.run(10)
    loop.mesh.service_ms["shop-0-0"] = 20.0
    loop.run(12)
    assert loop.part("shop-0-0") > 0.85


def test_equals_get_equal_shares(loop: Loop) -> None:
    """Noise is not speed: among six equals nobody's target strays by more than a tenth."""
    loop.run(40)

    assert all(abs(loop.part(name) - 1.0) < 0.1 for name in loop.mesh.service_ms)


def test_a_push_moves_no_target_by_more_than_its_bound(loop: Loop) -> None:
    """30 % of the fair share, at most, from tick to tick, whatever happens."""
    loop.run(10)
    loop.mesh.service_ms["shop-1-0"] = 200.0
    loop.run(20)
    steps = [abs(now[name] - last[name]) * 6 for last, now in pairwise(loop.parts) for name in now]

    assert max(steps) <= 0.3 + 1e-9


def test_without_telemetry_targets_are_held_then_relax_to_capacity(loop: Loop) -> None:
    """Everyone is silent: held for 12 intervals, then back to fair shares by a tenth a tick, never faster."""
    loop.mesh.service_ms["shop-0-0"] = 60.0
    loop.run(15)
    before = dict(loop.parts[-1])
    loop.mesh.silent.update(loop.topology.container_by_name)
    loop.run(12)
    assert loop.parts[-1] == before
    assert loop.reasons[-1].startswith("Held: telemetry is")
    loop.run(1)
    assert loop.parts[-1] != before
    assert "Relaxing" in loop.reasons[-1]
    loop.run(15)

    assert all(loop.part(name) == pytest.approx(1.0) for name in loop.mesh.service_ms)
    steps = [abs(now[name] - last[name]) * 6 for last, now in pairwise(loop.parts[-16:]) for name in now]
    assert max(steps) <= 0.1 + 1e-9


def test_an_endpoint_that_falls_silent_keeps_its_target_while_others_move(loop: Loop) -> None:
    """Its sidecar tells nothing: what it gets stays as it was for 12 intervals, then goes back to fair."""
    loop.mesh.service_ms["shop-0-0"] = 60.0
    loop.run(15)
    held = loop.part("shop-0-0")
    loop.mesh.silent.add("shop-0-0")
    loop.run(12)
    assert loop.part("shop-0-0") == pytest.approx(held, abs=0.02)
    loop.run(20)

    assert loop.part("shop-0-0") == pytest.approx(1.0, abs=0.05)
    assert "silent" in loop.chosen.endpoints[ContainerName("shop-0-0")].why


def test_a_new_container_warms_up(loop: Loop) -> None:
    """It starts at a seventh of its fair share and reaches the whole within 12 ticks."""
    loop.run(10)
    three = topology(shops=3)
    for node in range(NODES):
        loop.mesh.service_ms[f"shop-{node}-2"] = 20.0
    newcomer = next(one for one in three.container_by_name.values() if one.name == "shop-1-2")
    services = tuple(
        replace(
            one, containers=tuple(c for c in one.containers if c.name == newcomer.name or not c.name.endswith("-2"))
        )
        for one in three.services
    )
    loop.topology = loop.mesh.topology = replace(three, services=services)
    loop.run(2)
    assert loop.part("shop-1-2") < 0.35
    assert "warms up" in loop.chosen.endpoints[ContainerName("shop-1-2")].why
    loop.run(12)

    assert loop.part("shop-1-2") > 0.8


def test_a_plan_that_is_undone_goes_back_by_steps_and_says_so(loop: Loop) -> None:
    """Once the watch condemns the last pushes (as in ``test_undo.py``), the tick takes them back, then keeps still."""
    loop.run(8)
    fair = dict(loop.parts[-1])
    loop.mesh.service_ms["shop-0-0"] = 60.0
    loop.run(5)
    assert loop.part("shop-0-0") < 0.6
    loop.mesh.service_ms["shop-0-0"] = 20.0
    memory = loop.memory.targets[SHOP]
    before = np.array([fair[name] for name in memory.endpoints])
    condemned = replace(memory, watch=replace(memory.watch, undoing=True, worse=2, before=before))
    loop.memory = replace(loop.memory, targets={SHOP: condemned})
    loop.run(1)
    assert loop.chosen.undone
    assert loop.plan.services[SHOP].reason.startswith("Undone: p99 got worse twice")
    loop.run(4)
    steps = [abs(now[name] - last[name]) * 6 for last, now in pairwise(loop.parts[-6:]) for name in now]

    assert max(steps) <= 0.3 + 1e-9
    assert loop.part("shop-0-0") == pytest.approx(6 * fair["shop-0-0"], abs=0.01)
    assert not loop.chosen.undone


def test_oscillation_is_damped_and_reported(loop: Loop) -> None:
    """Where half of the last moves went back on the one before, the plan says so and steps are short."""
    loop.run(8)
    swinging = replace(loop.memory.targets[SHOP], flips=(True,) * 8, eta=0.1)
    loop.memory = replace(loop.memory, targets={SHOP: swinging})
    loop.mesh.service_ms["shop-0-0"] = 60.0
    loop.run(2)

    assert loop.chosen.oscillating
    assert any("Targets go to and fro" in reason for reason in loop.reasons[-2:])
    assert loop.part("shop-0-0") > 0.6  # undamped steps would have left 0.4


def test_failures_count_as_slow(loop: Loop) -> None:
    """A container that answers with errors at once looks fast, and must not draw load."""
    loop.run(8)
    loop.mesh.service_ms["shop-2-1"], loop.mesh.failing["shop-2-1"] = 2.0, 0.9
    loop.run(8)

    assert loop.part("shop-2-1") < 0.5
    assert "failed" in loop.chosen.endpoints[ContainerName("shop-2-1")].why


def test_too_few_requests_are_unknown_not_fast(rng: np.random.Generator) -> None:
    """At a request every few seconds nothing is known of anyone, and nothing moves."""
    loop = Loop(rng, per_s=0.05)
    loop.run(20)

    assert all(loop.part(name) == pytest.approx(1.0) for name in loop.mesh.service_ms)
    assert all(one.mean_ms is None for one in loop.picture.endpoint_figures[SHOP].values())


def test_observe_changes_nothing(rng: np.random.Generator) -> None:
    """Targets lean and are shown; what proxies are told stays as it is, and nothing is undone."""
    loop = Loop(rng, more=", askew.mesh/mode: observe")
    loop.mesh.service_ms["shop-0-0"] = 60.0
    loop.run(25)

    assert loop.part("shop-0-0") < 0.5
    assert not loop.plan.services[SHOP].applied
    assert not any("Undone" in reason for reason in loop.reasons)


def test_a_tick_for_a_change_of_the_mesh_decides_nothing_new(loop: Loop) -> None:
    """Ticks that come at once find no windows, and leave those of the next regular tick whole."""
    loop.mesh.service_ms["shop-0-0"] = 60.0
    loop.run(3)
    targets = loop.parts[-1]
    for _ in range(5):
        again = replace(loop.mesh.telemetry(), time_s=loop.mesh.now_s + 0.1)
        loop.memory, loop.picture, loop.plan = tick(loop.memory, loop.topology, again, tick_s=TICK_S)
    assert {name: one.part for name, one in loop.chosen.endpoints.items()} == targets
    loop.run(5)

    assert loop.part("shop-0-0") < 0.45


@pytest.mark.parametrize(("strategy", "slow_gets"), [("imbres", (0.0, 0.9)), ("opttraffic", (1.0, 1.0))])
def test_strategies_by_name(rng: np.random.Generator, strategy: str, slow_gets: tuple[float, float]) -> None:
    """``imbres`` shifts load off the node of a slow container; ``opttraffic`` knows no latency."""
    loop = Loop(rng, more=f", askew.mesh/strategy: {strategy}")
    for name in ("shop-0-0", "shop-0-1"):
        loop.mesh.service_ms[name] = 40.0
    for _ in range(25):
        telemetry = loop.mesh.advance(loop.plan)
        loop.memory, loop.picture, loop.plan = tick(loop.memory, loop.topology, telemetry, tick_s=TICK_S)
    part = loop.plan.services[SHOP].targets[ContainerName("shop-0-0")] / sum(loop.plan.services[SHOP].targets.values())

    assert slow_gets[0] - 1e-9 <= 6 * part <= slow_gets[1] + 1e-9


def test_what_crossing_costs_is_measured(rng: np.random.Generator) -> None:
    """Two milliseconds between nodes show as a price of about two; a price that is given stands."""
    loop = Loop(rng, far_ms=2.0)
    loop.mesh.rates = {name: 60.0 if name.startswith("web-0") else 30.0 for name in loop.mesh.rates}
    loop.run(30)
    assert loop.picture.crossing_price_ms[SHOP] == pytest.approx(2.0, abs=1.0)

    given = Loop(rng, far_ms=2.0, more=', askew.mesh/cross-node-cost: "7.5"')
    given.run(2)
    assert given.picture.crossing_price_ms[SHOP] == 7.5


def test_the_table_learns_and_expects(loop: Loop) -> None:
    """After some ticks φ of the service has cells near the load in force, and expects about the true service time."""
    loop.run(12)
    table = loop.memory.tables[SHOP]

    assert table.full_load_per_s == 64.0
    assert all(cell.count > 20 for cell in table.cells.values())
    assert any(abs(cell.load_per_s - 40.0) < 10.0 for cell in table.cells.values())


def test_at_steady_load_the_plan_settles(loop: Loop) -> None:
    """After two minutes of learning, an hour of noise pushes a few times, not every tick, and no cycle is reported."""
    loop.run(24)
    generation = loop.plan.generation
    loop.run(120)

    assert loop.plan.generation - generation <= 12
    assert not loop.chosen.oscillating
