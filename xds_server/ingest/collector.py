"""Everything that proxies report, until the next tick takes it: bounded per proxy, fair among proxies.

Cumulative values (loads, counters, histograms) stay until their proxy is forgotten, so that a tick that came late or
was lost costs nothing; records are handed over once. One event loop, no locks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, TypeVar, get_args

from mesh.telemetry import (
    AccessRecord,
    ClusterCounters,
    EndpointLoad,
    LatencyHistogram,
    LoadReport,
    SpanRecord,
    Telemetry,
)
from mesh.topology import ContainerName
from xds_server.admission import Admission
from xds_server.ingest.bounded import BoundedMap, BoundedQueue, Budget
from xds_server.ingest.settings import IngestSettings
from xds_server.proxy import Proxy

V = TypeVar("V")
Source = Literal["load_reports", "metrics_service", "access_logs", "spans", "sidecar_page", "prometheus"]
SOURCES: tuple[Source, ...] = get_args(Source)
Reason = Literal[
    "malformed",
    "unidentified",
    "refused",
    "unknown-proxy",
    "over-budget",
    "bad-value",
    "too-many-reporters",
    "oldest",
    "no-answer",
]
Identify = Callable[[Proxy], ContainerName | None]
"""Finds the container whose sidecar a proxy is; None for a stranger."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is kept of each reporter at the present number of them."""

    series: int
    records: int


@dataclass(frozen=True, slots=True)
class Ages:
    """How long ago the reporters of a source spoke last."""

    reporters: int
    newest_s: float
    oldest_s: float


@dataclass(frozen=True, slots=True)
class PageFailure:
    """How often in a row a sidecar's page of statistics could not be read, and why the last time."""

    times: int
    why: str


@dataclass(slots=True, eq=False)
class Reports:
    """What one reporter has said: a container's sidecar, or the host that sends spans."""

    name: str
    budget: Budget
    heard_at_s: dict[Source, float] = field(default_factory=dict)
    load_time_s: float = 0.0
    load_covered_s: float = 0.0
    loads: BoundedMap[tuple[str, str], EndpointLoad] = field(default_factory=BoundedMap)
    busy: set[tuple[str, str]] = field(default_factory=set)
    flush_ms: int = 0
    flush_time_s: float = 0.0
    counters: BoundedMap[str, ClusterCounters] = field(default_factory=BoundedMap)
    latencies: BoundedMap[str, LatencyHistogram] = field(default_factory=BoundedMap)
    accesses: BoundedQueue[AccessRecord] = field(default_factory=BoundedQueue)
    spans: BoundedQueue[SpanRecord] = field(default_factory=BoundedQueue)

    def trim(self, limits: Limits) -> None:
        """Drop the oldest past the limits."""
        for series in (self.loads, self.counters, self.latencies):
            series.trim(limits.series)
        for records in (self.accesses, self.spans):
            records.trim(limits.records)

    def dropped(self, source: Source) -> int:
        """Return how many of the oldest gave way to newer ones."""
        if source == "metrics_service":
            return self.counters.dropped + self.latencies.dropped
        if source == "load_reports":
            return self.loads.dropped
        if source == "access_logs":
            return self.accesses.dropped
        return self.spans.dropped if source == "spans" else 0  # series of other sources count as the first one's

    @property
    def load_report(self) -> LoadReport | None:
        if not self.load_time_s:
            return None
        return LoadReport(ContainerName(self.name), self.load_time_s, self.load_covered_s, tuple(self.loads))


