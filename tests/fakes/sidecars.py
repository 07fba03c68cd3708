"""Sidecars that are only numbers: they report what clients with known rates would have sent.

Requests follow a Poisson process; a request is 100 bytes, an answer 1,000.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

import numpy as np

from mesh.telemetry import ClusterCounters, EndpointLoad, LoadReport, Telemetry
from mesh.topology import Container, ContainerName, ServiceName, ServicePort, Topology

REQUEST_BYTES, ANSWER_BYTES = 100, 1000


class FakeSidecars:
    """``advance`` lets time go by; ``telemetry`` is what the control plane would have at that moment.

    ``rates`` maps (client container, service) to requests per second, and may be changed at any time. ``strangers``
    does the same for endpoints that somebody without a sidecar calls. Containers in ``silent`` report nothing.
    """

    def __init__(
        self,
        topology: Topology,
        rates: Mapping[tuple[str, str], float],
        rng: np.random.Generator,
        *,
        now_s: float = 1000.0,
    ) -> None:
        self.topology, self.rates, self.now_s = topology, dict(rates), now_s
        self.strangers: dict[str, float] = {}
        self.silent: set[str] = set()
        self.without_counters: set[str] = set()
        self._rng = rng
        self._covered_s: defaultdict[str, float] = defaultdict(float)
        self._issued: defaultdict[str, Counter[tuple[ServicePort, str]]] = defaultdict(Counter)
        self._served: Counter[str] = Counter()
        self._reports: dict[str, LoadReport] = {}
        self._counters: dict[str, tuple[ClusterCounters, ...]] = {}

    def advance(self, seconds: float) -> Telemetry:
        """Let requests happen for ``seconds``; then everyone who is not silent reports."""
        self.now_s += seconds
        for (client, service), rate in self.rates.items():
            self._send(client, service, int(self._rng.poisson(rate * seconds)))
        for endpoint, rate in self.strangers.items():
            self._served[endpoint] += int(self._rng.poisson(rate * seconds))
        for container in self.topology.container_by_name.values():
            if container.name not in self.silent:
                self._covered_s[container.name] += seconds
                self._report(container)
        return self.telemetry()

    def telemetry(self) -> Telemetry:
        """Return what was last reported, as of now."""
        counters = tuple(one for name, many in self._counters.items() for one in many)
        return Telemetry(time_s=self.now_s, loads=tuple(self._reports.values()), counters=counters)

    def restart(self, name: str) -> None:
        """Let a sidecar begin to count anew."""
        self._covered_s[name] = 0.0
        self._issued[name].clear()
        self._served[name] = 0

    def _send(self, client: str, service: str, count: int) -> None:
        endpoints = self.topology.service_by_name[service].containers  # type: ignore[index]
        (port,) = self.topology.service_by_name[service].ports  # type: ignore[index]
        counts = self._rng.multinomial(count, np.full(len(endpoints), 1 / len(endpoints)))
        service_port = ServicePort(ServiceName(service), port.number)
        for endpoint, number in zip(endpoints, counts.tolist(), strict=True):
            self._issued[client][service_port, f"{endpoint.address}:{endpoint.ports[port.number]}"] += number
            self._served[endpoint.name] += number

    def _report(self, container: Container) -> None:
        name = container.name
        issued = self._issued[name]
        self._reports[name] = LoadReport(
            client=name,
            time_s=self.now_s,
            covered_s=self._covered_s[name],
            endpoints=tuple(
                EndpointLoad(_cluster(service_port), service_port, place, count, count, 0, 0)
                for (service_port, place), count in issued.items()
                if count
            ),
        )
        if name not in self.without_counters:
            self._counters[name] = tuple(self._flush(name, issued))

    def _flush(self, name: ContainerName, issued: Counter[tuple[ServicePort, str]]) -> Iterable[ClusterCounters]:
        by_port: Counter[ServicePort] = Counter()
        for (service_port, _), count in issued.items():
            by_port[service_port] += count
        for service_port, count in by_port.items():
            yield self._counted(name, _cluster(service_port), service_port, count)
        if self._served[name]:
            service = self.topology.service_by_name[self.topology.container_by_name[name].service]
            yield self._counted(name, f"inbound|{service.ports[0].number}||", None, self._served[name])

    def _counted(
        self, name: ContainerName, cluster: str, service_port: ServicePort | None, count: int
    ) -> ClusterCounters:
        return ClusterCounters(
            container=name,
            cluster=cluster,
            service_port=service_port,
            reporter="server" if service_port is None else "client",
            time_s=self.now_s,
            requests=count,
            sent_bytes=REQUEST_BYTES * count,
            received_bytes=ANSWER_BYTES * count,
        )


def _cluster(service_port: ServicePort) -> str:
    return f"outbound|{service_port.port}||{service_port.service}.svc.cluster.local"
