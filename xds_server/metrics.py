"""Metrics of the xDS server. Labels are types, never streams or proxies, so that the number of series is bounded."""

from __future__ import annotations

from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from xds_server.istio_metrics import IstioNames
from xds_server.snapshot import ORDER

M = TypeVar("M", Counter, Histogram)
OTHER = "other"


class ByType(Generic[M]):
    """A metric with the label ``type``. A client may name any type; those that we do not serve are one series."""

    def __init__(self, metric: M) -> None:
        self.metric: M = metric
        self._known: dict[str, M] = {type_url: metric.labels(type_url) for type_url in ORDER}

    def labels(self, type_url: str) -> M:
        """Return the series of a type."""
        return self._known.get(type_url) or self.metric.labels(OTHER)


class XdsMetrics:
    """The counters that the server feeds; registered in the registry that it is given, with Istio's names beside."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.connected = Gauge("askew_xds_connected_proxies", "Proxies with a stream open.", registry=registry)
        self.pushes = ByType(Counter("askew_xds_pushes", "Responses sent.", ["type"], registry=registry))
        self.nacks = ByType(Counter("askew_xds_nacks", "Responses that proxies refused.", ["type"], registry=registry))
        self.stale_nonces = ByType(
            Counter("askew_xds_stale_nonces", "Requests that answer an older response.", ["type"], registry=registry)
        )
        self.oversized = ByType(
            Counter("askew_xds_oversized", "Resources too large for one response.", ["type"], registry=registry)
        )
        self.response_seconds = ByType(
            Histogram(
                "askew_xds_response_seconds",
                "Time to compute a response and hand it to the transport.",
                ["type"],
                registry=registry,
                buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5),
            )
        )
        self.response_bytes = ByType(
            Histogram(
                "askew_xds_response_bytes",
                "Sizes of responses.",
                ["type"],
                registry=registry,
                buckets=(1e3, 1e4, 1e5, 1e6, 4e6, 1e7, 4e7),
            )
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
            "askew_xds_identity_refusals", "Streams whose certificate or token is not their proxy's.", registry=registry
        )
        self.token_refusals = Counter(
            "askew_xds_token_refusals", "Streams without a token that counts.", ["reason"], registry=registry
        )
        self.certificate_loads = Counter(
            "askew_xds_certificate_loads", "Readings of the port's certificate files.", ["result"], registry=registry
        )
        registry.register(IstioNames(self._by_istios_names()))

    def _by_istios_names(self) -> dict[str, Counter | Gauge | Histogram]:
        return {
            "pilot_xds": self.connected,
            "pilot_xds_pushes": self.pushes.metric,
            "pilot_total_xds_rejects": self.nacks.metric,
            "pilot_xds_expired_nonce": self.stale_nonces.metric,
            "pilot_xds_push_time": self.response_seconds.metric,
            "pilot_xds_config_size_bytes": self.response_bytes.metric,
            "pilot_proxy_convergence_time": self.push_seconds,
        }
