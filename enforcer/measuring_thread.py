"""Run one blocking measurement in a thread of its own, with its cost, and stop it when the caller is cancelled."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


def nobody() -> None:
    """Tell nobody that a window has opened."""


@dataclass(frozen=True, slots=True)
class Ran(Generic[T]):
    """What the work returned, and the processor time of its thread, kernel time of its own calls included.

    Opening sockets inside a namespace (``open_inside``, 0.1 ms each) happens in a thread besides and is not in it.
    """

    result: T
    cpu_s: float


async def run_in_thread(name: str, work: Callable[[threading.Event], T]) -> Ran[T]:
    """Return what ``work(stop)`` returns in a thread called ``name``.

    ``work`` must return soon after ``stop`` is set, which happens when the awaiting task is cancelled; the cancellation
    goes on only once the thread has ended, so that no socket of it outlives the call.
    """
    stop = threading.Event()

    def timed() -> Ran[T]:
        started = time.thread_time()
        result = work(stop)
        return Ran(result, time.thread_time() - started)

    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
    future = asyncio.get_running_loop().run_in_executor(pool, timed)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([future])
        future.exception()  # the caller is gone: whatever the work met, nobody is left to tell
        raise
    finally:
        pool.shutdown(wait=False)
