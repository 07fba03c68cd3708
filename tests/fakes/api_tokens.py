"""Tokens of the API-server stand-in: it issues what looks like a service account's JWT, and judges it by TokenReview.

As the real one: a token that counts for none of the audiences asked for is not authenticated, ``authenticated`` is left
out where it would be false, the answer says the token again, and a token that is bound to a Pod names it in ``extra``.
What goes wrong while it judges stands in ``error``, too, in an answer of 201 (``trouble``).
Nothing is signed: a token counts because it was issued here.
Source: Kubernetes API, TokenReview; ``pkg/serviceaccount`` for the names in ``extra``.
"""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.fakes.api_objects import Object, StatusError

API_SERVER = "https://kubernetes.default.svc.cluster.local"
POD = "authentication.kubernetes.io/pod-name"


@dataclass(frozen=True, slots=True)
class _Issued:
    username: str
    audiences: tuple[str, ...]
    pod: str
    ends_s: float


class Tokens:
    """``issue`` as a kubelet asks for it, ``revoke`` as when the Pod has gone."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._numbers = itertools.count()
        self._issued: dict[str, _Issued] = {}
        self.trouble = ""

    def issue(
        self,
        account: str,
        *,
        namespace: str = "default",
        pod: str = "",
        audiences: tuple[str, ...] = ("istio-ca",),
        ends_after_s: float = 3600.0,
    ) -> str:
        """Return a new token of a service account."""
        ends_s = self._now().timestamp() + ends_after_s
        username = f"system:serviceaccount:{namespace}:{account}"
        claims = {"iss": API_SERVER, "sub": username, "aud": list(audiences), "exp": int(ends_s)}
        claims |= {"jti": f"{next(self._numbers)}"}
        token = ".".join(map(_base64, ('{"alg":"none"}', json.dumps(claims), "unsigned")))
        self._issued[token] = _Issued(username, audiences, pod, ends_s)
        return token

    def revoke(self, token: str) -> None:
        """Let a token count no more."""
        del self._issued[token]

    def review(self, body: Object) -> Object:
        """Return a TokenReview with its status."""
        spec = body.get("spec") or {}
        if not spec.get("token"):
            raise StatusError(422, "Invalid", "spec.token: Required value: token is required for authentication")
        return {"kind": "TokenReview", "apiVersion": body["apiVersion"], "metadata": {}, "spec": spec} | {
            "status": self._status(spec["token"], spec.get("audiences") or [API_SERVER])
        }

    def _status(self, token: str, audiences: list[str]) -> dict[str, Any]:
        if self.trouble:
            return {"user": {}, "error": self.trouble}
        found = self._issued.get(token)
        if found is None:
            return {"user": {}, "error": "[invalid bearer token, token lookup failed]"}
        if self._now().timestamp() >= found.ends_s:
            return {"user": {}, "error": "[invalid bearer token, service account token has expired]"}
        common = [one for one in audiences if one in found.audiences]
        if not common:
            why = f"token audiences {list(found.audiences)} is invalid for the target audiences {audiences}"
            return {"user": {}, "error": f"[invalid bearer token, {why}]"}
        _, _, namespace, _ = found.username.split(":")
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
        user: dict[str, Any] = {"username": found.username, "uid": "1", "groups": groups}
        user |= {"extra": {POD: [found.pod]}} if found.pod else {}
        return {"authenticated": True, "user": user, "audiences": common}


def _base64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
