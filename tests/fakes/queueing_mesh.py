"""A mesh that is only numbers and queues: clients follow the plan, endpoints are queues, sidecars report.

Simulated event by event (``tests/allocators/closed_loop.py``); no clock but its own.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mesh.plan import Plan
from mesh.standby import tier_of
from mesh.telemetry import ClusterCounters, EndpointLoad, LatencyHistogram, LoadReport, Telemetry
from mesh.topology import Container, ContainerName, ServicePort, Topology
from tests.allocators.closed_loop import INTERVAL_S, Server

BOUNDS_MS = tuple(itertools.takewhile(lambda bound: bound < 11_000.0, (round(1.1**i, 3) for i in range(99))))
Floats = NDArray[np.float64]
STUCK = 0.015  # part of the requests


class QueueingMesh:
    """One called service port under load. ``advance`` lets 5 s go by under a plan.

    ``service_ms`` maps an endpoint to its mean service time, ``failing`` to the part of its requests that fail,
    ``stuck_ms`` to what a few of its requests take longer without being work; all may be changed at any time.
    Containers in ``silent`` report nothing. A request that leaves its node takes ``far_ms`` more.
    """

    def __init__(
        self,
        topology: Topology,
        key: ServicePort,
        rates: Mapping[str, float],
        service_ms: Mapping[str, float],
        rng: np.random.Generator,
        *,
        workers: int = 2,
        far_ms: float = 0.0,
    ) -> None:
        self.topology, self.key, self.rates = topology, key, dict(rates)
        self.service_ms, self.failing, self.silent = dict(service_ms), dict[str, float](), set[str]()
        self.stuck_ms: dict[str, float] = {}
        self.now_s, self.far_ms, self.p99_ms = 1000.0, far_ms, 0.0
        self._rng, self._workers = rng, workers
        self._servers: dict[str, Server] = {}
        self._covered_s: Counter[str] = Counter()
        self._issued: defaultdict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
        self._errors: Counter[str] = Counter()
        self._served: dict[str, tuple[NDArray[np.int64], float]] = {}
        self._seen: dict[tuple[str, str], tuple[NDArray[np.int64], float]] = {}
        self._told: dict[str, tuple[LoadReport, tuple[ClusterCounters, ...], tuple[LatencyHistogram, ...]]] = {}

    @property
    def endpoints(self) -> tuple[Container, ...]:
        return self.topology.service_by_name[self.key.service].containers

    def advance(self, plan: Plan) -> Telemetry:
        """Let one interval go by: everyone sends as the plan says (equal shares without one), then reports."""
        issued = self._send(plan)
        every = [np.zeros(0)]
        means: dict[str, float] = {}
        for endpoint in self.endpoints:
            latencies_ms = self._serve(
                endpoint.name, sum(count for (_, name), count in issued.items() if name == endpoint.name)
            )
            means[endpoint.name] = float(latencies_ms.mean()) if len(latencies_ms) else 0.0
            every.append(latencies_ms)
        ended_ms = np.concatenate(every)
        self.p99_ms = float(np.quantile(ended_ms, 0.99)) if len(ended_ms) else 0.0
        self.now_s += INTERVAL_S
        for (client, endpoint_name), count in issued.items():
            self._count_client(client, endpoint_name, count, means[endpoint_name])
        for container in self.topology.container_by_name.values():
            if container.name not in self.silent:
                self._covered_s[container.name] += int(INTERVAL_S)
                self._told[container.name] = self._report(container)
        return self.telemetry()

    def telemetry(self) -> Telemetry:
        """Return what was last reported, as of now."""
        told = self._told.values()
        return Telemetry(
            time_s=self.now_s,
            loads=tuple(report for report, _, _ in told),
            counters=tuple(one for _, many, _ in told for one in many),
            latencies=tuple(one for _, _, many in told for one in many),
        )

    def _send(self, plan: Plan) -> Counter[tuple[str, str]]:
        planned, names = plan.services.get(self.key), [one.name for one in self.endpoints]
        issued: Counter[tuple[str, str]] = Counter()
        for client, rate in self.rates.items():
            row = planned.shares.row(ContainerName(client)) if planned is not None and planned.applied else {}
            parts = np.array([row.get(name, 0.0) for name in names])
            parts = parts / parts.sum() if parts.sum() > 0.0 else np.full(len(names), 1.0 / len(names))
            counts = self._rng.multinomial(int(self._rng.poisson(rate * INTERVAL_S)), parts)
            for name, count in zip(names, counts.tolist(), strict=True):
                issued[client, name] += count
        return issued

    def _serve(self, name: str, count: int) -> Floats:
        server = self._servers.setdefault(name, Server(self._workers, self._rng.spawn(1)[0]))
        latencies_s, _ = server.window(self.now_s, count / INTERVAL_S, self.service_ms[name] / 1000.0)
        stuck = self._rng.random(len(latencies_s)) < STUCK
        latencies_ms = 1000.0 * latencies_s + self.stuck_ms.get(name, 0.0) * stuck
        self._errors[name] += int(self._rng.binomial(len(latencies_ms), self.failing.get(name, 0.0)))
        self._served[name] = _added(self._served.get(name), latencies_ms)
        return latencies_ms

    def _count_client(self, client: str, endpoint: str, count: int, mean_ms: float) -> None:
        here, there = self.topology.container_by_name[ContainerName(client)], self._container(endpoint)
        distance = self.topology.distance(here.node, there.node)
        cluster = f"outbound|{self.key.port}|{tier_of(distance)}|{self.key.service}.svc.cluster.local"
        self._issued[client][cluster, f"{there.address}:{there.ports[self.key.port]}"] += count
        took_ms = np.full(count, mean_ms + 0.3 + (self.far_ms if distance else 0.0))
        self._seen[client, cluster] = _added(self._seen.get((client, cluster)), took_ms)

    def _container(self, name: str) -> Container:
        return self.topology.container_by_name[ContainerName(name)]

    def _report(
        self, container: Container
    ) -> tuple[LoadReport, tuple[ClusterCounters, ...], tuple[LatencyHistogram, ...]]:
        name = container.name
        loads = tuple(
            EndpointLoad(cluster, self.key, place, count, count, 0, 0)
            for (cluster, place), count in self._issued[name].items()
        )
        report = LoadReport(name, self.now_s, float(self._covered_s[name]), loads)
        latencies = [
            self._histogram(name, cluster, self.key, held)
            for (client, cluster), held in self._seen.items()
            if client == name
        ]
        counters = []
        if name in self._served:
            inbound = f"inbound|{self.key.port}||"
            latencies.append(self._histogram(name, inbound, None, self._served[name]))
            count = int(self._served[name][0].sum())
            counters.append(
                ClusterCounters(
                    name, inbound, None, "server", self.now_s, requests=count, server_errors=self._errors[name]
                )
            )
        return report, tuple(counters), tuple(latencies)

    def _histogram(
        self, name: ContainerName, cluster: str, key: ServicePort | None, held: tuple[NDArray[np.int64], float]
    ) -> LatencyHistogram:
        counts = np.cumsum(held[0])
        return LatencyHistogram(
            container=name,
            cluster=cluster,
            service_port=key,
            reporter="server" if key is None else "client",
            time_s=self.now_s,
            bounds_ms=BOUNDS_MS,
            counts=tuple(counts[:-1].tolist()),
            count=int(counts[-1]),
            sum_ms=held[1],
        )


def _added(before: tuple[NDArray[np.int64], float] | None, latencies_ms: Floats) -> tuple[NDArray[np.int64], float]:
    places = np.searchsorted(BOUNDS_MS, latencies_ms, side="left")
    counts = np.bincount(places, minlength=len(BOUNDS_MS) + 1).astype(np.int64)
    if before is None:
        return counts, float(latencies_ms.sum())
    return before[0] + counts, before[1] + float(latencies_ms.sum())
