"""The tables of PARTIES' evaluation on the simulated node: utilisation, convergence, Fig. 9, ablations, cycles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from allocators.partitioning.node_view import Units
from allocators.partitioning.parties import Parties, PartiesSettings
from allocators.partitioning.step import Partitioner
from lab.colocation.closed_loop import MEASURE_S, SETTLE_S, Trace, finds, holds, hopeless, residents_of, run_loop
from lab.colocation.machine import CORES, FREQUENCIES, WAYS
from lab.colocation.node import Resident
from lab.colocation.oracle import oracle_split
from lab.colocation.utilisation import (
    ORACLE,
    STEP,
    STRATEGIES,
    Judge,
    Measure,
    Ray,
    Reach,
    draw_lines,
    draw_rays,
    reach,
)
from mesh.topology import ContainerName

Row = dict[str, object]
Says = Callable[[str], None]
Loads = Mapping[ContainerName, float]

# PARTIES' Fig. 9: memcached's load in per cent from each second on; Moses stays at 10 %, Xapian at 20 %.
FIG_9 = (
    (0, 10), (24, 17), (35, 24), (46, 32), (57, 39), (68, 46), (79, 53), (90, 60),
    (122, 53), (133, 46), (143, 39), (155, 32), (167, 24), (178, 17), (191, 10),
)  # fmt: skip
FIG_9_S, STRATEGY_TICK_S = 240.0, 0.5


def utilisation(
    services: Iterable[int], strategies: Iterable[str], *, measure: Measure, rays: int, seed: int, says: Says,
    judge: Judge = "kept", step: float = STEP,
) -> list[Row]:  # fmt: skip
    """Return one row for each line and strategy: effective utilisation in points, and the oracle's."""
    rows: list[Row] = []
    for count in services:
        drawn = [replace(line, step=step) for line in draw_lines(measure, count, rays, seed=seed)]
        oracle = [reach(ORACLE, ray).emu_points for ray in drawn]
        for name in strategies:
            found = [reach(name, ray, judge=judge) for ray in drawn]
            rows += [_reach_row(count, one, best) for one, best in zip(found, oracle, strict=True)]
            gaps = [best - one.emu_points for one, best in zip(found, oracle, strict=True)]
            mean = np.mean([one.emu_points for one in found])
            behind = f"behind the oracle {np.mean(gaps):.1f}, worst {max(gaps):.0f}"
            says(f"{count} services, {name}: mean {mean:.1f} points, {behind}")
    return rows


def _reach_row(count: int, found: Reach, oracle_points: float) -> Row:
    return {
        "table": "utilisation", "services": count, "strategy": found.strategy, "mix": list(found.ray.names),
        "seed": found.ray.seed, "emu_points": round(found.emu_points, 3), "oracle_points": round(oracle_points, 3),
    }  # fmt: skip


def convergence(
    services: Iterable[int], strategies: Iterable[str], *, measure: Measure, rays: int, seed: int, says: Says
) -> list[Row]:
    """Return one row for each point and strategy: the time to find a partition, None where it did not, and if it kept.

    The points lie at random between the foot of a line and what the oracle carries, so a partition exists at each.
    """
    rows: list[Row] = []
    random = np.random.default_rng((seed, 4))
    for count in services:
        points = [(ray, _point(ray, random.random())) for ray in draw_lines(measure, count, rays, seed=seed + 1000)]
        for name in strategies:
            runs = [_run(STRATEGIES[name], ray, loads) for ray, loads in points if loads is not None]
            times = [(finds(trace), holds(trace)) for trace in runs]
            rows += [
                {"table": "convergence", "services": count, "strategy": name, "found_s": one, "kept": two is not None}
                for one, two in times
            ]
            found, kept = ([one for one in column if one is not None] for column in zip(*times, strict=True))
            says(
                f"{count} services, {name}: found {len(found)} of {len(runs)}, mean {np.mean(found or [0.0]):.1f} s,"
                f" longest {max(found, default=0.0):.1f}; kept {len(kept)}, mean {np.mean(kept or [0.0]):.1f} s"
            )
    return rows


