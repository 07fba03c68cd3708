"""Measure a container's links from the byte counters of its own sidecar: two scrapes, one window apart.

The cheapest way: the sidecar counts anyway. It knows services, not containers, and only the calls that the container
makes; bytes are those of the upstream connections, TLS included.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import aiohttp

from mesh.link_measurement import LinkBytes, Measurement, Method, Unmeasured
from mesh.topology import Container, ServicePort
from xds_server.ingest.cluster_bytes import ClusterBytes, Scrape, parse_stats_json, parse_stats_prometheus
from xds_server.ingest.errors import ScrapeError, SidecarUnavailableError, UnreadableStatsError

Parse = Callable[[str], Scrape]
NOTHING_YET = ClusterBytes(0, 0)


@dataclass(frozen=True, slots=True)
class ScrapeSettings:
    """Limits of one scrape."""

    deadline_s: float = 2.0
    """A sidecar on the same node answers in milliseconds."""
    most_bytes: int = 8 << 20
    """Past this the page is not the one asked for."""


StatsUrlOf = Callable[[Container], str | None]
"""Finds where a container's sidecar shows its statistics; None where it has no sidecar that we can ask."""


class SidecarCounters:
    """Measures through the statistics page of the container's Envoy.

    Parameters
    ----------
    stats_url_of:
        Finds the page: the admin address with ``cluster_bytes.STATS_PATH``, or Istio's
        ``http://POD:15090/stats/prometheus``. A URL that ends in ``/prometheus``, or has it before its query, is read
        as Prometheus text.
    session:
        The caller's; it stays open.
    on_open:
        Called once the window is open; whoever makes known traffic starts it then.
    """

    method: Method = "sidecar"

    def __init__(
        self,
        stats_url_of: StatsUrlOf,
        session: aiohttp.ClientSession,
        *,
        settings: ScrapeSettings = ScrapeSettings(),
        on_open: Callable[[], None] = lambda: None,
    ) -> None:
        self._stats_url_of, self._session, self._settings, self._on_open = stats_url_of, session, settings, on_open

    async def measure(self, container: Container, *, window_s: float) -> Measurement | Unmeasured:
        """Return what ``container`` exchanged with each service that it calls in ``window_s`` seconds.

        The cost is this thread's processor time while a scrape ran: other tasks of the loop may be in it.
        """
        url = self._stats_url_of(container)
        if url is None:
            return Unmeasured(container.name, self.method, "no sidecar whose statistics can be read")
        try:
            first = await self._timed(url)
            self._on_open()
            await asyncio.sleep(window_s)
            last = await self._timed(url)
        except ScrapeError as error:
            return Unmeasured(container.name, self.method, str(error))
        if not last.scrape.clusters:
            return Unmeasured(container.name, self.method, "the sidecar shows no byte counters of outbound clusters")
        return _measurement(container, first, last)

    async def scrape(self, url: str) -> Scrape:
        """Return what the page at ``url`` shows now.

        Raises SidecarUnavailableError or UnreadableStatsError.
        """
        text = await fetch_page(self._session, url, self._settings)
        return _parse_of(url)(text)

    async def _timed(self, url: str) -> _Timed:
        began_s, cpu_s = time.monotonic(), time.thread_time()
        scrape = await self.scrape(url)
        ended_s = time.monotonic()
        # The counters were read somewhere in between.
        return _Timed(scrape, (began_s + ended_s) / 2, time.thread_time() - cpu_s)


@dataclass(frozen=True, slots=True)
class _Timed:
    scrape: Scrape
    time_s: float
    cpu_s: float


def _parse_of(url: str) -> Parse:
    return parse_stats_prometheus if url.partition("?")[0].endswith("/prometheus") else parse_stats_json


async def fetch_page(
    session: aiohttp.ClientSession, url: str, settings: ScrapeSettings, *, query: Mapping[str, str] | None = None
) -> str:
    """Return the text of a sidecar's page. Raises SidecarUnavailableError or UnreadableStatsError."""
    try:
        async with (
            asyncio.timeout(settings.deadline_s),
            session.get(url, params=query, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise SidecarUnavailableError(f"{url}: found status {response.status}, allowed: 200")
            return await _read(response, settings.most_bytes)
    except TimeoutError as error:
        raise SidecarUnavailableError(f"{url}: no answer in {settings.deadline_s} s") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise SidecarUnavailableError(f"{url}: {error or type(error).__name__}") from error


async def _read(response: aiohttp.ClientResponse, most_bytes: int) -> str:
    body = bytearray()
    async for piece in response.content.iter_chunked(1 << 16):
        body += piece
        if len(body) > most_bytes:
            raise UnreadableStatsError(f"{response.url}: found more than {most_bytes} bytes")
    return body.decode("utf-8", errors="replace")


def _measurement(container: Container, first: _Timed, last: _Timed) -> Measurement:
    before, after = first.scrape.clusters, last.scrape.clusters
    restarted = any(_ran_back(before.get(port, NOTHING_YET), now) for port, now in after.items())
    vanished = len(before.keys() - after.keys())
    notes = []
    if restarted:
        notes.append("the sidecar restarted: counted from its start, what it moved before that is missing")
    if vanished:
        notes.append(f"{vanished} clusters went away inside the window: their bytes are missing")
    if last.scrape.unreadable:
        notes.append(f"{last.scrape.unreadable} counters of outbound clusters could not be read")
    links = (_link(port, NOTHING_YET if restarted else before.get(port, NOTHING_YET), after[port]) for port in after)
    return Measurement(
        container=container.name,
        method="sidecar",
        window_s=last.time_s - first.time_s,
        links=tuple(sorted((link for link in links if link.bytes_sent or link.bytes_received), key=_peer_and_port)),
        cost_cpu_s=first.cpu_s + last.cpu_s,
        complete=not (restarted or vanished or last.scrape.unreadable),
        covers="client",
        notes=tuple(notes),
    )


def _ran_back(before: ClusterBytes, now: ClusterBytes) -> bool:
    return now.sent < before.sent or now.received < before.received


def _link(port: ServicePort, before: ClusterBytes, now: ClusterBytes) -> LinkBytes:
    return LinkBytes(
        peer=port.service,
        port=port.port,
        side="client",
        bytes_sent=now.sent - before.sent,
        bytes_received=now.received - before.received,
    )


def _peer_and_port(link: LinkBytes) -> tuple[str, int]:
    return link.peer, link.port
