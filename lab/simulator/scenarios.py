"""The named scenarios. Placement and client rates belong to the scenario; the seed of a run draws the rest."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from lab.simulator.call_graph import Call, Operation
from lab.simulator.scenario import (
    Antagonist,
    Client,
    Container,
    Kill,
    Scenario,
    Service,
    Slowdown,
    Surge,
    Work,
)

WORKERS, WORK_S = 2, 0.010
# The description that S2 follows gives no placement, only facts about it. This is a draw that shares them: 164 (client,
# server) pairs on one node; a least crossing of .228 at balanced load (here .231); under zone-aware routing .21
# crossing (.208), 622 connections (604), no zone overloaded at load .7; under same-node routing some node overloaded.
S2_PLACEMENT = 57201


def one_tier(
    name: str,
    *,
    size: int,
    nodes: int,
    load: float,
    slow_part: float,
    slow_speed: float,
    placement: int,
    rate_variation: float = 0.5,
) -> Scenario:
    """Return ``size`` clients and ``size`` servers, each on a random node, some servers slow, client rates lognormal.

    ``load`` is the demand over the true capacity of all; every node is its own zone.
    """
    rng = np.random.default_rng(placement)
    client_nodes, server_nodes = rng.integers(0, nodes, size), rng.integers(0, nodes, size)
    raw = np.exp(math.sqrt(math.log(1 + rate_variation**2)) * rng.standard_normal(size))
    speeds = np.ones(size)
    speeds[rng.choice(size, round(slow_part * size), replace=False)] = slow_speed
    rates = raw / raw.sum() * load * WORKERS * speeds.sum() / WORK_S
    return Scenario(
        name=name,
        zones=tuple(range(nodes)),
        clients=tuple(Client(int(node), float(rate)) for node, rate in zip(client_nodes, rates, strict=True)),
        services=(
            Service(
                "server",
                tuple(
                    Container(int(node), float(speed), WORKERS)
                    for node, speed in zip(server_nodes, speeds, strict=True)
                ),
                Work(WORK_S),
            ),
        ),
        operations=(Operation(Call(0)),),
    )


def s2(load: float = 0.7) -> Scenario:
    """S2: 40 × 40 on 10 nodes, 20 % of the servers at half speed, two workers, lognormal work of 10 ms."""
    return one_tier(
        f"s2-{round(load * 100)}" if load != 0.7 else "s2",
        size=40,
        nodes=10,
        load=load,
        slow_part=0.2,
        slow_speed=0.5,
        placement=S2_PLACEMENT,
    )


def hundred() -> Scenario:
    """100 × 100 on 20 nodes, 20 % of the servers at a third of their speed, load .6."""
    return one_tier("hundred", size=100, nodes=20, load=0.6, slow_part=0.2, slow_speed=1 / 3, placement=1)


def homogeneous() -> Scenario:
    """S2 without slow servers: the honest case for those who do nothing."""
    return one_tier("homogeneous", size=40, nodes=10, load=0.7, slow_part=0.0, slow_speed=1.0, placement=S2_PLACEMENT)


def zones() -> Scenario:
    """60 × 60 in three zones (one locality each), 20 % of the servers at half speed, load .7."""
    return one_tier("zones", size=60, nodes=3, load=0.7, slow_part=0.2, slow_speed=0.5, placement=3)


def slow_nodes() -> Scenario:
    """S2 with interference as Imbres assumes it: all servers of one node suffer alike, on two nodes of ten."""
    scenario = s2(0.6)
    (service,) = scenario.services
    nodes = sorted({container.node for container in service.containers})
    disturbed = nodes[:: max(1, len(nodes) // 2)][:2]
    even = tuple(replace(each, speed=0.5 if each.node in disturbed else 1.0) for each in service.containers)
    return replace(scenario, name="slow-nodes", services=(replace(service, containers=even),))


def neighbours() -> Scenario:
    """S2 with antagonists that come and go on every fourth server: speed .3, 30 s on, 90 s off on average."""
    scenario = s2(0.6)
    visited = tuple(Antagonist(0, container, 0.3) for container in range(0, 40, 4))
    return replace(scenario, name="neighbours", antagonists=visited)


def _steps(name: str, **changes: object) -> Scenario:
    base = replace(s2(0.6), name=name, duration_s=180.0, warmup_s=30.0, slo_s=0.1)
    return replace(base, **changes)  # type: ignore[arg-type]


def antagonist_step() -> Scenario:
    """S2 at load .6; from 60 s to 120 s six undisturbed servers run at a third of their speed."""
    return _steps("antagonist-step", slowdowns=tuple(Slowdown(0, each, 60.0, 120.0, 1 / 3) for each in _fast(6)))


def demand_step() -> Scenario:
    """S2 at load .6; from 60 s to 120 s the clients of the busiest node send half as much again."""
    rates = np.zeros(10)
    for client in s2(0.6).clients:
        rates[client.node] += client.rate
    return _steps("demand-step", surges=(Surge(int(rates.argmax()), 60.0, 120.0, 1.5),))


def kill_step() -> Scenario:
    """S2 at load .6; at 60 s a fifth of the servers die for good."""
    return _steps("kill-step", kills=tuple(Kill(0, container, 60.0) for container in range(2, 40, 5)))


def _fast(count: int) -> list[int]:
    containers = s2(0.6).services[0].containers
    return [index for index, container in enumerate(containers) if container.speed == 1.0][:count]


def smoke() -> Scenario:
    """Two seconds of S2 at load .5: for tests and a first try."""
    return replace(s2(0.5), name="smoke", duration_s=2.0, warmup_s=0.5)


SCENARIOS: Mapping[str, Callable[[], Scenario]] = {
    "s2": s2,
    # Client-weighted round robin is blind for its first 10 s; at this load what piles up then takes 35 s to drain.
    "s2-85": lambda: s2(0.85).shortened(duration_s=180.0, warmup_s=90.0),
    "s2-50": lambda: s2(0.5),
    "hundred": hundred,
    "homogeneous": homogeneous,
    "zones": zones,
    "slow-nodes": slow_nodes,
    "neighbours": neighbours,
    "antagonist-step": antagonist_step,
    "demand-step": demand_step,
    "kill-step": kill_step,
    "smoke": smoke,
}
