"""REST-JSON xDS: a poll is a request, and the version that it carries is the ACK of what it was given before.

Every poll is mapped to the same subscription as a stream's requests, so that what a poll returns keeps the order of
make before break, too. Source: xDS protocol, "REST-JSON polling subscriptions".
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from aiohttp import web
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import json_format

from xds_server.admission import Admission
from xds_server.encode import encode
from xds_server.errors import RefusePeerError, RefuseStreamError
from xds_server.http_peer import HttpPeer
from xds_server.metrics import XdsMetrics
from xds_server.resources.names import CDS, EDS, LDS, RDS
from xds_server.settings import XdsSettings
from xds_server.store import Client, Store
from xds_server.stream import Stream
from xds_server.subscription import Response

# A proxy that polled each n seconds and is silent for 3 n has dropped the subscription, or is gone.
MISSED_POLLS, SHORTEST_SILENCE_S, FIRST_SILENCE_S = 3.0, 2.0, 60.0
LOOK_FOR_SILENCE_S = 1.0
MOST_SESSIONS = 32
"""Of one proxy: it has four, or a few more where it asks for names apart. Another drops the one polled longest ago."""
LARGEST_BODY = 4 * 1024 * 1024
Key = tuple[str, str, tuple[str, ...]]
"""A session's ``node.id``, type and names."""


@dataclass(slots=True)
class _Session:
    """One subscription of one polling proxy."""

    stream: Stream
    client: Client
    polled_at_s: float
    interval_s: float = FIRST_SILENCE_S / MISSED_POLLS
    version: str = ""
    resources_json: str = ""

    def is_another(self, version: str, type_url: str) -> bool:
        """Whether a poll with this version cannot come from the subscription that this session knows."""
        subscription = self.stream.subscriptions.get(type_url)
        return subscription is not None and subscription.pending is None and version != self.version

    def is_silent(self, now_s: float) -> bool:
        return now_s - self.polled_at_s > max(SHORTEST_SILENCE_S, MISSED_POLLS * self.interval_s)


