"""Samples that Askew asked for itself, into the collector: from sidecars' pages, from a Prometheus.

A container has one source of counters and histograms at a time, the best that still speaks. Each counts from another
beginning (what is pushed from our start, a page from the sidecar's), so that mixing two would look like traffic.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeVar

from mesh.telemetry import ClusterCounters, LatencyHistogram
from mesh.topology import ContainerName
from xds_server.ingest.bounded import BoundedMap
from xds_server.ingest.collector import Collector, Reports, Source

V = TypeVar("V")
BEST_FIRST: Final[tuple[Source, ...]] = ("metrics_service", "sidecar_page", "prometheus")


def has_better(collector: Collector, name: ContainerName, source: Source) -> bool:
    """Whether a better source than ``source`` speaks for a container, so that this one need not be asked."""
    reports = collector.reporters.get(name)
    return reports is not None and any(
        _speaks(collector, reports, better) for better in BEST_FIRST[: BEST_FIRST.index(source)]
    )


def keep_samples(
    collector: Collector,
    name: ContainerName,
    source: Source,
    *,
    counters: Iterable[ClusterCounters],
    latencies: Iterable[LatencyHistogram],
) -> bool:
    """Keep what ``source`` says of a container now; return whether it was kept. O(samples).

    It is not where a better source speaks, or there are too many reporters (counted). With a new source the samples of
    the last one go.
    """
    collector.messages[source] += 1
    if has_better(collector, name, source):
        return False
    reports = collector.reports_of(name, source)
    if reports is None:
        return False
    if not _speaks(collector, reports, source):
        reports.counters, reports.latencies = _emptied(reports.counters), _emptied(reports.latencies)
    reports.heard_at_s[source] = collector.now_s()
    limit = collector.limits.series
    for counted in counters:
        reports.counters.put(counted.cluster, counted, limit=limit)
    for timed in latencies:
        reports.latencies.put(timed.cluster, timed, limit=limit)
    return True


def _speaks(collector: Collector, reports: Reports, source: Source) -> bool:
    heard_s = reports.heard_at_s.get(source)
    return heard_s is not None and collector.now_s() - heard_s <= collector.settings.forget_s


def _emptied(series: BoundedMap[str, V]) -> BoundedMap[str, V]:
    """Return an empty map that still knows how much was dropped."""
    fresh: BoundedMap[str, V] = BoundedMap()
    fresh.dropped = series.dropped
    return fresh
