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
    except asyncio.CancelledError:
        raise
    except Exception:
        log.exception("%s failed", name)
        raise
    raise PartEndedError(f"{name} ended though nothing asked it to")
