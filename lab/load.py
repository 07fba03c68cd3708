"""An open-loop load: Poisson arrivals on a schedule, latency from the planned time, nothing dropped in silence.

A generator that waits for the answer before it sends the next request measures too little whenever the server is slow
("coordinated omission"). Here the schedule is drawn ahead of the answers, and a request's latency starts when it was
planned to be sent: that it was sent late because all senders were busy counts as latency too.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hdrh.histogram import HdrHistogram

from lab.errors import WireError
from lab.http_wire import ClientPool

LONGEST_S = 60.0
REQUEST_DEADLINE_S = 20.0
MOST_AT_ONCE = 1000


def _histogram() -> Any:
    return HdrHistogram(1, int(LONGEST_S * 1e6), 3)  # microseconds, three significant figures


@dataclass(slots=True)
class Window:
    """What became of the requests that were planned while this window was open."""

    name: str
    planned: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    latency_us: Any = field(default_factory=_histogram)

    @property
    def failed(self) -> int:
        return self.failures.total()

    def percentile_ms(self, percentile: float) -> float:
        """Return a percentile of the answered requests' latency; 0 where there are none."""
        return (
            float(self.latency_us.get_value_at_percentile(percentile)) / 1000.0 if self.latency_us.total_count else 0.0
        )


@dataclass(frozen=True, slots=True)
class Source:
    """Where a part of the load starts: a sidecar's outbound listener, and the requests per second through it."""

    address: str
    port: int
    requests_per_s: float


class LoadGenerator:
    """Sends GETs to one service through the sidecars of the load's containers until it is cancelled.

    ``mix`` maps a path to its part of the requests. Each planned request belongs to the window that is open at that
    moment; ``open_window`` starts the next.
    """

    def __init__(
        self, sources: Sequence[Source], *, authority: str, mix: Mapping[str, float], rng: random.Random
    ) -> None:
        self._sources, self._authority, self._rng = sources, authority, rng
        self._paths, self._weights = list(mix), list(mix.values())
        self._under_way: dict[asyncio.Task[None], Window] = {}
        self._places = asyncio.Semaphore(MOST_AT_ONCE)
        self.window = Window("warm-up")

    def open_window(self, name: str) -> Window:
        """Let the requests from now on count in a new window, and return it."""
        self.window = Window(name)
        return self.window

    async def run(self) -> None:
        """Send until cancelled; then the requests that are still under way are given up and counted as failed."""
        pools = [ClientPool(source.address, source.port) for source in self._sources]
        try:
            async with asyncio.TaskGroup() as group:
                for source, pool in zip(self._sources, pools, strict=True):
                    group.create_task(self._run_source(source, pool))
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)
            for pool in pools:
                pool.close()

    async def drain(self, window: Window) -> None:
        """Wait until no request of ``window`` is under way; each ends by its own deadline."""
        pending = [task for task, its_window in self._under_way.items() if its_window is window]
        await asyncio.gather(*pending, return_exceptions=True)

    async def _run_source(self, source: Source, pool: ClientPool) -> None:
        planned_s = time.monotonic()
        while True:
            planned_s += self._rng.expovariate(source.requests_per_s)
            # Never skipped when we are late: sleep(negative) returns at once and the schedule catches up.
            await asyncio.sleep(planned_s - time.monotonic())
            path = self._rng.choices(self._paths, self._weights)[0]
            task = asyncio.get_running_loop().create_task(self._send(pool, path, planned_s, self.window))
            self._under_way[task] = self.window
            task.add_done_callback(self._under_way.pop)

    async def _send(self, pool: ClientPool, path: str, planned_s: float, window: Window) -> None:
        window.planned += 1
        try:
            async with self._places:
                response = await pool.get(path, authority=self._authority, headers={}, deadline_s=REQUEST_DEADLINE_S)
            if 200 <= response.status < 300:
                latency_us = int((time.monotonic() - planned_s) * 1e6)
                window.latency_us.record_value(min(max(latency_us, 1), int(LONGEST_S * 1e6)))
            else:
                window.failures[f"status {response.status}: {response.body[:120].decode('latin-1').strip()}"] += 1
        except TimeoutError:
            window.failures[f"no answer in {REQUEST_DEADLINE_S:g} s"] += 1
        except (WireError, OSError) as error:
            window.failures[str(error) or type(error).__name__] += 1
