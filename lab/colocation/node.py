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
from lab.colocation.machine import CORES, FREQUENCIES, LEAST, MOST, RESOURCES, WAYS, pressures
from lab.colocation.sharing import Guest, Share, SharingModel, shares
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


@dataclass
class SimulatedNode:
    """Holds who is here, what they are granted, their backlogs, and the time."""

    residents: tuple[Resident, ...]
    loads: Mapping[ContainerName, float]
    random: np.random.Generator
    sharing: SharingModel = field(default_factory=SharingModel)
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
        cores = (grant.units or WHOLE)[0]
        here = [resident for resident in self.residents if resident.container in grant.containers]
        for resident in here:
            self.laws.pop(resident.container, None)
        guests = {
            r.container: Guest(r.application, self.loads[r.container], pressure[r.container], traffic[r.container])
            for r in here
            if r.application is not None and r.container not in self.suspended
        }
        has_job = any(r.application is None and r.container not in self.suspended for r in here)
        pool = shares(guests, grant.units or WHOLE, has_job=has_job, model=self.sharing)
        tenants = []
        for resident in here:
            tenant = _tenant(resident, grant.units if len(here) == 1 else None)
            name = resident.container
            tenants.append(self._served(guests[name], tenant, pool, cores, tick_s) if name in guests else tenant)
        return tenants

    def _served(
        self, guest: Guest, tenant: Tenant, pool: Mapping[ContainerName, Share], cores: int, tick_s: float
    ) -> Tenant:
        name, rate, share = tenant.container, guest.rate_per_s, pool[tenant.container]
        alone = len(pool) == 1
        capacity = cores / share.service_s if alone else rate * cores / share.load  # shared: all suffer alike
        backlog = self.backlogs.get(name, 0.0)
        after = max(0.0, backlog + (rate - capacity) * tick_s)
        law = law_of(
            guest.application, rate_per_s=rate, service_s=share.service_s, servers=cores,
            backlog=(backlog + after) / 2.0, servers_load=share.load, delay=share.delay,
        )  # fmt: skip
        self.backlogs[name], self.laws[name] = after, law
        served = rate * tick_s + backlog - after
        count = int(self.random.poisson(served))
        window = self._window(law, count, guest.application.target_ms, tick_s)
        busy = served * share.service_s / tick_s
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
