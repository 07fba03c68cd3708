"""How well the six applications agree with the figures, and the rows of a table, that they were fitted to."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

from lab.colocation.applications import APPLICATIONS, Application
from lab.colocation.latency_law import P99, Delay, law_of
from lab.colocation.machine import CORES, FREQUENCIES, WAYS, ghz_of
from lab.colocation.sharing import SharingModel

# PARTIES' Table 4: the most load, in per cent of what it carries alone, beside a compute-intensive hog that runs on the
# core's other hyperthread ("CPU") or on the same one ("Hyperthread"). Eight threads pinned to eight cores.
NEIGHBOUR = {"memcached": 10, "xapian": 50, "nginx": 60, "moses": 70, "mongodb": 100, "sphinx": 30}
SAME_HYPERTHREAD = {"memcached": 0, "xapian": 0, "nginx": 0, "moses": 0, "mongodb": 90, "sphinx": 0}
PINNED_CORES, LOAD_STEP = 8, 10

LOADS = {"low30": (0.3, 0.0), "low30_membw": (0.3, 1.0), "high90": (0.9, 0.0)}


@dataclass(frozen=True, slots=True)
class Agreement:
    """One application's agreement: cells of Fig. 2, parts of them right, and the error in Fig. 1 up to full load.

    ``feasible``: whether any frequency meets the target is said rightly; ``within_a_step``: and the lowest one is,
    within 0.1 GHz; ``tail_error``: root mean square of the logarithm of p99.
    """

    cells: int
    feasible: float
    within_a_step: float
    tail_error: float


def agreement_of(name: str) -> Agreement:
    """Compare one application with all cells of Fig. 2 and the points of Fig. 1."""
    application = APPLICATIONS[name]
    cells = [(_lowest(application, row), printed(row)) for row in rows("fig2_lowest_frequency.csv", name)]
    right = [(ours is None) == (theirs is None) for ours, theirs in cells]
    close = [
        ours == theirs or (ours is not None and theirs is not None and abs(ours - theirs) <= 1)
        for ours, theirs in cells
    ]
    errors = [_tail_error(application, row) for row in rows("fig1_latency_load.csv", name)]
    known = [error for error in errors if error is not None]
    return Agreement(
        len(cells),
        sum(right) / len(cells),
        sum(close) / len(cells),
        math.sqrt(sum(error**2 for error in known) / len(known)),
    )


def rows(file: str, name: str) -> Iterator[dict[str, str]]:
    """Return one application's rows of a file of published points."""
    text = (resources.files("lab.simulator") / "data" / "parties" / file).read_text(encoding="utf-8")
    return (row for row in csv.DictReader(text.splitlines()) if row["app"].lower() == name)


def printed(row: dict[str, str]) -> int | None:
    """Return the lowest frequency of a cell of Fig. 2 in steps above 1.2 GHz, None where there is none."""
    return (int(row["lowest_mhz"]) - 1200) // 100 if row["lowest_mhz"] else None


def _lowest(application: Application, row: dict[str, str]) -> int | None:
    load, pressure = LOADS[row["condition"]]
    rate, cores = load * application.most_requests_per_s, int(row["cores"])
    for frequency in range(FREQUENCIES + 1):
        service_s = application.service_time_s(
            ways=int(row["llc_ways"]), ghz=ghz_of(application, frequency), pressure=pressure, load=load
        )
        if rate * service_s >= cores:
            continue
        law = law_of(application, rate_per_s=rate, service_s=service_s, servers=cores)
        if law.at(P99) <= application.target_ms:
            return frequency
    return None


def _tail_error(application: Application, row: dict[str, str]) -> float | None:
    rate, p99_ms = float(row["rps"]), float(row["p99"]) * (1e-3 if row["unit"] == "us" else 1.0)
    if rate > 1.001 * application.most_requests_per_s:
        return None
    load = rate / application.most_requests_per_s
    service_s = application.service_time_s(ways=WAYS, ghz=application.turbo_ghz, pressure=0.0, load=load)
    law = law_of(application, rate_per_s=rate, service_s=service_s, servers=CORES)
    return math.log(law.at(P99) / p99_ms)


def most_load(application: Application, *, slower: float = 1.0, delay: Delay | None = None) -> float:
    """Return the most load, in parts of its maximum, that meets the target on eight cores at turbo with all ways.

    ``slower`` is a factor on its service time. To a part of 1e-4.
    """
    low, high = 0.0, 1.5
    while high - low > 1e-4:
        load = (low + high) / 2.0
        rate = load * application.most_requests_per_s
        service_s = slower * application.service_time_s(ways=WAYS, ghz=application.turbo_ghz, pressure=0.0, load=load)
        fits = rate * service_s < PINNED_CORES
        if fits:
            law = law_of(application, rate_per_s=rate, service_s=service_s, servers=PINNED_CORES, delay=delay)
            fits = law.at(P99) <= application.target_ms
        low, high = (load, high) if fits else (low, load)
    return low


def beside_a_neighbour(name: str) -> int:
    """Return what Table 4's row "CPU" would say of our application, in per cent, in steps of 10."""
    application = APPLICATIONS[name]
    return _printed_load(application, most_load(application, slower=1.0 + application.neighbour_cost))


def on_the_same_hyperthread(name: str, model: SharingModel) -> int:
    """Return what Table 4's row "Hyperthread" would say of it: half of the time, and always a turn of the hog first."""
    application = APPLICATIONS[name]
    return _printed_load(application, most_load(application, slower=2.0, delay=Delay(1.0, model.slice_s)))


def _printed_load(application: Application, load: float) -> int:
    return LOAD_STEP * int(100.0 * load / most_load(application) / LOAD_STEP + 1e-2)
