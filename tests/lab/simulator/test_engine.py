"""The engine against closed forms, and its books: nothing is lost, nothing is counted twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from lab.simulator.call_graph import Call, Operation
from lab.simulator.policies import POLICIES
from lab.simulator.policies.round_robin import RoundRobin
from lab.simulator.run import Outcome, simulate
from lab.simulator.scenario import Container, Kill, Network, Scenario, Service, Slowdown, Work
from lab.simulator.scenarios import SCENARIOS, s2


def mean_s(outcome: Outcome) -> float:
    """Return the mean latency of the measured requests."""
    return float(outcome.latency_s[outcome.measured].mean())


@pytest.mark.parametrize(("load", "expected_ms"), [(0.5, 13.33), (0.7, 19.61)])
def test_first_come_first_served_is_m_m_2(queue: Callable[..., Scenario], load: float, expected_ms: float) -> None:
    """Poisson arrivals, exponential work, two workers: the mean of M/M/2."""
    outcome = simulate(queue(rate=load * 200.0, duration_s=2000.0), RoundRobin, seed=1)

    assert mean_s(outcome) * 1000 == pytest.approx(expected_ms, rel=0.03)


def test_sharing_is_insensitive_to_the_shape_of_work(queue: Callable[..., Scenario]) -> None:
    """M/G/1 processor sharing has mean work / (1 − load), whatever the distribution: here 1 to 20."""
    scenario = queue(rate=60.0, workers=1, work=Work(0.010, "bimodal"), duration_s=3000.0, discipline="sharing")

    assert mean_s(simulate(scenario, RoundRobin, seed=1)) == pytest.approx(0.025, rel=0.04)


def test_first_come_first_served_is_sensitive_to_it(queue: Callable[..., Scenario]) -> None:
    """The same work in order of arrival waits longer: Pollaczek and Khinchine."""
    scenario = queue(rate=60.0, workers=1, work=Work(0.010, "bimodal"), duration_s=3000.0)
    square = 0.9 * (0.01 / 2.9) ** 2 + 0.1 * (0.2 / 2.9) ** 2

    expected_s = 0.010 + 60.0 * square / (2 * (1 - 0.6))

    assert mean_s(simulate(scenario, RoundRobin, seed=1)) == pytest.approx(expected_s, rel=0.06)


@pytest.mark.parametrize("discipline", ["fifo", "sharing"])
def test_busy_time_is_the_work_done(queue: Callable[..., Scenario], discipline: str) -> None:
    """At speed 1/2 a worker is busy twice as long as the work that it was given."""
    scenario = replace(queue(rate=60.0, speeds=(0.5,), duration_s=400.0), discipline=discipline)

    outcome = simulate(scenario, RoundRobin, seed=2)

    busy = (outcome.after.busy_s - outcome.before.busy_s)[0] / 2 / (outcome.after.at_s - outcome.before.at_s)
    assert busy == pytest.approx(0.6, rel=0.05)


def test_round_trips_add_up(queue: Callable[..., Scenario]) -> None:
    """Without queueing a request takes its work and one round trip; opening a connection takes one more."""
    base = queue(rate=1.0, work=Work(0.010, "constant"), duration_s=100.0, network=Network(0.002, 0.002, 0.0, 1.0))

    latency_s = simulate(base, RoundRobin, seed=1).latency_s

    assert latency_s[0] == pytest.approx(0.014)
    assert np.median(latency_s[1:]) == pytest.approx(0.012)


def test_every_connection_costs(queue: Callable[..., Scenario]) -> None:
    """Ten open connections at a cost of 1 % each make every call a tenth more work."""
    costly = Network(0.0, 0.0, connection_cost=0.01)
    scenario = queue(rate=10.0, clients=10, work=Work(0.010, "constant"), duration_s=100.0, network=costly)

    latency_s = simulate(scenario, RoundRobin, seed=1).latency_s

    assert np.median(latency_s[len(latency_s) // 2 :]) == pytest.approx(0.011, rel=1e-3)


@pytest.mark.parametrize("discipline", ["fifo", "sharing"])
@pytest.mark.parametrize("name", POLICIES)
def test_the_books_balance(name: str, discipline: str) -> None:
    """Under every policy all requests are answered, and the calls sent are those done."""
    scenario = replace(SCENARIOS["smoke"](), discipline=discipline)

    outcome = simulate(scenario, POLICIES[name], seed=1)

    assert np.isfinite(outcome.latency_s).all()
    assert (outcome.latency_s > 0.0002).all()
    after = outcome.after
    in_flight = after.sent.sum() - after.done.sum() - after.failed.sum()
    assert 0 <= in_flight < 2000
    assert after.failed.sum() == 0
    assert after.sent.sum() == outcome.at_s.size
    assert after.client_histogram.sum() == after.done.sum() <= after.server_done.sum() <= after.sent.sum()


@pytest.mark.parametrize("name", ["least-request", "client-weighted", "imbres"])
def test_a_run_can_be_repeated(name: str) -> None:
    """The same seed gives the same latencies, bit for bit."""
    one, two = (simulate(SCENARIOS["smoke"](), POLICIES[name], seed=5) for _ in range(2))

    assert np.array_equal(one.latency_s, two.latency_s)


def test_overload_grows_the_pools(queue: Callable[..., Scenario]) -> None:
    """Twice the capacity for 100 s piles up 10,000 requests; all are answered in the end, the last ones late."""
    outcome = simulate(queue(rate=400.0, duration_s=100.0), RoundRobin, seed=1)

    assert np.isfinite(outcome.latency_s).all()
    assert outcome.latency_s[-1] == pytest.approx(100.0, rel=0.05)


def three_tiers(*, parallel: bool) -> Scenario:
    """Return a front service that calls two others, at once or in a row; constant work of 10, 20, 30 ms."""
    services = tuple(
        Service(name, (Container(0, 1.0, 50),), Work(work_s, "constant"))
        for name, work_s in (("front", 0.010), ("left", 0.020), ("right", 0.030))
    )
    stages = ((Call(1), Call(2)),) if parallel else ((Call(1),), (Call(2),))
    base = s2().shortened(duration_s=5.0, warmup_s=1.0)
    clients = tuple(replace(client, node=0, rate=1.0) for client in base.clients)
    return replace(
        base,
        zones=(0,),
        clients=clients,
        services=services,
        operations=(Operation(Call(0, stages)),),
        network=Network(0, 0),
    )


@pytest.mark.parametrize(("parallel", "expected_s"), [(True, 0.040), (False, 0.060)])
def test_stages_wait_for_each_other_and_calls_of_a_stage_do_not(parallel: bool, expected_s: float) -> None:
    """Parallel calls cost the longest of them, sequential ones the sum."""
    latency_s = simulate(three_tiers(parallel=parallel), RoundRobin, seed=1).latency_s

    assert latency_s == pytest.approx(np.full(latency_s.size, expected_s))


@pytest.mark.parametrize("discipline", ["fifo", "sharing"])
def test_a_kill_loses_nothing_where_others_live(discipline: str) -> None:
    """What a dying server held is tried again elsewhere; nobody goes there once the death is known."""
    kills = tuple(Kill(0, container, 1.0) for container in (0, 7, 21))
    base = replace(s2(0.5), kills=kills, duration_s=4.0, warmup_s=2.5, discipline=discipline)
    scenario = replace(base, observation=replace(base.observation, retries=5))

    outcome = simulate(scenario, POLICIES["least-request"], seed=1)

    assert np.isfinite(outcome.latency_s).all()
    assert outcome.after.failed.sum() > 0
    sent = (outcome.after.sent - outcome.before.sent).reshape(40, 40)
    assert sent[:, [0, 7, 21]].sum() == 0


def test_a_request_without_a_server_fails(queue: Callable[..., Scenario]) -> None:
    """When the only server is dead every later request fails, and is counted as failed."""
    scenario = replace(queue(duration_s=10.0), kills=(Kill(0, 0, 5.0),))

    outcome = simulate(scenario, RoundRobin, seed=1)

    assert np.isinf(outcome.latency_s[outcome.at_s > 5.0]).all()
    assert np.isfinite(outcome.latency_s[outcome.at_s < 4.5]).all()


def test_a_slowdown_is_felt_and_ends(queue: Callable[..., Scenario]) -> None:
    """While an antagonist is on, constant work takes as much longer as it is slower, before and after not."""
    scenario = queue(rate=5.0, work=Work(0.010, "constant"), duration_s=60.0)
    outcome = simulate(replace(scenario, slowdowns=(Slowdown(0, 0, 20.0, 40.0, 0.25),)), RoundRobin, seed=1)
    during = (outcome.at_s > 20.0) & (outcome.at_s < 39.0)

    assert np.median(outcome.latency_s[during]) == pytest.approx(0.040)
    assert np.median(outcome.latency_s[~during]) == pytest.approx(0.010)
