"""The simulated node: grants in, one tick of time, and what a strategy may see of it out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from allocators.partitioning.node_view import Kind, NodeView, Tenant, Units
from allocators.partitioning.step import Grant
from estimators.latency import LatencyWindow
from lab.colocation.applications import Application
from lab.colocation.latency_law import Floats, Law, law_of
from lab.colocation.machine import CORES, FREQUENCIES, LEAST, MOST, RESOURCES, WAYS, ghz_of, pressures
from mesh.topology import ContainerName

WHOLE: Units = (CORES, WAYS, FREQUENCIES)
# Bounds of the counted latencies as parts of the target: 5 % apart around it, 20 % far above it.
BOUNDS: Floats = np.concatenate([1.05 ** np.arange(-50.0, 15.0), 1.05**14 * 1.2 ** np.arange(1.0, 50.0)])


@dataclass(frozen=True, slots=True)
class Resident:
    """A service on the node under a name of its own, or (without an application) a best-effort job that burns all."""

    container: ContainerName
    application: Application | None

    @property
    def kind(self) -> Kind:
        return "best-effort" if self.application is None else "latency-critical"


@dataclass(frozen=True, slots=True)
class SharingModel:
    """What nobody measured for Fig. 2: services that share cores without a partition.

    ``slice_s``: how long a request of somebody else keeps a core at most before it is preempted (Linux' fair scheduler
    slices by milliseconds). Cache is held in proportion to memory traffic, on a floor of ``even_gb_per_s``.
    """

    slice_s: float = 3e-3
    even_gb_per_s: float = 0.5


@dataclass
class SimulatedNode:
    """Holds who is here, what they are granted, their backlogs, and the time."""

    residents: tuple[Resident, ...]
    loads: Mapping[ContainerName, float]
    random: np.random.Generator
    sharing: SharingModel = SharingModel()
    job_gb_per_s: float = 15.0
    time_s: float = 0.0
    grants: tuple[Grant, ...] = ()
    suspended: tuple[ContainerName, ...] = ()
    backlogs: dict[ContainerName, float] = field(default_factory=dict)
    laws: dict[ContainerName, Law] = field(default_factory=dict)

    def tick(self, tick_s: float) -> NodeView:
        """Let time run with what is granted now; return what can be seen at its end."""
        tenants = []
        traffic = self._traffic_gb_per_s()
        pressure = pressures(traffic)
        for grant in self.grants:
            tenants += self._group(grant, tick_s, pressure, traffic)
        self.time_s += tick_s
        return NodeView(self.time_s, RESOURCES, tuple(tenants))

    def first_view(self) -> NodeView:
        """Return what a strategy sees before it takes over: who is here, holding nothing."""
        return NodeView(self.time_s, RESOURCES, tuple(_tenant(resident, None) for resident in self.residents))

    def late_parts(self) -> dict[ContainerName, float]:
        """Return for each service the true part of the last tick's requests over its target."""
        targets = {r.container: r.application.target_ms for r in self.residents if r.application is not None}
        return {
            name: self.laws[name].late_part(target) if name in self.laws else 1.0 for name, target in targets.items()
        }

    def _traffic_gb_per_s(self) -> dict[str, float]:
        held = {name: grant.units or WHOLE for grant in self.grants for name in grant.containers}
        return {
            resident.container: self.job_gb_per_s * held.get(resident.container, WHOLE)[0] / CORES
            if resident.application is None
            else resident.application.memory_gb_per_s * self.loads[resident.container]
            for resident in self.residents
            if resident.container not in self.suspended
        }

    def _group(
        self, grant: Grant, tick_s: float, pressure: Mapping[str, float], traffic: Mapping[str, float]
    ) -> list[Tenant]:
        cores, ways, frequency = grant.units or WHOLE
        here = [resident for resident in self.residents if resident.container in grant.containers]
        running = [r for r in here if r.application is not None and r.container not in self.suspended]
        for resident in here:
            self.laws.pop(resident.container, None)
        even = self.sharing.even_gb_per_s
        appetite = sum(even + traffic[r.container] for r in running)
        service_s: dict[ContainerName, float] = {}
        asked: dict[ContainerName, float] = {}
        for resident in running:
            assert resident.application is not None
            part = (even + traffic[resident.container]) / appetite
            service_s[resident.container] = resident.application.service_time_s(
                ways=max(1.0, ways * part),
                ghz=ghz_of(resident.application, frequency),
                pressure=pressure[resident.container],
                load=self.loads[resident.container],
            )
            asked[resident.container] = self._rate(resident) * service_s[resident.container]
        total = sum(asked.values())
        tenants = []
        for resident in here:
            alone = len(here) == 1
            tenant = _tenant(resident, grant.units if alone else None)
            if resident in running:
                shared = None if alone else (total, self._place_s(resident, service_s, asked))
                tenant = self._served(resident, tenant, service_s[resident.container], cores, shared, tick_s)
            tenants.append(tenant)
        return tenants

    def _rate(self, resident: Resident) -> float:
        assert resident.application is not None
        return self.loads[resident.container] * resident.application.most_requests_per_s

    def _place_s(
        self, resident: Resident, service_s: Mapping[ContainerName, float], asked: Mapping[ContainerName, float]
    ) -> float:
        """Return what a place in a shared queue costs: one's own burst, or a slice of somebody else's request."""
        assert resident.application is not None
        own = resident.application.burstiness * service_s[resident.container]
        total = sum(asked.values())
        others = sum(
            asked[name] / total * min(time_s, self.sharing.slice_s)
            for name, time_s in service_s.items()
            if name != resident.container
        )
        return own + others

    def _served(
        self, resident: Resident, tenant: Tenant, service_s: float, cores: int,
        shared: tuple[float, float] | None, tick_s: float,
    ) -> Tenant:  # fmt: skip
        application, name, rate = resident.application, resident.container, self._rate(resident)
        assert application is not None
        load = rate * service_s if shared is None else shared[0]
        capacity = cores / service_s if shared is None else rate * cores / load  # processor sharing: all suffer alike
        backlog = self.backlogs.get(name, 0.0)
        after = max(0.0, backlog + (rate - capacity) * tick_s)
        law = law_of(
            application, rate_per_s=rate, service_s=service_s, servers=cores, backlog=(backlog + after) / 2.0,
            servers_load=None if shared is None else load, wait_s=None if shared is None else shared[1],
        )  # fmt: skip
        self.backlogs[name], self.laws[name] = after, law
        served = rate * tick_s + backlog - after
        count = int(self.random.poisson(served))
        window = self._window(law, count, application.target_ms, tick_s)
        busy = served * service_s / tick_s
        arrivals = float(self.random.poisson(rate * tick_s)) / tick_s
        return replace(tenant, window=window, requests_per_s=arrivals, cpu_cores=min(busy, float(cores)))

    def _window(self, law: Law, count: int, target_ms: float, tick_s: float) -> LatencyWindow:
        bounds = BOUNDS * target_ms
        late = law.exceeding(bounds)
        parts = np.concatenate([[1.0], late]) - np.concatenate([late, [0.0]])
        counts = self.random.multinomial(count, np.maximum(parts, 0.0) / parts.sum())
        return LatencyWindow(
            self.time_s, self.time_s + tick_s, tuple(bounds.tolist()), tuple(counts.tolist()), math.nan
        )


def _tenant(resident: Resident, units: Units | None) -> Tenant:
    application = resident.application
    if application is None:
        return Tenant(resident.container, resident.kind, units, LEAST, MOST)
    return Tenant(
        resident.container, resident.kind, units, LEAST, MOST,
        target_ms=application.target_ms, stateless=application.stateless,
    )  # fmt: skip
