"""A container's queue: so many workers, first come first served, and work that takes what its distribution says."""

from __future__ import annotations

import asyncio
import random
import statistics
from contextlib import suppress

import pytest

from lab.application import ServiceTime
from lab.service_queue import ServiceQueue, draw_s

NEVER = ServiceTime("fixed", mean_ms=3_600_000.0)
AT_ONCE = ServiceTime("fixed", mean_ms=0.0)


def queue(service_time: ServiceTime, *, workers: int) -> ServiceQueue:
    return ServiceQueue(service_time, workers=workers, speed=1.0, rng=random.Random(1))


async def some_steps() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_only_so_many_work_at_once() -> None:
    """Of five requests at two workers, two are worked on and three wait; who gives up leaves the line."""
    line = queue(NEVER, workers=2)
    tasks = [asyncio.ensure_future(line.work()) for _ in range(5)]
    await some_steps()

    assert (line.state.working, line.state.waiting) == (2, 3)

    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert (line.state.working, line.state.waiting, line.state.served) == (0, 0, 0)


async def test_first_come_first_served() -> None:
    """The line is served in order of arrival."""
    line, done = queue(AT_ONCE, workers=1), []

    async def request(number: int) -> None:
        await line.work()
        done.append(number)

    await asyncio.gather(*(request(number) for number in range(20)))

    assert done == list(range(20))
    assert line.state.served == 20


async def test_speed_holds_for_the_work_that_starts_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """At half the speed the same work takes twice as long."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("lab.service_queue.asyncio.sleep", sleep)
    line = queue(ServiceTime("fixed", mean_ms=10.0), workers=1)
    await line.work()
    line.speed = 0.5
    await line.work()

    assert slept == pytest.approx([0.010, 0.020])


@pytest.mark.parametrize(
    ("service_time", "cv"),
    [
        (ServiceTime("fixed", mean_ms=5.0), 0.0),
        (ServiceTime("exponential", mean_ms=5.0), 1.0),
        (ServiceTime("lognormal", mean_ms=5.0, cv=0.5), 0.5),
        (ServiceTime("lognormal", mean_ms=5.0, cv=2.0), 2.0),
    ],
)
def test_service_times_have_the_mean_and_variation_that_they_say(service_time: ServiceTime, cv: float) -> None:
    """Mean and coefficient of variation of many draws are those of the settings."""
    rng = random.Random(7)
    drawn_ms = [1000.0 * draw_s(service_time, rng) for _ in range(50_000)]
    mean_ms = statistics.fmean(drawn_ms)

    assert mean_ms == pytest.approx(5.0, rel=0.05)
    assert statistics.pstdev(drawn_ms) / mean_ms == pytest.approx(cv, rel=0.15, abs=1e-9)
