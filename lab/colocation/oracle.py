"""The exhaustive oracle: whether any split of cores and ways meets all targets, by the true law and without noise."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import combinations

from allocators.partitioning.best_split import best_split
from allocators.partitioning.node_view import Units
from lab.colocation.applications import APPLICATIONS, Application
from lab.colocation.closed_loop import ALLOWED_LATE
from lab.colocation.latency_law import law_of
from lab.colocation.machine import CORES, FREQUENCIES, WAYS, ghz_of, pressures
from lab.colocation.node import Resident
from mesh.topology import ContainerName


def oracle_split(
    residents: tuple[Resident, ...], loads: Mapping[ContainerName, float], *, kept_by_jobs: int = 0
) -> dict[ContainerName, Units] | None:
    """Return units on which every service meets its target, None where there are none.

    Best-effort jobs keep ``kept_by_jobs`` cores and ways. All run at turbo: more frequency never hurts here, and
    nobody takes it from another.
    """
    services = [(r.container, r.application) for r in residents if r.application is not None]
    traffic: dict[str, float] = {name: app.memory_gb_per_s * loads[name] for name, app in services}
    pressure = pressures(traffic)
    needs = [fewest_cores(app.name, round(loads[name], 6), round(pressure[name], 6)) for name, app in services]
    split = best_split(needs, first=CORES - kept_by_jobs, second=WAYS - kept_by_jobs)
    if split is None:
        return None
    return {name: (*pair, FREQUENCIES) for (name, _), pair in zip(services, split, strict=True)}


def most_met(residents: tuple[Resident, ...], loads: Mapping[ContainerName, float]) -> float:
    """Return the largest sum of loads that can meet their targets when the others are left to miss theirs."""
    sums = (
        sum(loads[one.container] for one in kept)
        for count in range(1, len(residents) + 1)
        for kept in combinations(residents, count)
        if oracle_split(kept, loads) is not None
    )
    return max(sums, default=0.0)


@lru_cache(maxsize=65536)
def fewest_cores(name: str, load: float, pressure: float) -> tuple[int | None, ...]:
    """Return for 1, 2, … ways the fewest cores on which the service meets its target at turbo.

    More ways never ask for more cores, so each search begins at the answer before.
    """
    application = APPLICATIONS[name]
    answers: list[int | None] = []
    most = CORES
    for ways in range(1, WAYS + 1):
        found = _fewest(application, load, pressure, ways, most)
        answers.append(found)
        most = most if found is None else found
    return tuple(answers)


def _fewest(application: Application, load: float, pressure: float, ways: int, most: int) -> int | None:
    """Return the fewest cores that are enough, none above ``most``: found from there downwards."""
    rate = load * application.most_requests_per_s
    service_s = application.service_time_s(
        ways=ways, ghz=ghz_of(application, FREQUENCIES), pressure=pressure, load=load
    )
    found = None
    for cores in range(most, 0, -1):
        if rate * service_s >= cores:
            break
        law = law_of(application, rate_per_s=rate, service_s=service_s, servers=cores)
        if law.late_part(application.target_ms) > ALLOWED_LATE:
            break
        found = cores
    return found
