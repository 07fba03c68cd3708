"""What leaving the node costs a request, from what clients saw beyond what the servers took.

Clients count the request times of each tier (``local``, ``zone``, ``remote``) in a cluster of its own; their load
reports say to which endpoints of the tier these requests went. The sum of a tier's request times, less each endpoint's
own mean latency for what was sent to it, is the way there and back. Sums fade with a half-life of a minute: client
and server report at their own pace, so that the difference of one window is noise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from estimators.counters import increase_of
from estimators.crossing_price import crossing_price
from estimators.endpoint_windows import EndpointWindow
from estimators.latency import FEWEST_SAMPLES, LatencyFigure
from mesh.telemetry import Telemetry
from mesh.topology import Container, ContainerName, ServicePort, Topology

HALF_LIFE_S = 60.0
FARTHER = ("zone", "remote")
Source = tuple[ContainerName, str]  # client and cluster
LastWindows = Mapping[ServicePort, Mapping[ContainerName, EndpointWindow]]


@dataclass(frozen=True, slots=True)
class Way:
    """Requests that took a way, and their time on it beyond the servers'; old ones weighted down."""

    requests: float = 0.0
    beyond_ms: float = 0.0


@dataclass(frozen=True)
class CrossingMemory:
    """Cumulative values as last read, the two ways of each service port (own node, others), and prices."""

    latencies: Mapping[Source, tuple[int, float]] = field(default_factory=dict)
    issued: Mapping[tuple[Source, str], int] = field(default_factory=dict)
    ways: Mapping[ServicePort, tuple[Way, Way]] = field(default_factory=dict)
    prices_ms: Mapping[ServicePort, float] = field(default_factory=dict)
    time_s: float = 0.0


def crossing_prices(
    topology: Topology, telemetry: Telemetry, last: LastWindows, memory: CrossingMemory
) -> tuple[Mapping[ServicePort, float], CrossingMemory]:
    """Return the price of leaving the node, in ms, of every imbalance-aware service port where it is given or known.

    ``last`` are the endpoints' last windows. O(client samples + load reports).
    """
    wanted = {
        service.service_port(port): service.policy.cross_node_cost_ms
        for service in topology.services
        if service.policy.routing == "imbalance-aware"
        for port in service.ports
    }
    if not wanted:
        return {}, CrossingMemory()
    seen, latencies = _request_times(topology, telemetry, memory)
    served, issued = _server_times(topology, telemetry, last, memory)
    fade = 0.5 ** (max(0.0, telemetry.time_s - memory.time_s) / HALF_LIFE_S)
    ways: dict[ServicePort, tuple[Way, Way]] = {}
    prices: dict[ServicePort, float] = {}
    news = _news(seen, served)
    for key, given_ms in wanted.items():
        before = memory.ways.get(key, (Way(), Way()))
        near, far = (
            Way(fade * way.requests + new.requests, fade * way.beyond_ms + new.beyond_ms)
            for way, new in zip(before, (news.get((key, is_far), Way()) for is_far in (False, True)), strict=True)
        )
        ways[key] = near, far
        known = all(way.requests >= FEWEST_SAMPLES for way in (near, far))
        if given_ms is not None or known or key in memory.prices_ms:
            before_ms = memory.prices_ms.get(key, 0.0)
            prices[key] = crossing_price(given_ms, local=_figure(near), crossing=_figure(far), last_ms=before_ms)
    return prices, CrossingMemory(latencies, issued, ways, prices, telemetry.time_s)


def _request_times(
    topology: Topology, telemetry: Telemetry, memory: CrossingMemory
) -> tuple[Mapping[tuple[ServicePort, Source], tuple[float, float]], Mapping[Source, tuple[int, float]]]:
    """Return new requests and their time, summed, by service port, client and cluster; and the totals to remember."""
    grown: dict[tuple[ServicePort, Source], tuple[float, float]] = {}
    last: dict[Source, tuple[int, float]] = {}
    for sample in telemetry.latencies:
        if sample.reporter != "client" or sample.service_port is None:
            continue
        if sample.container not in topology.container_by_name:
            continue
        source = (sample.container, sample.cluster)
        last[source] = sample.count, sample.sum_ms
        before = memory.latencies.get(source)
        if before is not None and before[0] <= sample.count and before[1] <= sample.sum_ms:
            grown[sample.service_port, source] = float(sample.count - before[0]), sample.sum_ms - before[1]
    return grown, last


def _server_times(
    topology: Topology, telemetry: Telemetry, last: LastWindows, memory: CrossingMemory
) -> tuple[Mapping[Source, tuple[float, float]], Mapping[tuple[Source, str], int]]:
    """Return by client and cluster how many new requests went to known endpoints, and what these take for them."""
    means = dict(_means_by_address(topology, last))
    found: dict[Source, tuple[float, float]] = {}
    kept: dict[tuple[Source, str], int] = {}
    for report in telemetry.loads:
        for load in report.endpoints:
            source = (report.client, load.cluster)
            kept[source, load.address] = load.issued
            before, mean_ms = memory.issued.get((source, load.address)), means.get(load.address)
            if before is None or mean_ms is None:
                continue
            count = float(increase_of(before, load.issued))
            so_far = found.get(source, (0.0, 0.0))
            found[source] = so_far[0] + count, so_far[1] + count * mean_ms
    return found, kept


def _means_by_address(topology: Topology, last: LastWindows) -> Iterator[tuple[str, float]]:
    for key, windows in last.items():
        for name, window in windows.items():
            container: Container | None = topology.container_by_name.get(name)
            if container is not None and window.latency.count:
                place = f"{container.address}:{container.ports.get(key.port, key.port)}"
                yield place, window.latency.sum_ms / window.latency.count


def _news(
    seen: Mapping[tuple[ServicePort, Source], tuple[float, float]], served: Mapping[Source, tuple[float, float]]
) -> Mapping[tuple[ServicePort, bool], Way]:
    """Return by service port, and whether they left the node, new requests and their time beyond the servers'."""
    found: dict[tuple[ServicePort, bool], Way] = {}
    for (service_port, source), (count, sum_ms) in seen.items():
        tier = source[1].split("|")[2] if source[1].count("|") == 3 else ""
        sent, taken_ms = served.get(source, (0.0, 0.0))
        if tier in ("local", *FARTHER) and count > 0.0 and sent > 0.0:
            key = (service_port, tier in FARTHER)
            so_far = found.get(key, Way())
            beyond_ms = sum_ms - count * taken_ms / sent
            found[key] = Way(so_far.requests + count, so_far.beyond_ms + beyond_ms)
    return found


def _figure(way: Way) -> LatencyFigure | None:
    if way.requests < FEWEST_SAMPLES:
        return None
    return LatencyFigure(max(0.0, way.beyond_ms / way.requests), None, int(way.requests), HALF_LIFE_S, 0.0)
