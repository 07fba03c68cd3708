"""What a sidecar of ours tells about itself, and when: the statistics part of its bootstrap.

    push    every ``flush_interval_s`` its statistics go to Askew (MetricsService)
    scrape  nothing is pushed; they are brought up to date whenever its admin or Prometheus page is read

Envoy can do one or the other: histograms are merged by a timer or by a reader. A node agent reads twice a second and
needs what it reads to be fresh; where there is none, nobody reads. Load reports (LRS) come in both.
Histogram bounds are at most 10 % apart from 1 ms to 10 s, so that a slack of 5 % can show. Envoy keeps the same numbers
again for requests from inside, from outside and for each zone; they are left out, which halves what is sent.
Source: Envoy v3 API, ``config.bootstrap.v3.Bootstrap``, ``config.metrics.v3``.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from mesh.topology import Node
from xds_server.resources.names import DOMAIN, XDS_CLUSTER

Statistics = Literal["push", "scrape"]
STATISTICS: Final[tuple[Statistics, ...]] = ("push", "scrape")
BATCH: Final = 1000  # statistics in one message: 1,000 histograms are 1.5 MB, well below gRPC's 4 MiB
_HOST: Final = DOMAIN.replace(".", r"\.")
_REPEATED: Final = rf"cluster\.(outbound\|.*\.{_HOST}|inbound\|\d+\|\|)\.(external|internal|zone\..*)\.upstream_rq_.*"


def default_statistics(node: Node) -> Statistics:
    """Return how the sidecars of a node tell: to its agent if it has one."""
    return "scrape" if node.agent else "push"


def load_reports() -> dict[str, Any]:
    """Return the cluster manager's ``load_stats_config``: report to Askew, over the same connection as xDS."""
    return {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [_askew()]}


def statistics_settings(statistics: Statistics, *, flush_interval_s: float) -> dict[str, Any]:
    """Return the keys of the bootstrap that are about statistics."""
    settings: dict[str, Any] = {
        "stats_config": {
            "histogram_bucket_settings": [{"match": {"suffix": "_rq_time"}, "buckets": _bounds_ms()}],
            "stats_matcher": {"exclusion_list": {"patterns": [{"safe_regex": {"regex": _REPEATED}}]}},
        }
    }
    if statistics == "scrape":
        return settings | {"stats_flush_on_admin": True}
    return settings | {"stats_flush_interval": f"{flush_interval_s:.3f}s", "stats_sinks": [_metrics_service()]}


def _metrics_service() -> dict[str, Any]:
    return {
        "name": "envoy.stat_sinks.metrics_service",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.config.metrics.v3.MetricsServiceConfig",
            "transport_api_version": "V3",
            "grpc_service": _askew(),
            "report_counters_as_deltas": False,  # a flush that is lost loses nothing
            "emit_tags_as_labels": False,  # Envoy's tag for the cluster ends at the first dot; the plain name is whole
            "histogram_emit_mode": "HISTOGRAM",  # no quantiles: they cannot be merged
            "batch_size": BATCH,
        },
    }


def _askew() -> dict[str, Any]:
    return {"envoy_grpc": {"cluster_name": XDS_CLUSTER}}


def _bounds_ms() -> list[float]:
    bounds_ms = [1.0]
    while bounds_ms[-1] < 10_000.0:
        bounds_ms.append(round(bounds_ms[-1] * 1.1, 3))
    return bounds_ms
