"""The one place that catches everything: a long-lived part that returns or fails ends the program with its name."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger(__name__)


class PartEndedError(RuntimeError):
    """A part that should run for ever has returned."""


async def guarded(name: str, part: Coroutine[Any, Any, None]) -> None:
    """Run ``part`` until cancelled; an early return is an error, and an exception is logged with the part's name."""
    try:
        await part
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # What it waited for was cancelled, not itself (a gRPC call whose channel was closed): it would end in silence.
        raise PartEndedError(f"{name} ended by a cancellation that nobody asked for") from error
    except Exception:
        log.exception("%s failed", name)
        raise
    raise PartEndedError(f"{name} ended though nothing asked it to")
