"""Token buckets: how fast new streams are let in, and how fast responses go out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Throttle:
    """Lets ``rate_per_s`` through on average and ``burst`` at once; 0 means no limit. First come, first served.

    Parameters
    ----------
    clock:
        Returns seconds; the running loop's by default.
    """

    def __init__(self, rate_per_s: float, *, burst: float, clock: Callable[[], float] | None = None) -> None:
        self._rate_per_s, self._burst = rate_per_s, burst
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._free_at_s = float("-inf")

    def delay_s(self) -> float:
        """Return after how many seconds a token is there."""
        if not self._rate_per_s:
            return 0.0
        return max(0.0, self._next_s() - self._clock())

    def take(self) -> None:
        """Take a token; also one that is not there yet, which the next must then wait for."""
        if self._rate_per_s:
            self._free_at_s = self._next_s() + 1.0 / self._rate_per_s

    async def ready(self) -> None:
        """Wait until a token is there, without taking it: what it is for is decided afterwards."""
        while delay_s := self.delay_s():  # noqa: ASYNC110 - it is a time that is waited for, not an event
            await asyncio.sleep(delay_s)

    def _next_s(self) -> float:
        # The bucket as a schedule: it is full when the next token was due `burst` tokens ago.
        return max(self._free_at_s, self._clock() - (self._burst - 1) / self._rate_per_s)
