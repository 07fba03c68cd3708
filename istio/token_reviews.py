"""Whose a service account's token is, as the API server says, and for a while as it said.

A token is kept as its hash alone. What the API server accepted holds for a few minutes, and on while it cannot be
asked, but never past the token's own end; what it refused is not asked again for a few seconds. An unknown token that
nobody can judge is not accepted.

An API server in trouble says so by a status of 5xx, by silence, or in a TokenReview whose ``error`` is a sentence. Of
these sentences the ones that tell of trouble are told apart: they are no refusal. One is not: that a Pod is gone and
that it could not be looked up are the same words, "service account token has been invalidated".
Source: Kubernetes API, ``authentication.k8s.io/v1`` TokenReview; Kubernetes' ``pkg/serviceaccount/claims.go``; RFC 7519
for ``exp``.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import json
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from istio.asking_peers import AskingPeers
from istio.errors import IstioError, SourceUnavailableError, TokenRefusedError, UnreadableAnswerError
from mesh.errors import one_line

log = logging.getLogger(__name__)

ACCEPTED_S = 300.0
"""A token that was accepted is not asked about again for this long: so long one that was revoked may still be used."""
REFUSED_S = 10.0
"""A refusal is kept this long: a kubelet may be about to write a better token."""
ASK_AGAIN_S = 10.0
"""While the API server is away, a known token is asked about at most this often."""
MOST_ACCEPTED, MOST_REFUSED = 50_000, 5_000
MOST_AT_ONCE, MOST_WAITING = 16, 2_000
LONGEST_TOKEN = 16_384
AWAY = "tokens cannot be checked now: the API server does not answer"

_JWT = re.compile(r"[A-Za-z0-9_-]+\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+")
_ACCOUNT = re.compile(r"system:serviceaccount:([^:]+):([^:]+)")
_POD = "authentication.kubernetes.io/pod-name"
_TROUBLE = re.compile(
    "context deadline exceeded|context canceled|etcdserver: |Internal error occurred|[Tt]oo many requests"
    "|request timed out|did not complete within|i/o timeout|handshake timeout|Client\\.Timeout"
    "|connection (?:refused|reset)|no route to host|no such host|unexpected EOF"
    "|server is currently unable|server was unable|service unavailable"
)
"""What Go's network, etcd and the API server say of their own troubles."""


@dataclass(frozen=True, slots=True)
class TokenOwner:
    """The service account that a token was issued to; ``pod`` is empty where it is bound to none."""

    namespace: str
    service_account: str
    pod: str = ""


@dataclass(slots=True)
class _Accepted:
    owner: TokenOwner
    fresh_until_s: float
    good_until_s: float  # the token's own end


@dataclass(frozen=True, slots=True)
class _Refused:
    why: str
    until_s: float


Review = Callable[[str], Awaitable[Mapping[str, Any]]]
"""Asks the API server for a token; returns the TokenReview's status. Raises IstioError."""


