"""The lab's small HTTP/1.1: whole messages from any pieces, kept connections, and errors that are told."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import WireError
from lab.http_wire import ClientPool, MessageReader, Request, Response
from tests.lab.http_server import ok, small_server

ONE = b"GET /a HTTP/1.1\r\nHost: reviews\r\ncontent-length: 3\r\n\r\nabc"
TWO = b"GET /b HTTP/1.1\r\nhost: reviews\r\n\r\n"


async def get(pool: ClientPool, path: str = "/x", *, deadline_s: float = 10.0) -> Response:
    return await pool.get(path, authority="reviews", headers={"traceparent": "t"}, deadline_s=deadline_s)


@given(cuts=st.lists(st.integers(0, len(ONE + TWO)), max_size=8))
def test_messages_come_out_whole_however_they_were_cut(cuts: list[int]) -> None:
    """TCP may deliver the bytes in any pieces; the reader gives the same two messages."""
    reader, found = MessageReader(), []
    edges = [0, *sorted(cuts), len(ONE + TWO)]
    for start, stop in itertools.pairwise(edges):
        reader.feed((ONE + TWO)[start:stop])
        while (message := reader.take()) is not None:
            found.append(message)

    assert found == [
        ("GET /a HTTP/1.1", {"host": "reviews", "content-length": "3"}, b"abc"),
        ("GET /b HTTP/1.1", {"host": "reviews"}, b""),
    ]


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "a body in chunks"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n", "content-length 'many'"),
        (b"x" * 70_000, "a head longer than"),
    ],
)
def test_what_it_does_not_speak_is_refused(head: bytes, message: str) -> None:
    """A message that could be misread is an error, never a guess."""
    reader = MessageReader()
    reader.feed(head)

    with pytest.raises(WireError, match=message):
        reader.take()


async def test_a_request_and_its_answer() -> None:
    """Path, authority and headers arrive; status and body come back; the connection is kept."""
    async with small_server(ok) as server:
        pool = ClientPool(server.host, server.port)
        answers = [await get(pool, "/one"), await get(pool, "/two")]
        pool.close()

    assert [(answer.status, answer.body) for answer in answers] == [(200, b"/one"), (200, b"/two")]
    assert dict(server.seen[0].headers) == {"host": "reviews", "traceparent": "t"}


async def test_many_at_once_take_a_connection_each() -> None:
    """Answers are not mixed up when requests overlap."""
    async with small_server(ok) as server:
        pool = ClientPool(server.host, server.port)
        answers = await asyncio.gather(*(get(pool, f"/{number}") for number in range(50)))
        pool.close()

    assert [answer.body for answer in answers] == [f"/{number}".encode() for number in range(50)]


async def test_a_kept_connection_that_the_server_closed_is_replaced() -> None:
    """A server may close an idle connection at any moment; the next request takes a new one and does not fail."""

    async def answer_and_close(request: Request) -> Response:
        return Response(200, headers={"connection": "close"})

    async with small_server(answer_and_close) as server:
        pool = ClientPool(server.host, server.port)
        statuses = [(await get(pool)).status for _ in range(3)]
        pool.close()

    assert statuses == [200, 200, 200]


async def test_a_first_request_on_a_closed_connection_fails() -> None:
    """A fresh connection that ends without an answer is an error: the server may have seen the request."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        pool = ClientPool(*server.sockets[0].getsockname()[:2])
        with pytest.raises(WireError, match="closed the connection"):
            await get(pool)


async def test_an_answer_that_never_comes_is_a_timeout() -> None:
    """The deadline holds, and the connection is not used again: a late answer must not reach another request."""
    waiting = asyncio.Event()

    async def stall_first(request: Request) -> Response:
        if request.path == "/stall":
            await waiting.wait()
        return Response(200, request.path.encode())

    async with small_server(stall_first) as server:
        pool = ClientPool(server.host, server.port)
        with pytest.raises(TimeoutError):
            await get(pool, "/stall", deadline_s=0.05)
        answer = await get(pool, "/next")
        pool.close()

    assert answer.body == b"/next"


async def test_nobody_listens() -> None:
    """A refused connection is told as such."""
    async with small_server(ok) as server:
        pass
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await get(ClientPool(server.host, server.port))
