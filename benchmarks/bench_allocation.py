"""How fast is traffic allocated, against HiGHS on the same transport problem, and how many services fit in one tick?

    python benchmarks/bench_allocation.py [--large [--limit-s 900] [--memory-gb 14] [--no-presolve]]

Both minimise what leaves its node for the same rates and targets; that they find the same value is checked. HiGHS stops
at an optimal vertex of the dense problem; ours also keeps to K links a client, evens them out and works out figures.
``--large`` adds 2000 × 2000 and 5000 × 5000, 25 million variables for HiGHS, which runs in a process of its own there,
because it may neither end nor fit; the table says what became of it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from allocators.problem import TrafficProblem
from allocators.traffic_plan import TrafficPlan, allocate_traffic
from mesh.topology import ContainerName, Node, NodeName

T = TypeVar("T")
K = 10
TICK_SERVICES, TICK_SIZE = 1000, 20
LARGE = ((2000, 80), (5000, 200))  # containers on each side, nodes
LOOK_S = 0.2
GRACE_S = 60.0  # HiGHS looks at its clock only between its steps


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--large", action="store_true", help="also 2000 x 2000 and 5000 x 5000")
    parser.add_argument("--limit-s", type=float, default=0.0, help="seconds for HiGHS at each (0: leave it out)")
    parser.add_argument("--no-presolve", action="store_true", help="HiGHS there without its presolve: less memory")
    parser.add_argument("--memory-gb", type=float, default=14.0, help="most that HiGHS may take there (14)")
    options = parser.parse_args()
    for size, nodes in LARGE if options.large else ():  # first, because what they print as peak is the whole process's
        large(size, nodes, options)
    print(f"allocate_traffic, local-first, K = {K}; medians of CPU time on one core")
    print(f"{'size':>12} {'askew ms':>9} {'HiGHS ms':>10} {'ratio':>7}  crossing (askew, HiGHS)")
    for size, nodes, rounds in ((100, 10, 15), (1000, 50, 7)):
        asked = random_problem(size, nodes=nodes, seed=size)
        ours_s, plan = timed(lambda asked=asked: allocate_traffic(asked, routing="local-first", connections=K), rounds)
        peer_s, crossing = timed(lambda asked=asked, plan=plan: highs(asked, plan), 3 if size < 1000 else 1)
        assert crossing is not None
        assert abs(crossing - plan.cross_node_share) < 1e-6, "HiGHS found another optimum"
        assert plan.target_deviation < 1e-6
        row = f"{size:>5} x {size:<4} {ours_s * 1e3:>9.2f} {peer_s * 1e3:>10.1f} {peer_s / ours_s:>6.0f}x"
        print(f"{row}  {plan.cross_node_share:.6f}, {crossing:.6f}")
    tick()


def large(size: int, nodes: int, options: argparse.Namespace) -> None:
    """Print what ``size`` × ``size`` takes, and what became of HiGHS on it."""
    asked = random_problem(size, nodes=nodes, seed=size)
    solved = {}
    for connections in (K, "all"):
        seconds, plan = timed(lambda c=connections: allocate_traffic(asked, routing="local-first", connections=c), 3)
        solved[connections] = seconds, plan
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f" {size} x {size}, K = {connections}: {seconds * 1e3:.0f} ms, {plan.connections} links, "
            f"peak {peak_mb:.0f} MB, crossing {plan.cross_node_share:.6f} "
            f"(bound {plan.lower_bound_cross_node_share:.6f})",
            flush=True,
        )
    if options.limit_s:
        presolve, (ours_s, plan) = not options.no_presolve, solved[K]
        peer = highs_apart(asked, plan, limit_s=options.limit_s, memory_gb=options.memory_gb, presolve=presolve)
        name = "HiGHS" if presolve else "HiGHS without presolve"
        print(f" {size} x {size}, {name}: {verdict(peer, ours_s=ours_s, plan=plan)}", flush=True)


class Apart(NamedTuple):
    """What became of HiGHS in a process of its own. ``crossing`` is None where it found no optimum."""

    cpu_s: float
    peak_mb: float
    crossing: float | None
    end: str


def verdict(peer: Apart, *, ours_s: float, plan: TrafficPlan) -> str:
    """Return one line: the ratio and the same value, or how it ended without."""
    spent = f"{peer.cpu_s:.1f} s of CPU, peak {peer.peak_mb:.0f} MB"
    if peer.crossing is None:
        return f"no optimum: {peer.end} ({spent}; more than {peer.cpu_s / ours_s:.0f}x)"
    assert abs(peer.crossing - plan.cross_node_share) < 1e-6, "HiGHS found another optimum"
    return f"{spent}, {peer.cpu_s / ours_s:.0f}x; crossing {peer.crossing:.6f}, the same"


def highs_apart(asked: TrafficProblem, plan: TrafficPlan, *, limit_s: float, memory_gb: float, presolve: bool) -> Apart:
    """Solve in a child process with a limit of time and of memory: whatever becomes of it, this one goes on."""
    context = multiprocessing.get_context("spawn")
    ours, its = context.Pipe(duplex=False)
    child = context.Process(target=_solve_apart, args=(its, asked, plan, limit_s, presolve))
    started_s, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    child.start()
    its.close()
    end, peak_mb = "", 0.0
    while not end and child.exitcode is None:
        child.join(LOOK_S)
        peak_mb = max(peak_mb, _resident_mb(child.pid))
        if peak_mb > memory_gb * 1024:
            end = f"{memory_gb:g} GB were not enough"
        elif time.monotonic() - started_s > limit_s + GRACE_S:
            end = f"{limit_s:.0f} s were not enough"
    child.kill()
    child.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    crossing: float | None = None
    if not end:
        try:
            crossing, end = ours.recv()
        except EOFError:
            end = f"code {child.exitcode}: the system ended it"
    return Apart(cpu_s, peak_mb, crossing, end)


def _resident_mb(pid: int | None) -> float:
    # /proc/PID/statm, proc(5): pages. Not a limit of the address space: HiGHS asks for much more than it then uses.
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * resource.getpagesize() / 2**20


def _solve_apart(answer: Connection, asked: TrafficProblem, plan: TrafficPlan, limit_s: float, presolve: bool) -> None:
    # Should the machine run out of memory after all, it is this process that goes.
    Path("/proc/self/oom_score_adj").write_text("1000")
    try:
        crossing = highs(asked, plan, limit_s=limit_s, presolve=presolve)
        answer.send((crossing, "" if crossing is not None else f"{limit_s:.0f} s were not enough"))
    except MemoryError:
        answer.send((None, "the machine's memory was not enough"))


def tick() -> None:
    """Print what a tick of many services takes: solved anew, and when nothing moved by more than 5 %."""
    services = [random_problem(TICK_SIZE, nodes=(4, 8, 20)[seed % 3], seed=seed) for seed in range(TICK_SERVICES)]
    name = f"{TICK_SERVICES} services of {TICK_SIZE} x {TICK_SIZE} in a tick"
    cold_s, plans = timed(lambda: [allocate_traffic(asked, routing="local-first") for asked in services], 1)
    rng = np.random.default_rng(0)
    later = [again(asked, plan, rng) for asked, plan in zip(services, plans, strict=True)]
    warm_s, _ = timed(lambda: [allocate_traffic(asked, routing="local-first") for asked in later], 1)
    print(f"{name}: {cold_s:.2f} s solved anew, {warm_s:.2f} s kept ({cold_s / warm_s:.1f}x less)")


def again(asked: TrafficProblem, plan: TrafficPlan, rng: np.random.Generator) -> TrafficProblem:
    """Return the problem of the next tick: rates within 2 %, the plan in force."""
    values = {name: getattr(asked, name) for name in TrafficProblem.__dataclass_fields__}
    rates = asked.rates * rng.uniform(0.98, 1.02, len(asked.rates))
    return TrafficProblem(**{**values, "rates": rates, "standing": plan.standing})


def highs(
    asked: TrafficProblem, plan: TrafficPlan, *, limit_s: float | None = None, presolve: bool = True
) -> float | None:
    """Return the least part of requests that must leave their node, by linear programming; None if time ran out."""
    n, m = len(asked.clients), len(asked.endpoints)
    nodes = {name: number for number, name in enumerate(asked.nodes)}
    one = np.array([nodes[name] for name in asked.client_nodes])
    other = np.array([nodes[name] for name in asked.endpoint_nodes])
    crossing = (one[:, None] != other).astype(float).ravel()
    # Column i·m + j has a one in row i (what client i sends) and in row n + j (what endpoint j gets).
    which = np.empty((n, m, 2), dtype=np.int32)
    which[:, :, 0], which[:, :, 1] = np.arange(n)[:, None], n + np.arange(m)
    starts = np.arange(0, 2 * n * m + 1, 2, dtype=np.int32)
    conserved = sparse.csc_array((np.ones(2 * n * m), which.ravel(), starts), shape=(n + m, n * m))
    total = asked.rates.sum()
    limits = np.concatenate((asked.rates, plan.targets)) / total
    solved = linprog(crossing, A_eq=conserved, b_eq=limits, options={"time_limit": limit_s, "presolve": presolve})
    assert solved.status == 0 or limit_s, solved.message
    return float(solved.fun) if solved.status == 0 else None


def timed(work: Callable[[], T], rounds: int) -> tuple[float, T]:
    """Return the median CPU time in s, and the last result."""
    spent = []
    for _ in range(rounds):
        started = time.process_time()
        result = work()
        spent.append(time.process_time() - started)
    return statistics.median(spent), result


def random_problem(size: int, *, nodes: int, seed: int) -> TrafficProblem:
    """Return ``size`` clients and endpoints with log-normal rates and capacities, at random on nodes of 3 zones."""
    rng = np.random.default_rng(seed)
    names = [NodeName(f"h{k}") for k in range(nodes)]
    return TrafficProblem(
        clients=tuple(ContainerName(f"u{i}") for i in range(size)),
        client_nodes=tuple(names[k] for k in rng.integers(nodes, size=size)),
        rates=rng.lognormal(0.0, 0.5, size),
        endpoints=tuple(ContainerName(f"d{j}") for j in range(size)),
        endpoint_nodes=tuple(names[k] for k in rng.integers(nodes, size=size)),
        capacities=rng.lognormal(0.0, 0.3, size),
        nodes={name: Node(name, f"z{k % 3}") for k, name in enumerate(names)},
    )


if __name__ == "__main__":
    main()
