"""Metrics of the xDS server. Labels are types, never streams or proxies, so that the number of series is bounded."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class XdsMetrics:
    """The counters that the server feeds; registered in the registry that it is given."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.connected = Gauge("askew_xds_connected_proxies", "Proxies with a stream open.", registry=registry)
        self.pushes = Counter("askew_xds_pushes", "Responses sent.", ["type"], registry=registry)
        self.nacks = Counter("askew_xds_nacks", "Responses that proxies refused.", ["type"], registry=registry)
        self.oversized = Counter(
            "askew_xds_oversized", "Resources too large for one response.", ["type"], registry=registry
        )
        self.inconsistent = Counter(
            "askew_xds_inconsistent_snapshots",
            "Snapshots that were refused before they were served.",
            registry=registry,
        )
        self.rollbacks = Counter(
            "askew_xds_rollbacks", "Services that went back to what proxies accepted before.", registry=registry
        )
        self.push_seconds = Histogram(
            "askew_xds_push_seconds",
            "From a plan being ready to a proxy having accepted all of it.",
            registry=registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
        )
        self.identity_refusals = Counter(
            "askew_xds_identity_refusals", "Streams whose certificate is not their proxy's.", registry=registry
        )
        self.certificate_loads = Counter(
            "askew_xds_certificate_loads", "Readings of the port's certificate files.", ["result"], registry=registry
        )
