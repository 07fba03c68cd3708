"""The fake clock is a fake that others lean on, so it is tested itself."""

from __future__ import annotations

import asyncio

from tests.fakes.clock import FakeClock


async def test_sleepers_wake_in_the_order_of_their_deadlines(clock: FakeClock) -> None:
    """Each sleeper wakes at the time it asked for, the earliest first."""
    woken: list[tuple[str, float]] = []

    async def nap(name: str, delay_s: float) -> None:
        await clock.sleep(delay_s)
        woken.append((name, clock() - 1000.0))

    async with asyncio.TaskGroup() as group:
        group.create_task(nap("late", 3.0))
        group.create_task(nap("early", 1.0))
        await clock.advance(5.0)

    assert woken == [("early", 1.0), ("late", 3.0)]


async def test_time_stands_still_between_advances(clock: FakeClock) -> None:
    """Nothing but ``advance`` moves the clock, and a sleeper whose time has not come sleeps on."""
    sleeper = asyncio.create_task(clock.sleep(2.0))

    await clock.advance(1.5)

    assert (clock(), sleeper.done()) == (1001.5, False)
    await clock.advance(0.5)
    assert sleeper.done()


async def test_a_loop_of_naps_runs_once_a_period(clock: FakeClock) -> None:
    """A loop that naps again and again sees every period of one long advance."""
    ticks: list[float] = []

    async def tick() -> None:
        while True:
            await clock.sleep(5.0)
            ticks.append(clock() - 1000.0)

    ticking = asyncio.create_task(tick())
    await clock.advance(16.0)
    ticking.cancel()

    assert ticks == [5.0, 10.0, 15.0]


async def test_a_cancelled_sleeper_is_passed_over(clock: FakeClock) -> None:
    """Cancelling a sleeper neither wakes it later nor stops the clock."""
    sleeper = asyncio.create_task(clock.sleep(1.0))
    await clock.settle()
    sleeper.cancel()

    await clock.advance(2.0)

    assert (clock(), sleeper.cancelled()) == (1002.0, True)
