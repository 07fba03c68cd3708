"""Targets in a closed loop with simulated queues: near the optimum, steady, quick to leave and to return."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize

from tests.allocators.closed_loop import Loop, mean_of, steady

Floats = NDArray[np.float64]
TWO_SLOW = np.array([10.0] * 8 + [30.0] * 2)


def least_mean_ms(service_ms: Floats, total_per_s: float, workers: int) -> float:
    """Return the least mean latency that any targets reach on the true curves (Erlang C), by SLSQP."""

    def mean(part: Floats) -> float:
        return min(1e6, mean_of(np.maximum(part, 1e-9), service_ms, total_per_s=total_per_s, workers=workers))

    whole = {"type": "eq", "fun": lambda part: part.sum() - 1.0}
    size = len(service_ms)
    found = []
    for power in (1.0, 1.2, 1.5):
        start = service_ms**-power / (service_ms**-power).sum()
        found.append(minimize(mean, start, bounds=[(1e-6, 1.0)] * size, constraints=whole, method="SLSQP").fun)
    return float(min(found))


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("rho", [0.3, 0.6, 0.85])
def test_the_fixed_point_is_within_5_per_cent_of_the_optimum(workers: int, rho: float) -> None:
    """Two of ten servers three times as slow, noise of real queues, M/M/1 to M/M/4: measured on the true curve."""
    service_ms = TWO_SLOW * workers
    total = rho * float((1000.0 * workers / service_ms).sum())
    loop = Loop(steady(*service_ms), total, workers=workers, seed=workers).run(30)
    means = [mean_of(part, service_ms, total_per_s=total, workers=workers) for part in loop.targets[15:]]

    assert np.mean(means) <= 1.05 * least_mean_ms(service_ms, total, workers)


@pytest.mark.parametrize("seed", range(3))
def test_no_limit_cycle_at_85_per_cent(seed: int) -> None:
    """After 15 ticks no target varies by more than 6 % of its fair share, and nothing is undone or reported."""
    loop = Loop(steady(*TWO_SLOW), 0.85 * float((1000.0 / TWO_SLOW).sum()), seed=seed).run(45)
    spread = np.std(np.array(loop.targets[15:]), axis=0) * len(TWO_SLOW)

    assert spread.max() < 0.06
    assert not any(decision.oscillating or decision.undone for decision in loop.decisions[15:])


def antagonist(tick: int, *, factor: float = 3.0, base_ms: float = 10.0) -> Floats:
    """Return six servers, the first of which is slower from tick 10 to 24."""
    service = np.full(6, base_ms)
    service[0] *= factor if 10 <= tick < 25 else 1.0
    return service


@pytest.mark.parametrize("rho", [0.5, 0.7])
def test_an_antagonist_is_left_within_six_ticks_and_a_healed_server_is_back_within_twelve(rho: float) -> None:
    """p99 is back near its new level six ticks after the step; the target is at its fair share again."""
    loop = Loop(antagonist, rho * 600.0, seed=3).run(40)
    fair = [6.0 * part[0] for part in loop.targets]

    assert max(fair[14:24]) < 0.5
    assert np.median(loop.p99_ms[16:19]) <= 1.25 * np.median(loop.p99_ms[18:25])
    assert min(fair[36:]) > 0.9


@pytest.mark.parametrize(("factor", "base_ms"), [(20.0, 10.0), (20.0, 40.0)])
def test_a_server_that_was_at_the_floor_is_back_within_twelve_ticks(factor: float, base_ms: float) -> None:
    """20 times slower: to the floor, with a request or two in a tick; healed, its floor rises until it is seen."""
    loop = Loop(lambda tick: antagonist(tick, factor=factor, base_ms=base_ms), 3000.0 / base_ms, seed=5).run(40)
    fair = [6.0 * part[0] for part in loop.targets]

    assert min(fair[14:25]) < 0.05
    assert min(fair[37:]) > 0.9


def test_a_server_that_fails_half_of_its_requests_loses_load_and_gets_it_back() -> None:
    """Latency alone would show nothing."""
    loop = Loop(
        steady(*[10.0] * 6),
        300.0,
        seed=6,
        failing=lambda tick: np.array([0.5 if 5 <= tick < 15 else 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
    ).run(30)
    fair = [6.0 * part[0] for part in loop.targets]

    assert fair[10] < 0.25
    assert min(fair[27:]) > 0.9


@pytest.mark.parametrize("rho", [0.5, 0.8])
def test_among_equal_servers_targets_stay_nearly_equal(rho: float) -> None:
    """Noise is not speed: within 10 % of the fair share, and p99 within 10 % of what equal targets get."""
    loop = Loop(steady(*[10.0] * 8), rho * 800.0, seed=7).run(40)
    even = Loop(steady(*[10.0] * 8), rho * 800.0, seed=7, strategy="equal").run(40)

    assert np.abs(8.0 * np.array(loop.targets[5:]) - 1.0).max() < 0.1
    assert np.median(loop.p99_ms) <= 1.1 * np.median(even.p99_ms)


def test_a_price_keeps_more_requests_at_home() -> None:
    """All demand on one of two nodes with equal servers: 20 ms a crossing lets its node take more than half."""
    nodes = ("h0", "h0", "h1", "h1")
    free = Loop(steady(*[10.0] * 4), 200.0, seed=8, nodes=nodes).run(15)
    priced = Loop(steady(*[10.0] * 4), 200.0, seed=8, nodes=nodes, price_ms=20.0, demand={"h0": 200.0}).run(15)

    assert free.targets[-1][:2].sum() == pytest.approx(0.5, abs=0.05)
    assert 0.55 < priced.targets[-1][:2].sum() < 0.9


def test_imbres_settles_near_equal_latency() -> None:
    """Algorithm 1 at 60 %: the slow host loses load until latencies are near each other, and none saturates."""
    service_ms = np.array([10.0, 10.0, 10.0, 25.0])
    loop = Loop(steady(*service_ms), 0.6 * float((1000.0 / service_ms).sum()), seed=9, strategy="imbres").run(60)
    part = np.mean(loop.targets[40:], axis=0)
    latencies = 1000.0 / (1000.0 / service_ms - part * loop.total_per_s)

    assert latencies.max() < 1.5 * latencies.min()