class Collector:
    """Takes in what proxies report; ``drain`` returns it as one ``Telemetry``.

    Parameters
    ----------
    identify:
        Finds a proxy's container.
    now_s:
        The clock, in seconds since the epoch.
    admission:
        Says whether a connection may speak for a proxy; None where nobody asks (plaintext).
    """

    def __init__(
        self,
        settings: IngestSettings,
        *,
        identify: Identify,
        now_s: Callable[[], float],
        admission: Admission | None = None,
    ) -> None:
        self.settings, self.identify, self.now_s, self.admission = settings, identify, now_s, admission
        self.reporters: dict[str, Reports] = {}
        self.messages: Counter[Source] = Counter()
        self.streams: Counter[Source] = Counter()
        self.page_failures: dict[str, PageFailure] = {}
        self.notes: dict[Source, str] = {}
        self.limits = Limits(series=settings.most_series, records=settings.most_records)
        self._drops: Counter[tuple[Source, Reason]] = Counter()

    def budget(self) -> Budget:
        """Return a full budget of one reporter."""
        return Budget(rate=max(1, self.settings.bytes_per_s), burst=self.settings.burst_bytes)

    def reports_of(self, name: str, source: Source) -> Reports | None:
        """Return a reporter's store, made if it is new; None (and counted) where there are too many."""
        found = self.reporters.get(name)
        if found is None:
            if len(self.reporters) >= self.settings.most_reporters:
                self.drop(source, "too-many-reporters")
                return None
            found = self.reporters[name] = Reports(name, self.budget())
            self._share_out()
        return found

    def drop(self, source: Source, reason: Reason, count: int = 1) -> None:
        """Count what was not taken in."""
        self._drops[source, reason] += count

    def drops(self) -> Counter[tuple[Source, Reason]]:
        """Return how much was dropped since the start, by source and reason."""
        found = self._drops.copy()
        for source in SOURCES:
            oldest = sum(reports.dropped(source) for reports in self.reporters.values())
            if oldest:
                found[source, "oldest"] += oldest
        return found

    def ages_s(self) -> dict[Source, Ages]:
        """Return by source how many reporters there are and how long ago they spoke; nothing for a silent source."""
        now_s = self.now_s()
        heard: dict[Source, list[float]] = {}
        for reports in self.reporters.values():
            for source, at_s in reports.heard_at_s.items():
                heard.setdefault(source, []).append(max(0.0, now_s - at_s))
        return {source: Ages(len(ages), min(ages), max(ages)) for source, ages in heard.items()}

    def drain(self) -> Telemetry:
        """Return all samples, and the records that came since the last call. O(samples)."""
        now_s = self.now_s()
        self._forget(now_s)
        everyone = self.reporters.values()
        return Telemetry(
            time_s=now_s,
            loads=tuple(report for reports in everyone if (report := reports.load_report) is not None),
            counters=_joined(reports.counters for reports in everyone),
            latencies=_joined(reports.latencies for reports in everyone),
            accesses=_joined(reports.accesses.take() for reports in everyone),
            spans=_joined(reports.spans.take() for reports in everyone),
        )

    def _forget(self, now_s: float) -> None:
        """Give up the reporters that have been silent for long; what they had dropped stays counted."""
        latest_s = now_s - self.settings.forget_s
        silent = [
            reports for reports in self.reporters.values() if max(reports.heard_at_s.values(), default=0.0) < latest_s
        ]
        for reports in silent:
            for source in SOURCES:
                if dropped := reports.dropped(source):
                    self.drop(source, "oldest", dropped)
            del self.reporters[reports.name]
        if silent:
            self._share_out()

    def _share_out(self) -> None:
        """Give every reporter an equal part of what all may keep.

        Past its own limit a part is a power of two, so that it changes, and all are trimmed, only as often as the
        number of reporters doubles.
        """
        settings, number = self.settings, max(1, len(self.reporters))
        limits = Limits(
            series=_part(settings.most_series, settings.most_series_in_all // number),
            records=_part(settings.most_records, settings.most_records_in_all // number),
        )
        if limits != self.limits:
            self.limits = limits
            for reports in self.reporters.values():
                reports.trim(limits)


def _part(own_limit: int, part: int) -> int:
    return own_limit if part >= own_limit else 1 << max(0, part.bit_length() - 1)


def _joined(parts: Iterable[Iterable[V]]) -> tuple[V, ...]:
    return tuple(one for part in parts for one in part)
