"""Who may read the HTTP port: health and metrics are for everyone, all else for this machine or who has the token.

The rule allows by name: a page that is added later is closed until it is listed here.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Middleware

from askew.errors import CommandError
from mesh.errors import one_line
from xds_server.loopback import is_loopback

log = logging.getLogger(__name__)

OPEN = frozenset(("/healthz", "/readyz", "/metrics"))
ONLY_HERE = ("/scheduler/", "/v3/discovery:")
"""What begins so is answered to this machine only, whatever the token: to others by the mTLS port."""
SHORTEST_TOKEN = 16


class TokenFile:
    """The bearer token, read again at each use, so that it changes without a restart; a bad file keeps the last."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._token = ""
        self._error = ""

    def load(self) -> None:
        """Read it for the first time. Raises CommandError for a file that holds no token."""
        try:
            self._token = _read_token(self._file)
        except (OSError, ValueError) as error:
            raise CommandError(one_line(f"http.token_file: {self._said(error)}")) from error

    async def admits(self, given: str) -> bool:
        """Return whether ``given`` is the token, compared in a time that does not depend on it."""
        try:
            self._token, self._error = await asyncio.to_thread(_read_token, self._file), ""
        except (OSError, ValueError) as error:
            if str(error) != self._error:
                self._error = str(error)
                log.error("token file refused, the last token stays: %s", one_line(self._said(error)))
        return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._token.encode())

    def _said(self, error: Exception) -> str:
        why = getattr(error, "strerror", None) or error
        return f"found {self._file!a} ({why}), allowed: a file with {SHORTEST_TOKEN} or more printable ASCII characters"


def access_rule(token: TokenFile | None) -> Middleware:
    """Return the middleware that lets in or answers 401 with a JSON error; without a token only this machine may."""

    @web.middleware
    async def rule(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        host = request.headers.get("Host", "")
        if request.path in OPEN or (is_from_here(request.remote or "", host) and not is_another_sites(request)):
            return await handler(request)
        if request.path.startswith(ONLY_HERE):
            return _refused(request, "a loopback peer (others: the mTLS port, http.mtls_host)")
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if token is not None and scheme.lower() == "bearer" and await token.admits(given.strip()):
            return await handler(request)
        allowed = "a loopback peer" if token is None else "a loopback peer, or Authorization: Bearer <token>"
        return _refused(request, allowed)

    return rule


def _refused(request: web.Request, allowed: str) -> web.Response:
    error = f"{request.path}: found a request from {request.remote}, allowed: {allowed}"
    return web.json_response({"error": error}, status=401, headers={"WWW-Authenticate": 'Bearer realm="askew"'})


def is_from_here(peer: str, host: str) -> bool:
    """Return whether a request comes from this machine and means it.

    A browser on this machine that was led here by a foreign name (DNS rebinding) has that name, with a dot, in
    ``Host``; so has what a proxy on this machine passes on. A name without a dot is nobody's on the Internet.

    >>> is_from_here("127.0.0.1", "localhost:18080"), is_from_here("127.0.0.1", "evil.example")
    (True, False)
    >>> is_from_here("10.0.0.7", "127.0.0.1:18080")
    False
    """
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return is_loopback(peer) and (is_loopback(name) or not {".", ":"} & set(name))


def is_another_sites(request: web.Request) -> bool:
    """Return whether a browser sends a request for a page of another site, which may post to us without being asked.

    Programs send neither of these headers. Source: Fetch standard, "Origin"; Fetch Metadata, "Sec-Fetch-Site".
    """
    origin = request.headers.get("Origin", "")
    is_ours = not origin or origin.partition("://")[2] == request.headers.get("Host", "")
    if request.method == "GET" and request.headers.get("Sec-Fetch-Mode") == "navigate":
        return False  # somebody follows a link; the other site does not see what comes of it
    return not is_ours or request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")


def _read_token(file: str) -> str:
    token = Path(file).read_text(encoding="ascii").strip()
    if len(token) < SHORTEST_TOKEN or not token.isprintable():
        raise ValueError(f"it holds {len(token)} characters")
    return token
