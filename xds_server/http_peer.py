"""Who asks over HTTP: what TLS has verified of a request's connection, in the form in which gRPC would say it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aiohttp import web

from xds_server.identity import PeerIdentity, peer_identity

_KINDS = {"URI": "peer_uri", "DNS": "peer_dns"}


@dataclass(frozen=True, slots=True)
class HttpPeer:
    """A request's connection, as ``Admission`` looks at one."""

    request: web.Request

    def peer(self) -> str:
        """Return the other end's address."""
        return str(self.request.remote)

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """Return the URIs and DNS names of the client's certificate; none where it showed none."""
        transport = self.request.transport
        certificate = None if transport is None else transport.get_extra_info("peercert")
        found: dict[str, list[bytes]] = {}
        for kind, name in (certificate or {}).get("subjectAltName", ()):
            if kind in _KINDS:
                found.setdefault(_KINDS[kind], []).append(name.encode("utf-8", "surrogateescape"))
        return found


def identity_of(request: web.Request) -> PeerIdentity:
    """Return the names of a request's verified certificate."""
    return peer_identity(HttpPeer(request).auth_context())
