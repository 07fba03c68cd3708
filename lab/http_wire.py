"""As little HTTP/1.1 as the lab needs, because every hop pays for it: one message at a time on a connection.

It speaks only to Envoy and to itself: bodies have a ``content-length``, names of headers are compared in lower case.
Anything else is refused with ``WireError``. Two cores carry the whole mesh; aiohttp would take four times the CPU.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from lab.errors import WireError

LONGEST_HEAD_BYTES = 64 * 1024
_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came in; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """A status and a body; header names in lower case."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Awaitable[Response]]


class MessageReader:
    """Cut a stream of bytes into messages of one start line, headers, and a body of ``content-length`` bytes."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> None:
        self._bytes += data

    def take(self) -> tuple[str, dict[str, str], bytes] | None:
        """Return start line, headers and body of the next whole message, or None. Raises WireError."""
        end = self._bytes.find(b"\r\n\r\n")
        if end < 0:
            if len(self._bytes) > LONGEST_HEAD_BYTES:
                raise WireError(f"a head longer than {LONGEST_HEAD_BYTES} bytes")
            return None
        start_line, *lines = self._bytes[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if "transfer-encoding" in headers:
            raise WireError("a body in chunks; this client takes only content-length")
        try:
            length = int(headers.get("content-length", "0"))
        except ValueError as error:
            raise WireError(f"content-length {headers['content-length']!r}, allowed: a number") from error
        stop = end + 4 + length
        if len(self._bytes) < stop:
            return None
        body = bytes(self._bytes[end + 4 : stop])
        del self._bytes[:stop]
        return start_line, headers, body


class ServerConnection(asyncio.Protocol):
    """One client's connection to a server: reads a request, awaits the handler, writes the answer, reads the next."""

    def __init__(self, handler: Handler) -> None:
        self._handler, self._reader = handler, MessageReader()
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        if self._task is None:
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._task is not None:
            self._task.cancel()

    def close(self) -> None:
        """Hang up; the request that is being answered is given up."""
        if self._transport is not None:
            self._transport.close()

    def _next(self) -> None:
        try:
            message = self._reader.take()
            request = None if message is None else _as_request(*message)
        except WireError:
            self.close()
            return
        if request is not None:
            self._task = asyncio.get_running_loop().create_task(self._answer(request))

    async def _answer(self, request: Request) -> None:
        try:
            response = await self._handler(request)
            if self._transport is not None:
                self._transport.write(_response_head(response) + response.body)
        finally:
            self._task = None
        if self._transport is not None:
            self._next()


def _as_request(start_line: str, headers: Mapping[str, str], body: bytes) -> Request:
    method, _, rest = start_line.partition(" ")
    path, _, version = rest.partition(" ")
    if not version.startswith("HTTP/1."):
        raise WireError(f"start line {start_line[:60]!r}, allowed: an HTTP/1 request")
    return Request(method, path, headers, body)


def _response_head(response: Response) -> bytes:
    extra = "".join(f"{name}: {value}\r\n" for name, value in response.headers.items())
    reason = _REASONS.get(response.status, "Unknown")
    return f"HTTP/1.1 {response.status} {reason}\r\n{extra}content-length: {len(response.body)}\r\n\r\n".encode(
        "latin-1"
    )


class ClientConnection(asyncio.Protocol):
    """One connection to a server, with at most one request under way."""

    def __init__(self) -> None:
        self._reader = MessageReader()
        self._answer: asyncio.Future[Response] | None = None
        self._transport: asyncio.Transport | None = None
        self.answered_once = False
        self.heard_since_request = False

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing() and self._answer is None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self.heard_since_request = True
        self._reader.feed(data)
        try:
            message = self._reader.take()
            response = None if message is None else _as_response(*message)
        except WireError as error:
            self._fail(error)
            self.close()
            return
        if response is None:
            return
        if response.headers.get("connection", "").lower() == "close":
            self.close()
        self.answered_once = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(response)
        self._answer = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._fail(WireError("the server closed the connection"))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    async def exchange(self, message: bytes) -> Response:
        """Send one whole request and return its answer. Raises WireError where the connection ends before."""
        if self._transport is None:
            raise WireError("the server closed the connection")
        self.heard_since_request = False
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(message)
        try:
            return await self._answer
        except asyncio.CancelledError:
            self.close()  # its answer may still come: nobody else must take it for his own
            raise

    def _fail(self, error: WireError) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self._answer = None


def _as_response(start_line: str, headers: Mapping[str, str], body: bytes) -> Response:
    version, _, rest = start_line.partition(" ")
    if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
        raise WireError(f"start line {start_line[:60]!r}, allowed: an HTTP/1 response")
    return Response(int(rest[:3]), body, headers)


class ClientPool:
    """Keep-alive connections to one address: as many as there are requests at once, the last one used is used first."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self._idle: list[ClientConnection] = []
        self._all: weakref.WeakSet[ClientConnection] = weakref.WeakSet()

    async def get(self, path: str, *, authority: str, headers: Mapping[str, str], deadline_s: float) -> Response:
        """Send a GET and return the answer.

        A kept connection that the server closed before it said a word is replaced once, as every HTTP client does for
        safe methods (RFC 9112, section 9.3.1): the server had decided to close it before it saw the request.

        Raises
        ------
        WireError
            where the connection fails; OSError where none can be made; TimeoutError after ``deadline_s``.
        """
        extra = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        message = f"GET {path} HTTP/1.1\r\nhost: {authority}\r\n{extra}\r\n".encode("latin-1")
        async with asyncio.timeout(deadline_s):
            connection = await self._take()
            try:
                response = await connection.exchange(message)
            except WireError:
                if not connection.answered_once or connection.heard_since_request:
                    raise
                connection = await self._connect()
                response = await connection.exchange(message)
        if connection.usable:
            self._idle.append(connection)
        return response

    def close(self) -> None:
        """Close all connections; a request that is under way fails."""
        self._idle.clear()
        for connection in self._all:
            connection.close()

    async def _take(self) -> ClientConnection:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return await self._connect()

    async def _connect(self) -> ClientConnection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(ClientConnection, self.host, self.port)
        self._all.add(connection)
        return connection
