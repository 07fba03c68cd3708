"""Would fewer requests to a container that its node cannot serve make fewer of them late? Simulated; prints ratios.

One of six containers is slow for as long as it stands where it stands. Targets find their place by latency, as in a
running mesh; then the slow one gets a half of that, or next to nothing, as if its node's agent were obeyed. What counts
is the part of all requests beyond the target of 100 ms (five service times of a healthy container), and p99. Queues of
two workers, open arrivals; medians of the seeds. About a minute a seed.

    python benchmarks/bench_advised_shares.py [--seeds 3]
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.allocators.closed_loop import INTERVAL_S, Server
from tests.askew.test_imbalance_loop import Loop

ADVISED = "shop-0-0"
CLIENTS, CAPACITY_PER_S, WORKERS = 6, 600.0, 2
TARGET_MS, HEALTHY_MS = 100.0, 20.0
LOADS, SLOWER = (0.2, 0.4, 0.6, 0.75), (1.5, 2.0, 3.0, 5.0)
LEFT = (1.0, 0.5, 0.1)
WINDOWS, WARM_UP = 120, 10


def settled(load: float, slower: float, *, seed: int) -> tuple[dict[str, float], dict[str, float]]:
    """Return each container's part of the requests once targets have followed latency, and its service time, ms."""
    loop = Loop(np.random.default_rng(seed), per_s=load * CAPACITY_PER_S / CLIENTS)
    loop.mesh.service_ms[ADVISED] = slower * HEALTHY_MS
    loop.run(30)
    sent = dict.fromkeys(loop.mesh.service_ms, 0.0)
    for _ in range(10):
        loop.run(1)
        sent = {name: so_far + loop.sent(name) for name, so_far in sent.items()}
    total = sum(sent.values())
    return {name: one / total for name, one in sent.items()}, loop.mesh.service_ms


def with_less(parts: Mapping[str, float], left: float) -> dict[str, float]:
    """Return the parts where the advised container keeps ``left`` of its own, and the others share the rest."""
    rest = (1.0 - left * parts[ADVISED]) / (1.0 - parts[ADVISED])
    return {name: part * (left if name == ADVISED else rest) for name, part in parts.items()}


def served(
    parts: Mapping[str, float], service_ms: Mapping[str, float], per_s: float, *, seed: int
) -> tuple[float, float]:
    """Return the part of all requests that are late, and p99 in ms."""
    rng, every = np.random.default_rng(1000 + seed), []
    for name, part in parts.items():
        server = Server(WORKERS, rng.spawn(1)[0])
        for window in range(WINDOWS):
            count = int(rng.poisson(part * per_s * INTERVAL_S))
            latencies_s = server.serve(window * INTERVAL_S, count, service_ms[name] / 1000.0)
            every += [latencies_s] if window >= WARM_UP else []
    latencies_ms = 1000.0 * np.concatenate(every)
    return float((latencies_ms > TARGET_MS).mean()), float(np.quantile(latencies_ms, 0.99))


def main(seeds: int) -> None:
    """Print one line for each load and slowness."""
    print(f"{'load':>5} {'slower':>7} {'of fair':>8} {'late':>8}" + "".join(
        f"{f'x{left:g}: late':>12}{'p99':>7}" for left in LEFT[1:]))  # fmt: skip
    for load in LOADS:
        for slower in SLOWER:
            outcomes: dict[float, list[tuple[float, float]]] = {left: [] for left in LEFT}
            fair = []
            for seed in range(seeds):
                parts, service_ms = settled(load, slower, seed=seed)
                fair.append(len(parts) * parts[ADVISED])
                for left in LEFT:
                    outcomes[left].append(served(with_less(parts, left), service_ms, load * CAPACITY_PER_S, seed=seed))
            late, p99_ms = (
                {left: statistics.median(one[i] for one in found) for left, found in outcomes.items()} for i in (0, 1)
            )
            ratios = "".join(f"{late[x] / late[1.0]:12.2f}{p99_ms[x] / p99_ms[1.0]:7.2f}" for x in LEFT[1:])
            print(f"{load:5.2f} {slower:6.1f}x {statistics.median(fair):8.2f} {late[1.0]:8.2%}{ratios}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    main(parser.parse_args().seeds)
