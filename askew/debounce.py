"""Changes that come together are taken together: wait for a quiet moment, but not for ever."""

from __future__ import annotations

import asyncio


def due_s(*, first_s: float, last_s: float, quiet_s: float, longest_s: float) -> float:
    """Return when changes that began at ``first_s`` and last came at ``last_s`` are due.

    >>> due_s(first_s=0.0, last_s=0.05, quiet_s=0.1, longest_s=10.0)
    0.15000000000000002
    >>> due_s(first_s=0.0, last_s=9.95, quiet_s=0.1, longest_s=10.0)
    10.0
    """
    return min(last_s + quiet_s, first_s + longest_s)


class Debounce:
    """Collects notes of changes; ``wait`` returns when they are due. Urgent ones are due at once."""

    def __init__(self, *, quiet_s: float, longest_s: float) -> None:
        self._quiet_s, self._longest_s = quiet_s, longest_s
        self._noted = asyncio.Event()
        self._first_s: float | None = None
        self._due_s = 0.0

    def note(self, *, urgent: bool = False) -> None:
        """Note a change."""
        now_s = asyncio.get_running_loop().time()
        if self._first_s is None:
            self._first_s = now_s
            self._due_s = float("inf")
        due = due_s(first_s=self._first_s, last_s=now_s, quiet_s=self._quiet_s, longest_s=self._longest_s)
        was_urgent = self._due_s <= now_s
        self._due_s = now_s if urgent or was_urgent else due
        self._noted.set()

    async def wait(self) -> None:
        """Return when something was noted and is due; then start anew."""
        loop = asyncio.get_running_loop()
        while True:
            await self._noted.wait()
            left_s = self._due_s - loop.time()
            if left_s <= 0:
                break
            self._noted.clear()
            try:
                async with asyncio.timeout(left_s):
                    await self._noted.wait()
            except TimeoutError:
                self._noted.set()
        self._noted.clear()
        self._first_s = None
