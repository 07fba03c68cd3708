"""A clock for tests: time stands still until ``advance`` moves it, and sleepers wake in deadline order."""

from __future__ import annotations

import asyncio
import heapq
import itertools


class FakeClock:
    """Stands in for ``time.monotonic`` (call it) and for ``asyncio.sleep`` (await its ``sleep``)."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now_s

    async def sleep(self, delay_s: float) -> None:
        """Wait until ``advance`` has moved the clock by ``delay_s``; give way once where that is not above zero."""
        if delay_s <= 0:
            await asyncio.sleep(0)
            return
        waiter = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now_s + delay_s, next(self._order), waiter))
        await waiter

    async def advance(self, by_s: float) -> None:
        """Move the clock, stopping at each deadline on the way so that its sleeper sees the time it asked for."""
        until_s = self.now_s + by_s
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= until_s:
            deadline_s, _, waiter = heapq.heappop(self._sleepers)
            self.now_s = max(self.now_s, deadline_s)
            if not waiter.done():  # a cancelled sleeper is done already
                waiter.set_result(None)
            await self.settle()
        self.now_s = until_s

    async def settle(self, rounds: int = 20) -> None:
        """Let everything that can run now run."""
        for _ in range(rounds):
            await asyncio.sleep(0)
