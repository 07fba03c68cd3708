"""Imbres' claims on load shifting and connections, simulated: ``python -m lab.simulator.imbres_claims``.

A fixed demand on n containers, spread over ten nodes; on some nodes neighbours slow down all containers alike, as
Imbres assumes. For each policy: the fewest containers with which the median p95 over the seeds keeps the objective.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping

import numpy as np

from lab.simulator.call_graph import Call, Operation
from lab.simulator.containers_needed import containers_needed
from lab.simulator.errors import SimulatorError
from lab.simulator.measures import row_of
from lab.simulator.policies import POLICIES
from lab.simulator.run import simulate
from lab.simulator.scenario import Client, Container, Scenario, Service, Work

NODES, CLIENTS, RATE = 10, 40, 3000.0
# Speeds of the ten nodes. Work of 10 ms; "low" differs by under a third between nodes, "high" by more.
IMBALANCES: Mapping[str, tuple[float, ...]] = {
    "low": (1.0, 1.0, 0.95, 0.95, 0.9, 0.9, 0.85, 0.85, 0.8, 0.8),
    "high": (1.0, 1.0, 1.0, 1.0, 1.0, 0.9, 0.8, 0.6, 0.4, 0.3),
}
COMPARED = ("random-partial", "imbres-random", "imbres", "imbres-full-mesh", "least-request", "askew")
LIMIT_S, PERCENT, LEAST, MOST = 0.080, 95.0, 32, 400


def claimed(imbalance: str) -> Callable[[int], Scenario]:
    """Return a maker of the scenario on n containers, placed in turn on the ten nodes."""
    speeds = IMBALANCES[imbalance]
    raw = np.exp(0.47 * np.random.default_rng(1).standard_normal(CLIENTS))
    rates = RATE * raw / raw.sum()

    def make(count: int) -> Scenario:
        return Scenario(
            name=f"imbres-{imbalance}-{count}",
            zones=tuple(range(NODES)),
            clients=tuple(Client(index % NODES, float(rate)) for index, rate in enumerate(rates)),
            services=(
                Service(
                    "server",
                    tuple(Container(j % NODES, speeds[j % NODES], workers=1) for j in range(count)),
                    Work(0.010),
                ),
            ),
            operations=(Operation(Call(0)),),
            duration_s=100.0,
            warmup_s=70.0,  # Algorithm 1 needs 12 ticks and more
        )

    return make


def main() -> None:
    """Print containers needed, and latencies at an equal number of containers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--at", type=int, default=60, help="containers at which p95 is compared too")
    args = parser.parse_args()
    seeds, at = tuple(range(1, args.seeds + 1)), args.at
    for imbalance in IMBALANCES:
        make = claimed(imbalance)
        print(f"{imbalance} imbalance, simulated, {len(seeds)} seeds: containers for p95 <= {1000 * LIMIT_S:.0f} ms")
        for name in COMPARED:
            try:
                needed = str(
                    containers_needed(
                        make, POLICIES[name], limit_s=LIMIT_S, percent=PERCENT, seeds=seeds, low=LEAST, high=MOST
                    )
                )
            except SimulatorError:
                needed = f"over {MOST}"
            print(f"{name:<20} {needed:>9}   p95 with {at}: {_p95_ms(make(at), name, seeds):.1f} ms", flush=True)


def _p95_ms(scenario: Scenario, name: str, seeds: tuple[int, ...]) -> float:
    rows = [row_of(simulate(scenario, POLICIES[name], seed=seed), policy=name, seed=seed) for seed in seeds]
    return float(np.median([np.inf if row.p95_ms is None else row.p95_ms for row in rows]))


if __name__ == "__main__":
    main()
