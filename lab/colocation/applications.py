"""The six services of PARTIES: targets and loads of its tables, demand fitted to its Fig. 2.

Service time of one request, with ``w`` cache ways, ``f`` GHz and memory pressure ``mb`` (0..1) of the neighbours::

    m = exp(-(w - 1) / ways_scale)
    S = service_s · (core_part · 2.2 / f + 1 - core_part + miss_cost · m + pressure_cost · mb · (m + 0.15))

The constants were fitted by differential evolution to all cells of Fig. 2 (``calibration.py`` says how well they do).
MongoDB is bound by its disk: one core at the lowest frequency always serves it, and its tail is that of Fig. 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

NOMINAL_GHZ = 2.2


@dataclass(frozen=True, slots=True)
class Application:
    """One service: what it promises, how much it is asked at most, and what a request costs.

    ``tail`` and ``burstiness`` shape the latency law (``latency_law.py``); ``turbo_ghz`` is what turbo is worth to it;
    ``memory_gb_per_s`` its memory traffic at full load. ``tail_by_load``: (load, p99 in ms) where the disk decides.
    """

    name: str
    target_ms: float
    most_requests_per_s: float
    memory_gb_per_s: float
    service_s: float = 0.0
    core_part: float = 1.0
    miss_cost: float = 0.0
    ways_scale: float = 1.0
    tail: float = 1.0
    burstiness: float = 1.0
    pressure_cost: float = 0.0
    turbo_ghz: float = 2.3
    stateless: bool = False
    tail_by_load: tuple[tuple[float, float], ...] = ()

    def service_time_s(self, *, ways: float, ghz: float, pressure: float) -> float:
        """Return the mean time that one request keeps a core busy."""
        missing = math.exp(-(ways - 1.0) / self.ways_scale)
        slow = self.core_part * NOMINAL_GHZ / ghz + 1.0 - self.core_part
        return self.service_s * (slow + self.miss_cost * missing + self.pressure_cost * pressure * (missing + 0.15))


_MONGODB = (
    (0.0, 30.0), (0.083, 33.4), (0.167, 37.4), (0.25, 40.39), (0.333, 48.39), (0.417, 61.37), (0.5, 66.37),
    (0.583, 100.33), (0.667, 130.3), (0.75, 165.26), (0.833, 197.23), (0.917, 242.19), (1.0, 289.14), (1.25, 538.88),
)  # fmt: skip

APPLICATIONS = {
    application.name: application
    for application in (
        Application("memcached", 0.6, 1_280_000.0, 0.6, 1.2e-5, 0.90, 0.06, 0.79, 15.6, 8.5, 0.63, 2.51),
        Application("xapian", 5.0, 8_000.0, 0.01, 1.64e-3, 0.68, 0.21, 4.39, 1.99, 0.10, 0.35, 2.31, stateless=True),
        Application("nginx", 10.0, 560_000.0, 0.6, 1.69e-5, 0.72, 0.38, 0.95, 225.0, 393.0, 0.40, 2.56, stateless=True),
        Application("moses", 15.0, 2_800.0, 26.0, 3.98e-3, 0.48, 0.35, 14.3, 1.0, 0.11, 1.92, 3.53, stateless=True),
        Application("mongodb", 300.0, 240.0, 0.03, 1e-4, tail_by_load=_MONGODB),
        Application("sphinx", 2500.0, 14.0, 3.1, 0.707, 0.85, 1.40, 14.6, 1.82, 0.18, 0.56, 3.41, stateless=True),
    )
}
