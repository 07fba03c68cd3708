"""A service in a closed loop with its targets: queues of FIFO servers, window by window, simulated event by event.

Each server is a queue of ``workers`` with exponential service times; queues are carried from window to window and a
request counts in the window in which it ends, as a sidecar would count it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from math import exp, lgamma, log

import numpy as np
from numpy.typing import NDArray

from allocators.target_decision import DEFAULTS, TargetStrategy, decide_targets
from allocators.target_view import ServiceView, TargetDecision, TargetSettings

Floats = NDArray[np.float64]
INTERVAL_S = 5.0
PATIENCE_S = 2.0


@dataclass
class Server:
    """One queue; ``free_s`` is when each worker is free again."""

    workers: int
    rng: np.random.Generator
    free_s: list[float] = field(default_factory=list)
    running: list[tuple[float, float]] = field(default_factory=list)

    def window(self, start_s: float, rate_per_s: float, service_s: float) -> tuple[Floats, int]:
        """Return the latencies in s of what ends within the window that starts here, and how many began in it.

        A request that would wait longer than ``PATIENCE_S`` is given up then.
        """
        count = int(self.rng.poisson(rate_per_s * INTERVAL_S))
        return self.serve(start_s, count, service_s), count

    def serve(self, start_s: float, count: int, service_s: float) -> Floats:
        """Return the latencies in s of what ends within the window that starts here, in which ``count`` begin."""
        if not self.free_s:
            self.free_s = [0.0] * self.workers
        arrivals = np.sort(self.rng.uniform(start_s, start_s + INTERVAL_S, count))
        works = self.rng.exponential(service_s, count)
        for arrival, work in zip(arrivals.tolist(), works.tolist(), strict=True):
            if self.free_s[0] - arrival > PATIENCE_S:
                self.running.append((arrival + PATIENCE_S, PATIENCE_S))
                continue
            end = max(arrival, heapq.heappop(self.free_s)) + work
            heapq.heappush(self.free_s, end)
            self.running.append((end, end - arrival))
        end_s = start_s + INTERVAL_S
        done = [latency for end, latency in self.running if end <= end_s]
        self.running = [(end, latency) for end, latency in self.running if end > end_s]
        return np.array(done)


@dataclass
class Loop:
    """Servers and the decisions about them. ``service_ms(tick)`` gives each server's mean service time."""

    service_ms: Callable[[int], Floats]
    total_per_s: float
    workers: int = 1
    strategy: TargetStrategy = "askew"
    seed: int = 0
    nodes: tuple[str, ...] | None = None
    settings: TargetSettings = DEFAULTS
    failing: Callable[[int], Floats] | None = None
    price_ms: float = 0.0
    demand: dict[str, float] = field(default_factory=dict)
    targets: list[Floats] = field(default_factory=list)
    decisions: list[TargetDecision] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    mean_ms: list[float] = field(default_factory=list)

    def run(self, ticks: int) -> Loop:
        """Run so many windows of 5 s, deciding after each."""
        size = len(self.service_ms(0))
        rng = np.random.default_rng(self.seed)
        servers = [Server(self.workers, child) for child in rng.spawn(size)]
        names = tuple(f"e{index}" for index in range(size))
        nodes = self.nodes or tuple(f"h{index}" for index in range(size))
        targets, memory = np.full(size, 1.0 / size), None
        for tick in range(ticks):
            start_s = tick * INTERVAL_S
            rates, service_s = self.total_per_s * targets, self.service_ms(tick) / 1000.0
            windows = [server.window(start_s, rates[k], service_s[k]) for k, server in enumerate(servers)]
            done, begun = [one for one, _ in windows], np.array([float(count) for _, count in windows])
            counts = np.array([float(len(one)) for one in done])
            failed = counts * (0.0 if self.failing is None else self.failing(tick))
            means = np.array([1000.0 * one.mean() if len(one) else np.nan for one in done])
            failed = np.maximum(failed, [float((one == PATIENCE_S).sum()) for one in done])
            every = np.concatenate(done)
            self.p99_ms.append(float(np.quantile(every, 0.99)) * 1000.0)
            self.mean_ms.append(float(every.mean()) * 1000.0)
            view = ServiceView(
                endpoints=names,
                nodes=nodes,
                capacities=np.ones(size),
                requests=counts,
                failures=failed,
                mean_ms=means,
                window_s=np.full(size, INTERVAL_S),
                newest_s=start_s + INTERVAL_S,
                tail_ms=self.p99_ms[-1],
                issued=begun,
                crossing_price_ms=self.price_ms,
                demand_per_s=self.demand,
            )
            decision = decide_targets(
                view,
                memory,
                now_s=start_s + INTERVAL_S,
                interval_s=INTERVAL_S,
                strategy=self.strategy,
                settings=self.settings,
            )
            targets, memory = decision.targets, decision.memory
            self.targets.append(targets)
            self.decisions.append(decision)
        return self


def steady(*service_ms: float) -> Callable[[int], Floats]:
    """Return service times that never change."""
    values = np.array(service_ms)
    return lambda _: values


def erlang_latency_ms(loads_per_s: Floats, service_ms: Floats, *, workers: int) -> Floats:
    """Return the exact mean latency of M/M/c (Erlang C), infinite where it is overloaded."""
    result = np.full(len(loads_per_s), np.inf)
    for index, (load, service) in enumerate(zip(loads_per_s, service_ms / 1000.0, strict=True)):
        offered = load * service
        rho = offered / workers
        if rho >= 1.0:
            continue
        terms = [exp(k * log(offered) - lgamma(k + 1)) if offered > 0.0 else float(k == 0) for k in range(workers)]
        last = exp(workers * log(offered) - lgamma(workers + 1)) / (1.0 - rho) if offered > 0.0 else 0.0
        waiting = last / (sum(terms) + last)
        result[index] = 1000.0 * (service + waiting * service / (workers * (1.0 - rho)))
    return result


def mean_of(targets: Floats, service_ms: Floats, *, total_per_s: float, workers: int) -> float:
    """Return the service's mean latency in ms under these targets, by the exact curve."""
    return float(targets @ erlang_latency_ms(targets * total_per_s, service_ms, workers=workers))
