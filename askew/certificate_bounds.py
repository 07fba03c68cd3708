"""What one certificate may ask of the mTLS port: so many requests at a time, and a second; past that it is told 429.

Far above what anybody needs: kube-scheduler asks once for each pod, one after the other; a sidecar polls four pages
every few seconds. A certificate that many proxies share (a DNS name ``*.<namespace>``) may need more: it is a setting.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Middleware

from xds_server.http_peer import identity_of
from xds_server.refusal_log import RefusalLog
from xds_server.throttle import Throttle

log = logging.getLogger(__name__)
BURST_S = 2.0
"""As much of a certificate's rate may come at once."""
MOST_CERTIFICATES = 20_000
"""Whose rate is known at a time; of more, who asked longest ago begins anew."""


class CertificateBounds:
    """``rule`` is the middleware. 0 for either number: any.

    >>> bounds = CertificateBounds(at_once=2, per_s=0.0)
    >>> [bounds.begin(b"a"), bounds.begin(b"a"), bounds.begin(b"a"), bounds.begin(b"b")]
    [0.0, 0.0, 1.0, 0.0]
    """

    def __init__(self, *, at_once: int, per_s: float, now_s: Callable[[], float] = time.monotonic) -> None:
        self._at_once, self._per_s, self._now_s = at_once, per_s, now_s
        self._open: Counter[bytes] = Counter()
        self._rates: OrderedDict[bytes, Throttle] = OrderedDict()
        self._refusals = RefusalLog(log)

    def rule(self) -> Middleware:
        """Return the middleware: it answers 429, with ``Retry-After`` and why as JSON, before a body is read."""

        @web.middleware
        async def rule(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            certificate = fingerprint_of(request)
            wait_s = self.begin(certificate)
            if wait_s:
                return self._refused(request, wait_s)
            try:
                return await handler(request)
            finally:
                self.end(certificate)

        return rule

    def begin(self, certificate: bytes) -> float:
        """Return after how many seconds the certificate may ask again: 0 where it may now, which ``end`` ends. O(1)."""
        if self._at_once and self._open[certificate] >= self._at_once:
            return 1.0
        rate = self._rates.get(certificate)
        if rate is None:
            rate = self._rates[certificate] = Throttle(
                self._per_s, burst=max(1.0, BURST_S * self._per_s), clock=self._now_s
            )
            while len(self._rates) > MOST_CERTIFICATES:
                self._rates.popitem(last=False)
        self._rates.move_to_end(certificate)
        if wait_s := rate.delay_s():
            return wait_s
        rate.take()
        self._open[certificate] += 1
        return 0.0

    def end(self, certificate: bytes) -> None:
        """Note that a request which began is over."""
        self._open[certificate] -= 1
        if not self._open[certificate]:
            del self._open[certificate]

    def _refused(self, request: web.Request, wait_s: float) -> web.Response:
        at_once, per_s = self._at_once or "any number", f"{self._per_s:g}" if self._per_s else "any number"
        allowed = f"{at_once} at a time, {per_s} a second"
        why = f"requests: found more of one certificate ({identity_of(request)}), allowed: {allowed}"
        self._refusals.say(request.remote, why)
        return web.json_response({"error": why}, status=429, headers={"Retry-After": str(math.ceil(wait_s))})


def fingerprint_of(request: web.Request) -> bytes:
    """Return the SHA-256 of the certificate that a request's connection has shown; of none, of nothing."""
    connection = None if request.transport is None else request.transport.get_extra_info("ssl_object")
    shown = None if connection is None else connection.getpeercert(binary_form=True)
    return hashlib.sha256(shown or b"").digest()
