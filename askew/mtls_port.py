"""The HTTP port that others than this machine reach: mTLS, and every request is its certificate's.

REST discovery asks who the proxy is, as the xDS port does; the scheduler's extender asks for a name that is allowed.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from weakref import WeakKeyDictionary

from aiohttp import web
from aiohttp.typedefs import Middleware

from askew.certificate_bounds import CertificateBounds
from askew.errors import CommandError
from askew.http_server import http_runner
from askew.settings import ServeSettings
from xds_server.errors import BadSettingsError
from xds_server.http_peer import identity_of
from xds_server.identity import PeerIdentity
from xds_server.metrics import XdsMetrics
from xds_server.refusal_log import RefusalLog
from xds_server.settings import XdsSettings
from xds_server.tls import CertificateFiles

log = logging.getLogger(__name__)
SCHEDULER = "/scheduler/"
TURNS_TO_TAKE_OVER = 3
AGAIN_S = 1.0


def mtls_settings(settings: ServeSettings) -> XdsSettings | None:
    """Return the files and the trust domain of the port: its own files, or else the xDS port's. None where it is off.

    >>> mtls_settings(ServeSettings()) is None
    True
    """
    http = settings.http
    if not http.mtls_host:
        return None
    if not http.mtls_certificate_file:
        return settings.xds
    return replace(
        settings.xds,
        certificate_file=http.mtls_certificate_file,
        key_file=http.mtls_key_file,
        client_ca_file=http.mtls_client_ca_file,
    )


class MtlsPort:
    """``start``, then ``run`` until cancelled, then ``stop``. A renewed certificate is what new connections get."""

    def __init__(
        self, settings: ServeSettings, tls: XdsSettings, metrics: XdsMetrics, routes: Sequence[web.RouteDef]
    ) -> None:
        self._host, self._wanted_port = settings.http.mtls_host, settings.http.mtls_port
        section = "http.mtls_" if settings.http.mtls_certificate_file else "xds."
        self.certificates = CertificateFiles(tls, metrics, section=section, on_renewed=self._note_renewed)
        self._routes = routes
        bounds = CertificateBounds(at_once=settings.http.mtls_requests_at_once, per_s=settings.http.mtls_requests_per_s)
        self._rules = [
            bounds.rule(),
            only_allowed(settings.scheduler.allowed_clients),
            no_older_than(tls.max_stream_age_s),
        ]
        self._renewed = asyncio.Event()
        self._socket: socket.socket | None = None
        self._runner: web.AppRunner | None = None
        self._site: web.SockSite | None = None
        self._accepting: socket.socket | None = None

    @property
    def port(self) -> int:
        """The port that it listens on; 0 before ``start``."""
        return 0 if self._socket is None else int(self._socket.getsockname()[1])

    async def start(self) -> None:
        """Listen. Raises CommandError for certificates that cannot be used, or a port that is not to be had."""
        try:
            self.certificates.load()
            self._socket = _listening(self._host, self._wanted_port)
        except BadSettingsError as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            where = f"{self._host}:{self._wanted_port}"
            raise CommandError(f"http.mtls_port: cannot listen on {where}: {error.strerror}", exit_code=1) from error
        self._runner = await http_runner(self._routes, self._rules)
        await self._listen_anew()

    async def run(self) -> None:
        """Follow the certificate's files until cancelled."""
        async with asyncio.TaskGroup() as parts:
            parts.create_task(self.certificates.run(), name="mtls-certificates")
            parts.create_task(self._follow(), name="mtls-follows")

    async def _follow(self) -> None:
        while True:
            await self._renewed.wait()
            self._renewed.clear()
            try:
                await self._listen_anew()
            except BadSettingsError as error:
                log.error("certificate refused, the one in force stays: %s", error)
            except OSError as error:  # no file descriptor is left: the port goes on with the old one until there is
                log.error("the renewed certificate waits: %s", error.strerror)
                self._renewed.set()
                await asyncio.sleep(AGAIN_S)

    async def stop(self) -> None:
        """Close the port and its connections."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._socket is not None:
            self._socket.close()

    def _note_renewed(self) -> None:
        self._renewed.set()

    async def _listen_anew(self) -> None:
        """Accept with the present files. The queue of connections is one: none is lost between the old and the new.

        A new context, not new files in the old one: that would never forget an authority, nor a session.
        """
        assert self._runner is not None
        assert self._socket is not None
        context, before, accepting = self.certificates.ssl_context(), self._site, self._accepting
        now = self._socket.dup()
        site = web.SockSite(self._runner, now, ssl_context=context)
        try:
            await site.start()
        except OSError:
            now.close()
            raise
        self._accepting, self._site = now, site
        if before is None or accepting is None:
            return
        # asyncio loses a connection that it has accepted, but not taken over yet, when its server is closed: first let
        # the old one accept nothing more, and take over what it has.
        asyncio.get_running_loop().remove_reader(accepting)
        for _ in range(TURNS_TO_TAKE_OVER):
            await asyncio.sleep(0)
        await before.stop()


def only_allowed(allowed_clients: str) -> Middleware:
    """Return the rule for kube-scheduler: one of these URIs and DNS names, commas between."""
    allowed = frozenset(name.strip() for name in allowed_clients.split(",") if name.strip())
    refusals = RefusalLog(log)

    @web.middleware
    async def rule(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        why = refusal(identity_of(request), allowed) if request.path.startswith(SCHEDULER) else ""
        if not why:
            return await handler(request)
        refusals.say(request.remote, why)
        return web.json_response({"error": why}, status=403)

    return rule


def refusal(peer: PeerIdentity, allowed: frozenset[str]) -> str:
    """Return why the owner of a verified certificate may not ask, one line; empty where it may.

    >>> refusal(PeerIdentity(uris=("spiffe://a/ns/b/sa/c",)), frozenset({"spiffe://a/ns/b/sa/c"}))
    ''
    >>> refusal(PeerIdentity(uris=("spiffe://a/ns/x/sa/y",), dns_names=("askew",)), frozenset({"askew"}))
    'client certificate: found spiffe://a/ns/x/sa/y, askew, allowed: a name of scheduler.allowed_clients'
    """
    # As for proxies: where there is a URI it alone decides, and there must be one.
    names = peer.uris if peer.uris else peer.dns_names
    if len(peer.uris) <= 1 and allowed.intersection(names):
        return ""
    return f"client certificate: found {peer}, allowed: a name of scheduler.allowed_clients"


def no_older_than(age_s: float) -> Middleware:
    """Return the rule that ends a connection after this time, so that its certificate is proved again; 0 for never."""
    first_seen: WeakKeyDictionary[asyncio.BaseTransport, float] = WeakKeyDictionary()

    @web.middleware
    async def rule(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        now_s, transport = time.monotonic(), request.transport
        since_s = now_s if transport is None else first_seen.setdefault(transport, now_s)
        response = await handler(request)
        if age_s and now_s - since_s > age_s:
            response.force_close()
        return response

    return rule


def _listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens on the first address of a name. Raises OSError."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return socket.create_server((str(address[0]), int(address[1])), family=family)
