"""The load: open loop, measured from the planned time, and every failure counted."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from lab.http_wire import Request, Response
from lab.load import LoadGenerator, Source, Window
from tests.lab.http_server import SmallServer, ok, small_server


@asynccontextmanager
async def running(server: SmallServer, *, requests_per_s: float = 400.0) -> AsyncIterator[LoadGenerator]:
    source = Source(server.host, server.port, requests_per_s)
    generator = LoadGenerator([source], authority="front", mix={"/a": 0.8, "/b": 0.2}, rng=random.Random(1))
    task = asyncio.ensure_future(generator.run())
    try:
        yield generator
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def planned(window: Window, *, at_least: int) -> None:
    while window.planned < at_least:  # noqa: ASYNC110 - the generator tells nobody
        await asyncio.sleep(0.001)


async def test_a_stalled_server_shows_in_the_latency_of_all_who_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one sender and a server that stalls once, a closed loop would see one slow request; here all that were
    planned meanwhile are slow, by as much as they were late.
    """
    monkeypatch.setattr("lab.load.MOST_AT_ONCE", 1)
    go_on = asyncio.Event()

    async def stall_until_told(request: Request) -> Response:
        await go_on.wait()
        return Response(200)

    async with small_server(stall_until_told) as server, running(server) as generator:
        window = generator.open_window("stall")
        await planned(window, at_least=1)
        first_planned_s = time.monotonic()
        await planned(window, at_least=40)
        stalled_ms = 1000.0 * (time.monotonic() - first_planned_s)
        generator.open_window("rest")
        go_on.set()
        await generator.drain(window)

    assert len(server.seen) >= window.planned
    assert window.failed == 0
    assert window.percentile_ms(100.0) >= stalled_ms * 0.99
    assert window.percentile_ms(50.0) >= stalled_ms * 0.2


async def test_requests_belong_to_the_window_that_was_open_when_they_were_planned() -> None:
    """A request that is answered after its window has closed still counts there, and there only."""
    go_on = asyncio.Event()

    async def wait(request: Request) -> Response:
        await go_on.wait()
        return Response(200)

    async with small_server(wait) as server, running(server) as generator:
        first = generator.open_window("first")
        await planned(first, at_least=5)
        second = generator.open_window("second")
        await planned(second, at_least=5)
        generator.open_window("rest")
        go_on.set()
        await generator.drain(first)
        await generator.drain(second)

    assert [window.latency_us.total_count for window in (first, second)] == [first.planned, second.planned]


async def test_every_failure_is_counted_by_its_reason() -> None:
    """Answers other than 2xx are failures and have no latency."""

    async def refuse_b(request: Request) -> Response:
        return Response(503, b"overloaded") if request.path == "/b" else Response(200)

    async with small_server(refuse_b) as server, running(server) as generator:
        window = generator.open_window("measured")
        await planned(window, at_least=100)
        generator.open_window("rest")
        await generator.drain(window)

    asked_b = window.failures["status 503: overloaded"]
    assert asked_b == window.failed > 0
    assert window.latency_us.total_count == window.planned - asked_b


async def test_a_refused_connection_is_a_failure() -> None:
    """Nobody listens: all requests fail, none is lost."""
    async with small_server(ok) as server:
        pass
    async with running(server) as generator:
        window = generator.open_window("measured")
        await planned(window, at_least=10)
        generator.open_window("rest")
        await generator.drain(window)

    assert window.failed == window.planned


async def test_the_mix_is_kept() -> None:
    """80 % and 20 % of the requests, give or take what chance allows."""
    async with small_server(ok) as server, running(server, requests_per_s=2000.0) as generator:
        await planned(generator.window, at_least=500)

    part = sum(request.path == "/b" for request in server.seen) / len(server.seen)
    assert part == pytest.approx(0.2, abs=0.06)
