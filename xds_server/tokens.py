"""Who may be which proxy by a bearer token: each stream shows one, and whose it is must fit the ``node.id``.

The token itself is judged elsewhere (``CheckToken``); it is never logged, kept or sent back from here.
Source: RFC 6750, section 2.1; Kubernetes, "Managing Service Accounts" (tokens that are bound to a Pod).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from xds_server.errors import CannotCheckTokenError, RefusePeerError, RefuseTokenError, TooManyOfPeerError
from xds_server.identity import claimed_workload
from xds_server.metrics import XdsMetrics
from xds_server.refusal_log import RefusalLog

log = logging.getLogger(__name__)

HEADER, SCHEME = "authorization", "bearer"


@dataclass(frozen=True, slots=True)
class TokenOwner:
    """The service account of a token that counts; ``pod`` is empty where the token is bound to none."""

    namespace: str
    service_account: str
    pod: str = ""

    def __str__(self) -> str:
        return f"system:serviceaccount:{self.namespace}:{self.service_account}"


CheckToken = Callable[[str, str], Awaitable[TokenOwner]]
"""Says whose a token is, given the token and the address that shows it.

Raises RefuseTokenError where it does not count, CannotCheckTokenError where nobody knows, TooManyOfPeerError for an
address that has too many looked at.
"""


class Opened(Protocol):
    """What of a gRPC context is looked at."""

    def peer(self) -> str:
        """Return the other end's address."""

    def invocation_metadata(self) -> Iterable[Any] | None:
        """Return the pairs of names and values that the client sent before its first message."""

    def add_done_callback(self, callback: Any) -> None:
        """Have this called when the stream has ended."""


class TokenGate:
    """Lets a stream in whose token counts, as the proxies that are its owner's.

    ``account_of`` returns a proxy's service account as the source knows it; empty where it does not. ``most_streams``
    is how many streams one pod may have open, and one address to be judged; 0 for any number. A token that is bound to
    no pod counts for its address. Many sidecars may be one address, behind a node that masquerades.
    """

    def __init__(
        self,
        check: CheckToken,
        metrics: XdsMetrics,
        *,
        account_of: Callable[[str], str] = lambda proxy_id: "",
        most_streams: int = 0,
    ) -> None:
        self._check, self._account_of, self._most_streams = check, account_of, most_streams
        self._open: Counter[str] = Counter()
        self._foreign, self._refusals = metrics.identity_refusals, metrics.token_refusals
        self._log = RefusalLog(log)

    async def open(self, stream: Opened) -> Callable[[str], None]:
        """Return what binds the stream's token to the ``node.id`` that it claims (raises RefusePeerError).

        Raises
        ------
        RefuseTokenError
            for no token, two, or one that does not count.
        CannotCheckTokenError
            where nobody can say so now: who is not known stays outside.
        TooManyOfPeerError
            for a pod or an address with too many streams, or one whose tokens were refused too often.
        """
        peer = stream.peer()
        address = address_of(peer)
        try:
            token = self._bearer_of(stream)
            self._begin(address)
            try:
                owner = await self._check(token, address)
            finally:
                self._end(address)
            whose = f"pod {owner.namespace}/{owner.pod}" if owner.pod else address
            self._begin(whose)
            stream.add_done_callback(lambda _: self._end(whose))
        except RefuseTokenError as error:
            self._refusals.labels("refused").inc()
            self._log.say(peer, error)
            raise
        except TooManyOfPeerError as error:
            self._refusals.labels("too-many").inc()
            self._log.say(peer, error)
            raise
        except CannotCheckTokenError:
            self._refusals.labels("unchecked").inc()
            raise
        return lambda proxy_id: self._bind(owner, proxy_id, peer)

    def _begin(self, whose: str) -> None:
        """Count a stream; the one too many is not counted."""
        if self._most_streams and self._open[whose] >= self._most_streams:
            allowed = f"allowed: {self._most_streams} (xds.token_streams_per_pod)"
            raise TooManyOfPeerError(f"streams: found {self._open[whose]} open of {whose}, {allowed}")
        self._open[whose] += 1

    def _end(self, whose: str) -> None:
        self._open[whose] -= 1
        if not self._open[whose]:
            del self._open[whose]

    def _bearer_of(self, stream: Opened) -> str:
        """Return the one bearer token of a stream."""
        values = [value for name, value in stream.invocation_metadata() or () if name == HEADER]
        scheme, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
        if scheme.lower() != SCHEME or not token:
            found = "none" if not values else f"{len(values)}" if len(values) > 1 else "another scheme"
            raise RefuseTokenError(f"{HEADER}: found {found}, allowed: Bearer and a service account's token")
        return str(token)

    def _bind(self, owner: TokenOwner, proxy_id: str, peer: str) -> None:
        why = refusal(owner, proxy_id, service_account=self._account_of(proxy_id))
        if why:
            self._foreign.inc()
            self._log.say(peer, why)
            raise RefusePeerError(why)


def address_of(peer: str) -> str:
    """Return the address of a gRPC peer without its port, which is another for each connection.

    >>> address_of("ipv4:10.0.0.7:41234"), address_of("ipv6:%5B::1%5D:41234")
    ('ipv4:10.0.0.7', 'ipv6:%5B::1%5D')
    """
    return peer.rpartition(":")[0]


def refusal(owner: TokenOwner, proxy_id: str, *, service_account: str = "") -> str:
    """Return why a token's owner may not be this proxy, one line; empty where it may.

    As the check of certificates (``identity.py``); and a token that is bound to a Pod is that Pod's alone.

    >>> refusal(TokenOwner("shop", "web"), "web-0.shop")
    ''
    >>> refusal(TokenOwner("shop", "web", pod="web-1"), "web-0.shop")
    'node.id: found web-0.shop with a token of system:serviceaccount:shop:web, allowed: pod web-1'
    """
    workload = claimed_workload(proxy_id)
    shown = ascii(proxy_id)[1:-1]
    if workload is None:
        return f"node.id: found {shown}, allowed: <container>.<namespace> or sidecar~<ip>~<pod>.<namespace>~<domain>"
    if owner.namespace != workload.namespace:
        allowed = f"namespace {owner.namespace}"
    elif owner.pod not in ("", workload.container):
        allowed = f"pod {owner.pod}"
    elif service_account not in ("", owner.service_account):
        allowed = f"service account {service_account}"
    else:
        return ""
    return f"node.id: found {shown} with a token of {owner}, allowed: {allowed}"
