"""The xDS server as one long-lived part: listen, serve, drain.

It has one port, or two: a gRPC server in Python either requires a client's certificate or never sees one, so those who
prove themselves with a token come to a port of their own.
"""

from __future__ import annotations

import asyncio
import ipaddress
import resource
from collections.abc import Callable

import grpc.aio

from xds_server.admission import Admission
from xds_server.ads import DiscoveryService
from xds_server.errors import BadSettingsError, CannotListenError
from xds_server.extras import Extras
from xds_server.metrics import XdsMetrics
from xds_server.settings import XdsSettings, check
from xds_server.store import Store
from xds_server.tls import CertificateFiles
from xds_server.tokens import CheckToken, TokenGate

LAST_WORD_S = 0.1  # for what a drain has to say on streams that do not end by themselves: health's NOT_SERVING

IDLE_S = 30.0  # without a stream, on the port for tokens
HANDSHAKE_S = 10.0
"""A connection that has not ended its TLS handshake by then is closed: anybody may begin one."""


class XdsServer:
    """A grpc.aio server for one store. ``start``, then ``run`` until cancelled; ``port`` is known after ``start``.

    ``check_token`` says whose a token is, for ``settings.token_port``; ``account_of`` as :class:`Admission` has it.
    """

    def __init__(
        self,
        store: Store,
        settings: XdsSettings,
        metrics: XdsMetrics,
        *,
        extras: Extras | None = None,
        admission: Admission | None = None,
        check_token: CheckToken | None = None,
        account_of: Callable[[str], str] = lambda proxy_id: "",
    ) -> None:
        self._settings, self._extras = settings, extras
        self._gate = (
            None
            if check_token is None
            else TokenGate(check_token, metrics, account_of=account_of, most_streams=settings.token_streams_per_pod)
        )
        self._service = DiscoveryService(store, settings, metrics, admission=admission)
        self._server: grpc.aio.Server | None = None
        self._for_tokens: grpc.aio.Server | None = None
        self.certificates = CertificateFiles(settings, metrics) if settings.is_mtls else None
        self.port = 0

    async def start(self) -> None:
        """Listen.

        Raises
        ------
        CannotListenError
            where the address or port is not to be had.
        BadSettingsError
            for certificates that cannot be used, or plaintext where others can reach it.
        """
        settings = self._settings
        check(settings)
        if settings.token_port and self._gate is None:
            allowed = "0, or an API server (askew serve --kubernetes)"
            raise BadSettingsError(f"xds.token_port: found {settings.token_port}, allowed: {allowed}")
        if self.certificates is not None:
            self.certificates.load()
        server = grpc.aio.server(options=_options(settings))
        server.add_generic_rpc_handlers(self._service.handlers())
        if self._extras is not None:
            server.add_generic_rpc_handlers(self._extras.handlers())
        address = f"{_bracketed(settings.host)}:{settings.port}"
        try:
            if self.certificates is None:
                self.port = server.add_insecure_port(address)
            else:
                self.port = server.add_secure_port(address, self.certificates.credentials())
        except RuntimeError as error:
            raise CannotListenError(f"--xds: cannot listen on {address}") from error
        if self._extras is not None:
            await self._extras.start()
        self._for_tokens = self._token_server()
        await server.start()
        self._server = server
        if self._for_tokens is not None:
            await self._for_tokens.start()

    def _token_server(self) -> grpc.aio.Server | None:
        """Return a server of discovery alone on ``token_port``, with the same certificate; None without the port."""
        settings = self._settings
        if not settings.token_port:
            return None
        assert self._gate is not None
        assert self.certificates is not None
        # Anybody may connect here: who then opens no stream is sent away, and all of them together leave half of the
        # descriptors to others. gRPC does not tell whose a connection is before it has a stream.
        most = settings.token_streams_per_pod
        server = grpc.aio.server(
            options=[
                *_options(settings),
                *([("grpc.max_concurrent_streams", most)] if most else []),
                ("grpc.max_connection_idle_ms", int(IDLE_S * 1000)),
                ("grpc.max_allowed_incoming_connections", most_connections()),
            ]
        )
        server.add_generic_rpc_handlers(self._service.handlers(self._gate.open))
        address = f"{_bracketed(settings.host)}:{settings.token_port}"
        try:
            server.add_secure_port(address, self.certificates.credentials(clients="token"))
        except RuntimeError as error:
            raise CannotListenError(f"xds.token_port: cannot listen on {address}") from error
        return server

    async def run(self) -> None:
        """Serve until cancelled; then drain: no new streams, and a limited time for those that are open."""
        assert self._server is not None
        try:
            # Shielded: cancelled within, gRPC's server would take itself for stopped already, and not stop.
            await asyncio.shield(self._server.wait_for_termination())
        except asyncio.CancelledError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End all streams and close the port."""
        assert self._server is not None
        if self._extras is not None:
            await self._extras.drain()
        await self._service.drain()
        servers = [server for server in (self._server, self._for_tokens) if server is not None]
        await asyncio.gather(*(server.stop(LAST_WORD_S) for server in servers))


def most_connections() -> int:
    """Return how many connections the port for tokens may have: half of this process's descriptors."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, (2**31 - 1 if soft == resource.RLIM_INFINITY else soft) // 2)


def _options(settings: XdsSettings) -> list[tuple[str, int]]:
    # A certificate is proved once a connection, so connections age as streams do. gRPC spreads the age by 10 % itself,
    # and lets streams that are open end by theirs.
    age_ms = int(settings.max_stream_age_s * 1000) if settings.is_mtls else 0
    return [
        *([("grpc.max_connection_age_ms", age_ms)] if age_ms else []),
        ("grpc.server_handshake_timeout_ms", int(HANDSHAKE_S * 1000)),
        ("grpc.so_reuseport", 0),  # a port that is taken must be an error, not half of the connections
        ("grpc.server.max_pending_requests", settings.max_pending_requests),
        ("grpc.server.max_pending_requests_hard_limit", 2 * settings.max_pending_requests),
        ("grpc.keepalive_time_ms", int(settings.keepalive_s * 1000)),
        ("grpc.keepalive_timeout_ms", int(settings.keepalive_timeout_s * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 5000),
        ("grpc.http2.max_ping_strikes", 0),  # Envoy's own keepalive must not be taken for abuse
    ]


def _bracketed(host: str) -> str:
    try:
        return f"[{host}]" if ipaddress.ip_address(host).version == 6 else host
    except ValueError:
        return host