class RestDiscovery:
    """Answers ``POST /v3/discovery:clusters`` and its siblings from the store."""

    def __init__(self, store: Store, settings: XdsSettings, metrics: XdsMetrics) -> None:
        self._store, self._settings, self._metrics = store, settings, metrics
        self._sessions: dict[Key, _Session] = {}
        self._of_proxy: dict[str, dict[Key, None]] = {}  # the one polled longest ago first
        self._looked_at_s = float("-inf")

    def routes(self, admission: Admission | None = None) -> list[web.RouteDef]:
        """Return the four routes; the root mounts them. With ``admission`` a certificate decides who may be whom."""
        return [
            web.post("/v3/discovery:clusters", partial(self._answer, CDS, admission)),
            web.post("/v3/discovery:endpoints", partial(self._answer, EDS, admission)),
            web.post("/v3/discovery:listeners", partial(self._answer, LDS, admission)),
            web.post("/v3/discovery:routes", partial(self._answer, RDS, admission)),
        ]

    async def _answer(self, type_url: str, admission: Admission | None, request: web.Request) -> web.Response:
        try:
            message = _read((await request.read()).decode(), type_url)  # JSON is UTF-8, whatever charset is claimed
            if admission is not None:
                admission.check(message.node.id, HttpPeer(request))
            session = self._session(message, type_url)
            self._receive(session, message, type_url)
        except (RefuseStreamError, UnicodeDecodeError) as error:
            return web.json_response({"error": str(error)}, status=400)
        except RefusePeerError as error:
            return web.json_response({"error": str(error)}, status=403)
        response = await self._next(session)
        if response is None:
            return web.Response(status=304)
        return web.Response(text=response, content_type="application/json")

    def _session(self, message: discovery_pb2.DiscoveryRequest, type_url: str) -> _Session:
        now_s = time.time()
        self._forget_the_silent(now_s)
        key = _key(message, type_url)
        session = self._sessions.get(key)
        if session is not None and session.is_another(message.version_info, type_url):
            # A new subscription of the same names: what the old one had, this one does not have.
            self._drop(key)
            session = None
        if session is None:
            mine = self._of_proxy.get(message.node.id, {})
            if len(mine) >= MOST_SESSIONS:
                self._drop(next(iter(mine)))
            stream = Stream("rest", only_type=type_url, peer="rest")
            proxy = stream.introduce(message)
            assert proxy is not None
            session = self._sessions[key] = _Session(stream, self._store.join(stream, proxy), now_s)
            self._metrics.connected.set(len(self._store.clients))
        else:
            session.interval_s = now_s - session.polled_at_s
        session.polled_at_s = now_s
        mine = self._of_proxy.setdefault(message.node.id, {})
        mine.pop(key, None)
        mine[key] = None
        return session

    def _forget_the_silent(self, now_s: float) -> None:
        if 0.0 <= now_s - self._looked_at_s < LOOK_FOR_SILENCE_S:
            return
        self._looked_at_s = now_s
        for key in [key for key, one in self._sessions.items() if one.is_silent(now_s)]:
            self._drop(key)

    def _drop(self, key: Key) -> None:
        self._store.leave(self._sessions.pop(key).stream)
        mine = self._of_proxy[key[0]]
        del mine[key]
        if not mine:
            del self._of_proxy[key[0]]

    def _receive(self, session: _Session, message: discovery_pb2.DiscoveryRequest, type_url: str) -> None:
        """Turn the poll into what a stream's request would have said."""
        subscription = session.stream.subscriptions.get(type_url)
        pending = subscription.pending if subscription else None
        if subscription is not None:
            if pending is not None and message.version_info != session.version and not message.HasField("error_detail"):
                return  # our answer did not arrive, or was not to its taste: it is given again
            message.response_nonce = subscription.last_nonce
        client = session.client
        now_s = time.time()
        snapshot = self._store.refresh(client)
        try:
            _, received, _ = session.stream.receive(message, snapshot, client.subscriptions, now_s=now_s)
        except RefuseStreamError:
            self._drop(_key(message, type_url))
            raise
        session.version = session.stream.subscriptions[type_url].last_version
        if received == "ack":
            client.note_ack(type_url, now_s=now_s)
        if pending is not None:
            client.wake(but=session.stream)

    async def _next(self, session: _Session) -> str | None:
        """Return the answer's JSON, at once or when there is one within the hold; None for "not modified"."""
        deadline_s = time.monotonic() + self._settings.rest_hold_s
        while True:
            answer = self._try(session)
            left_s = deadline_s - time.monotonic()
            if answer is not None or left_s <= 0:
                return answer
            session.stream.dirty.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await session.stream.dirty.wait()

    def _try(self, session: _Session) -> str | None:
        stream, client = session.stream, session.client
        (subscription,) = stream.subscriptions.values()
        if subscription.pending is not None:
            return session.resources_json
        snapshot = self._store.refresh(client)
        if snapshot is None:
            return None
        message = stream.next_message(
            snapshot,
            client.subscriptions,
            now_s=time.time(),
            hold_limit_s=self._settings.hold_limit_s,
            largest_bytes=self._settings.largest_response_bytes,
            on_oversized=lambda *_: None,  # HTTP has no such limit
            remove_from_s=client.routed_at_s + self._settings.removal_delay_s,
            retained=client.retained(),
        )
        if message is None:
            return None
        type_url, response, data = message
        self._metrics.pushes.labels(type_url).inc()
        session.version = response.version
        session.resources_json = _as_json(type_url, response, data)
        return session.resources_json


def _key(message: discovery_pb2.DiscoveryRequest, type_url: str) -> Key:
    return (message.node.id, type_url, tuple(sorted(message.resource_names)))


def _read(text: str, type_url: str) -> discovery_pb2.DiscoveryRequest:
    if len(text) > LARGEST_BODY:
        raise RefuseStreamError(f"body: found {len(text)} characters, allowed: at most {LARGEST_BODY}")
    try:
        message = json_format.Parse(text, discovery_pb2.DiscoveryRequest(), ignore_unknown_fields=True)
    except (json_format.ParseError, RecursionError, ValueError) as error:
        found = " ".join(str(error).split())[:200]
        raise RefuseStreamError(f"body: found {found!a}, allowed: a DiscoveryRequest as JSON") from error
    if message.type_url not in ("", type_url):
        raise RefuseStreamError(f"type_url: found {message.type_url[:120]!a}, allowed: {type_url}")
    return message


def _as_json(type_url: str, response: Response, data: bytes) -> str:
    message = discovery_pb2.DiscoveryResponse.FromString(data or encode(type_url, response, "sotw"))
    return str(json_format.MessageToJson(message, preserving_proto_field_name=True, indent=None))
