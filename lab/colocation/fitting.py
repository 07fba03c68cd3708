"""How the applications' constants were found: one fit of Fig. 1 and 2 for each service, by differential evolution.

The same formulas as ``Application.service_time_s`` and ``law_of``, over arrays; ``test_colocation.py`` holds them
together. Run ``python -m lab.colocation.fitting memcached`` to fit anew (a minute or two each).

The loss is logistic on every cell of Fig. 2 and each of its 12 frequencies (is the target met or not), half of it on
turbo, where it is decided how few cores can be enough; plus a quarter of the mean squared logarithm in Fig. 1.

``python -m lab.colocation.fitting neighbours`` finds what a neighbour on its cores costs each, from Table 4.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import differential_evolution

from lab.colocation.applications import APPLICATIONS, NOMINAL_GHZ, Application
from lab.colocation.calibration import (
    LOAD_STEP,
    LOADS,
    NEIGHBOUR,
    SAME_HYPERTHREAD,
    beside_a_neighbour,
    most_load,
    on_the_same_hyperthread,
    printed,
    rows,
)
from lab.colocation.latency_law import P99, Floats
from lab.colocation.machine import CORES, FREQUENCIES, GHZ_STEP, LOWEST_GHZ, WAYS
from lab.colocation.sharing import SharingModel

BOUNDS = {
    "service_s": (0.5, 1.5),  # of the maximum load's share of the machine, CORES / most_requests_per_s
    "core_part": (0.2, 1.0),
    "miss_cost": (0.0, 2.0),
    "ways_scale": (0.3, 30.0),
    "reuse_power": (0.0, 2.0),
    "load_cost": (0.0, 1.0),
    "tail": (1.05, 40.0),
    "crowd": (0.0, 400.0),
    "crowd_power": (1.0, 8.0),
    "burstiness": (0.005, 400.0),
    "pressure_cost": (0.0, 2.5),
    "turbo_ghz": (2.25, 3.6),
}
LOGARITHMIC = ("service_s", "ways_scale", "tail", "burstiness")
SHARPNESS, MOST_LOSS = 0.1, 8.0


@dataclass(frozen=True, slots=True)
class Cells:
    """Where p99 is asked for: arrays of one shape; turbo is an infinite frequency."""

    load: Floats
    pressure: Floats
    cores: Floats
    ways: Floats
    ghz: Floats


def figure_2(name: str) -> tuple[Cells, Floats]:
    """Return all cells at all frequencies, shape ``(cells, 12)``, and +1 where the target was met, -1 elsewhere."""
    ghz = np.append(LOWEST_GHZ + GHZ_STEP * np.arange(FREQUENCIES), np.inf)
    found = list(rows("fig2_lowest_frequency.csv", name))
    columns = np.array([[*LOADS[row["condition"]], float(row["cores"]), float(row["llc_ways"])] for row in found])
    lowest = np.array([FREQUENCIES + 1 if (at := printed(row)) is None else at for row in found])
    met = np.where(np.arange(FREQUENCIES + 1) >= lowest[:, None], 1.0, -1.0)
    load, pressure, cores, ways = (np.repeat(column[:, None], FREQUENCIES + 1, axis=1) for column in columns.T)
    return Cells(load, pressure, cores, ways, np.repeat(ghz[None, :], len(found), axis=0)), met


def figure_1(application: Application) -> tuple[Cells, Floats]:
    """Return the points up to full load, shape ``(points,)``, and their p99 in ms."""
    pairs = [
        (float(row["rps"]) / application.most_requests_per_s, float(row["p99"]) * (1e-3 if row["unit"] == "us" else 1))
        for row in rows("fig1_latency_load.csv", application.name)
    ]
    load, p99_ms = np.array([pair for pair in pairs if pair[0] <= 1.001]).T
    same = np.ones_like(load)
    return Cells(load, 0.0 * same, CORES * same, WAYS * same, np.inf * same), p99_ms


def p99_of(application: Application, cells: Cells) -> Floats:
    """Return p99 in ms; where the cores are not enough, more than the target by how much they are too few."""
    missing = np.exp(-(cells.ways - 1.0) / (application.ways_scale * cells.load**application.reuse_power))
    ghz = np.where(np.isinf(cells.ghz), application.turbo_ghz, cells.ghz)
    slow = application.core_part * NOMINAL_GHZ / ghz + 1.0 - application.core_part + application.miss_cost * missing
    slow = slow + application.pressure_cost * cells.pressure * (missing + 0.15)
    service_s = application.service_s * slow * (1.0 + application.load_cost * cells.load)
    work = cells.load * application.most_requests_per_s * service_s
    busy = work / cells.cores
    calm = np.minimum(work, 0.999 * cells.cores)
    waiting = np.maximum(0.0, np.log(_erlang_c(cells.cores, calm)) + P99) / (cells.cores - calm)
    tail = application.tail + application.crowd * np.minimum(1.0, busy) ** application.crowd_power
    p99_ms = 1e3 * service_s * (tail + application.burstiness * waiting)
    over: Floats = np.maximum(p99_ms, application.target_ms) * np.exp(np.minimum(50.0, 10.0 * (busy - 1.0)))
    return np.where(busy < 1.0, p99_ms, over)


def _erlang_c(cores: Floats, work: Floats) -> Floats:
    blocked = np.ones_like(work)
    for k in range(1, CORES + 1):
        blocked = np.where(k <= cores, work * blocked / (k + work * blocked), blocked)
    return np.maximum(1e-300, cores * blocked / (cores - work * (1.0 - blocked)))


def with_constants(application: Application, values: Floats) -> Application:
    """Return the application with a point of the search; logarithmic ones are given by their logarithms."""
    named = dict(zip(BOUNDS, values.tolist(), strict=True))
    named = {name: float(np.exp(value)) if name in LOGARITHMIC else value for name, value in named.items()}
    named["service_s"] *= CORES / application.most_requests_per_s
    return replace(application, **named)


def fit(name: str, *, seed: int, rounds: int) -> tuple[Application, float]:
    """Return the application with the best constants found, and its loss."""
    application = APPLICATIONS[name]
    cells, met = figure_2(name)
    points, p99_ms = figure_1(application)
    weights = np.full(met.shape, 0.5 / FREQUENCIES)
    weights[:, -1] = 0.5

    def loss(values: Floats) -> float:
        tried = with_constants(application, values)
        margin = np.log(p99_of(tried, cells) / tried.target_ms) * met / SHARPNESS
        wrong = np.minimum(MOST_LOSS, np.logaddexp(0.0, margin))
        errors = np.log(p99_of(tried, points) / p99_ms)
        return float((wrong * weights).sum() / len(met) + 0.25 * (errors**2).mean())

    bounds = [tuple(np.log(pair)) if key in LOGARITHMIC else pair for key, pair in BOUNDS.items()]
    best = differential_evolution(loss, bounds, seed=seed, maxiter=rounds, popsize=8, tol=1e-6, polish=False)
    return with_constants(application, best.x), float(best.fun)


def neighbour_cost(name: str) -> float:
    """Return the cost at which Table 4's row "CPU" is met in the middle of its step of 10 %."""
    application = APPLICATIONS[name]
    alone = most_load(application)
    low, high = 0.0, 10.0
    while high - low > 1e-3:
        cost = (low + high) / 2.0
        enough = most_load(application, slower=1.0 + cost) / alone > (NEIGHBOUR[name] + LOAD_STEP / 2) / 100.0
        low, high = (cost, high) if enough else (low, cost)
    return low


def _print_neighbours() -> None:
    for name, printed_load in NEIGHBOUR.items():
        same = f"{on_the_same_hyperthread(name, SharingModel())} % for {SAME_HYPERTHREAD[name]} %"
        beside = f"{beside_a_neighbour(name)} % for {printed_load} %"
        print(name, f"neighbour_cost {neighbour_cost(name):.2f}; CPU {beside}; Hyperthread {same}")


if __name__ == "__main__":
    if sys.argv[1:] == ["neighbours"]:
        _print_neighbours()
        sys.exit()
    for asked in sys.argv[1:]:
        found, lost = fit(asked, seed=1, rounds=300)
        print(asked, f"loss {lost:.4f}", {key: float(f"{getattr(found, key):.4g}") for key in BOUNDS}, flush=True)
