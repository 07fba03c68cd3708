"""The figures of a row, and those of a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from lab.simulator.containers_needed import containers_needed
from lab.simulator.errors import SimulatorError
from lab.simulator.measures import percentiles_over_time, row_of, settling_s
from lab.simulator.policies.round_robin import RoundRobin
from lab.simulator.run import Outcome, simulate
from lab.simulator.scenario import Kill, Scenario
from lab.simulator.scenarios import SCENARIOS
from lab.simulator.step_response import step_responses


def with_latencies(outcome: Outcome, latency_s: Callable[[float], float]) -> Outcome:
    """Return the outcome with a latency for each request by its start."""
    return replace(outcome, latency_s=np.array([latency_s(at) for at in outcome.at_s]))


def test_a_row_counts_from_the_warm_up_on() -> None:
    """Percentiles, violations and connections are of the requests after the warm-up."""
    outcome = with_latencies(simulate(SCENARIOS["smoke"](), RoundRobin, seed=1), lambda at: 9.0 if at < 0.5 else 0.02)

    row = row_of(outcome, policy="round-robin", seed=1)

    assert (row.p50_ms, row.p999_ms, row.slo_violations) == (20.0, 20.0, 0.0)
    assert 1000 < row.connections <= 1600


def test_failures_count_as_violations_and_are_no_number(queue: Callable[..., Scenario]) -> None:
    """A percentile that falls on failed requests is null, not infinity (JSON has none)."""
    scenario = replace(queue(rate=10.0, duration_s=20.0), kills=(Kill(0, 0, 10.0),))

    row = row_of(simulate(scenario, RoundRobin, seed=1), policy="round-robin", seed=1)

    assert row.p99_ms is None
    assert row.p50_ms is None or row.p50_ms > 0
    assert row.slo_violations >= row.failed / row.requests > 0.4


def test_percentiles_over_time_follow_the_requests(queue: Callable[..., Scenario]) -> None:
    """A bin's percentile is that of the requests that start in it."""
    outcome = with_latencies(simulate(queue(duration_s=10.0), RoundRobin, seed=1), lambda at: float(int(at)))

    assert percentiles_over_time(outcome).tolist() == [float(second) for second in range(10)]


def test_settling_ends_with_the_last_departure(queue: Callable[..., Scenario]) -> None:
    """High from 5 s to 9 s, then steady: settled four seconds after the step (three bins are averaged)."""
    base = simulate(queue(duration_s=30.0), RoundRobin, seed=1)
    outcome = with_latencies(base, lambda at: 3.0 if 5.0 <= at < 9.0 else 1.0)

    assert settling_s(outcome, step_s=5.0, until_s=30.0) == 4.0
    assert settling_s(with_latencies(base, lambda at: 1.0), step_s=5.0, until_s=30.0) == 0.0
    assert settling_s(with_latencies(base, lambda at: 1.0 + at), step_s=5.0, until_s=30.0) is None


def test_containers_needed_is_the_least(queue: Callable[..., Scenario]) -> None:
    """For 100 rps of 10 ms on one-worker servers one is not enough; the bound is found and one less misses it."""

    def servers(count: int) -> Scenario:
        return queue(rate=100.0, workers=1, speeds=(1.0,) * count, duration_s=50.0)

    least = containers_needed(servers, RoundRobin, limit_s=0.050, low=1, high=8)

    assert 2 <= least <= 4
    with pytest.raises(SimulatorError, match="not enough"):
        containers_needed(servers, RoundRobin, limit_s=0.050, low=1, high=least - 1)


def test_a_step_is_over_when_the_last_tick_is_near_the_new_level() -> None:
    """Six ticks until p99 is within a tenth for good; the second time above the objective is an overshoot."""
    p99_ms = np.full(36, 80.0)
    p99_ms[12:18] = 400.0, 90.0, 80.0, 150.0, 95.0, 89.0

    (response,) = step_responses(SCENARIOS["kill-step"](), p99_ms)

    assert (response.ticks, response.worst_ms, response.excursions) == (6, 400.0, 2)


def test_what_never_settles_is_said() -> None:
    """To and fro until the end."""
    p99_ms = np.where(np.arange(36) % 2 == 0, 80.0, 300.0)

    (response,) = step_responses(SCENARIOS["kill-step"](), p99_ms)

    assert response.ticks is None
    assert response.excursions == 12


def test_steps_are_what_the_scenario_changes() -> None:
    """Both ends of a slowdown and a surge; a death."""
    steps = {name: SCENARIOS[name]().steps_s for name in ("antagonist-step", "demand-step", "kill-step", "s2")}

    assert steps == {
        "antagonist-step": (60.0, 120.0),
        "demand-step": (60.0, 120.0),
        "kill-step": (60.0,),
        "s2": (),
    }
