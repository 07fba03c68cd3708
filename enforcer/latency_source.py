"""Ask each container's latency page, all at once, and say why one cannot be read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

from enforcer.containers_file import ListedContainer
from enforcer.errors import LatencyUnreadableError
from enforcer.latency_page import LatencySample, is_envoys, read_page, too_coarse
from enforcer.settings import AgentSettings


@dataclass(frozen=True, slots=True)
class LatencyReading:
    """A sample, or why there is none. ``stalled_s``: a page that was asked so long ago has not answered yet."""

    sample: LatencySample | None = None
    why: str = ""
    stalled_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Asked:
    task: asyncio.Task[LatencyReading]
    at_s: float


class LatencySource:
    """Reads pages over kept connections. Open inside a running loop, ``close`` at the end."""

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._session = aiohttp.ClientSession(auto_decompress=True, cookie_jar=aiohttp.DummyCookieJar())
        self._asked: dict[str, _Asked] = {}

    async def read(self, containers: Sequence[ListedContainer]) -> list[LatencyReading]:
        """Return a reading for each container, in order, within the deadline.

        A page that is late is not asked again: its answer counts in the step in which it comes.
        """
        for container in containers:
            if container.latency and container.latency not in self._asked:
                task = asyncio.create_task(self._read(container), name=f"latency {container.name}")
                self._asked[container.latency] = _Asked(task, time.monotonic())
        waiting = [self._asked[container.latency].task for container in containers if container.latency]
        if waiting:
            await asyncio.wait(waiting, timeout=self._settings.scrape_deadline_s)
        return [self._taken(container) for container in containers]

    async def close(self) -> None:
        """Give up what has not answered, and close the connections."""
        tasks = [asked.task for asked in self._asked.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._session.close()

    def _taken(self, container: ListedContainer) -> LatencyReading:
        if not container.latency:
            return LatencyReading(why="no page of its latency is given")
        asked = self._asked.get(container.latency)
        if asked is None:
            return LatencyReading(why="its page is another container's too")
        if not asked.task.done():
            stalled_s = time.monotonic() - asked.at_s
            return LatencyReading(why=f"{container.latency}: no answer for {stalled_s:.1f} s", stalled_s=stalled_s)
        del self._asked[container.latency]
        return asked.task.result()

    async def _read(self, container: ListedContainer) -> LatencyReading:
        url, _, histogram = container.latency.partition("#")
        try:
            text = await self._fetch(url)
            if is_envoys(text, histogram=histogram):
                # Envoy begins to merge its histograms when it is asked, and answers without waiting for that: its page
                # is as old as the ask before, half a second and maybe another partition.
                text = await self._fetch(url)
            sample = read_page(text, histogram=histogram, time_s=time.monotonic())
        except LatencyUnreadableError as error:
            return LatencyReading(why=f"{url}: {error}")
        coarse = container.target_ms and too_coarse(
            sample, container.target_ms, coarsest_ratio=self._settings.coarsest_bucket
        )
        if coarse:
            return LatencyReading(why=f"{url}: found {coarse}; name the app's own metrics instead")
        return LatencyReading(sample)

    async def _fetch(self, url: str) -> str:
        settings = self._settings
        try:
            async with (
                asyncio.timeout(settings.scrape_give_up_s),
                self._session.get(url, allow_redirects=False) as response,
            ):
                if response.status != 200:
                    raise LatencyUnreadableError(f"found status {response.status}, allowed: 200")
                body = await response.content.read(settings.largest_page_bytes + 1)
                while not response.content.at_eof() and len(body) <= settings.largest_page_bytes:
                    body += await response.content.read(settings.largest_page_bytes + 1 - len(body))
        except TimeoutError as error:
            raise LatencyUnreadableError(f"no answer in {settings.scrape_give_up_s} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise LatencyUnreadableError(str(error) or type(error).__name__) from error
        if len(body) > settings.largest_page_bytes:
            raise LatencyUnreadableError(f"found more than {settings.largest_page_bytes} bytes")
        return body.decode("utf-8", errors="replace")
