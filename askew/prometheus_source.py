"""A Prometheus as a source: latency, load, callers and bytes where sidecars tell Askew nothing, and the past.

It is a help and never a need: while it is away nothing changes but a line in the log and a count.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import aiohttp

from askew.control_loop import Memory
from askew.link_reading import LinkReading, Seen
from askew.settings import PrometheusSourceSettings
from estimators.expected_service import CALM, Tables, learn_points
from estimators.latency import LatencyWindow, figure_of
from estimators.performance_table import HistoryPoint
from estimators.told_links import held
from istio.call_metrics import CallSource
from istio.errors import IstioError
from istio.prometheus import Prometheus, PrometheusSettings
from istio.request_history import STEP_S, PastWindow, RequestHistory
from istio.request_metrics import RequestMetrics, RequestSource, only_http_port
from mesh.picture import Picture
from mesh.telemetry import Callers, ToldLinks
from mesh.topology import ServicePort, Topology
from xds_server.ingest.asked_samples import has_better, keep_samples
from xds_server.ingest.collector import Collector

log = logging.getLogger(__name__)
MOST_STEPS = 10_000  # Prometheus refuses 11,000
WAIT_FOR_LEAD_S = 1.0
Past = Mapping[ServicePort, Sequence[HistoryPoint]]


class PrometheusSource:
    """Asks one Prometheus, while ``is_active`` (with several replicas: while this one leads).

    ``callers`` is what it said last of who calls whom, where the mesh does not say it.

    Parameters
    ----------
    learn:
        Takes what was found in the past, once.
    seen:
        Tells what is known of links without it.
    on_error:
        Called each time that it could not be asked.
    """

    def __init__(
        self,
        settings: PrometheusSourceSettings,
        collector: Collector,
        *,
        topology: Callable[[], Topology],
        learn: Callable[[Past], None],
        seen: Seen = lambda: (Memory(), Picture()),
        is_active: Callable[[], bool] = lambda: True,
        on_error: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings, self._collector = settings, collector
        self._topology, self._learn, self._seen = topology, learn, seen
        self._is_active, self._on_error = is_active, on_error
        self._said = ""
        self._calls: CallSource | None = None
        self._links: LinkReading | None = None
        self.callers: tuple[Callers, ...] = ()

    @property
    def told(self) -> ToldLinks:
        """What it said last of the bytes between services."""
        return ToldLinks() if self._links is None else self._links.told

    async def run(self) -> None:
        """Learn from the past once, then ask every interval, until cancelled."""
        settings = self._settings
        if not settings.url:
            await asyncio.Event().wait()
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            prometheus = Prometheus(session, PrometheusSettings(settings.url, deadline_s=settings.deadline_s))
            if settings.backfill_h:
                while not self._is_active():  # noqa: ASYNC110 - a replica may wait for hours, and is in no hurry
                    await asyncio.sleep(WAIT_FOR_LEAD_S)
                await self.back_fill(prometheus, now_s=time.time())
            while settings.interval_s:
                started_s = time.monotonic()
                if self._is_active():
                    await self.read(prometheus, now_s=time.time())
                else:
                    self.forget(now_s=time.time())
                await asyncio.sleep(max(0.0, started_s + settings.interval_s - time.monotonic()))
            await asyncio.Event().wait()

    async def read(self, prometheus: Prometheus, *, now_s: float) -> None:
        """Take what is new: samples of containers that tell nothing by a better way, who calls whom, and bytes."""
        topology = self._topology()
        calls = self._calls = self._calls or CallSource(prometheus)
        try:
            found = await RequestSource(prometheus).read(topology, time_s=now_s)
            self.callers = await calls.read(topology, time_s=now_s) if topology.calls is None else ()
        except IstioError as error:
            self._failed(error)
            return
        for name in found.latencies.keys() | found.counters.keys():
            if not has_better(self._collector, name, "prometheus"):
                counters, latencies = found.counters.get(name, ()), found.latencies.get(name, ())
                keep_samples(self._collector, name, "prometheus", counters=counters, latencies=latencies)
        await self._read_links(prometheus, topology, now_s=now_s)
        in_use = _in_use(found) + ("" if self._links is None else self._links.note)
        self._say(logging.INFO, in_use, news=in_use)

    def forget(self, *, now_s: float) -> None:
        """Give up links that count no more: while another replica asks, ours would be sent to it for ever."""
        if self._links is not None and not held(self._links.told, now_s=now_s):
            self._links = None

    async def _read_links(self, prometheus: Prometheus, topology: Topology, *, now_s: float) -> None:
        """Take the links, if it is time; what else was found counts whatever becomes of this."""
        window_s = self._settings.flow_window_s
        if not window_s:
            return
        links = self._links = self._links or LinkReading(
            prometheus, window_s=window_s, seen=self._seen, on_error=self._on_error
        )
        await links.read(topology, now_s=now_s)

    async def back_fill(self, prometheus: Prometheus, *, now_s: float) -> None:
        """Hand the last ``backfill_h`` of imbalance-aware services to ``learn``; what came before a failure."""
        span_s = self._settings.backfill_h * 3600.0
        history = RequestHistory(prometheus, step_s=max(min(STEP_S, span_s), span_s / MOST_STEPS))
        past: dict[ServicePort, list[HistoryPoint]] = {}
        try:
            for service in self._topology().services:
                port = only_http_port(service)
                if port is not None and service.policy.routing == "imbalance-aware":
                    past[port] = points_of(await history.read(service, start_s=now_s - span_s, end_s=now_s))
        except IstioError as error:
            self._failed(error)
        if not past:
            return
        self._learn(past)
        count = sum(map(len, past.values()))
        log.info("prometheus: %d windows of the past %g h of %d services", count, self._settings.backfill_h, len(past))

    def _failed(self, error: IstioError) -> None:
        self._on_error()
        self._say(logging.WARNING, str(error), news="away")

    def _say(self, level: int, message: str, *, news: str) -> None:
        """Log what is other ``news`` than before; the page ``/debug/telemetryz`` shows what is now."""
        self._collector.notes["prometheus"] = message
        if news != self._said:
            log.log(level, "prometheus: %s", message)
            self._said = news


def points_of(windows: Iterable[PastWindow], *, percentile: float = 95.0) -> list[HistoryPoint]:
    """Return what windows of the past teach a performance table; those with too few requests teach nothing.

    How busy nodes were then nobody tells: they count as calm, as where it is not measured now.
    """
    points = []
    for one in windows:
        start_s = one.end_s - one.window_s
        window = LatencyWindow(start_s, one.end_s, one.bounds_ms, tuple(round(c) for c in one.counts), one.sum_ms)
        figure = figure_of(window, percentile=percentile, now_s=one.end_s)
        if figure is not None and figure.tail is not None:
            load = figure.count / one.window_s
            tail = figure.tail.value_ms
            points.append(HistoryPoint(one.end_s, CALM, load, tail, figure.mean_ms, float(figure.count)))
    return points


def with_past(tables: Tables, past: Past, *, before_s: float) -> Tables:
    """Return the tables with points of the past learnt that are newer than what each knew ``before_s``. O(points).

    Tables that a file brought have learnt their past already; what this run taught them since says nothing of that.
    """
    learnt = dict(tables)
    for key, points in past.items():
        table = learnt.get(key)
        times = () if table is None else [cell.time_s for cell in table.cells.values() if cell.time_s < before_s]
        known_s = max(times, default=-1.0)
        new = [point for point in points if point.time_s > known_s]
        if new:
            learnt[key] = learn_points(table, new)
    return learnt


def _in_use(found: RequestMetrics) -> str:
    """Return in one line what is in use and what is left out, without numbers that change each time."""
    known = f"request times of pods known by {found.using}" if found.latencies else "no request times"
    reasons = "; ".join(sorted([*found.left_out, *found.warnings]))
    return known + (f"; left out: {reasons}" if reasons else "")
