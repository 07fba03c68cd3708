"""The queue of one container: a fixed number of workers, the rest waits in order of arrival, the work is slept."""

from __future__ import annotations

import asyncio
import math
import random
import time
from dataclasses import dataclass

from lab.application import ServiceTime


@dataclass(slots=True)
class QueueState:
    """What a container has been doing: counters since its start, and how many are in it now."""

    served: int = 0
    busy_s: float = 0.0
    working: int = 0
    waiting: int = 0


class ServiceQueue:
    """Workers of one container. ``speed`` may change at any time and holds for the work that starts after it.

    A worker is held while it works, not while the request waits for other services: a request that calls onward
    occupies nobody, and no circle of services can lock up.
    """

    def __init__(self, service_time: ServiceTime, *, workers: int, speed: float, rng: random.Random) -> None:
        self.speed = speed
        self.state = QueueState()
        self._service_time, self._rng = service_time, rng
        self._workers = asyncio.Semaphore(workers)

    async def work(self) -> None:
        """Wait for a worker, keep it busy for one service time, and free it."""
        self.state.waiting += 1
        try:
            await self._workers.acquire()
        finally:
            self.state.waiting -= 1
        self.state.working += 1
        started = time.monotonic()
        try:
            await asyncio.sleep(draw_s(self._service_time, self._rng) / self.speed)
            self.state.served += 1
        finally:
            self.state.busy_s += time.monotonic() - started
            self.state.working -= 1
            self._workers.release()


def draw_s(service_time: ServiceTime, rng: random.Random) -> float:
    """Return one service time in seconds.

    >>> draw_s(ServiceTime("fixed", mean_ms=5.0), random.Random(1))
    0.005
    """
    mean_s = service_time.mean_ms / 1000.0
    if service_time.distribution == "fixed" or mean_s == 0.0:
        return mean_s
    if service_time.distribution == "exponential":
        return rng.expovariate(1.0 / mean_s)
    # The lognormal of this mean and coefficient of variation: sigma^2 = ln(1 + cv^2), mu = ln(mean) - sigma^2 / 2.
    variance = math.log1p(service_time.cv**2)
    return rng.lognormvariate(math.log(mean_s) - variance / 2.0, math.sqrt(variance))