class TokenReviews:
    """``owner_of`` a token; ``close`` at the end.

    Parameters
    ----------
    audience:
        Of which a token must be; another audience's token is another's, and counts for nothing here.
    """

    def __init__(self, review: Review, *, audience: str, now_s: Callable[[], float] = time.time) -> None:
        self._review, self._audience, self._now_s = review, audience, now_s
        self._accepted: OrderedDict[bytes, _Accepted] = OrderedDict()
        self._refused: OrderedDict[bytes, _Refused] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[TokenOwner]] = {}
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)
        self._peers = AskingPeers(now_s)
        self._said_s = self._away_until_s = float("-inf")

    async def owner_of(self, token: str, *, peer: str = "") -> TokenOwner:
        """Return whose a token is; ``peer`` is the address that shows it. Many streams with one token are one question.

        Raises
        ------
        TokenRefusedError
            for a token that does not count; the message never holds it.
        SourceUnavailableError
            where the API server cannot say, and the token was not accepted before.
        TooManyAskedError
            for a token that would have to be asked about, of an address that has us ask too much.
        """
        if len(token) > LONGEST_TOKEN or not _JWT.fullmatch(token):
            raise TokenRefusedError("token: found no JWT, allowed: a service account's token")
        key, now_s = hashlib.sha256(token.encode()).digest(), self._now_s()
        known = self._accepted.get(key)
        if known is not None and now_s < known.fresh_until_s:
            self._accepted.move_to_end(key)
            return known.owner
        if known is not None and self._is_away:
            return self._as_before(key, SourceUnavailableError(AWAY))
        refused = self._refused.get(key)
        if refused is not None and now_s < refused.until_s:
            raise TokenRefusedError(refused.why)
        task = self._asking.get(key)
        if task is None:
            if len(self._asking) >= MOST_WAITING:
                crowded = SourceUnavailableError(f"tokens: more than {MOST_WAITING} wait for the API server")
                if known is None:
                    raise crowded
                return self._as_before(key, crowded)  # a crowd of unknown tokens must not put the known ones out
            if known is None:  # nor may what others of its address show
                self._peers.check(peer)
            task = self._asking[key] = asyncio.create_task(self._ask(key, token, peer), name="token-review")
            self._peers.began(peer)
            task.add_done_callback(lambda done: self._asked(key, peer, done))
        # Shielded: a client that goes away must not take the answer from those who wait for the same one.
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Give up the questions that are under way."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _asked(self, key: bytes, peer: str, task: asyncio.Task[TokenOwner]) -> None:
        self._asking.pop(key, None)
        self._peers.ended(peer)
        if not task.cancelled():
            task.exception()  # it may be that nobody waits any more

    async def _ask(self, key: bytes, token: str, peer: str) -> TokenOwner:
        try:
            async with self._turns:
                if key in self._accepted and self._is_away:  # it was found to be so while this one waited
                    return self._as_before(key, SourceUnavailableError(AWAY))
                owner = self._judged(await self._reviewed(token))
        except TokenRefusedError as error:
            self._accepted.pop(key, None)
            self._peers.note_refusal(peer)
            _keep(self._refused, key, _Refused(str(error), self._now_s() + REFUSED_S), most=MOST_REFUSED)
            raise
        except IstioError as error:
            return self._as_before(key, error)
        now_s = self._now_s()
        end_s = _expiry_s(token)
        fresh_s = now_s + ACCEPTED_S if end_s is None else min(now_s + ACCEPTED_S, end_s)
        found = _Accepted(owner, fresh_until_s=fresh_s, good_until_s=fresh_s if end_s is None else end_s)
        _keep(self._accepted, key, found, most=MOST_ACCEPTED)
        return owner

    @property
    def _is_away(self) -> bool:
        """Whether the API server did not answer a moment ago: who is known need not wait until it does not again."""
        return self._now_s() < self._away_until_s

    async def _reviewed(self, token: str) -> Mapping[str, Any]:
        try:
            status = await self._review(token)
        except SourceUnavailableError:
            self._away_until_s = self._now_s() + ASK_AGAIN_S
            raise
        self._away_until_s = float("-inf")
        return status

    def _as_before(self, key: bytes, error: IstioError) -> TokenOwner:
        """Return the owner of a token that was accepted once and has not ended; for when nobody can be asked."""
        now_s = self._now_s()
        if now_s - self._said_s >= ASK_AGAIN_S:
            self._said_s = now_s
            log.error("tokens cannot be checked: %s", error)
        known = self._accepted.get(key)
        if known is None or now_s >= known.good_until_s:
            raise SourceUnavailableError(AWAY) from error
        known.fresh_until_s = min(now_s + ASK_AGAIN_S, known.good_until_s)
        return known.owner

    def _judged(self, status: Mapping[str, Any]) -> TokenOwner:
        """Return the owner that a review's status names."""
        if status.get("authenticated") is not True:
            why = one_line(str(status.get("error") or "not authenticated")[:1000])[:200]
            if _TROUBLE.search(why):
                raise SourceUnavailableError(f"tokenreviews: the API server cannot judge a token now ({why})")
            raise TokenRefusedError(f"token: found one that the API server refuses ({why})")
        audiences, user = status.get("audiences") or [], status.get("user") or {}
        extra = (user.get("extra") or {}) if isinstance(user, dict) else None
        if not isinstance(audiences, list) or not isinstance(extra, dict):
            raise UnreadableAnswerError("tokenreviews: found no user and audiences, allowed: a TokenReview's status")
        if self._audience not in audiences:
            raise TokenRefusedError(f"token: found one of another audience, allowed: {self._audience}")
        account = _ACCOUNT.fullmatch(str(user.get("username", "")))
        if account is None:
            raise TokenRefusedError("token: found a user's, allowed: a service account's")
        pods = extra.get(_POD) or ("",)
        return TokenOwner(account[1], account[2], pod=str(pods[0]))


def _keep(cache: OrderedDict[bytes, Any], key: bytes, value: object, *, most: int) -> None:
    cache[key] = value
    cache.move_to_end(key)
    while len(cache) > most:
        cache.popitem(last=False)


def _expiry_s(token: str) -> float | None:
    """Return when a token ends, in seconds since the epoch; only of use where someone else has judged it."""
    found = _JWT.fullmatch(token)
    assert found is not None
    part = found[1]
    try:
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        end_s = claims["exp"]
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error):
        return None
    return float(end_s) if isinstance(end_s, (int, float)) and not isinstance(end_s, bool) else None
