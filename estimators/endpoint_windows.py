"""What each endpoint did since the last tick: its sidecar's latencies and errors, and what clients sent it.

Latency is the server side's (the cluster that leads to the app): what the container takes, without the way there. What
failed is the larger of what the endpoint answered with an error and what its clients saw fail.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from estimators.counters import increase_of
from estimators.latency import CumulativeHistogram, LatencyWindow, read_windows
from mesh.telemetry import Telemetry
from mesh.topology import Container, ContainerName, ServicePort, Topology

Endpoint = tuple[ServicePort, ContainerName]
Load = tuple[str, str, str]  # client, cluster, address


@dataclass(frozen=True, slots=True)
class EndpointWindow:
    """One endpoint of one service port in one window. ``issued`` is None where no client reports what it sends."""

    latency: LatencyWindow
    failures: int
    issued: int | None


@dataclass(frozen=True)
class EndpointMemory:
    """The last good histograms and counters: errors by endpoint, (issued, failed) by client, cluster and address.

    ``read_s`` is when they were read, ``last`` each endpoint's last window.
    """

    histograms: Mapping[Endpoint, CumulativeHistogram] = field(default_factory=dict)
    errors: Mapping[Endpoint, int] = field(default_factory=dict)
    loads: Mapping[Load, tuple[int, int]] = field(default_factory=dict)
    read_s: float | None = None
    last: Mapping[ServicePort, Mapping[ContainerName, EndpointWindow]] = field(default_factory=dict)


@dataclass(frozen=True)
class EndpointWindows:
    """This tick's windows by service port and endpoint; who has none had nothing new. ``faults`` counts bad samples."""

    windows: Mapping[ServicePort, Mapping[ContainerName, EndpointWindow]]
    faults: int
    memory: EndpointMemory


def read_endpoint_windows(
    topology: Topology, telemetry: Telemetry, memory: EndpointMemory, *, interval_s: float, tick_s: float = 0.0
) -> EndpointWindows:
    """Return what happened at every endpoint between the last samples and these. O(samples · buckets + containers).

    ``interval_s`` is the source's own interval: a gap of more than three gives no window. A tick that comes within half
    of ``tick_s`` after the last one, because the mesh changed, finds no windows; the next regular one has them whole.
    """
    if memory.read_s is not None and 0.0 <= telemetry.time_s - memory.read_s < tick_s / 2.0:
        return EndpointWindows({}, 0, memory)
    read = read_windows(_server_side(topology, telemetry), interval_s=interval_s, since=memory.histograms)
    errors, error_memory = _errors(topology, telemetry, memory, read.windows)
    issued, failed, load_memory = _client_side(topology, telemetry, memory, read.windows)
    windows: dict[ServicePort, dict[ContainerName, EndpointWindow]] = {}
    for endpoint, latency in read.windows.items():
        failures = max(errors.get(endpoint, 0), failed.get(endpoint, 0))
        window = EndpointWindow(latency, failures, issued.get(endpoint))
        windows.setdefault(endpoint[0], {})[endpoint[1]] = window
    histograms = {endpoint: last for endpoint, last in read.last.items() if endpoint[1] in topology.container_by_name}
    last = _latest(topology, memory.last, windows)
    kept = EndpointMemory(histograms, error_memory, load_memory, telemetry.time_s, last)
    return EndpointWindows(windows, len(read.faults), kept)


def _latest(
    topology: Topology,
    before: Mapping[ServicePort, Mapping[ContainerName, EndpointWindow]],
    now: Mapping[ServicePort, Mapping[ContainerName, EndpointWindow]],
) -> Mapping[ServicePort, Mapping[ContainerName, EndpointWindow]]:
    """Return the last window of each endpoint that is still there."""
    found: dict[ServicePort, Mapping[ContainerName, EndpointWindow]] = {}
    for service_port in {**before, **now}:
        both = {**before.get(service_port, {}), **now.get(service_port, {})}
        here = {name: window for name, window in both.items() if name in topology.container_by_name}
        if here:
            found[service_port] = here
    return found


def _server_side(topology: Topology, telemetry: Telemetry) -> Iterator[tuple[Endpoint, CumulativeHistogram]]:
    for sample in telemetry.latencies:
        endpoint = _endpoint(topology, sample.container, sample.cluster)
        if sample.reporter == "server" and endpoint is not None:
            yield endpoint, sample


def _endpoint(topology: Topology, name: ContainerName, cluster: str) -> Endpoint | None:
    """Return the endpoint that an inbound cluster of a sidecar leads to; ``inbound|<port>||`` names either port."""
    container = topology.container_by_name.get(name)
    text = cluster.split("|")[1] if cluster.count("|") == 3 else ""
    if container is None or not text.isdigit():
        return None
    port = int(text)
    for number in container.ports:
        if port in (number, container.app_ports.get(number), container.ports[number]):
            return ServicePort(container.service, number), name
    return None


def _errors(
    topology: Topology, telemetry: Telemetry, memory: EndpointMemory, closed: Mapping[Endpoint, LatencyWindow]
) -> tuple[dict[Endpoint, int], dict[Endpoint, int]]:
    """Return new errors by endpoint, and the counts to remember: those of windows that closed, or the old ones."""
    grown: dict[Endpoint, int] = {}
    last = {endpoint: count for endpoint, count in memory.errors.items() if endpoint[1] in topology.container_by_name}
    for sample in telemetry.counters:
        endpoint = _endpoint(topology, sample.container, sample.cluster)
        if endpoint is None or sample.reporter != "server" or sample.server_errors is None:
            continue
        if endpoint in last:
            grown[endpoint] = int(increase_of(last[endpoint], sample.server_errors))
        if endpoint in closed or endpoint not in last:
            last[endpoint] = sample.server_errors
    return grown, last


def _client_side(
    topology: Topology, telemetry: Telemetry, memory: EndpointMemory, closed: Mapping[Endpoint, LatencyWindow]
) -> tuple[dict[Endpoint, int], dict[Endpoint, int], dict[Load, tuple[int, int]]]:
    """Return what clients issued to and saw fail at each endpoint since its last window, and the counts to remember."""
    at = dict(pair for container in topology.container_by_name.values() for pair in _at(container))
    issued: defaultdict[Endpoint, int] = defaultdict(int)
    failed: defaultdict[Endpoint, int] = defaultdict(int)
    last: dict[Load, tuple[int, int]] = {}
    for report in telemetry.loads:
        for load in report.endpoints:
            endpoint = at.get(load.address)
            if endpoint is None:
                continue
            key = (str(report.client), load.cluster, load.address)
            before, now = memory.loads.get(key), (load.issued, load.failed)
            last[key] = now if before is None or endpoint in closed else before
            if before is not None:
                issued[endpoint] += int(increase_of(before[0], now[0]))
                failed[endpoint] += int(increase_of(before[1], now[1]))
    return dict(issued), dict(failed), last


def _at(container: Container) -> Iterator[tuple[str, Endpoint]]:
    for number, port in container.ports.items():
        yield f"{container.address}:{port}", (ServicePort(container.service, number), container.name)
