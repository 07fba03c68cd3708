"""What does a plan of `askew` cost the node agent, beside a step of `parties`, and which part of a core is that?

    python benchmarks/bench_partitioning_plan.py [--steps 40]

A synthetic node on which somebody is late in almost every step: each container's tail follows a queueing law with
noise. Both strategies run their own loop from equal shares. A plan is a step in which `askew` weighed all laws and all
splits. The first share is what the loop took of a core, the second what it would take were every step of 0.5 s a plan.
CPU time of this process; the machine's noise is in it, and less of it in the ratio.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from allocators.partitioning.node_view import Divisible, NodeView, Tenant
from allocators.partitioning.step import Partitioner
from allocators.partitioning.strategies import partitioner
from estimators.latency import LatencyWindow
from mesh.topology import ContainerName

STEP_S = 0.5
BOUNDS_MS = np.geomspace(0.2, 2000.0, 120)
SIZES = ((6, 14, 20), (12, 40, 20), (8, 64, 20), (20, 64, 20), (20, 64, 32))


@dataclass(frozen=True)
class Service:
    """A service of the synthetic node: cores of work, ms of work a request, how much ways help, its target."""

    busy_cores: float
    work_ms: float
    benefit: float
    target_ms: float


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=40, help="steps of each loop (40)")
    steps = parser.parse_args().steps
    print(
        "containers  cores  ways | a plan, ms: median  highest | of a core: loop  all plans | parties' step, ms  ratio"
    )
    for containers, cores, ways in SIZES:
        ours = costs("askew", containers, cores, ways, steps)
        peer = costs("parties", containers, cores, ways, steps)
        plans = [spent for spent, planned in ours if planned]
        middle, other = statistics.median(plans), statistics.median(spent for spent, _ in peer)
        loop = statistics.fmean(spent for spent, _ in ours) / STEP_S
        print(
            f"{containers:>10} {cores:>6} {ways:>5}  {middle * 1e3:>19.1f} {max(plans) * 1e3:>8.1f}"
            f" {loop:>17.2%} {middle / STEP_S:>10.2%} {other * 1e3:>20.2f} {middle / other:>5.0f}x"
        )


def costs(name: str, containers: int, cores: int, ways: int, steps: int) -> list[tuple[float, bool]]:
    """Return each step's CPU time in s, and whether it planned."""
    random = np.random.default_rng(containers * cores)
    services = _services(random, containers, cores)
    strategy: Partitioner[Any] = partitioner(name)
    view = _first_view(services, cores, ways)
    step = strategy.start(view, seed=1)
    spent: list[tuple[float, bool]] = []
    for number in range(1, steps + 1):
        held = {grant.containers[0]: grant.units for grant in step.wanted}
        view = _later(view, services, held, time_s=number * STEP_S, random=random)
        before, started_s = step.memory, time.process_time()
        step = strategy.step(before, view)
        spent.append((time.process_time() - started_s, getattr(step.memory, "planned_at_s", -1.0) == view.time_s))
    return spent


def _services(random: np.random.Generator, containers: int, cores: int) -> list[Service]:
    """Return services whose work fills three quarters of the node; the first asks for what it can hardly have."""
    parts = random.dirichlet(np.full(containers, 4.0))
    return [
        Service(
            busy_cores=0.75 * cores * float(part),
            work_ms=float(random.choice([0.5, 2.0, 8.0])),
            benefit=float(random.choice([0.0, 0.3, 0.7])),
            target_ms=0.0,
        )
        for part in parts
    ]


def _first_view(services: list[Service], cores: int, ways: int) -> NodeView:
    resources = (
        Divisible("cpuset", "cpus", 1.0, cores),
        Divisible("cache", "ways", 1.0, ways),
    )
    tenants = tuple(
        Tenant(
            ContainerName(f"c{at:02}"), "latency-critical", None, (1, 1), (cores, ways),
            target_ms=(2.7 if at == 0 else 6.0) * service.work_ms,
            requests_per_s=1e3 * service.busy_cores / service.work_ms,
        )
        for at, service in enumerate(services)
    )  # fmt: skip
    return NodeView(0.0, resources, tenants)


def _later(
    view: NodeView,
    services: list[Service],
    held: dict[ContainerName, Any],
    *,
    time_s: float,
    random: np.random.Generator,
) -> NodeView:
    tenants = []
    for tenant, service in zip(view.tenants, services, strict=True):
        cores, ways = held[tenant.container]
        slower = 1.0 + service.benefit * float(np.exp(-(ways - 1) / 4.0))
        load = min(0.995, service.busy_cores * slower / cores)
        tail_ms = service.work_ms * slower * (2.5 + load ** (2.0 * cores + 2.0) ** 0.5 / (cores * (1.0 - load)))
        tail_ms *= float(random.lognormal(0.0, 0.05))
        tenants.append(
            replace(
                tenant,
                units=held[tenant.container],
                cpu_cores=load * cores,
                window=_window(tail_ms, int(tenant.requests_per_s * STEP_S), time_s, random),
            )
        )
    return replace(view, tenants=tuple(tenants), time_s=time_s)


def _window(tail_ms: float, count: int, time_s: float, random: np.random.Generator) -> LatencyWindow:
    """Return a window of exponential latencies whose 99th percentile is this tail."""
    below = 1.0 - np.exp(-np.log(100.0) * BOUNDS_MS / tail_ms)
    parts = np.diff(below, prepend=0.0, append=1.0)
    counts = tuple(int(part) for part in random.multinomial(count, parts / parts.sum()))
    return LatencyWindow(time_s - STEP_S, time_s, tuple(BOUNDS_MS.tolist()), counts, count * tail_ms / np.log(100.0))


if __name__ == "__main__":
    main()
