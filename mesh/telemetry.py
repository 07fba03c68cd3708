"""Telemetry: what was sampled, unmerged, with times and reporters. What is not known is absent, never zero.

Counters and histograms are cumulative and may restart from zero; differences, merging and quantiles are the
estimators' part. Records (accesses, spans) are handed over once, in the tick after they came.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from mesh.link_measurement import Measurement
from mesh.node_interference import NodeCounters
from mesh.picture import Link
from mesh.topology import ContainerName, ServiceName, ServicePort

Reporter = Literal["client", "server"]


@dataclass(frozen=True, slots=True)
class EndpointLoad:
    """Requests of one client to one endpoint, cumulative since its control plane first heard of them.

    ``service_port`` is None for a cluster that is not one of the mesh's. ``address`` is ``host:port``; empty where the
    client reports whole clusters only. ``in_progress`` is the state at the report, not cumulative.
    """

    cluster: str
    service_port: ServicePort | None
    address: str
    issued: int
    succeeded: int
    failed: int
    in_progress: int


@dataclass(frozen=True, slots=True)
class LoadReport:
    """All that a client has reported of its endpoints' load.

    ``covered_s`` is the time that the reports counted, summed: it stands still while a client is not connected, so
    that a rate is the difference of ``issued`` over the difference of ``covered_s``. An endpoint that is not mentioned
    was not asked.
    """

    client: ContainerName
    time_s: float
    covered_s: float
    endpoints: tuple[EndpointLoad, ...]


@dataclass(frozen=True, slots=True)
class ClusterCounters:
    """A sidecar's counters of one cluster, cumulative since the sidecar started; None for one that it did not send.

    ``reporter`` is "client" for an outbound cluster, "server" for the one that leads to the app. Bytes are those of the
    cluster's connections. ``open_connections`` is the present number.
    """

    container: ContainerName
    cluster: str
    service_port: ServicePort | None
    reporter: Reporter
    time_s: float
    requests: int | None = None
    server_errors: int | None = None
    sent_bytes: int | None = None
    received_bytes: int | None = None
    opened_connections: int | None = None
    open_connections: int | None = None

    @property
    def app_port(self) -> int | None:
        """The service's port in front of the app, from Istio's name ``inbound|<port>||``; None for other clusters."""
        direction, _, rest = self.cluster.partition("|")
        port = rest.partition("|")[0]
        return int(port) if direction == "inbound" and port.isascii() and port.isdigit() else None


@dataclass(frozen=True, slots=True)
class LatencyHistogram:
    """A sidecar's request times of one cluster, cumulative over time and over buckets.

    ``counts[i]`` requests took at most ``bounds_ms[i]``; ``count`` is all of them, those beyond the last bound too.
    """

    container: ContainerName
    cluster: str
    service_port: ServicePort | None
    reporter: Reporter
    time_s: float
    bounds_ms: tuple[float, ...]
    counts: tuple[int, ...]
    count: int
    sum_ms: float


@dataclass(frozen=True, slots=True)
class AccessRecord:
    """One request (http) or one connection (tcp) as a sidecar logged it.

    ``sample_rate`` is the part of all that was logged, None where the sidecar does not say. ``status`` is the HTTP
    status, None for tcp or no answer. ``upstream_address`` is empty where none was chosen.
    """

    container: ContainerName
    protocol: Literal["http", "tcp"]
    cluster: str
    service_port: ServicePort | None
    upstream_address: str
    time_s: float
    duration_s: float | None
    status: int | None
    received_bytes: int
    sent_bytes: int
    sample_rate: float | None


@dataclass(frozen=True, slots=True)
class SpanRecord:
    """One span of a trace; ids are lower-case hexadecimal, ``parent_id`` is empty at the root."""

    trace_id: str
    span_id: str
    parent_id: str
    service: str
    instance: str
    operation: str
    kind: Literal["internal", "server", "client", "producer", "consumer", "unknown"]
    start_s: float
    duration_s: float
    failed: bool
    upstream_cluster: str = ""


@dataclass(frozen=True, slots=True)
class Callers:
    """Who called one service since it was last asked, as sidecars' metrics in a Prometheus name them at ``time_s``.

    ``clients`` are the services (workloads) that they are containers of. ``is_whole``: the sidecars in front of the
    service tell, and name (nearly) everyone, so that who is not among them did not call.
    """

    service: ServiceName
    time_s: float
    clients: tuple[ServiceName, ...]
    is_whole: bool


@dataclass(frozen=True, slots=True)
class ByteExchange:
    """Bytes per second between a service (workload) and one that it calls, as metrics in a Prometheus tell.

    Attributes
    ----------
    time_s, window_s:
        When the pod that was scraped least lately was, and how long a time the rates are the mean of.
    sent_bytes_per_s, received_bytes_per_s:
        What the client sent, and what it got, by the sidecars of one side.
    residual:
        By which part the other side's sidecars count otherwise; None where they tell nothing.
    """

    client: ServiceName
    server: ServiceName
    time_s: float
    window_s: float
    sent_bytes_per_s: float
    received_bytes_per_s: float
    residual: float | None


@dataclass(frozen=True, slots=True)
class LinkSample:
    """What one container exchanged with whom, measured on its node in the window that ended at ``time_s``."""

    time_s: float
    measurement: Measurement


@dataclass(frozen=True, slots=True)
class PodBytes:
    """Bytes per second that a pod received and sent, to and from whom ever; last counted at ``time_s``."""

    container: ContainerName
    time_s: float
    received_bytes_per_s: float
    sent_bytes_per_s: float


@dataclass(frozen=True)
class ToldLinks:
    """Links that a Prometheus tells of: all that one reading at ``time_s`` found, busiest first.

    ``window_s`` is how long a time the rates are the mean of, and bounds how long they count.
    """

    time_s: float = 0.0
    window_s: float = 0.0
    links: tuple[Link, ...] = ()

    @cached_property
    def services(self) -> frozenset[str]:
        """The ends of all links."""
        return frozenset(end for link in self.links for end in (link.source, link.target))

    @cached_property
    def oldest_s(self) -> float:
        """The time of the oldest link; that of the reading where none has one."""
        return min((link.time_s for link in self.links if link.time_s is not None), default=self.time_s)


@dataclass(frozen=True, slots=True)
class Telemetry:
    """The samples of one tick. Times are seconds of the caller's clock."""

    time_s: float = 0.0
    loads: tuple[LoadReport, ...] = ()
    counters: tuple[ClusterCounters, ...] = ()
    latencies: tuple[LatencyHistogram, ...] = ()
    accesses: tuple[AccessRecord, ...] = ()
    spans: tuple[SpanRecord, ...] = ()
    nodes: tuple[NodeCounters, ...] = ()
    callers: tuple[Callers, ...] = ()
    told: ToldLinks = ToldLinks()
    link_samples: tuple[LinkSample, ...] = ()
