"""Who calls which service, from Istio's standard metrics, through Prometheus.

Every series of ``istio_requests_total`` and ``istio_tcp_connections_opened_total`` names the workload that calls and
the service that is called, whichever sidecar reports it. The sidecar in front of a service (``reporter="destination"``)
names all its callers, those without a sidecar as ``unknown``; a client's own sidecar only itself. Series that count on
are calls; one that stands still is a call of some time ago, which is for others to remember.
Source: Istio's docs, "Standard metrics".
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from istio.prometheus import Answer, Prometheus
from istio.request_metrics import service_of
from mesh.telemetry import Callers
from mesh.topology import ServiceName, Topology

QUERY = (
    "sum by (reporter, source_workload, source_workload_namespace, destination_service) "
    '({__name__=~"istio_requests_total|istio_tcp_connections_opened_total"})'
)
NAMELESS = ("", "unknown")
MOST_NAMELESS = 0.01
"""Which part of a service's requests may come from nobody in particular while its callers still count as known."""


class Way(NamedTuple):
    """A workload (``name, namespace``), the host that it calls, and who says so."""

    workload: tuple[str, str]
    host: str
    reporter: str


Counts = Mapping[Way, float]


class CallSource:
    """Reads who calls whom from one Prometheus; remembers what it read last, to see what has grown."""

    def __init__(self, prometheus: Prometheus) -> None:
        self._prometheus = prometheus
        self._last: Counts = {}

    async def read(self, topology: Topology, *, time_s: float) -> tuple[Callers, ...]:
        """Return who called since the last time (the first time: ever). One query.

        Raises what ``Prometheus.instant`` raises.
        """
        counts = counts_of(await self._prometheus.instant(QUERY, time_s=time_s))
        last, self._last = self._last, counts
        return callers_of(counts, last, topology, time_s=time_s)


def counts_of(answer: Answer) -> Counts:
    """Return the counts of an answer; series without a value above 0 say nothing. O(series)."""
    counts: Counter[Way] = Counter()
    for one in answer.series:
        value = one.samples[-1][1] if one.samples else 0.0
        if 0.0 < value < float("inf"):
            labels = one.labels
            workload = labels.get("source_workload", ""), labels.get("source_workload_namespace", "")
            counts[Way(workload, labels.get("destination_service", ""), labels.get("reporter", ""))] += value  # type: ignore[assignment]
    return counts


def callers_of(counts: Counts, last: Counts, topology: Topology, *, time_s: float) -> tuple[Callers, ...]:
    """Return who called each service of the topology: whose count is another than it was. O(series + containers)."""
    homes = workloads_of(topology)
    called: defaultdict[ServiceName, set[ServiceName]] = defaultdict(set)
    served: defaultdict[ServiceName, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for way, count in counts.items():
        service = ServiceName(service_of(way.host))
        if service not in topology.service_by_name:
            continue
        if last.get(way) != count:
            called[service] |= homes.get(way.workload, set())
        if way.reporter == "destination":
            served[service][way.workload[0] in NAMELESS] += count
    return tuple(
        Callers(service, time_s, tuple(sorted(called[service])), is_whole=_is_whole(*served[service]))
        for service in sorted(called.keys() | served.keys())
    )


def workloads_of(topology: Topology) -> Mapping[tuple[str, str], set[ServiceName]]:
    """Return under which services the containers of a workload (``name, namespace``) are clients. O(containers)."""
    homes: defaultdict[tuple[str, str], set[ServiceName]] = defaultdict(set)
    for name, container in topology.container_by_name.items():
        kind, _, rest = container.service.partition(":")
        if kind == "workload" and rest:
            homes[_name_and_namespace(rest)].add(container.service)
        elif container.is_client:
            workload, _, more = topology.istio.of(name).workload.partition(";")
            homes[workload, more.partition(";")[0]].add(container.service)
    for nameless in NAMELESS:
        homes.pop((nameless, ""), None)
    return homes


def _name_and_namespace(text: str) -> tuple[str, str]:
    name, _, namespace = text.rpartition(".")
    return name, namespace


def _is_whole(named: float, nameless: float) -> bool:
    return named + nameless > 0.0 and nameless <= MOST_NAMELESS * (named + nameless)
