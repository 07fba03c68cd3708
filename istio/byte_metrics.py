"""Bytes per second between services, from Istio's standard metrics, through Prometheus: what NetMARKS rests on.

``istio_request_bytes_sum`` and ``istio_response_bytes_sum`` for HTTP and gRPC, ``istio_tcp_received_bytes_total`` and
``istio_tcp_sent_bytes_total`` for the rest (received: from the client; sent: to it, whichever side tells). Both
sidecars of a call count the same bytes, so only one of them may count: the client's, which sees all that its workload
sends, also to servers without a sidecar; where it tells nothing, the server's. ``rate`` knows restarts and pods that
come and go, each series by itself; the sum is made of rates, never the rate of a sum. Heads are counted; an HTTP
stream counts when it ends. Sources: Istio's docs, "Standard metrics"; Prometheus docs, "Querying" (``rate``).
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from istio.call_metrics import NAMELESS, workloads_of
from istio.prometheus import Answer, Prometheus
from istio.request_metrics import service_of
from mesh.telemetry import ByteExchange
from mesh.topology import ServiceName, Topology

HTTP = ("istio_request_bytes_sum", "istio_response_bytes_sum")
TCP = ("istio_tcp_received_bytes_total", "istio_tcp_sent_bytes_total")
METRICS = {"http": HTTP, "tcp": TCP}
"""By protocol: what clients sent, and what they got."""

_BY = (
    "job, reporter, source_workload, source_workload_namespace, destination_workload, destination_workload_namespace, "
    "destination_service, destination_service_name, destination_service_namespace"
)
SOURCE, DESTINATION = "source", "destination"


class Way(NamedTuple):
    """Who called what (workloads as ``name, namespace``), over which protocol, who says so and which job asked it."""

    client: tuple[str, str]
    server: tuple[str, str]
    host: str
    protocol: str
    reporter: str
    job: str


@dataclass(slots=True)
class Moved:
    """Bytes per second of one way, and when the pod that was scraped least lately was scraped; None if all are gone."""

    sent: float = 0.0
    received: float = 0.0
    time_s: float | None = None


Ways = Mapping[Way, Moved]
Homes = Mapping[tuple[str, str], set[ServiceName]]
"""Under which services a workload (``name, namespace``) is a client."""


@dataclass(frozen=True)
class FoundBytes:
    """What was found. ``using``: which reporters; ``left_out``: a reason and how many series it concerns."""

    exchanges: tuple[ByteExchange, ...] = ()
    using: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class ByteSource:
    """Reads bytes between services from one Prometheus.

    Parameters
    ----------
    window_s:
        Length of the means, whole seconds; at least four scrapes should fall into it.
    """

    def __init__(self, prometheus: Prometheus, *, window_s: float) -> None:
        self._prometheus, self._window_s = prometheus, max(1, math.ceil(window_s))
        self._homes: Homes = {}

    async def read(self, topology: Topology, *, time_s: float) -> FoundBytes:
        """Return the rates of the window that ends at ``time_s`` (Unix seconds). Six queries; one more if none answers.

        Raises what ``Prometheus.instant`` raises.
        """
        ask, span = self._prometheus.instant, f"[{self._window_s}s]"
        rates: dict[str, Answer] = {}
        times: dict[str, Answer] = {}
        for protocol, metrics in METRICS.items():
            for metric in metrics:
                rates[metric] = await ask(f"sum by ({_BY}) (rate({metric}{span}))", time_s=time_s)
            times[protocol] = await ask(f"min by ({_BY}) (timestamp({metrics[0]}))", time_s=time_s)
        if any(answer.series for answer in rates.values()):
            return await asyncio.to_thread(self._found, rates, times, topology, time_s=time_s)
        every = "|".join((*HTTP, *TCP))
        there = await ask(f'count({{__name__=~"{every}"}})', time_s=time_s)
        reason = f"no two samples in {self._window_s} s" if there.series else f"no series {', '.join((*HTTP, *TCP))}"
        return FoundBytes(left_out={reason: 1}, warnings=there.warnings)

    def _found(
        self, rates: Mapping[str, Answer], times: Mapping[str, Answer], topology: Topology, *, time_s: float
    ) -> FoundBytes:
        """Join the answers; of a large mesh it takes long enough to keep sidecars waiting, so it runs in a thread."""
        homes = {**self._homes, **workloads_of(topology)}
        # Of workloads without pods: those that are recreated just now are what a scheduler asks for.
        self._homes = {way.client: homes[way.client] for way in _ways(rates, {}, Counter()) if way.client in homes}
        return found_bytes(rates, times, topology, homes=homes, time_s=time_s, window_s=self._window_s)


def found_bytes(
    rates: Mapping[str, Answer],
    times: Mapping[str, Answer],
    topology: Topology,
    *,
    homes: Homes,
    time_s: float,
    window_s: float,
) -> FoundBytes:
    """Join rates by metric and times of scrapes by protocol into exchanges of the topology's services. O(series)."""
    left_out: Counter[str] = Counter()
    ways = _of_one_job(_ways(rates, times, left_out), left_out)
    placed = _placed(ways, topology, homes, left_out)
    totals: defaultdict[tuple[ServiceName, ServiceName], _Total] = defaultdict(lambda: _Total(time_s))
    using: set[str] = set()
    for sides in placed.values():
        chosen = SOURCE if any(part.reporter == SOURCE for part in sides) else DESTINATION
        using.add(chosen)
        for part in sides:
            total = totals[part.client, part.server]
            total.add(part.moved, is_chosen=part.reporter == chosen, gone_s=time_s - window_s)
    every = (*rates.values(), *times.values())
    left_out["series that could not be read"] += sum(answer.unreadable for answer in every)
    return FoundBytes(
        exchanges=tuple(total.exchange(*ends, window_s) for ends, total in sorted(totals.items()) if total.is_used),
        using=tuple(sorted(using)),
        left_out={reason: count for reason, count in left_out.items() if count},
        warnings=tuple(dict.fromkeys(warning for answer in every for warning in answer.warnings)),
    )


