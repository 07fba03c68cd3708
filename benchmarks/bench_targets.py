"""What does deciding targets cost in a tick, and how does the optimum inside it compare with scipy on the same problem?

    python benchmarks/bench_targets.py [--services 1000] [--endpoints 20]

First table: ``cheapest_loads`` against ``scipy.optimize.minimize`` (SLSQP) on the same convex problems, without and
with a price for crossing; both costs are compared, and ours must not be worse. Second: ``decide_targets`` for all
services of a tick, with filters, bounds, undo and memory, against that same solver's time for as many services.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from allocators.marginal_targets import Crossing, cheapest_loads, latency_cost
from allocators.target_decision import decide_targets
from allocators.target_view import ServiceView, TargetMemory
from estimators.latency_curve import latency_ms

Floats = NDArray[np.float64]
T = TypeVar("T")
TICK_S = 5.0
NODES = 5


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--endpoints", type=int, default=20)
    parser.add_argument("--compared", type=int, default=12, help="problems that scipy solves too")
    options = parser.parse_args()
    print(f"optimum of one service with {options.endpoints} endpoints; medians of CPU time on one core")
    print(f"{'price':>9} {'askew ms':>9} {'scipy ms':>9} {'ratio':>7}  worst cost against scipy's")
    peer_s = 0.0
    for price_ms in (0.0, 2.0):
        ours, theirs, worst = [], [], 0.0
        for seed in range(options.compared):
            asked = problem(seed, options.endpoints, price_ms=price_ms)
            service_ms, total, crossing = asked
            spent_s, loads = timed(partial(ours_alone, *asked))
            ours.append(spent_s)
            spent_s, cost = timed(partial(scipys, *asked))
            theirs.append(spent_s)
            worst = max(worst, latency_cost(loads, service_ms, crossing=crossing) / total / cost)
        assert worst < 1.0005, "scipy found a better optimum"
        one, other = statistics.median(ours), statistics.median(theirs)
        peer_s = peer_s or other
        print(f"{price_ms:>6} ms {one * 1e3:>9.3f} {other * 1e3:>9.1f} {other / one:>6.0f}x  {worst:.5f}")
    tick(options.services, options.endpoints, peer_s=peer_s)


def tick(services: int, endpoints: int, *, peer_s: float) -> None:
    """Print what one tick of all services takes, the fifth of a run in which speeds differ."""
    problems = [problem(seed, endpoints, price_ms=0.0)[:2] for seed in range(services)]
    memories: list[TargetMemory | None] = [None] * services
    targets = [np.full(endpoints, 1.0 / endpoints)] * services
    spent_s = 0.0
    for number in range(5):
        views = [view(*asked, part, now_s=number * TICK_S) for asked, part in zip(problems, targets, strict=True)]
        started = time.process_time()
        decisions = [
            decide_targets(seen, memory, now_s=number * TICK_S, interval_s=TICK_S)
            for seen, memory in zip(views, memories, strict=True)
        ]
        spent_s = time.process_time() - started
        memories, targets = [one.memory for one in decisions], [one.targets for one in decisions]
    name = f"{services} services x {endpoints} endpoints, all decided"
    print(
        f"{name}: {spent_s:.2f} s a tick, {services * peer_s / spent_s:.0f}x less than scipy takes for the optima alone"
    )


def problem(seed: int, endpoints: int, *, price_ms: float) -> tuple[Floats, float, Crossing]:
    """Return service times (a fifth of them slow), a total at 70 % of capacity, and nodes with uneven demand."""
    rng = np.random.default_rng(seed)
    service_ms = 10.0 * rng.lognormal(0.0, 0.1, endpoints)
    service_ms[: endpoints // 5] *= 3.0
    crossing = Crossing(price_ms, rng.integers(0, NODES, endpoints), rng.uniform(0.5, 1.5, NODES))
    return service_ms, 0.7 * float((1000.0 / service_ms).sum()), crossing


def view(service_ms: Floats, total_per_s: float, targets: Floats, *, now_s: float) -> ServiceView:
    """Return what the sidecars would show, with 5 % noise."""
    size = len(targets)
    loads = np.minimum(targets * total_per_s, 970.0 / service_ms)
    noise = np.random.default_rng(int(now_s)).lognormal(0.0, 0.05, size)
    return ServiceView(
        endpoints=tuple(f"e{index}" for index in range(size)),
        nodes=tuple(f"h{index % NODES}" for index in range(size)),
        capacities=np.ones(size),
        requests=loads * TICK_S,
        failures=np.zeros(size),
        mean_ms=latency_ms(loads, service_ms) * noise,
        window_s=np.full(size, TICK_S),
        newest_s=now_s,
        tail_ms=100.0,
    )


def ours_alone(service_ms: Floats, total: float, crossing: Crossing) -> Floats:
    """Return the loads of least cost."""
    return cheapest_loads(service_ms, total_per_s=total, crossing=crossing)


def scipys(service_ms: Floats, total: float, crossing: Crossing) -> float:
    """Return the least cost per request that SLSQP finds, started at targets by capacity."""
    start = (1.0 / service_ms) / (1.0 / service_ms).sum()
    found = minimize(
        lambda part: latency_cost(part * total, service_ms, crossing=crossing) / total,
        start,
        bounds=[(0.0, 1.0)] * len(start),
        constraints={"type": "eq", "fun": lambda part: part.sum() - 1.0},
        method="SLSQP",
        options={"maxiter": 300},
    )
    return float(found.fun)


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Return the CPU time in s of the better of two runs, and the result."""
    spent = []
    for _ in range(2):
        started = time.process_time()
        result = work()
        spent.append(time.process_time() - started)
    return min(spent), result


if __name__ == "__main__":
    main()
