"""Faults of the API-server stand-in, on demand."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from aiohttp import web

from tests.fakes.api_objects import StatusError


@dataclass(slots=True)
class Failure:
    """The next ``times`` requests that match are answered with ``code``; empty fields match all."""

    code: int
    times: int = 1
    verb: str = ""
    plural: str = ""
    retry_s: int = 0
    reason: str = "InternalError"


@dataclass(slots=True)
class Faults:
    """What goes wrong at present. ``hang`` takes requests and never answers; ``stalled`` watches stay open, silent."""

    latency_s: float = 0.0
    hang: bool = False
    stalled: bool = False
    gone_as_status: bool = False
    """A watch from a compacted version is HTTP 410 instead of an ERROR event in a stream of 200."""
    failures: list[Failure] = field(default_factory=list)
    forbidden: set[tuple[str, str]] = field(default_factory=set)
    """Verb and plural that the caller may not: 403."""
    cut_after_bytes: int = 0
    """Each watch connection breaks after this many bytes, in the middle of a line as it happens; 0 for never."""

    def fail(self, code: int, *, times: int = 1, verb: str = "", plural: str = "", retry_s: int = 0) -> None:
        """Answer the next ``times`` requests of a verb and a plural (empty: any) with an error."""
        self.failures.append(Failure(code, times, verb, plural, retry_s))

    async def before(self, verb: str, plural: str, group: str) -> None:
        """Delay, hang or raise what the faults say for one request."""
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        if self.hang:
            await asyncio.Event().wait()
        for failure in self.failures:
            if failure.times and failure.verb in ("", verb) and failure.plural in ("", plural):
                failure.times -= 1
                reason = "TooManyRequests" if failure.code == 429 else failure.reason
                raise StatusError(failure.code, reason, "a fault on demand", retry_s=failure.retry_s)
        if (verb, plural) in self.forbidden:
            user = "system:serviceaccount:askew-system:askew"
            what = f'cannot {verb} resource "{plural}" in API group "{group}" at the cluster scope'
            raise StatusError(403, "Forbidden", f'{plural} is forbidden: User "{user}" {what}')


def abort(request: web.Request) -> None:
    """Break the connection of a request as a died server would."""
    if request.transport is not None:
        request.transport.abort()
