"""One run: a scenario, a policy, a seed. The agenda between events is played here, the events in ``engine.py``."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
from numpy.typing import NDArray

from lab.simulator.build import Built, build
from lab.simulator.engine import NEEDS_ROOM, advance
from lab.simulator.policy import Policy
from lab.simulator.scenario import Scenario
from lab.simulator.sight import Sight
from lab.simulator.speed_path import speeds_at
from lab.simulator.stations import settle_all
from lab.simulator.telemetry import Totals, totals, window_of
from lab.simulator.world import EVENTS, SPEED, Integers, Reals, World, with_more_room

PHASES = 10  # clients with clocks of their own tick in this many groups, so that they are never all in step


@dataclass(frozen=True)
class Outcome:
    """What one run left behind.

    Attributes
    ----------
    at_s, latency_s:
        Start and latency of every request of the run (infinite: failed), shape (requests,).
    before, after:
        All counters at the end of the warm-up and at the end of the arrivals.
    crosses:
        1 where a cell's client and server are on different nodes.
    workers:
        Of each server.
    events:
        How many the engine played.
    """

    scenario: Scenario
    at_s: Reals
    latency_s: Reals
    before: Totals
    after: Totals
    crosses: Integers
    workers: Integers
    events: int

    @property
    def measured(self) -> NDArray[np.bool_]:
        """Which requests started after the warm-up."""
        return self.at_s >= self.scenario.warmup_s


class _Run:
    """The engine's state and the agenda of what happens between its events."""

    def __init__(self, scenario: Scenario, built: Built) -> None:
        self.scenario, self.built = scenario, built
        self.world: World = built.world
        self.kept: dict[str, Totals] = {}
        self.agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = count()

    def at(self, when_s: float, act: Callable[[], None]) -> None:
        heapq.heappush(self.agenda, (when_s, next(self._serial), act))

    def every(self, period_s: float, first_s: float, act: Callable[[float], None]) -> None:
        def turn(now_s: float) -> None:
            act(now_s)
            if now_s + period_s <= self.scenario.duration_s:
                self.at(now_s + period_s, lambda: turn(now_s + period_s))

        self.at(first_s, lambda: turn(first_s))

    def play(self, until_s: float) -> None:
        # All pairs run under policies of one kind, so the data plane is the first one's.
        policy = self.built.policies[0]
        while advance(self.world, until_s, policy.pick, policy.done) == NEEDS_ROOM:
            self.world = with_more_room(self.world)

    def counters(self, now_s: float) -> Totals:
        settle_all(self.world, now_s)
        return totals(self.world, now_s)


def simulate(scenario: Scenario, make_policy: Callable[[], Policy], *, seed: int) -> Outcome:
    """Run ``scenario`` under a policy, one fresh policy object a pair, with the draws of ``seed``.

    Examples
    --------
    >>> from lab.simulator.policies import POLICIES
    >>> from lab.simulator.scenarios import SCENARIOS
    >>> outcome = simulate(SCENARIOS["smoke"](), POLICIES["round-robin"], seed=1)
    >>> bool(np.isfinite(outcome.latency_s).all())
    True
    """
    run = _Run(scenario, build(scenario, make_policy, seed=seed))
    for policy, pair in zip(run.built.policies, run.built.pairs, strict=True):
        policy.start(pair)
    _plan_clocks(run)
    _plan_changes(run)
    run.at(scenario.warmup_s, lambda: _keep(run, "before", scenario.warmup_s))
    run.at(scenario.duration_s, lambda: _keep(run, "after", scenario.duration_s))
    while run.agenda:
        when_s, _, act = heapq.heappop(run.agenda)
        if when_s > scenario.duration_s:
            continue
        run.play(when_s)
        act()
    run.play(np.inf)
    world = run.world
    return Outcome(
        scenario=scenario,
        at_s=world.requests.at_s,
        latency_s=world.latency_s,
        before=run.kept["before"],
        after=run.kept["after"],
        crosses=run.built.crosses,
        workers=world.servers.workers,
        events=int(world.counters.ints[EVENTS]),
    )


def _keep(run: _Run, name: str, now_s: float) -> None:
    run.kept[name] = run.counters(now_s)


def _plan_clocks(run: _Run) -> None:
    clocks, delay_s = run.built.policies[0].clocks, run.scenario.observation.delay_s
    if clocks.client_s is not None:
        for phase in range(PHASES):
            first_s = clocks.client_s * (1.0 + phase / PHASES)
            run.every(clocks.client_s, first_s, lambda now_s, phase=phase: _client_ticks(run, now_s, phase))  # type: ignore[misc]
    if clocks.control_s is not None:
        run.kept["last"] = run.counters(0.0)
        run.every(clocks.control_s, clocks.control_s, lambda now_s: _close_window(run, now_s, delay_s))


def _client_ticks(run: _Run, now_s: float, phase: int) -> None:
    for policy, pair in zip(run.built.policies, run.built.pairs, strict=True):
        policy.client_tick(pair, now_s, np.arange(phase, pair.clients, PHASES))


def _close_window(run: _Run, now_s: float, delay_s: float) -> None:
    before, after = run.kept["last"], run.counters(now_s)
    run.kept["last"] = after

    def hand_over() -> None:
        for number, (policy, pair) in enumerate(zip(run.built.policies, run.built.pairs, strict=True)):
            policy.control_tick(pair, window_of(before, after, run.world, number))

    run.at(now_s + delay_s, hand_over)


def _plan_changes(run: _Run) -> None:
    scenario = run.scenario
    for kill in scenario.kills:
        first = sum(len(service.containers) for service in scenario.services[: kill.service])
        server = first + kill.container
        run.at(kill.at_s + scenario.observation.discovery_s, lambda server=server: _discover_death(run, server))  # type: ignore[misc]
    if run.built.policies[0].sight is Sight.ORACLE:
        for when_s in sorted(set(run.world.paths.start_s.tolist()) - {0.0}):
            run.at(when_s, lambda when_s=when_s: _reveal(run, when_s))  # type: ignore[misc]


def _discover_death(run: _Run, server: int) -> None:
    for number, (policy, pair) in enumerate(zip(run.built.policies, run.built.pairs, strict=True)):
        local = server - int(run.world.pairs.server_first[number])
        if 0 <= local < pair.servers:
            pair.alive[local] = False
            policy.membership(pair)


def _reveal(run: _Run, now_s: float) -> None:
    """Show oracles the speeds that have just changed."""
    speeds = speeds_at(run.world.paths, now_s)
    run.world.servers.board[:, SPEED] = speeds
    renewed = []
    for number, pair in enumerate(run.built.pairs):
        first = int(run.world.pairs.server_first[number])
        assert pair.truth is not None
        truth = replace(pair.truth, speeds=speeds[first : first + pair.servers])
        renewed.append(replace(pair, truth=truth))
    run.built = replace(run.built, pairs=tuple(renewed))
    for policy, pair in zip(run.built.policies, run.built.pairs, strict=True):
        policy.start(pair)
