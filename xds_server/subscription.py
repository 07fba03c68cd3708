"""What one client wants and has of one resource type on one stream. Pure: no I/O, no clock.

A subscription is a value that requests and responses move forward. Nothing in it depends on what was answered before
being still queued: what to send is computed from the present resources when it is sent. At most one response is
un-ACKed, so a stale nonce cannot starve a client. The rules are the xDS protocol's; each is named where it is applied.

    request --> receive_delta / receive_sotw --> (interest, ACK or NACK)
    resources --> changes() --> begin() --> the stream writes --> the client's ACK --> known
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, NamedTuple

from xds_server.snapshot import WILDCARD_TYPES, Resource, type_version

Transport = Literal["delta", "sotw", "rest"]
WILDCARD = "*"
_IN_NAMES = re.compile(r"[\w.|/-]")
_GOES_ON = re.compile(r"[\w|/-]|\.\w")


class Request(NamedTuple):
    """A discovery request of either transport, reduced to what the rules look at.

    ``subscribe`` holds the whole list of names in state-of-the-world, the additions in delta.
    """

    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    nonce: str = ""
    version: str = ""
    error: str | None = None
    initial_versions: Mapping[str, str] = MappingProxyType({})


class Changes(NamedTuple):
    """What a client lacks: resources to send, names it holds that are gone, names it asked for that do not exist."""

    send: tuple[Resource, ...] = ()
    removed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.send or self.removed or self.missing)


NO_CHANGES = Changes()


class Response(NamedTuple):
    """One response on its way, until it is ACKed or NACKed.

    ``resources`` is all that the message carries; ``news`` those of it that the client did not have; ``bodyless`` the
    names that it only says again, so that their TTL starts anew ("TTL", heartbeats).
    """

    nonce: str
    version: str
    resources: tuple[Resource, ...]
    news: tuple[Resource, ...]
    removed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    bodyless: frozenset[str] = frozenset()


Received = Literal["first", "subscription", "ack", "nack", "stale"]


@dataclass(slots=True)
class Subscription:
    """One resource type on one stream.

    Attributes
    ----------
    wildcard, names:
        The interest: everything, and (or) these.
    known:
        Name to version of what the client has accepted, or said at its start that it has.
    forced:
        Names that are owed an answer whatever is known: just subscribed, or to be sent again.
    rejected:
        Name to version that the client refused; parked until the resource changes.
    pending:
        The response that is not ACKed yet.
    accepted:
        State-of-the-world LDS and CDS only: what each response must repeat, because the client has it, or may have.
    unsure:
        What the client may have, though it did not ACK it: its removal must be told. Clients take the good resources of
        a response that they refuse for others, and one that comes back may hold an older version of what it refuses.
    interests:
        Another number whenever ``names`` may be others.
    """

    type_url: str
    transport: Transport
    wildcard: bool = False
    names: set[str] = field(default_factory=set)
    known: dict[str, str] = field(default_factory=dict)
    forced: set[str] = field(default_factory=set)
    rejected: dict[str, str] = field(default_factory=dict)
    pending: Response | None = None
    accepted: dict[str, Resource] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)
    last_nonce: str = ""
    last_version: str = ""
    last_error: str = ""
    nacks: int = 0
    owes_first_answer: bool = False
    interests: int = 0
    _started: bool = False
    _named: bool = False
    _came_with_more: bool = False
    _sent: int = 0
    _settled: object = None

    @property
    def full_state(self) -> bool:
        """Whether each response must hold all resources of the type ("Grouping Resources into Responses").

        A poll's answer always does: there is no stream on which it would be a change of what came before.
        """
        return self.transport == "rest" or (self.transport == "sotw" and self.type_url in WILDCARD_TYPES)

    # -- what the client says -----------------------------------------------------------------------------------------

    def receive(self, request: Request) -> Received:
        """Take a request in; say what it was."""
        first, self._started = not self._started, True
        self._settled = None
        self.interests += bool(request.subscribe or request.unsubscribe) or self.transport != "delta"
        if self.transport == "delta":
            return self._receive_delta(request, first=first)
        return self._receive_sotw(request, first=first)

    def _receive_delta(self, request: Request, *, first: bool) -> Received:
        # "A spontaneous request" has no nonce and is no ACK; a stale nonce is no ACK either, but its subscription
        # changes count ("Incremental xDS", "Subscribing to Resources").
        answer = None if first else self._answered(request)
        if first:
            self.known.update(request.initial_versions)
            if not request.subscribe and not request.unsubscribe and self.type_url in WILDCARD_TYPES:
                self.wildcard = True
            self.owes_first_answer = self.wildcard or WILDCARD in request.subscribe
            if request.initial_versions:
                self.owes_first_answer = False  # a reconnecting client waits for nothing
        for name in request.subscribe:
            if name == WILDCARD:
                if self.wildcard:  # what it covers must be provided again, as of any name that is subscribed again
                    self.forced.update(self.known)
                self.wildcard = True
            else:
                self.names.add(name)
                if name not in request.initial_versions:
                    self.forced.add(name)
        for name in request.unsubscribe:
            self._unsubscribe(name)
        if first and not self.wildcard:
            self._forget(set(self.known) - self.names)
        if answer is not None:
            return answer
        if first:
            return "first"
        return "stale" if request.nonce and request.nonce != self.last_nonce else "subscription"

    def _unsubscribe(self, name: str) -> None:
        if name == WILDCARD:
            self.wildcard = False
            self._forget({*self.known, *self.rejected, *self.forced, *self.unsure})
        elif name in self.names:
            self.names.discard(name)
            if self.wildcard:
                # "Unsubscribing from Resources": while the wildcard still covers it, the client is told what it is now.
                self.forced.add(name)
            else:
                self._forget({name})

    def _receive_sotw(self, request: Request, *, first: bool) -> Received:
        wanted = set(request.subscribe)
        # Once a client has named resources, naming none means none; a name in a stale request was given all the same.
        self._named = self._named or bool(wanted)
        if not first and request.nonce != self.last_nonce:
            return "stale"  # "Resource updates": a stale request is ignored whole; a newer one follows
        answer = None if first else self._answered(request)
        self.wildcard = WILDCARD in wanted or (self.type_url in WILDCARD_TYPES and not self._named)
        wanted.discard(WILDCARD)
        added = wanted - self.names
        gone = self.names - wanted
        self.names = wanted
        self.forced = (self.forced | added) - gone
        if not self.wildcard:
            self._forget(gone | ({*self.known, *self.rejected, *self.unsure} - wanted))
        if first:
            self._came_with_more = self.full_state and bool(request.version)
            self.owes_first_answer = self.full_state and (self.wildcard or bool(wanted))
        if answer is not None and not added and not gone:
            return answer
        return "first" if first else answer or "subscription"

    def already_has(self, version: str, resources: Mapping[str, Resource]) -> None:
        """Note that a reconnecting client has exactly what it should; nothing needs to be sent.

        Only where a version covers all that the client asks for: wildcard state-of-the-world, and polls.
        """
        if not version or not self.full_state or (self.names and self.transport != "rest"):
            return
        wanted = {name: one for name, one in resources.items() if self.wants(name)}
        if version == type_version(wanted.values()):
            self.known = {name: one.version for name, one in wanted.items()}
            self.accepted = wanted
            self.forced.difference_update(wanted)
            self.owes_first_answer = bool(self.forced)
            self.last_version = version

    def _forget(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self.names:
                self.known.pop(name, None)
                self.rejected.pop(name, None)
                self.accepted.pop(name, None)
                self.forced.discard(name)
                self.unsure.discard(name)

    def _answered(self, request: Request) -> Literal["ack", "nack"] | None:
        """Settle the pending response if the request answers it."""
        pending = self.pending
        if not request.nonce or request.nonce != self.last_nonce:
            return None
        if pending is None:
            if request.error is not None:
                self.last_error = request.error
            return None
        self.pending = None
        for name in (*pending.removed, *pending.missing):
            self.known.pop(name, None)
            self.rejected.pop(name, None)
            self.accepted.pop(name, None)
            self.unsure.discard(name)
        if request.error is not None:
            self._rejected(pending, request.error)
            return "nack"
        self.last_error = ""
        for one in pending.resources:
            if self.wildcard or one.name in self.names:
                self.known[one.name] = one.version
                self.rejected.pop(one.name, None)
                self.unsure.discard(one.name)
                if self.full_state:
                    self.accepted[one.name] = one
        return "ack"

    def _rejected(self, pending: Response, error: str) -> None:
        """Park what the client refused: those that its message names, or else all news of the response."""
        self.last_error, self.nacks = error, self.nacks + 1
        refused = [one for one in pending.news if _names(error, one.name)] or list(pending.news)
        for one in pending.news:
            if not self.wants(one.name) or self.known.get(one.name) == one.version:
                continue  # sent again though it has it: it has it still
            if one in refused:
                self.rejected[one.name] = one.version
            else:
                self.known.pop(one.name, None)  # it may have the new version now, or still the old one
            if one not in refused or self._came_with_more:
                self.unsure.add(one.name)
                if self.full_state:
                    # Left out of the next response, what the client may have would be deleted.
                    self.accepted.setdefault(one.name, one)

    # -- what the server says -----------------------------------------------------------------------------------------

    def wants(self, name: str) -> bool:
        """Whether the client is interested in ``name``."""
        return self.wildcard or name in self.names

    def holds(self, name: str) -> bool:
        """Whether the client has some version of it, or is being sent one."""
        pending = self.pending
        return name in self.known or (pending is not None and any(one.name == name for one in pending.news))

    def lacks(self, one: Resource) -> bool:
        """Whether the client should be sent this resource."""
        if one.name in self.forced:
            return True
        return self.known.get(one.name) != one.version and self.rejected.get(one.name) != one.version

    def refuses_any(self, resources: Mapping[str, Resource]) -> bool:
        """Whether the client has refused the present version of one of these that it wants."""
        return any(
            (one := resources.get(name)) is not None and one.version == version and self.wants(name)
            for name, version in self.rejected.items()
        )

    def is_settled(self, resources: Mapping[str, Resource]) -> bool:
        """Whether it was seen before that the client lacks nothing of exactly these, and nothing was said since."""
        return self._settled is resources and not self.forced and not self.owes_first_answer

    def changes(self, resources: Mapping[str, Resource]) -> Changes:
        """Return what the client lacks of ``resources``. O(names of interest), O(1) while nothing has changed."""
        if resources is self._settled and not self.forced:
            return NO_CHANGES
        candidates = resources.keys() | self.forced if self.wildcard else self.names
        send, missing = [], []
        for name in candidates:
            one = resources.get(name)
            if one is not None:
                if self.lacks(one):
                    send.append(one)
            elif name in self.forced and name not in self.accepted:
                missing.append(name)
        held = self.known.keys() | self.unsure if self.unsure else self.known
        removed = [
            name for name in held if name not in resources and (name not in self.forced or name in self.accepted)
        ]
        if not send and not removed and not missing:
            self._settled = resources
            return NO_CHANGES
        send.sort(key=_by_name)
        return Changes(tuple(send), tuple(sorted(removed)), tuple(sorted(missing)))

    def begin(self, changes: Changes) -> Response:
        """Return the response for ``changes`` and hold it as pending until the client answers.

        ``changes.removed`` may be empty although names are gone: then they stay with the client for now.
        """
        assert self.pending is None
        self._sent += 1
        self.last_nonce = f"{self._sent:x}"
        news = changes.send
        carried = self._whole_state(changes) if self.full_state else news
        response = Response(
            nonce=self.last_nonce,
            version="" if self.transport == "delta" else type_version(carried),
            resources=carried,
            news=news,
            removed=changes.removed,
            missing=changes.missing,
        )
        for one in news:
            self.forced.discard(one.name)
            self.rejected.pop(one.name, None)
        self.forced.difference_update(changes.missing, changes.removed)
        self.owes_first_answer = False
        self.last_version = response.version
        self.pending = response
        return response

    def begin_heartbeat(self, due: Sequence[Resource]) -> Response:
        """Return the response that only renews the TTL of what the client has, and hold it as pending."""
        assert self.pending is None
        self._sent += 1
        self.last_nonce = f"{self._sent:x}"
        carried = self._whole_state(NO_CHANGES) if self.full_state else tuple(due)
        self.pending = Response(
            nonce=self.last_nonce,
            version=self.last_version,
            resources=carried,
            news=(),
            bodyless=frozenset(one.name for one in due),
        )
        return self.pending

    def _whole_state(self, changes: Changes) -> tuple[Resource, ...]:
        """Return all that a full-state response must repeat: the new and the accepted, also what must not go yet."""
        whole = {name: one for name, one in self.accepted.items() if name not in changes.removed}
        whole.update((one.name, one) for one in changes.send)
        return tuple(sorted(whole.values(), key=_by_name))

    def drop_silently(self, removed: Iterable[str]) -> None:
        """Forget names that are gone where the transport has no word for it (state-of-the-world EDS and RDS)."""
        for name in removed:
            self.known.pop(name, None)
            self.rejected.pop(name, None)


def _by_name(one: Resource) -> str:
    return one.name


def _names(error: str, name: str) -> bool:
    """Whether an error message names a resource: as a whole word, not as a piece of another name or word."""
    at = error.find(name)
    while at >= 0:
        after = at + len(name)
        if not _IN_NAMES.match(error[max(0, at - 1) : at]) and not _GOES_ON.match(error[after : after + 2]):
            return True
        at = error.find(name, at + 1)
    return False