def _point(ray: Ray, part: float) -> Mapping[ContainerName, float] | None:
    most = round((reach(ORACLE, ray).emu_points - ray.points(0)) / (100.0 * STEP))
    return None if most < 0 else ray.loads(int(part * (most + 1)))


def _run(make: Callable[[tuple[Resident, ...]], Partitioner[Any]], ray: Ray, loads: Loads) -> Trace:
    residents = residents_of(ray.names)
    return run_loop(
        make(residents), residents, lambda time_s: loads,
        seconds=SETTLE_S + MEASURE_S, seed=ray.seed, give_up=hopeless,
    )  # fmt: skip


def fluctuating(name: str, *, seed: int) -> tuple[Trace, tuple[Resident, ...]]:
    """Run Fig. 9: memcached's load rises to 60 % and falls again, Moses, Xapian and a best-effort job beside it."""
    residents = residents_of(("memcached", "moses", "xapian"), jobs=1)

    return run_loop(STRATEGIES[name](residents), residents, fig_9_loads, seconds=FIG_9_S, seed=seed), residents


def fig_9_loads(time_s: float) -> Mapping[ContainerName, float]:
    """Return each service's part of its maximum load at a time of Fig. 9."""
    now = [percent for second, percent in FIG_9 if second <= time_s][-1]
    return {ContainerName("memcached"): now / 100.0, ContainerName("moses"): 0.1, ContainerName("xapian"): 0.2}


def fig_9_feasible(time_s: float) -> bool:
    """Whether any split meets all targets then, where the job keeps one core and one way."""
    residents = residents_of(("memcached", "moses", "xapian"))
    return oracle_split(residents, fig_9_loads(time_s), kept_by_jobs=1) is not None


def fluctuating_rows(strategies: Iterable[str], *, seeds: int, says: Says) -> list[Row]:
    """Return for each strategy and seed the part of ticks late, of all and of those that the oracle can carry."""
    rows: list[Row] = []
    for name in strategies:
        for seed in range(1, seeds + 1):
            trace, _ = fluctuating(name, seed=seed)
            good = np.array([all(row) for row in trace.good().tolist()])
            feasible = np.array([fig_9_feasible(time_s - STRATEGY_TICK_S) for time_s in trace.times_s])
            rows.append({
                "table": "fluctuating", "strategy": name, "seed": seed,
                "late_ticks": round(float(1.0 - good.mean()), 4),
                "late_ticks_of_feasible": round(float(1.0 - good[feasible].mean()), 4),
                "job_cores": round(float(np.mean([_job_cores(trace, at) for at in range(len(feasible))])), 2),
            })  # fmt: skip
        mine = [row for row in rows if row["strategy"] == name]
        late = [np.mean([float(str(row[key])) for row in mine]) for key in ("late_ticks", "late_ticks_of_feasible")]
        cores = np.mean([float(str(row["job_cores"])) for row in mine])
        says(f"{name}: {late[0]:.1%} of ticks late, {late[1]:.1%} of feasible ones; the job has {cores:.1f} cores")
    return rows


def _job_cores(trace: Trace, at: int) -> float:
    """Return the best-effort job's cores in a tick, 0 where it shares or is suspended."""
    for grant in trace.units[at]:
        if grant.containers == (ContainerName("job-0"),) and "job-0" not in trace.suspended[at]:
            return float(grant.units[0]) if grant.units else 0.0
    return 0.0


VARIANTS: Mapping[str, PartiesSettings] = {
    "as it is": PartiesSettings(),
    "windows of 1 request": PartiesSettings(fewest_requests=1),
    "windows of 100 requests": PartiesSettings(fewest_requests=100),
    "every 2 s": PartiesSettings(tick_s=2.0),
    "no ban": PartiesSettings(ban_s=0.0),
    "ban of 10 s": PartiesSettings(ban_s=10.0),
    "useless units go back": PartiesSettings(undo_useless=True),
    "never downsizes": PartiesSettings(down_above=2.0),
    "up below 0.15": PartiesSettings(up_below=0.15),
}


