"""The picture: what is, as far as it is known, with how it is known and how old that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from mesh.node_interference import NodeInterference
from mesh.topology import ContainerName, NodeName, ServiceName, ServicePort

RateMethod = Literal["given", "measured", "assumed"]
LinkMethod = Literal["peeled", "measured", "estimated", "prometheus", "cadvisor", "agent"]


@dataclass(frozen=True)
class ClientRates:
    """Requests per second that each client container sends to one service port, and how that is known.

    Attributes
    ----------
    method:
        The best by which any of them is known: ``given`` in the mesh file, ``measured`` by sidecars, or ``assumed``.
    methods:
        Of each client; ``assumed`` among known ones is their mean.
    age_s:
        Of each measured one: seconds since its sidecar last reported.
    """

    requests_per_s: Mapping[ContainerName, float]
    method: RateMethod
    methods: Mapping[ContainerName, RateMethod] = field(default_factory=dict)
    age_s: Mapping[ContainerName, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Link:
    """Bytes per second that service ``source`` sends to service ``target``.

    Attributes
    ----------
    method:
        ``measured``; ``peeled``, exact if the counters are; ``estimated``, the best guess on a cycle; ``prometheus``,
        from Istio's metrics there; ``agent``, measured on the nodes of all of a service's containers; ``cadvisor``,
        worked out from what whole pods received and sent.
    confidence:
        0..1. For a peeled link, 1 / (1 + expected relative error), from how far the counters of its part of the graph
        disagree and how many bytes were subtracted to reach it. For an estimated one, times the part that is pinned.
        For one of a Prometheus, 1 / (1 + residual); 1/2 where only one side tells. For an agent's, 1; 1/2 where it
        knows that it missed bytes. For one of ``cadvisor`` half of what it would be for a peeled or estimated one; at
        least 1/4, with less it is not told.
    residual:
        Disagreement of the counters in its part of the graph (bytes unexplained / bytes counted), or of the two sides.
    time_s:
        When the oldest sample was taken that it rests on, on the telemetry's clock; None where that does not count.
    """

    source: str
    target: str
    rate_bytes_per_s: float
    method: LinkMethod
    confidence: float = 1.0
    residual: float = 0.0
    time_s: float | None = None

    def age_s(self, now_s: float) -> float:
        """Return how old it is; 0 where its time does not count."""
        return 0.0 if self.time_s is None else max(0.0, now_s - self.time_s)


@dataclass(frozen=True, slots=True)
class EndpointFigure:
    """What one endpoint of a service port did in its last window, as the sidecar in front of the app saw it.

    Latencies are None where too few requests ended to say anything: unknown, never fast. A tail needs more than a mean.

    Attributes
    ----------
    requests, failures:
        What ended in the window, and how much of it failed.
    issued:
        What its clients say they sent it meanwhile; None where no client reports.
    window_s, age_s:
        Length of the window, and seconds since it closed.
    load_per_s:
        ``requests / window_s``.
    """

    requests: int
    failures: int
    issued: int | None
    window_s: float
    age_s: float
    load_per_s: float
    mean_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True)
class Picture:
    """What the estimators made of one tick's telemetry. What is not known is absent, never zero.

    Attributes
    ----------
    client_rates:
        Of every called service port.
    links:
        Both directions of every pair of services whose traffic is known, busiest first.
    to_measure:
        Services still to be measured so that every link can be known exactly.
    endpoint_loads:
        Requests per second that each endpoint receives, whoever sends them.
    unsteered:
        The part of these that comes from clients which do not follow the plan.
    endpoint_figures:
        Latency, load and failures of each endpoint that was ever heard, from its last window.
    crossing_price_ms:
        What a request pays for leaving its node: the operator's price, or what is measured; absent where it is unknown.
    node_interference:
        How busy each node is, where somebody looks.
    """

    client_rates: Mapping[ServicePort, ClientRates] = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    to_measure: tuple[ServiceName, ...] = ()
    endpoint_loads: Mapping[ServicePort, Mapping[ContainerName, float]] = field(default_factory=dict)
    unsteered: Mapping[ServicePort, Mapping[ContainerName, float]] = field(default_factory=dict)
    endpoint_figures: Mapping[ServicePort, Mapping[ContainerName, EndpointFigure]] = field(default_factory=dict)
    crossing_price_ms: Mapping[ServicePort, float] = field(default_factory=dict)
    node_interference: Mapping[NodeName, NodeInterference] = field(default_factory=dict)
