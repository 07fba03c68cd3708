"""Lets a proxy in, or not: the one place where an edge asks whether a connection may speak for a ``node.id``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from xds_server.errors import RefusePeerError
from xds_server.identity import peer_identity, refusal
from xds_server.metrics import XdsMetrics
from xds_server.refusal_log import RefusalLog
from xds_server.settings import XdsSettings

log = logging.getLogger(__name__)


class Connection(Protocol):
    """What of a gRPC context is looked at."""

    def peer(self) -> str:
        """Return the other end's address."""

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """Return what TLS has verified of it."""


class Admission:
    """Binds the certificate of a connection to the proxy that it says it is. Without TLS everyone is let in.

    ``account_of`` returns a proxy's service account as the source knows it; empty where it does not.
    """

    def __init__(
        self, settings: XdsSettings, metrics: XdsMetrics, *, account_of: Callable[[str], str] = lambda proxy_id: ""
    ) -> None:
        self._required, self._trust_domain = settings.is_mtls, settings.trust_domain
        self._refusals, self._account_of = metrics.identity_refusals, account_of
        self._log = RefusalLog(log)

    def may_see(self, proxy_id: str, connection: Connection) -> bool:
        """Whether the certificate is this proxy's; for who asks about many, and says to be none."""
        return not self._why_not(proxy_id, connection)

    def _why_not(self, proxy_id: str, connection: Connection) -> str:
        if not self._required:
            return ""
        peer = peer_identity(connection.auth_context())
        return refusal(peer, proxy_id, trust_domain=self._trust_domain, service_account=self._account_of(proxy_id))

    def check(self, proxy_id: str, connection: Connection) -> None:
        """Raise RefusePeerError where the certificate is not this proxy's; said in the log and counted."""
        why = self._why_not(proxy_id, connection)
        if why:
            self._refusals.inc()
            self._log.say(connection.peer(), why)
            raise RefusePeerError(why)
