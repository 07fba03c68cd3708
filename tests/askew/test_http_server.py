"""Connections that get nowhere are ended: a real server, and clients that dawdle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from askew import http_server
from askew.http_server import STUCK_S, Connections, http_runner
from tests.fakes.clock import FakeClock

LARGE = 32 * 1024 * 1024


@asynccontextmanager
async def server() -> AsyncIterator[tuple[web.AppRunner, int]]:
    """Run a server with a page that reads a body and one that is large."""

    async def read(request: web.Request) -> web.Response:
        return web.Response(text=f"{len(await request.read())}")

    async def large(_: web.Request) -> web.Response:
        return web.Response(body=bytes(LARGE))

    async def broken(_: web.Request) -> web.Response:
        raise RuntimeError("our own")

    runner = await http_runner([web.post("/read", read), web.get("/large", large), web.get("/broken", broken)], [])
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner, runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def until_ended(reader: asyncio.StreamReader) -> None:
    """Read to the end of a connection, however it ends."""
    try:
        while await asyncio.wait_for(reader.read(1 << 16), 10):
            pass
    except ConnectionError:
        return


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"POST /read HT",
        b"POST /read HTTP/1.1\r\nHost: a\r\nX: ",
        b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nab",
        b"POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
        b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nabPOST /read HTTP/1.1\r\nHo",
    ],
)
async def test_who_does_not_end_what_he_says_is_sent_away(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the headers, half of a body, and half of the second request, too."""
    for name, value in (("IDLE_S", 0.3), ("STUCK_S", 0.3), ("LOOK_S", 0.05)):
        monkeypatch.setattr(http_server, name, value)
    async with server() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(said)
        await until_ended(reader)
        writer.close()


async def test_who_does_not_read_his_answer_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be kept in memory for him as long as he likes."""
    monkeypatch.setattr(http_server, "STUCK_S", 0.3)
    monkeypatch.setattr(http_server, "LOOK_S", 0.05)
    async with server() as (runner, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        writer.write(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        assert runner.server is not None
        async with asyncio.timeout(10):
            while not runner.server.connections:  # noqa: ASYNC110 - no event for it
                await asyncio.sleep(0.01)
            while runner.server.connections:  # noqa: ASYNC110 - nor for this
                await asyncio.sleep(0.01)
        writer.close()


async def test_one_address_has_not_all_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest past the bound are ended; the others still work. This machine's own are not counted."""
    monkeypatch.setattr(http_server, "MOST_OF_ADDRESS", 3)
    monkeypatch.setattr(http_server, "LOOK_S", 0.05)
    async with server() as (_, port):
        own = [await asyncio.open_connection("127.0.0.1", port) for _ in range(6)]
        await asyncio.sleep(0.2)
        assert not any(reader.at_eof() for reader, _ in own)
        monkeypatch.setattr(http_server, "is_loopback", lambda _: False)
        for reader, _ in own[3:]:
            await until_ended(reader)
        for reader, writer in own[:3]:
            writer.write(b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        for _, writer in own:
            writer.close()


@pytest.mark.parametrize(
    "said", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000, b"GET /" + b"a" * 100_000]
)
async def test_a_request_that_is_none_is_no_traceback(said: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """It is answered 400; what is wrong with us is logged as before."""
    async with server() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(said)
        assert b" 400 " in await asyncio.wait_for(reader.readline(), 10)
        writer.close()
        assert caplog.records == []
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /broken HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b" 500 " in await asyncio.wait_for(reader.readline(), 10)
        writer.close()

    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["our own"]


def test_a_connection_that_asks_again_in_time_lives_on(clock: FakeClock) -> None:
    """Time counts from where the last request began."""

    class Transport(asyncio.Transport):
        aborted = False

        def get_extra_info(self, name: str, default: object = None) -> object:
            return ("10.0.0.7", 41234)

        def abort(self) -> None:
            self.aborted = True

    connections, transport = Connections(now_s=clock), Transport()
    connections.look([transport])
    clock.now_s += STUCK_S
    connections._began_s[transport] = clock.now_s
    clock.now_s += STUCK_S
    connections.look([transport])
    assert not transport.aborted
    clock.now_s += 1.0
    connections.look([transport])

    assert transport.aborted
