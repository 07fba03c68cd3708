"""Latency and load of each container from Istio's standard metrics, through Prometheus.

``istio_request_duration_milliseconds`` and ``istio_requests_total`` as the sidecar in front of the app counts them
(``reporter="destination"``). Istio's metrics name the workload, not the pod, and the service, not its port: the pod is
in the labels that the scrape adds, and a port is known only where the service has one that speaks HTTP. What there is
differs with the scrape's relabelling, so it is looked at first, and what is missing is said; nothing is guessed.
Sources: Istio's docs, "Standard metrics"; Prometheus docs, "Querying" (``timestamp`` is the time of the scrape).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from istio.prometheus import Answer, Prometheus
from mesh.telemetry import ClusterCounters, LatencyHistogram
from mesh.topology import Container, ContainerName, Service, ServicePort, Topology

TIMES, REQUESTS = "istio_request_duration_milliseconds", "istio_requests_total"
POD_LABELS = (
    ("namespace", "pod"),
    ("kubernetes_namespace", "kubernetes_pod_name"),  # Istio's own configuration for Prometheus, formerly
    ("namespace", "kubernetes_pod_name"),
    ("namespace", "pod_name"),
)
SCRAPE = ("job", "instance")
_IDS = ", ".join(dict.fromkeys([*(name for pair in POD_LABELS for name in pair), *SCRAPE]))
SERVED = '{reporter="destination"}'
FAILED = '{reporter="destination", response_code=~"5.."}'
MOST_BOUNDS = 512
_LARGEST = float(1 << 63)


@dataclass(frozen=True)
class RequestMetrics:
    """Cumulative samples with the times of their scrapes, by container; ``using`` says how pods are known.

    ``left_out`` names a reason and how many series it concerns. ``latencies`` and ``counters`` are the sidecars', so
    that only one of the two and what the sidecars tell themselves may count.
    """

    latencies: Mapping[ContainerName, tuple[LatencyHistogram, ...]] = field(default_factory=dict)
    counters: Mapping[ContainerName, tuple[ClusterCounters, ...]] = field(default_factory=dict)
    using: str = "nothing"
    left_out: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RequestAnswers:
    """What the queries of one instant gave."""

    buckets: Answer
    sums: Answer
    requests: Answer
    errors: Answer
    times: Answer


class RequestSource:
    """Reads Istio's request metrics from one Prometheus."""

    def __init__(self, prometheus: Prometheus) -> None:
        self._prometheus = prometheus

    async def read(self, topology: Topology, *, time_s: float) -> RequestMetrics:
        """Return the newest samples at ``time_s`` (Unix seconds). Five queries, of one instant; one more if none knows.

        Raises what ``Prometheus.instant`` raises.
        """
        ask = self._prometheus.instant
        answers = RequestAnswers(
            buckets=await ask(f"sum by ({_IDS}, destination_service, le) ({TIMES}_bucket{SERVED})", time_s=time_s),
            sums=await ask(f"sum by ({_IDS}, destination_service) ({TIMES}_sum{SERVED})", time_s=time_s),
            requests=await ask(f"sum by ({_IDS}, destination_service) ({REQUESTS}{SERVED})", time_s=time_s),
            errors=await ask(f"sum by ({_IDS}, destination_service) ({REQUESTS}{FAILED})", time_s=time_s),
            times=await ask(f"max by ({_IDS}) (timestamp({REQUESTS}{SERVED}))", time_s=time_s),
        )
        found = request_metrics(answers, topology)
        if answers.requests.series:
            return found
        reporters = await ask(f"count by (reporter) ({REQUESTS})", time_s=time_s)
        return RequestMetrics(left_out={_why_nothing(reporters): 1}, warnings=found.warnings + reporters.warnings)


def request_metrics(answers: RequestAnswers, topology: Topology) -> RequestMetrics:
    """Join the answers into samples of the topology's containers. O(series).

    A sample needs the time of its scrape. A pod that two jobs scrape counts once, by the first job's name.
    """
    every = (answers.buckets, answers.sums, answers.requests, answers.errors, answers.times)
    left_out: Counter[str] = Counter()
    left_out["series that could not be read"] = sum(answer.unreadable for answer in every)
    reader = _Reader(topology, left_out)
    times = {place: value for place, value in reader.scrapes(answers.times) if value > 0.0}
    chosen = _one_scrape_each(times, left_out)
    sums, requests, errors = (
        reader.by_endpoint(one, chosen) for one in (answers.sums, answers.requests, answers.errors)
    )
    buckets = reader.buckets(answers.buckets, chosen)
    latencies: defaultdict[ContainerName, list[LatencyHistogram]] = defaultdict(list)
    counters: defaultdict[ContainerName, list[ClusterCounters]] = defaultdict(list)
    for (name, port), count in requests.items():
        cluster, time_s = f"inbound|{port.port}||", times[name, chosen[name]]
        failed = int(errors.get((name, port), 0.0))
        counters[name].append(
            ClusterCounters(name, cluster, None, "server", time_s, requests=int(count), server_errors=failed)
        )
        histogram = _histogram(name, cluster, time_s, buckets.get((name, port), {}), sums.get((name, port)))
        if histogram is None:
            left_out["endpoints whose histogram is missing or falls"] += 1
        else:
            latencies[name].append(histogram)
    return RequestMetrics(
        latencies={name: tuple(found) for name, found in latencies.items()},
        counters={name: tuple(found) for name, found in counters.items()},
        using=" and ".join(sorted(reader.ways)) or "nothing",
        left_out={reason: count for reason, count in left_out.items() if count},
        warnings=tuple(dict.fromkeys(warning for answer in every for warning in answer.warnings)),
    )