@dataclass(frozen=True, slots=True)
class _Named:
    """A ray's point with its name, for tables of variants."""

    ray: Ray
    loads: Mapping[ContainerName, float]


def ablation(services: int, *, measure: Measure, rays: int, seed: int, says: Says) -> list[Row]:
    """Return for each variant of PARTIES how many random feasible points it held, and how soon."""
    random = np.random.default_rng((seed, 5))
    points = []
    for ray in draw_lines(measure, services, rays, seed=seed + 2000):
        loads = _point(ray, random.random())
        if loads is not None:
            points.append(_Named(ray, loads))
    rows: list[Row] = []
    trials = [(name, settings, False) for name, settings in VARIANTS.items()]
    trials += [(f"{name}, from the oracle's split", VARIANTS[name], True) for name in ("as it is", "never downsizes")]
    for name, settings, from_oracle in trials:
        settled = [_settled_by(Parties(settings), point, from_oracle=from_oracle) for point in points]
        kept = [one for one in settled if one is not None]
        mean_s = round(float(np.mean(kept)), 2) if kept else None
        rows.append({"table": "ablation", "variant": name, "points": len(points), "held": len(kept), "mean_s": mean_s})
        says(f"{name}: held {len(kept)} of {len(points)}, mean {mean_s} s")
    return rows


def _settled_by(strategy: Partitioner[Any], point: _Named, *, from_oracle: bool = False) -> float | None:
    residents = residents_of(point.ray.names)
    trace = run_loop(
        strategy, residents, lambda time_s: point.loads,
        seconds=SETTLE_S + MEASURE_S, seed=point.ray.seed, give_up=hopeless,
        start_from=oracle_split(residents, point.loads) if from_oracle else None,
    )  # fmt: skip
    return holds(trace)


def cycles(strategy: str, *, starts: int, seed: int, seconds: float = 40.0, says: Says) -> list[Row]:
    """Run from random partitions under random loads; count runs that take one transition twice.

    A transition is a pair of successive partitions that differ. At constant load a state machine that takes one twice
    may go round for ever; one that never does comes to rest.
    """
    random = np.random.default_rng((seed, 6))
    going_round, moves = 0, 0
    for _ in range(starts):
        ray = draw_rays(int(random.integers(2, 7)), 1, seed=int(random.integers(2**31)))[0]
        residents = residents_of(ray.names)
        loads = ray.loads(int(random.integers(0, max(1, ray.most_steps() // 2) + 1)))
        start = random_partition(residents, random)
        trace = run_loop(
            STRATEGIES[strategy](residents), residents, _steadily(loads),
            seconds=seconds, seed=ray.seed, start_from=start,
        )  # fmt: skip
        taken = [pair for pair in zip(trace.units, trace.units[1:], strict=False) if pair[0] != pair[1]]
        moves += len(taken)
        going_round += len(set(taken)) < len(taken)
    says(
        f"{strategy}: {going_round} of {starts} starts took a transition twice; {moves / max(1, starts):.1f} moves each"
    )
    return [{"table": "cycles", "strategy": strategy, "starts": starts, "twice": going_round, "moves": moves}]


def _steadily(loads: Mapping[ContainerName, float]) -> Callable[[float], Mapping[ContainerName, float]]:
    return lambda time_s: loads


def random_partition(residents: tuple[Resident, ...], random: np.random.Generator) -> dict[ContainerName, Units]:
    """Return a partition drawn at random: everything is handed out, each has one core and one way at least."""
    count = len(residents)
    cores = 1 + random.multinomial(CORES - count, [1.0 / count] * count)
    ways = 1 + random.multinomial(WAYS - count, [1.0 / count] * count)
    frequencies = random.integers(0, FREQUENCIES + 1, size=count)
    parts = zip(residents, cores.tolist(), ways.tolist(), frequencies.tolist(), strict=True)
    return {resident.container: (c, w, f) for resident, c, w, f in parts}
