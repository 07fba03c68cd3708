"""Tell a person what is going on: a moving bar on a terminal, plain lines otherwise; always on stderr."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn

TICK_S = 0.2


class Teller(Protocol):
    """Where a run says what it does."""

    def say(self, text: str) -> None:
        """Tell what happens now."""

    async def wait(self, text: str, seconds: float) -> None:
        """Let ``seconds`` go by, and show it."""


class PlainLines:
    """One line an event."""

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    async def wait(self, text: str, seconds: float) -> None:
        self.say(f"{text}: {seconds:g} s")
        await asyncio.sleep(seconds)


class MovingBar:
    """A spinner with the current step, and a bar while time goes by."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def say(self, text: str) -> None:
        self._progress.update(self._task, description=text, total=None)

    async def wait(self, text: str, seconds: float) -> None:
        started_s = time.monotonic()
        self._progress.update(self._task, description=text, total=seconds, completed=0)
        while (left_s := started_s + seconds - time.monotonic()) > 0:
            await asyncio.sleep(min(TICK_S, left_s))
            self._progress.update(self._task, completed=time.monotonic() - started_s)


@contextmanager
def teller() -> Iterator[Teller]:
    """Yield the teller that suits stderr."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield PlainLines()
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn())
    with Progress(*columns, console=console, transient=True, refresh_per_second=5) as progress:
        yield MovingBar(progress, progress.add_task("", total=None))
