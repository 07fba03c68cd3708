"""PARTIES' machine: 14 cores, 20 cache ways, frequencies from 1.2 GHz in steps of 0.1 and turbo on top."""

from __future__ import annotations

from allocators.partitioning.node_view import Divisible, Units
from lab.colocation.applications import Application

CORES, WAYS, FREQUENCIES = 14, 20, 11  # steps above the lowest frequency; the last one is turbo
NOMINAL = 10
LOWEST_GHZ, GHZ_STEP = 1.2, 0.1
PEAK_MEMORY_GB_PER_S = 50.0
RESOURCES = (
    Divisible("cpuset", "cpus", 1.0, CORES),
    Divisible("cache", "ways", 1.0, WAYS),
    Divisible("cpu_frequency", "mhz", 100.0, FREQUENCIES, origin=1200.0, pooled=False, nominal=NOMINAL),
)
LEAST: Units = (1, 1, 0)
MOST: Units = (CORES, WAYS, FREQUENCIES)


def ghz_of(application: Application, frequency: int) -> float:
    """Return the frequency of so many steps; turbo is worth something else to each application."""
    return application.turbo_ghz if frequency >= FREQUENCIES else LOWEST_GHZ + GHZ_STEP * frequency


def pressures(loads_gb_per_s: dict[str, float]) -> dict[str, float]:
    """Return for each tenant how much of the memory bandwidth the others use, 0..1."""
    total = sum(loads_gb_per_s.values())
    return {name: min(1.0, (total - own) / PEAK_MEMORY_GB_PER_S) for name, own in loads_gb_per_s.items()}