Scrape = tuple[str, ...]  # the values of ``SCRAPE``
Endpoint = tuple[ContainerName, ServicePort]


class _Reader:
    """Finds what series are about; counts those that are about nothing known, and notes how pods are named."""

    def __init__(self, topology: Topology, left_out: Counter[str]) -> None:
        self._topology, self._left_out = topology, left_out
        self._by_address = {one.address: one for one in topology.container_by_name.values() if one.is_client}
        self.ways: set[str] = set()

    def scrapes(self, answer: Answer) -> Iterable[tuple[tuple[ContainerName, Scrape], float]]:
        for one in answer.series:
            container = self._container(one.labels)
            if container is None:
                self._left_out["series of no container of this mesh"] += 1
            elif one.samples and math.isfinite(one.samples[-1][1]):
                yield (container.name, _scrape(one.labels)), one.samples[-1][1]

    def by_endpoint(self, answer: Answer, chosen: Mapping[ContainerName, Scrape]) -> dict[Endpoint, float]:
        return {endpoint: value for endpoint, _, value in self._values(answer, chosen)}

    def buckets(self, answer: Answer, chosen: Mapping[ContainerName, Scrape]) -> dict[Endpoint, dict[float, float]]:
        found: defaultdict[Endpoint, dict[float, float]] = defaultdict(dict)
        for endpoint, labels, value in self._values(answer, chosen):
            try:
                found[endpoint][float(labels.get("le", ""))] = value
            except ValueError:
                self._left_out["buckets without a bound"] += 1
        return found

    def _values(
        self, answer: Answer, chosen: Mapping[ContainerName, Scrape]
    ) -> Iterable[tuple[Endpoint, Mapping[str, str], float]]:
        for one in answer.series:
            container = self._container(one.labels)
            if container is None or chosen.get(container.name) != _scrape(one.labels):
                continue
            port = self._port(container, one.labels.get("destination_service", ""))
            value = one.samples[-1][1] if one.samples else math.nan
            if isinstance(port, str):
                self._left_out[port] += 1
            elif not 0.0 <= value < _LARGEST:
                self._left_out["values that are no counts"] += 1
            else:
                yield (container.name, port), one.labels, value

    def _container(self, labels: Mapping[str, str]) -> Container | None:
        for namespace, pod in POD_LABELS:
            if labels.get(namespace) and labels.get(pod):
                self.ways.add(f"{namespace} and {pod}")
                return self._topology.container_by_proxy_id.get(f"{labels[pod]}.{labels[namespace]}")
        host = labels.get("instance", "").rpartition(":")[0].strip("[]")
        container = self._by_address.get(host)
        if container is not None:
            self.ways.add("instance")
        return container

    def _port(self, container: Container, host: str) -> ServicePort | str:
        """Return which port of the container's service the requests went to, or why that is not known."""
        if service_of(host) != container.service:
            return "series of another service than the container's"
        service = self._topology.service_by_name[container.service]
        port = only_http_port(service, container)
        return "series of services with several HTTP ports: Istio's metrics name none" if port is None else port


def service_of(host: str) -> str:
    """Return ``name.namespace`` of a Service's host name; empty for another name.

    >>> service_of("reviews.shop.svc.cluster.local")
    'reviews.shop'
    """
    parts = host.split(".")
    return ".".join(parts[:2]) if len(parts) > 2 and parts[2] == "svc" and all(parts[:2]) else ""


def only_http_port(service: Service, container: Container | None = None) -> ServicePort | None:
    """Return the service's port that speaks HTTP, where it has exactly one (at this container)."""
    ports = [
        port
        for port in service.ports
        if port.protocol != "tcp" and (container is None or port.number in container.ports)
    ]
    return service.service_port(ports[0]) if len(ports) == 1 else None


def _scrape(labels: Mapping[str, str]) -> Scrape:
    return tuple(labels.get(name, "") for name in SCRAPE)


def _one_scrape_each(
    times: Mapping[tuple[ContainerName, Scrape], float], left_out: Counter[str]
) -> dict[ContainerName, Scrape]:
    chosen: dict[ContainerName, Scrape] = {}
    for name, scrape in sorted(times):
        if name in chosen:
            left_out["pods that are scraped twice"] += 1
        chosen.setdefault(name, scrape)
    return chosen


def _histogram(
    name: ContainerName, cluster: str, time_s: float, buckets: Mapping[float, float], sum_ms: float | None
) -> LatencyHistogram | None:
    bounds = tuple(sorted(bound for bound in buckets if 0.0 < bound < math.inf))
    if sum_ms is None or math.inf not in buckets or not 0 < len(bounds) <= MOST_BOUNDS:
        return None
    counts, count = tuple(int(buckets[bound]) for bound in bounds), int(buckets[math.inf])
    if list(counts) != sorted(counts) or counts[-1] > count:
        return None
    return LatencyHistogram(name, cluster, None, "server", time_s, bounds, counts, count, sum_ms)


def _why_nothing(reporters: Answer) -> str:
    known = sorted(one.labels.get("reporter", "") or "none" for one in reporters.series)
    if not known:
        return f"no series {REQUESTS}: Istio's sidecars are not scraped, or their metrics are dropped"
    return f"only reporter {', '.join(known)}: no sidecar in front of an app is scraped"
