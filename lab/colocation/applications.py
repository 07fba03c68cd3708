"""The six services of PARTIES: targets and loads of its tables, demand fitted to its Fig. 2.

Service time of one request, with ``w`` cache ways, ``f`` GHz and memory pressure ``mb`` (0..1) of the neighbours::

    m = exp(-(w - 1) / ways_scale)
    S = service_s · (core_part · 2.2 / f + 1 - core_part + miss_cost · m + pressure_cost · mb · (m + 0.15))

The constants were fitted to all cells of Fig. 2 and all points of Fig. 1 together, by differential evolution
(``calibration.py`` says how well they do).
MongoDB is bound by its disk: one core at the lowest frequency always serves it, and its tail is that of Fig. 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

NOMINAL_GHZ = 2.2


@dataclass(frozen=True, slots=True)
class Application:
    """One service: what it promises, how much it is asked at most, and what a request costs.

    ``tail``, ``crowd``, ``crowd_power`` and ``burstiness`` shape the latency law (``latency_law.py``); ``turbo_ghz`` is
    what turbo is worth to it; ``memory_gb_per_s`` its memory traffic at full load. ``tail_by_load``: (load, p99 in ms)
    where the disk decides.
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
    crowd: float = 0.0
    crowd_power: float = 1.0
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
        Application(
            "memcached",
            0.6,
            1_280_000.0,
            0.6,
            service_s=1.033e-05,
            core_part=0.796,
            miss_cost=0.03029,
            ways_scale=1.072,
            tail=6.846,
            crowd=33.54,
            crowd_power=1.222,
            burstiness=13.9,
            pressure_cost=0.4814,
            turbo_ghz=2.401,
            stateless=False,
        ),
        Application(
            "xapian",
            5.0,
            8_000.0,
            0.01,
            service_s=0.001516,
            core_part=0.9411,
            miss_cost=0.2175,
            ways_scale=4.167,
            tail=1.69,
            crowd=2.964,
            crowd_power=5.208,
            burstiness=0.008179,
            pressure_cost=0.5876,
            turbo_ghz=2.3,
            stateless=True,
        ),
        Application(
            "nginx",
            10.0,
            560_000.0,
            0.6,
            service_s=1.886e-05,
            core_part=0.6511,
            miss_cost=0.2061,
            ways_scale=0.9144,
            tail=22.79,
            crowd=361.4,
            crowd_power=1.0,
            burstiness=188.1,
            pressure_cost=0.5874,
            turbo_ghz=2.3,
            stateless=True,
        ),
        Application(
            "moses",
            15.0,
            2_800.0,
            26.0,
            service_s=0.003899,
            core_part=0.3108,
            miss_cost=0.0985,
            ways_scale=29.52,
            tail=1.145,
            crowd=3.453,
            crowd_power=2.872,
            burstiness=0.009684,
            pressure_cost=0.8589,
            turbo_ghz=2.667,
            stateless=True,
        ),
        Application("mongodb", 300.0, 240.0, 0.03, service_s=1e-4, tail_by_load=_MONGODB),
        Application(
            "sphinx",
            2500.0,
            14.0,
            3.1,
            service_s=0.9759,
            core_part=0.778,
            miss_cost=0.4064,
            ways_scale=4.546,
            tail=1.919,
            crowd=2.3,
            crowd_power=3.557,
            burstiness=0.006481,
            pressure_cost=0.9677,
            turbo_ghz=2.782,
            stateless=True,
        ),
    )
}
