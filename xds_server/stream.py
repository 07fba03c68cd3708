"""One xDS stream's state: its subscriptions, and what to write next. No I/O; time comes in as an argument."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from xds_server.encode import DiscoveryMessage, encode, size_of, to_request
from xds_server.errors import RefuseStreamError
from xds_server.heartbeats import Heartbeats
from xds_server.ordering import Step, Subscriptions, clusters_changed, next_step
from xds_server.proxy import Proxy, proxy_of
from xds_server.resources.names import CDS, EDS
from xds_server.snapshot import NOTHING, ORDER, Resource, Snapshot
from xds_server.subscription import Changes, Received, Response, Subscription, Transport

MOST_TYPES = 64
LONGEST_TYPE = 256
MOST_NAMES, LONGEST_NAME = 50_000, 1_024
"""Of what one stream asks for, of all types; Istio's largest sidecars ask for a few thousand."""


@dataclass(slots=True)
class Sent:
    """When a type was last sent and settled, for the debug pages; seconds since the epoch, 0 for never."""

    sent_at_s: float = 0.0
    settled_at_s: float = 0.0
    sent_nonce: str = ""
    acked_nonce: str = ""
    sent_version: str = ""
    acked_version: str = ""


class Stream:
    """A stream of one proxy, of all types (ADS) or of one."""

    def __init__(self, transport: Transport, *, only_type: str | None = None, peer: str = "") -> None:
        self.transport, self.only_type, self.peer = transport, only_type, peer
        self.proxy: Proxy | None = None
        self.subscriptions: dict[str, Subscription] = {}
        self.sent: dict[str, Sent] = {}
        self.dirty = asyncio.Event()
        self.is_aged = self.is_closing = False
        self.writer: asyncio.Task[None] | None = None
        self._held_since_s: float | None = None
        self._removal_at_s: float | None = None
        self._heartbeats = Heartbeats()

    def __repr__(self) -> str:
        name = self.proxy.id if self.proxy else "unknown"
        waiting = ", ".join(s.type_url.rsplit(".", 1)[1] for s in self.subscriptions.values() if s.pending)
        return f"<{self.transport} stream of {name}{' waiting for ' + waiting if waiting else ''}>"

    # -- in -----------------------------------------------------------------------------------------------------------

    def introduce(self, message: DiscoveryMessage) -> Proxy | None:
        """Return the proxy at its first request, None later. Raises RefuseStreamError without a node."""
        if self.proxy is not None:
            return None  # "only the first request needs a node"; a later, other one changes nothing
        if not message.HasField("node"):
            raise RefuseStreamError("node: the first request of a stream must carry it")
        self.proxy = proxy_of(message.node)
        return self.proxy

    def receive(
        self,
        message: DiscoveryMessage,
        snapshot: Snapshot | None,
        all_of_proxy: Sequence[Subscriptions],
        *,
        now_s: float,
    ) -> tuple[str, Received, Response | None]:
        """Take a request in; return its type, what it was, and the response that it answers, if any.

        The caller then wakes the stream's writer, if there can be something to write.

        Raises RefuseStreamError if it breaks the rules.
        """
        type_url = self._type_of(message)
        subscription = self.subscriptions.get(type_url)
        if subscription is None:
            if len(self.subscriptions) >= MOST_TYPES:
                raise RefuseStreamError(f"type_url: found more than {MOST_TYPES} types on one stream")
            subscription = self.subscriptions[type_url] = Subscription(type_url, self.transport)
            self.sent[type_url] = Sent()
        pending = subscription.pending
        request = to_request(message)
        received = subscription.receive(request)
        if request.subscribe:
            self._check_names(request.subscribe)
        if received == "first" and snapshot is not None:
            subscription.already_has(request.version, snapshot.of(type_url))
        if pending is not None and subscription.pending is None:
            self._settled(type_url, pending, accepted=request.error is None, now_s=now_s)
            if type_url == CDS and request.error is None:
                self._send_endpoints_again(pending, all_of_proxy)
        return type_url, received, pending if subscription.pending is None else None

    def _check_names(self, subscribed: Sequence[str]) -> None:
        longest = max(map(len, subscribed))
        number = sum(len(one.names) for one in self.subscriptions.values())
        if longest > LONGEST_NAME:
            raise RefuseStreamError(f"resource names: found {longest} characters, allowed: {LONGEST_NAME}")
        if number > MOST_NAMES:
            raise RefuseStreamError(f"resource names: found {number} on one stream, allowed: {MOST_NAMES}")

    def _send_endpoints_again(self, response: Response, all_of_proxy: Sequence[Subscriptions]) -> None:
        """Owe the proxy the endpoints of clusters that it just accepted, on its other streams.

        Envoy warms a changed cluster until its endpoints come, though they are the same. On another stream they must
        not come before the cluster is there, so they wait for its ACK; on the same stream they follow it at once.
        """
        for subscriptions in all_of_proxy:
            if subscriptions is not self.subscriptions:
                _owe_endpoints(response, subscriptions)

    def _type_of(self, message: DiscoveryMessage) -> str:
        type_url: str = message.type_url
        if self.only_type is None:
            if not type_url:
                raise RefuseStreamError("type_url: found nothing, allowed: a type URL (it is required on ADS)")
            if len(type_url) > LONGEST_TYPE:
                raise RefuseStreamError(f"type_url: found {len(type_url)} characters, allowed: {LONGEST_TYPE}")
            return type_url
        if type_url not in ("", self.only_type):
            raise RefuseStreamError(f"type_url: found {type_url[:120]!a}, allowed: {self.only_type}")
        return self.only_type

    def _settled(self, type_url: str, response: Response, *, accepted: bool, now_s: float) -> None:
        status = self.sent[type_url]
        status.settled_at_s = now_s
        if accepted:
            status.acked_nonce, status.acked_version = response.nonce, response.version

    # -- out ----------------------------------------------------------------------------------------------------------

    def next_message(
        self,
        snapshot: Snapshot,
        all_of_proxy: Sequence[Subscriptions],
        *,
        now_s: float,
        hold_limit_s: float,
        largest_bytes: int,
        on_oversized: Callable[[str, str], None],
        remove_from_s: float = 0.0,
        retained: Mapping[str, Resource] = NOTHING,
    ) -> tuple[str, Response, bytes] | None:
        """Return the next response to write and its bytes, computed from the present snapshot, or None.

        ``retained`` holds endpoints of clusters that the mesh has dropped and the client still has or is being sent.
        Clusters and endpoints are not removed before ``remove_from_s``: a request that was routed a moment ago, or is
        between two tries, still needs them.
        """
        snapshot = self._with_retained(snapshot, retained)
        patient = self._held_since_s is None or now_s - self._held_since_s < hold_limit_s
        step = next_step(self.subscriptions, all_of_proxy, snapshot, patient=patient)
        if not step.held:
            self._held_since_s = None
        elif self._held_since_s is None:
            self._held_since_s = now_s
        self._removal_at_s = None
        if step.changes.removed and step.type_url in (CDS, EDS) and now_s < remove_from_s:
            self._removal_at_s = remove_from_s
            step = Step()
        message = self._heartbeat(snapshot, now_s=now_s) if not step else None
        if step:
            subscription = self.subscriptions[step.type_url]
            changes = step.changes if subscription.full_state else _first_part(step.changes, largest_bytes)
            message = self._message(step.type_url, subscription.begin(changes), now_s=now_s)
        if message is not None and len(message[2]) > largest_bytes:
            on_oversized(message[0], message[1].resources[0].name if message[1].resources else "")
        return message

    def _with_retained(self, snapshot: Snapshot, retained: Mapping[str, Resource]) -> Snapshot:
        """Return the snapshot with what the client now asks for and the mesh has just dropped with its cluster.

        Envoy asks for the endpoints of a cluster that it is warming. Told that there are none, it would put an empty
        cluster in the place of one that routes still lead to; and on an aggregated stream it holds the ACK of clusters
        back until all are warm, so that it could not even be told that the cluster is gone.
        """
        endpoints = self.subscriptions.get(EDS) if retained else None
        wanted = {} if endpoints is None else {name: retained[name] for name in endpoints.forced & retained.keys()}
        if not wanted:
            return snapshot
        return Snapshot({**snapshot.resources, EDS: {**wanted, **snapshot.of(EDS)}})

    def _message(self, type_url: str, response: Response, *, now_s: float) -> tuple[str, Response, bytes]:
        assert self.proxy is not None
        status = self.sent[type_url]
        status.sent_at_s, status.sent_nonce, status.sent_version = now_s, response.nonce, response.version
        if self._tells_ttl:
            self._heartbeats.sent(type_url, response.resources, now_s=now_s)
        if type_url == CDS:
            # Not at the ACK: with ADS, Envoy holds its ACK of clusters back until all of them are warm.
            _owe_endpoints(response, self.subscriptions)
        return type_url, response, encode(type_url, response, self.transport, takes_ttl=self.proxy.takes_ttl)

    @property
    def has_heartbeats(self) -> bool:
        """Whether something must be said again in time."""
        return bool(self._heartbeats)

    @property
    def _tells_ttl(self) -> bool:
        return self.transport == "delta" or (self.proxy is not None and self.proxy.takes_ttl)

    def _heartbeat(self, snapshot: Snapshot, *, now_s: float) -> tuple[str, Response, bytes] | None:
        if not self._heartbeats:
            return None
        for type_url, subscription in self.subscriptions.items():
            if subscription.pending is None:
                due = self._heartbeats.due(type_url, snapshot.of(type_url), subscription.known, now_s=now_s)
                if due:
                    return self._message(type_url, subscription.begin_heartbeat(due), now_s=now_s)
        return None

    def wake_in_s(self, *, now_s: float, hold_limit_s: float) -> float | None:
        """Return after how many seconds something is to be sent though nothing happens, or None.

        What is held goes out at its limit, what is to be removed when nothing can need it any more; a resource with a
        TTL is said again before that has run out.
        """
        waiting = [type_url for type_url, subscription in self.subscriptions.items() if subscription.pending]
        times = [self._heartbeats.next_s(waiting=waiting), self._removal_at_s]
        if self._held_since_s is not None:
            times.append(self._held_since_s + hold_limit_s)
        at_s = min((time_s for time_s in times if time_s is not None), default=None)
        return None if at_s is None else max(0.0, at_s - now_s) + 0.001

    def converged(self, snapshot: Snapshot) -> bool:
        """Whether the client has accepted everything that it asked for."""
        return all(
            subscription.pending is None
            and not subscription.changes(snapshot.of(type_url))
            and not subscription.refuses_any(snapshot.of(type_url))
            for type_url, subscription in self.subscriptions.items()
            if type_url in ORDER
        )


def _owe_endpoints(response: Response, subscriptions: Subscriptions) -> None:
    endpoints = subscriptions.get(EDS)
    if endpoints is not None:
        endpoints.forced.update(clusters_changed(response.news, endpoints.wants))


def _first_part(changes: Changes, largest_bytes: int) -> Changes:
    """Return as much of ``changes`` as fits into one response; the rest follows when that is ACKed."""
    if size_of(changes.send) <= largest_bytes:
        return changes
    total, count = 0, 0
    for one in changes.send:
        total += size_of((one,))
        if count and total > largest_bytes:
            break
        count += 1
    return changes._replace(send=changes.send[:count], removed=(), missing=())
