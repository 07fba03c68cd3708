"""A sidecar's counters and request times by cluster, read from its Prometheus page. Pure parsing: text in, values out.

The page is asked for the few statistics that ``FIELDS`` of ``metrics_service.py`` names: 33 kB instead of 280.
Envoy's default tag rules cut a cluster's name at the first dot and leave the rest in the metric's name, and make the
class of a response code (``upstream_rq_5xx``) a label of ``upstream_rq_xx``; Istio's bootstrap keeps names whole, as
``cluster_name``. Both are understood. Sources: Envoy's docs, "Administration interface" (``filter``, ``usedonly``) and
"Cluster manager statistics"; the spellings are measured on Envoy 1.40.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from xds_server.ingest.names import LONGEST_NAME, reporter_of
from xds_server.resources.names import DOMAIN

COUNTS: Final = {
    "upstream_rq_total": "requests",
    "upstream_cx_tx_bytes_total": "sent_bytes",
    "upstream_cx_rx_bytes_total": "received_bytes",
    "upstream_cx_total": "opened_connections",
    "upstream_cx_active": "open_connections",
}
QUERY: Final = {
    "usedonly": "",  # what never counted is not shown: of most clusters that is everything
    "filter": r"^cluster\.(outbound|inbound)\|.*\.(upstream_rq_total|upstream_rq_5xx|upstream_rq_time"
    r"|upstream_cx_tx_bytes_total|upstream_cx_rx_bytes_total|upstream_cx_total|upstream_cx_active)$",
}
MOST_BOUNDS: Final = 512
_LARGEST: Final = float(1 << 63)
_LINE = re.compile(
    r"envoy_cluster_(?:([a-z0-9_]+)_svc_cluster_local_)?(upstream_rq_xx|upstream_rq_time_(?:bucket|sum|count)|"
    + "|".join(COUNTS)
    + r")\{([^}]*)\} (\S+)(?: \S+)?",
    re.ASCII,
)
_LABEL = re.compile(r'([a-z_]+)="([^"]*)"', re.ASCII)


@dataclass(frozen=True, slots=True)
class RequestTimes:
    """Cumulative over time and over buckets, as ``mesh.telemetry.LatencyHistogram``."""

    bounds_ms: tuple[float, ...]
    counts: tuple[int, ...]
    count: int
    sum_ms: float


@dataclass(frozen=True, slots=True)
class ClusterPage:
    """What the page shows of one cluster: counters by ``ClusterCounters``' names, and request times if any."""

    counts: Mapping[str, int]
    times: RequestTimes | None


@dataclass(frozen=True, slots=True)
class StatsPage:
    """The mesh's clusters by whole name; ``unreadable`` values and histograms made no sense and are left out."""

    clusters: Mapping[str, ClusterPage]
    unreadable: int = 0


@dataclass(slots=True)
class _Found:
    counts: dict[str, int] = field(default_factory=dict)
    buckets: dict[float, int] = field(default_factory=dict)
    count: int | None = None
    sum_ms: float | None = None


def parse_stats_page(text: str) -> StatsPage:
    """Return what a page shows of the mesh's clusters; lines about anything else are passed over. O(text).

    A cluster whose requests are counted and that shows no 5xx had none: Envoy makes that counter with the first one.

    >>> page = parse_stats_page('envoy_cluster_upstream_rq_total{envoy_cluster_name="inbound|8080||"} 7')
    >>> page.clusters["inbound|8080||"].counts
    {'requests': 7, 'server_errors': 0}
    """
    clusters: dict[str, _Found] = {}
    unreadable = 0
    for line in text.splitlines():
        match = _LINE.fullmatch(line) if line.startswith("envoy_cluster_") else None
        if match is None:
            continue
        labels = dict(_LABEL.findall(match[3]))
        name = _whole_name(labels.get("envoy_cluster_name") or labels.get("cluster_name") or "", match[1])
        if len(name) > LONGEST_NAME or reporter_of(name) is None:
            continue
        value = _number(match[4])
        if value is None or not _take(clusters.setdefault(name, _Found()), match[2], labels, value):
            unreadable += 1
    pages = {}
    for name, found in clusters.items():
        times = _times(found)
        unreadable += times is None and bool(found.buckets)
        if "requests" in found.counts:
            found.counts.setdefault("server_errors", 0)
        pages[name] = ClusterPage(found.counts, times)
    return StatsPage(pages, unreadable)


def _whole_name(label: str, namespace: str | None) -> str:
    """Join a name that was cut at its first dot; a namespace holds no underscore, so they were hyphens."""
    return f"{label}.{namespace.replace('_', '-')}.{DOMAIN}" if namespace else label


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0.0 <= value < _LARGEST else None


def _take(found: _Found, statistic: str, labels: Mapping[str, str], value: float) -> bool:
    if statistic in COUNTS:
        found.counts[COUNTS[statistic]] = int(value)
    elif statistic == "upstream_rq_xx":
        if (labels.get("envoy_response_code_class") or labels.get("response_code_class", ""))[:1] == "5":
            found.counts["server_errors"] = int(value)
    elif statistic.endswith("_sum"):
        found.sum_ms = value
    elif statistic.endswith("_count"):
        found.count = int(value)
    else:
        bound = math.inf if labels.get("le") == "+Inf" else _number(labels.get("le", ""))
        if bound is None:
            return False
        found.buckets[bound] = int(value)
    return True


def _times(found: _Found) -> RequestTimes | None:
    """Return the request times if they make sense whole, else None."""
    bounds = tuple(sorted(bound for bound in found.buckets if math.isfinite(bound)))
    if found.count is None or found.sum_ms is None or not 0 < len(bounds) <= MOST_BOUNDS:
        return None
    counts = tuple(found.buckets[bound] for bound in bounds)
    edges = (*counts, found.count)
    falls = any(before > after for before, after in pairwise(edges))
    return None if falls else RequestTimes(bounds, counts, found.count, found.sum_ms)
