"""The six services of PARTIES: targets and loads of its tables, demand fitted to its Fig. 2.

Service time of one request, with ``w`` cache ways, ``f`` GHz, memory pressure ``mb`` (0..1) of the neighbours and ``L``
of its maximum load::

    m = exp(-(w - 1) / (ways_scale · L^reuse_power))
    S = service_s · (1 + load_cost · L) · (core_part · 2.2 / f + 1 - core_part + miss_cost · m
                                           + pressure_cost · mb · (m + 0.15))

The load stands in it because what Fig. 2 asks for at 90 % is more than three times that at 30 % (the paper: cache
demand grows with the requests served at once).

The constants were fitted to all cells of Fig. 2 and all points of Fig. 1 together, by differential evolution
(``calibration.py`` says how well they do).
(``neighbour_cost`` is of Table 4: it counts where services share cores only.)
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
    what turbo is worth to it; ``memory_gb_per_s`` its memory traffic at full load; ``neighbour_cost`` how much slower
    its requests are beside somebody who never rests on the core's other hyperthread. ``tail_by_load``: (load, p99 in
    ms) where the disk decides.
    """

    name: str
    target_ms: float
    most_requests_per_s: float
    memory_gb_per_s: float
    service_s: float = 0.0
    core_part: float = 1.0
    miss_cost: float = 0.0
    ways_scale: float = 1.0
    reuse_power: float = 0.0
    load_cost: float = 0.0
    tail: float = 1.0
    crowd: float = 0.0
    crowd_power: float = 1.0
    burstiness: float = 1.0
    pressure_cost: float = 0.0
    neighbour_cost: float = 0.0
    turbo_ghz: float = 2.3
    stateless: bool = False
    tail_by_load: tuple[tuple[float, float], ...] = ()

    def service_time_s(self, *, ways: float, ghz: float, pressure: float, load: float) -> float:
        """Return the mean time that one request keeps a core busy."""
        missing = math.exp(-(ways - 1.0) / (self.ways_scale * load**self.reuse_power))
        slow = self.core_part * NOMINAL_GHZ / ghz + 1.0 - self.core_part
        slow += self.miss_cost * missing + self.pressure_cost * pressure * (missing + 0.15)
        return self.service_s * slow * (1.0 + self.load_cost * load)


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
            service_s=5.52e-06,
            core_part=0.9979,
            miss_cost=0.05141,
            ways_scale=2.766,
            reuse_power=0.8021,
            load_cost=0.4877,
            tail=13.05,
            crowd=81.92,
            crowd_power=1.033,
            burstiness=79.13,
            pressure_cost=0.6633,
            neighbour_cost=2.75,
            turbo_ghz=2.548,
            stateless=False,
        ),
        Application(
            "xapian",
            5.0,
            8_000.0,
            0.01,
            service_s=0.0008902,
            core_part=0.9999,
            miss_cost=0.3946,
            ways_scale=11.57,
            reuse_power=0.5896,
            load_cost=0.2085,
            tail=2.587,
            crowd=9.384,
            crowd_power=3.655,
            burstiness=0.242,
            pressure_cost=0.5928,
            neighbour_cost=0.55,
            turbo_ghz=2.417,
            stateless=True,
        ),
        Application(
            "nginx",
            10.0,
            560_000.0,
            0.6,
            service_s=1.967e-05,
            core_part=0.6211,
            miss_cost=0.2032,
            ways_scale=1.109,
            reuse_power=3.764e-06,
            load_cost=6.607e-07,
            tail=30.02,
            crowd=400.0,
            crowd_power=1.0,
            burstiness=106.0,
            pressure_cost=0.6062,
            neighbour_cost=0.33,
            turbo_ghz=2.73,
            stateless=True,
        ),
        Application(
            "moses",
            15.0,
            2_800.0,
            26.0,
            service_s=0.002836,
            core_part=0.4247,
            miss_cost=0.3325,
            ways_scale=29.82,
            reuse_power=1.57e-05,
            load_cost=0.2219,
            tail=1.267,
            crowd=3.242,
            crowd_power=2.485,
            burstiness=0.005001,
            pressure_cost=1.204,
            neighbour_cost=0.25,
            turbo_ghz=2.934,
            stateless=True,
        ),
        Application("mongodb", 300.0, 240.0, 0.03, service_s=1e-4, tail_by_load=_MONGODB),
        Application(
            "sphinx",
            2500.0,
            14.0,
            3.1,
            service_s=0.5446,
            core_part=0.8355,
            miss_cost=0.4284,
            ways_scale=13.94,
            reuse_power=0.06597,
            load_cost=0.437,
            tail=2.763,
            crowd=15.65,
            crowd_power=4.368,
            burstiness=0.007021,
            pressure_cost=0.5515,
            neighbour_cost=0.85,
            turbo_ghz=3.5,
            stateless=True,
        ),
    )
}
