"""Services on the same cores without a partition: what each one's requests suffer from the others there.

Nothing in Fig. 1 and 2 says it, for nobody shares there. It is calibrated on the two rows of PARTIES' Table 4 that are
about cores, and on Linux' scheduler::

    u_i  part of the cores that the others keep busy (a best-effort job: all that is left; it yields, so nobody waits)
    S_i  service time · (1 + neighbour_cost_i · u_i): the core's other hyperthread is theirs so often (row "CPU")
    P_i  (part of the cores busy at all) ^ looks · the others' part of it: a thread that wakes finds no idle CPU among
         so many, and waits behind one of theirs
    W    mean of min(their service time, slice): so long, exponentially distributed (row "Hyperthread", where P = 1)

Cache is held in proportion to memory traffic, on a floor of ``even_gb_per_s``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from allocators.partitioning.node_view import Units
from lab.colocation.applications import Application
from lab.colocation.latency_law import Delay
from lab.colocation.machine import ghz_of
from mesh.topology import ContainerName

ROUNDS, CLOSE = 100, 1e-9
HYPERTHREADS = 2


@dataclass(frozen=True, slots=True)
class SharingModel:
    """The scheduler's constants: how long a thread runs before another's turn, how many CPUs a waking one looks at.

    Linux 4.14 (PARTIES' kernel, ``kernel/sched/fair.c``): 0.75 ms · (1 + log2 8) on eight CPUs and more; four at least.
    """

    slice_s: float = 3e-3
    looks: int = 4
    even_gb_per_s: float = 0.5


@dataclass(frozen=True, slots=True)
class Guest:
    """One service of a pool: its part of its maximum load, the others' memory pressure, its own memory traffic."""

    application: Application
    load: float
    pressure: float
    gb_per_s: float

    @property
    def rate_per_s(self) -> float:
        return self.load * self.application.most_requests_per_s


@dataclass(frozen=True, slots=True)
class Share:
    """What a pool does to one service: its service time, the cores that all services keep busy, the wait for others."""

    service_s: float
    load: float
    delay: Delay


def shares(
    guests: Mapping[ContainerName, Guest], units: Units, *, has_job: bool, model: SharingModel
) -> dict[ContainerName, Share]:
    """Return each service's share of a pool of so many cores, ways and steps of frequency. O(services²)."""
    cores = float(units[0])
    alone = _alone(guests, units, model)
    service_s = dict(alone)
    for _ in range(ROUNDS):  # who is slowed down keeps more cores busy, and slows the others down
        asked = {name: guest.rate_per_s * service_s[name] for name, guest in guests.items()}
        slowed = {
            name: alone[name] * (1.0 + guest.application.neighbour_cost * _busy_of_others(asked, name, cores, has_job))
            for name, guest in guests.items()
        }
        settled = all(abs(slowed[name] - service_s[name]) <= CLOSE * alone[name] for name in guests)
        service_s = slowed
        if settled:
            break
    asked = {name: guest.rate_per_s * service_s[name] for name, guest in guests.items()}
    return {
        name: Share(service_s[name], sum(asked.values()), _delay(name, asked, service_s, cores, model))
        for name in guests
    }


def _alone(guests: Mapping[ContainerName, Guest], units: Units, model: SharingModel) -> dict[ContainerName, float]:
    """Return service times with the cache that each one holds, before anybody is slowed down."""
    appetite = sum(model.even_gb_per_s + guest.gb_per_s for guest in guests.values())
    return {
        name: guest.application.service_time_s(
            ways=max(1.0, units[1] * (model.even_gb_per_s + guest.gb_per_s) / appetite),
            ghz=ghz_of(guest.application, units[2]),
            pressure=guest.pressure,
            load=guest.load,
        )
        for name, guest in guests.items()
    }


def _busy_of_others(asked: Mapping[ContainerName, float], name: ContainerName, cores: float, has_job: bool) -> float:
    """Return the part of the cores that others keep busy, 0..1."""
    rest = cores - asked[name] if has_job else sum(asked.values()) - asked[name]
    return min(1.0, max(0.0, rest / cores))


def _delay(
    name: ContainerName, asked: Mapping[ContainerName, float], service_s: Mapping[ContainerName, float],
    cores: float, model: SharingModel,
) -> Delay:  # fmt: skip
    others = sum(asked.values()) - asked[name]
    if others <= 0.0:
        return Delay(0.0, 0.0)
    busy = min(1.0, (others + asked[name]) / cores)
    part = busy ** min(model.looks, HYPERTHREADS * cores) * others / (others + asked[name])
    waits = sum(asked[other] * min(service_s[other], model.slice_s) for other in asked if other != name)
    return Delay(part, waits / others)
