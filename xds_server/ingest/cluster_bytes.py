"""Envoy's byte counters by cluster, read from either of its statistics pages. Pure parsing: text in, values out.

``/stats?format=json`` keeps a cluster's whole name and is what we ask our own sidecars for. ``/stats/prometheus`` is
what Istio's sidecars offer to the outside; there Envoy's default tag rule cuts a cluster's name at the first dot and
leaves the rest in the metric's name (Istio's bootstrap replaces the rule), so both spellings are understood.
Sources: Envoy's docs, "Administration interface" and "Cluster manager statistics" (``upstream_cx_tx_bytes_total`` is
bytes sent to the cluster, ``rx`` received from it); Istio's cluster names ``direction|port|subset|host``.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mesh.errors import shown
from mesh.topology import ServiceName, ServicePort
from xds_server.ingest.errors import UnreadableStatsError

STATS_PATH = "/stats?format=json&filter=^cluster%5C.outbound.*%5C.upstream_cx_[rt]x_bytes_total$"
"""The counters and nothing else, named whole."""

_JSON_NAME = re.compile(r"cluster\.(.+)\.upstream_cx_(rx|tx)_bytes_total", re.DOTALL)
_LINE = re.compile(
    r"envoy_cluster_(?:([a-zA-Z0-9_]+)_)?upstream_cx_(rx|tx)_bytes_total"
    r'\{(?:[^"}]*"[^"]*",)*envoy_cluster_name="([^"]*)"[^}]*\} (\S+)(?: \S+)?'
)
_CLUSTER = re.compile(r"outbound\|(\d{1,5})\|([^|]*)\|([a-z0-9-]+)\.([a-z0-9-]+)(?:\.svc(?:\..*)?)?", re.ASCII)
_CUT_NAME = re.compile(r"outbound\|\d{1,5}\|[^|.]*\|[a-z0-9-]+", re.ASCII)
_CUT_REST = re.compile(r"([a-z0-9_]+?)_svc(?:_[a-z0-9_]+)?", re.ASCII)
_MOST = 1 << 64


@dataclass(frozen=True, slots=True)
class ClusterBytes:
    """Bytes that a sidecar exchanged with one port of one service, all tiers together, since it started."""

    sent: int
    received: int


@dataclass(frozen=True, slots=True)
class Scrape:
    """What one page held. ``unreadable`` counters are of outbound clusters whose service or value is not to be read."""

    clusters: Mapping[ServicePort, ClusterBytes]
    unreadable: int = 0


def parse_cluster(name: str) -> ServicePort | None:
    """Return the service port that a cluster leads to; None for other clusters than outbound ones of the mesh.

    >>> str(parse_cluster("outbound|9080|local|reviews.default.svc.cluster.local"))
    'reviews.default:9080'
    """
    match = _CLUSTER.fullmatch(name)
    if match is None or not 0 < int(match[1]) < 1 << 16:
        return None
    return ServicePort(ServiceName(f"{match[3]}.{match[4]}"), int(match[1]))


def parse_stats_json(text: str) -> Scrape:
    """Return the counters in the answer to ``STATS_PATH``.

    Raises UnreadableStatsError for text that is not that page; a counter that cannot be read is counted.
    """
    try:
        page = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableStatsError(f"stats: found {shown(text)}, allowed: JSON") from error
    entries = page.get("stats") if isinstance(page, dict) else None
    if not isinstance(entries, list):
        raise UnreadableStatsError(f"stats: found {shown(page)}, allowed: a mapping with a list under stats")
    return _summed(_from_json(entries))


def parse_stats_prometheus(text: str) -> Scrape:
    """Return the counters in the text of ``/stats/prometheus``; lines about anything else are passed over. O(text).

    >>> page = 'envoy_cluster_upstream_cx_tx_bytes_total{envoy_cluster_name="outbound|80||cart.shop.svc"} 7'
    >>> parse_stats_prometheus(page).clusters[ServicePort(ServiceName("cart.shop"), 80)]
    ClusterBytes(sent=7, received=0)
    """
    return _summed(_from_lines(text))


_Counter = tuple[str, str, int | None]  # cluster, "rx" or "tx", value if readable


def _from_json(entries: list[object]) -> Iterator[_Counter]:
    for entry in entries:
        name = entry.get("name") if isinstance(entry, dict) else None
        match = _JSON_NAME.fullmatch(name) if isinstance(name, str) else None
        if match is None or not isinstance(entry, dict):
            continue
        value = entry.get("value", 0)
        yield match[1], match[2], value if type(value) is int and 0 <= value < _MOST else None


def _from_lines(text: str) -> Iterator[_Counter]:
    for line in text.splitlines():
        if not line.startswith("envoy_cluster_"):
            continue
        match = _LINE.fullmatch(line)
        if match is not None:
            yield _whole_name(match[3], match[1]), match[2], _count(match[4])


def _whole_name(label: str, rest: str | None) -> str:
    """Join a cluster's name that Envoy cut at the first dot: ``outbound|80||cart`` and ``my_shop_svc_cluster_local``.

    Dots and hyphens both became underscores; a namespace holds no dot, so up to ``_svc`` they were hyphens.
    """
    match = _CUT_REST.fullmatch(rest) if rest and _CUT_NAME.fullmatch(label) else None
    return f"{label}.{match[1].replace('_', '-')}.svc" if match else label


def _count(text: str) -> int | None:
    # Envoy writes integers, but an aggregator in between may write 1.5e+06.
    try:
        value = float(text)
        return int(text) if text.isdecimal() and value < _MOST else int(value) if 0 <= value < _MOST else None
    except ValueError:
        return None


def _summed(counters: Iterator[_Counter]) -> Scrape:
    sums: defaultdict[ServicePort, dict[str, int]] = defaultdict(lambda: {"tx": 0, "rx": 0})
    unreadable = 0
    for cluster, direction, value in counters:
        if not cluster.startswith("outbound|"):
            continue
        service_port = parse_cluster(cluster)
        if service_port is None or value is None:
            unreadable += 1
            continue
        sums[service_port][direction] += value
    return Scrape({port: ClusterBytes(both["tx"], both["rx"]) for port, both in sums.items()}, unreadable)