class _Part(NamedTuple):
    """Of one way what moved between two services."""

    client: ServiceName
    server: ServiceName
    reporter: str
    moved: Moved


def _placed(
    ways: Ways, topology: Topology, homes: Homes, left_out: Counter[str]
) -> Mapping[tuple[tuple[str, str], str], list[_Part]]:
    """Return the parts by client workload and protocol, for each of which one side is chosen."""
    placed: defaultdict[tuple[tuple[str, str], str], list[_Part]] = defaultdict(list)
    for way, moved in ways.items():
        clients = homes.get(way.client, set()) & topology.service_by_name.keys()
        server = _server_of(way, topology, homes)
        if not clients or server is None:
            left_out[_why_strange(way, is_caller_known=bool(clients))] += 1
            continue
        even = Moved(moved.sent / len(clients), moved.received / len(clients), moved.time_s)
        # Containers of one workload with two homes: nobody says which of them it was.
        parts = [_Part(client, server, way.reporter, even) for client in sorted(clients) if client != server]
        if parts:
            placed[way.client, way.protocol] += parts
    return placed


@dataclass(slots=True)
class _Total:
    """What one service exchanged with another: by the side that counts, and by the other one."""

    time_s: float
    sent: float = 0.0
    received: float = 0.0
    others: float = 0.0
    is_used: bool = False

    def add(self, moved: Moved, *, is_chosen: bool, gone_s: float) -> None:
        if not is_chosen:
            self.others += moved.sent + moved.received
            return
        self.is_used = True
        self.sent += moved.sent
        self.received += moved.received
        self.time_s = min(self.time_s, gone_s if moved.time_s is None else moved.time_s)

    def exchange(self, client: ServiceName, server: ServiceName, window_s: float) -> ByteExchange:
        own, others = self.sent + self.received, self.others
        residual = abs(own - others) / max(own, others) if others else None
        return ByteExchange(client, server, self.time_s, window_s, self.sent, self.received, residual)


def _ways(rates: Mapping[str, Answer], times: Mapping[str, Answer], left_out: Counter[str]) -> dict[Way, Moved]:
    """Return the ways on which anything moved, told by one of the two sidecars of a call."""
    found: dict[Way, Moved] = {}
    for protocol, metrics in METRICS.items():
        for column, metric in enumerate(metrics):
            for way, value in _values(rates.get(metric, Answer(())), protocol, left_out):
                moved = found.setdefault(way, Moved())
                moved.sent += value if column == 0 else 0.0
                moved.received += value if column == 1 else 0.0
        for way, value in _values(times.get(protocol, Answer(())), protocol, Counter()):
            one = found.setdefault(way, Moved())
            one.time_s = value if one.time_s is None else min(one.time_s, value)
    return {way: moved for way, moved in found.items() if moved.sent + moved.received > 0.0}


def _values(answer: Answer, protocol: str, left_out: Counter[str]) -> Iterable[tuple[Way, float]]:
    for one in answer.series:
        way, value = _way(one.labels, protocol), one.samples[-1][1] if one.samples else math.nan
        if way.reporter not in (SOURCE, DESTINATION):  # a waypoint counts bytes that others count too
            left_out[f"series of reporter {way.reporter or 'none'}"] += 1
        elif not 0.0 <= value < math.inf:
            left_out["values that are no rates"] += 1
        else:
            yield way, value


def _way(labels: Mapping[str, str], protocol: str) -> Way:
    def pair(name: str, namespace: str) -> tuple[str, str]:
        return labels.get(name, ""), labels.get(namespace, "")

    host = service_of(labels.get("destination_service", ""))
    if not host:  # the label may have been taken off, or be an address
        host = ".".join(pair("destination_service_name", "destination_service_namespace"))
    return Way(
        pair("source_workload", "source_workload_namespace"),
        pair("destination_workload", "destination_workload_namespace"),
        host,
        protocol,
        labels.get("reporter", ""),
        labels.get("job", ""),
    )


def _of_one_job(ways: Ways, left_out: Counter[str]) -> Ways:
    """Return each way once: of several jobs that scrape the same pods the one that saw most."""
    best: dict[Way, tuple[float, Way]] = {}
    for way, moved in sorted(ways.items()):
        key, amount = way._replace(job=""), moved.sent + moved.received
        left_out["ways that several jobs tell of"] += key in best
        if key not in best or amount > best[key][0]:
            best[key] = (amount, way)
    return {way: ways[way] for _, way in best.values()}


def _server_of(way: Way, topology: Topology, homes: Homes) -> ServiceName | None:
    """Return the Service that was called; where none is named, the one that the server's workload is at home in."""
    if (host := ServiceName(way.host)) in topology.service_by_name:
        return host
    return min(homes.get(way.server, ()), default=None)


def _why_strange(way: Way, *, is_caller_known: bool) -> str:
    if is_caller_known:
        return "series to what is no service of this mesh"
    if way.client[0] in NAMELESS:
        return "series of callers without a name"
    return "series of callers that are no clients of this mesh"
