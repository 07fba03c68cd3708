"""Ask sidecars for their statistics, where they push none: those on nodes with an agent (decision 0005), or all.

Envoy brings its histograms up to date *after* it has answered: a page shows counters of now and request times of the
reading before (measured on Envoy 1.40). So each page is read twice, shortly after one another, the first time empty.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import aiohttp

from mesh.listeners import PROMETHEUS_PORT
from mesh.telemetry import ClusterCounters, LatencyHistogram
from mesh.topology import Container, Topology
from xds_server.errors import BadSettingsError
from xds_server.ingest.asked_samples import has_better, keep_samples
from xds_server.ingest.collector import Collector, PageFailure
from xds_server.ingest.errors import SidecarUnavailableError, UnreadableStatsError
from xds_server.ingest.names import reporter_of, service_port_of
from xds_server.ingest.scrape import ScrapeSettings, fetch_page
from xds_server.ingest.settings import IngestSettings
from xds_server.ingest.stats_page import QUERY, StatsPage, parse_stats_page

log = logging.getLogger(__name__)
WHOM: Final = ("agents", "all", "off")
NOTHING: Final[Mapping[str, str]] = {"filter": "^$"}
MERGE_S: Final = 0.05  # Envoy's threads hand over what they counted in a few ms
Address = Callable[[Container], str]


class SidecarPages:
    """Reads the pages of ``asked()`` every interval, a bounded number at once, into a collector.

    Parameters
    ----------
    asked:
        Returns the containers whose sidecars are to be asked now.
    url_of:
        Finds a sidecar's page.

    Raises
    ------
    BadSettingsError
        for an unknown ``ingest.scrape``, or no interval.
    """

    def __init__(
        self, collector: Collector, asked: Callable[[], Sequence[Container]], *, url_of: Address | None = None
    ) -> None:
        settings = collector.settings
        check(settings)
        self._collector, self._asked, self._url_of = collector, asked, url_of or page_url
        self._limits = ScrapeSettings(deadline_s=settings.scrape_deadline_s)
        self.failures: dict[str, PageFailure] = collector.page_failures

    async def run(self) -> None:
        """Read until cancelled; a round that takes longer than the interval is followed at once by the next."""
        settings = self._collector.settings
        connector = aiohttp.TCPConnector(limit=settings.scrape_at_once)
        async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
            while True:
                started_s = time.monotonic()
                await self.read(session)
                await asyncio.sleep(max(0.0, started_s + settings.scrape_interval_s - time.monotonic()))

    async def read(self, session: aiohttp.ClientSession) -> None:
        """Read every page once."""
        wanted = [one for one in self._asked() if not has_better(self._collector, one.name, "sidecar_page")]
        gone = self.failures.keys() - {container.name for container in wanted}
        for name in gone:
            del self.failures[name]
        at_once = asyncio.Semaphore(self._collector.settings.scrape_at_once)
        await asyncio.gather(*(self._one(session, container, at_once) for container in wanted))

    async def _one(self, session: aiohttp.ClientSession, container: Container, at_once: asyncio.Semaphore) -> None:
        collector, url = self._collector, self._url_of(container)
        async with at_once:
            try:
                await fetch_page(session, url, self._limits, query=NOTHING)
                await asyncio.sleep(MERGE_S)
                text = await fetch_page(session, url, self._limits, query=QUERY)
            except SidecarUnavailableError as error:
                collector.drop("sidecar_page", "no-answer")
                self._failed(container, str(error))
                return
            except UnreadableStatsError as error:
                collector.drop("sidecar_page", "malformed")
                self._failed(container, str(error))
                return
        self.failures.pop(container.name, None)
        page, now_s = parse_stats_page(text), collector.now_s()
        if page.unreadable:
            collector.drop("sidecar_page", "bad-value", page.unreadable)
        keep_samples(
            collector,
            container.name,
            "sidecar_page",
            counters=counters_of(container, page, time_s=now_s),
            latencies=latencies_of(container, page, time_s=now_s),
        )

    def _failed(self, container: Container, why: str) -> None:
        before = self.failures.get(container.name)
        if before is None:
            log.warning("the statistics of %s cannot be read: %s", container.name, why)
        self.failures[container.name] = PageFailure(1 if before is None else before.times + 1, why)


def check(settings: IngestSettings) -> None:
    """Raise BadSettingsError, one line, for an unknown ``ingest.scrape``, or no interval."""
    if settings.scrape not in WHOM:
        raise BadSettingsError(f"ingest.scrape: found {settings.scrape!a}, allowed: {', '.join(WHOM)}")
    if not (settings.scrape_interval_s > 0.0 and settings.scrape_at_once > 0):
        raise BadSettingsError("ingest.scrape_interval_s, ingest.scrape_at_once: found 0, allowed: above 0")


def page_url(container: Container) -> str:
    """Return where a sidecar of ours, or of Istio's, shows its statistics.

    >>> from mesh.topology import ContainerName, NodeName, ServiceName
    >>> page_url(Container(ContainerName("a"), ServiceName("a.shop"), NodeName("n"), "fd00::1"))
    'http://[fd00::1]:15090/stats/prometheus'
    """
    host = f"[{container.address}]" if ":" in container.address else container.address
    return f"http://{host}:{PROMETHEUS_PORT}/stats/prometheus"


def to_be_asked(topology: Topology, whom: str) -> list[Container]:
    """Return the containers whose sidecars ``ingest.scrape`` means. O(containers)."""
    if whom == "off":
        return []
    nodes = topology.node_by_name
    return [
        container
        for container in topology.container_by_name.values()
        if container.is_client and (whom == "all" or nodes[container.node].agent)
    ]


def counters_of(container: Container, page: StatsPage, *, time_s: float) -> Iterable[ClusterCounters]:
    """Yield a page's counters as samples."""
    for name, found in page.clusters.items():
        reporter = reporter_of(name)
        if reporter is not None and found.counts:
            yield ClusterCounters(container.name, name, service_port_of(name), reporter, time_s, **found.counts)


def latencies_of(container: Container, page: StatsPage, *, time_s: float) -> Iterable[LatencyHistogram]:
    """Yield a page's request times as samples."""
    for name, found in page.clusters.items():
        reporter, times = reporter_of(name), found.times
        if reporter is not None and times is not None:
            port = service_port_of(name)
            yield LatencyHistogram(
                container.name, name, port, reporter, time_s, times.bounds_ms, times.counts, times.count, times.sum_ms
            )
