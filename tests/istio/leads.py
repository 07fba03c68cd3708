"""Leadership that a test decides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


class Leads:
    """Leads while ``is_leader``, and does what the leader may."""

    is_leader = True

    async def as_leader(self, write: Callable[[], Awaitable[T]]) -> T:
        return await write()
