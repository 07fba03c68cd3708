"""What guards long-lived parts: no end of one goes unseen."""

from __future__ import annotations

import asyncio

import pytest

from askew.guard import PartEndedError, guarded


async def test_a_cancellation_that_nobody_asked_for_is_an_error() -> None:
    """What a part waits for may be cancelled below it; a TaskGroup would take that for an orderly end."""
    waited_for: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def part() -> None:
        await waited_for

    task = asyncio.create_task(guarded("part", part()))
    await asyncio.sleep(0)
    waited_for.cancel()
    with pytest.raises(PartEndedError, match="part ended by a cancellation"):
        await task


async def test_a_part_that_is_cancelled_ends_in_silence() -> None:
    """That is how it should end."""
    task = asyncio.create_task(guarded("part", asyncio.Event().wait()))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
