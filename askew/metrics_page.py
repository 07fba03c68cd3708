"""``/metrics``, which everybody may read: made anew at most as often as leaves nearly all of the time to other work."""

from __future__ import annotations

import time
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

LARGEST_PART = 0.05
"""Of the time, for making the page: one that took 20 ms is given out for 0.4 s, and a scrape finds it fresh."""


class MetricsPage:
    """The page of a registry."""

    def __init__(self, registry: CollectorRegistry, *, now_s: Callable[[], float] = time.perf_counter) -> None:
        self._registry, self._now_s = registry, now_s
        self._body, self._made_anew_s = b"", float("-inf")

    async def answer(self, _: web.Request) -> web.Response:
        """Return the page as it is now, or was a moment ago."""
        return web.Response(body=self.body(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    def body(self) -> bytes:
        """Return the text. O(series) where it is made anew."""
        began_s = self._now_s()
        if began_s >= self._made_anew_s:
            self._body = generate_latest(self._registry)
            ended_s = self._now_s()
            self._made_anew_s = ended_s + (ended_s - began_s) / LARGEST_PART
        return self._body
