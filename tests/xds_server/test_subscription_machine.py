"""A client that does anything, in any order: it ends up with what the server has, and no message was needless.

The model is the specification's own sentences about one type on one stream, kept apart from the server's state. What
the client and the server have said is on its way until a step lets it through, so requests and responses cross.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests.xds_server.small_world import cds, eds, world
from tests.xds_server.wires import Link, content_of, delta_request, sotw_request
from xds_server.resources.names import CDS, EDS
from xds_server.snapshot import WILDCARD_TYPES, Snapshot
from xds_server.subscription import Transport

NAMES = ("a", "b", "c", "d")
verdicts = st.sampled_from(["ack", "ack", "nack", "nack by name"])
name_sets = st.sets(st.sampled_from(NAMES), min_size=1, max_size=3).map(sorted)
first_names = st.one_of(st.just([]), name_sets)


# Without the explain phase: it takes minutes on a state machine.
MACHINE = settings(max_examples=120, stateful_step_count=30, phases=[Phase.generate, Phase.shrink])


class AnyClient(RuleBasedStateMachine):
    """One type on one stream. Subclasses say which."""

    transport: Transport
    type_url: str

    def __init__(self) -> None:
        super().__init__()
        self.contents: dict[str, int] = {}
        self.snapshot: Snapshot = world()
        self.holds: dict[str, bytes] = {}
        self.versions: dict[str, str] = {}
        self.refused: dict[str, bytes] = {}
        self.wanted: set[str] = set()
        self.wildcard = self.had_names = False
        self.version = ""
        self._connect()

    # -- the model --------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        """Start a new stream; nothing of the old one's way is left."""
        self.link = Link(self.transport)
        self.nonces = [""]
        self.read_names: set[str] = set()  # SotW: the list that the server has read last
        self.read_wildcard = self.read_had_names = self.started = False
        self.asked: set[str] = set()  # owed whatever the client holds
        self.owes_first = False
        self.refused = {}
        self.acked: dict[str, bytes] = {}  # on this stream, or said at its start
        self.deleted: set[str] = set()  # since they were sent last
        self.unsure: set[str] = set()  # in a response that was refused for others
        self.dropped: set[str] = set()  # by the client, while the server does not know yet

    @property
    def everything(self) -> list[Any]:
        return [self.link.stream.subscriptions]

    @property
    def is_full(self) -> bool:
        return self.transport == "sotw" and self.type_url in WILDCARD_TYPES

    def _is_mine(self, name: str) -> bool:
        return self.wildcard or name in self.wanted

    def _bodies(self) -> dict[str, bytes]:
        return {name: one.body for name, one in self.snapshot.of(self.type_url).items()}

    def _send(
        self, *, more: Iterable[str] = (), less: Iterable[str] = (), nonce: str, error: str | None = None
    ) -> None:
        if self.transport == "sotw":
            names = sorted(self.wanted) + (["*"] if self.wildcard and self.had_names else [])
            request = sotw_request(self.type_url, names, nonce=nonce, version=self.version, error=error)
        else:
            request = delta_request(self.type_url, more=list(more), less=list(less), nonce=nonce, error=error)
        self.link.up.append(request)

    # -- the world ----------------------------------------------------------------------------------------------------

    @rule(name=st.sampled_from(NAMES), content=st.integers(1, 3))
    def set(self, name: str, content: int) -> None:
        self.contents[name] = content
        self._publish()

    @rule(name=st.sampled_from(NAMES))
    def delete(self, name: str) -> None:
        self.contents.pop(name, None)
        self.deleted.add(name)
        self._publish()

    def _publish(self) -> None:
        make = cds if self.type_url == CDS else eds
        self.snapshot = world(*(make(name, str(content)) for name, content in self.contents.items()))

    # -- the client ---------------------------------------------------------------------------------------------------

    @initialize(names=first_names, star=st.booleans(), contents=st.dictionaries(st.sampled_from(NAMES), st.just(1)))
    def first_request(self, names: list[str], star: bool, contents: dict[str, int]) -> None:
        """Open the first stream, in a world that is there already."""
        self.contents = dict(contents)
        self._publish()
        self._ask_first(names, star=star)

    def _ask_first(self, names: list[str], *, star: bool) -> None:
        self.wanted = set(names)
        is_wild = self.type_url in WILDCARD_TYPES
        self.wildcard = is_wild and (star or not names)
        explicit = [*names, *(["*"] if star and is_wild else [])]
        self.had_names = bool(explicit)
        self._drop_what_is_not_mine()
        self.came_with_more = self.is_full and bool(self.version)
        if self.is_full and not self.version:
            self.holds.clear()  # who comes without a version has nothing
        if self.transport == "sotw":
            self._send(nonce="")
        else:
            self.acked = dict(self.holds)
            self.link.up.append(delta_request(self.type_url, more=explicit, has=self.versions))

    def _drop_what_is_not_mine(self) -> None:
        for name in [name for name in self.holds if not self._is_mine(name)]:
            self._forget(name)
            self.dropped.add(name)
            self.version = ""  # it does not speak of what the client has any more

    @rule(names=name_sets)
    def subscribe(self, names: list[str]) -> None:
        self.wanted |= set(names)
        self.had_names = True
        self._send(more=names, nonce=self.nonces[-1] if self.transport == "sotw" else "")

    @rule(names=name_sets)
    def unsubscribe(self, names: list[str]) -> None:
        self.wanted -= set(names)
        self._drop_what_is_not_mine()
        self._send(less=names, nonce=self.nonces[-1] if self.transport == "sotw" else "")

    @precondition(lambda self: self.type_url in WILDCARD_TYPES)
    @rule(on=st.booleans())
    def star(self, on: bool) -> None:
        if self.transport == "sotw" and not on and not self.had_names:
            return  # state of the world has no words for it: naming nothing is the wildcard
        self.wildcard = on
        self.had_names = True
        self._drop_what_is_not_mine()
        nonce = self.nonces[-1] if self.transport == "sotw" else ""
        self._send(more=["*"] if on else [], less=[] if on else ["*"], nonce=nonce)

    @precondition(lambda self: len(self.nonces) > 2)
    @rule(names=name_sets, data=st.data())
    def say_something_stale(self, names: list[str], data: st.DataObject) -> None:
        """An old nonce: in state of the world the request is nothing, in delta its names count."""
        nonce = data.draw(st.sampled_from(self.nonces[1:-1]))
        if self.transport == "sotw":
            listed = names if self.had_names else []  # a client that never named anything names nothing
            self.link.up.append(sotw_request(self.type_url, listed, nonce=nonce, version="stale"))
        else:
            self.wanted |= set(names)
            self._send(more=names, nonce=nonce)

    @precondition(lambda self: self.link.down)
    @rule(verdict=verdicts)
    def client_reads(self, verdict: str) -> None:
        response, news = self.link.down.popleft()
        self.nonces.append(response.nonce)
        bodies = content_of(response)
        if self.transport == "delta":
            gone = set(response.removed_resources)
        else:
            gone = set(self.holds) - set(bodies) if self.is_full else set()
        for name in gone:
            self._forget(name)
        bad = sorted(name for name in news & set(bodies) if self.acked.get(name) != bodies[name])
        if verdict == "ack" or not bad:
            self._accept(response, bodies)
            self._send(nonce=response.nonce)
            return
        refused = bad[:1] if verdict == "nack by name" else bad
        self._send(nonce=response.nonce, error=f"{refused[0]} is bad" if verdict == "nack by name" else "?")
        self.unsure |= set(bad) - set(refused)
        self.refused.update({name: bodies[name] for name in refused})

    def _forget(self, name: str) -> None:
        for memory in (self.holds, self.versions, self.acked):
            memory.pop(name, None)

    def _accept(self, response: Any, bodies: dict[str, bytes]) -> None:
        if self.transport == "sotw":
            is_whole = all(self._is_mine(name) for name in bodies)
            self.version = response.version_info if is_whole else ""
        for name, body in bodies.items():
            if self._is_mine(name):
                self.holds[name] = self.acked[name] = body
                self.refused.pop(name, None)
                self.unsure.discard(name)
        if self.transport == "delta":
            self.versions.update({one.name: one.version for one in response.resources if self._is_mine(one.name)})

    @precondition(lambda self: len(self.nonces) > 3)
    @rule(names=first_names, star=st.booleans(), same=st.booleans())
    def reconnect(self, names: list[str], star: bool, same: bool) -> None:
        """The stream breaks with all that was on its way; the client comes again with what it has."""
        self._connect()
        if not same:
            self.version = ""
        self._ask_first(sorted(self.wanted) if same else names, star=self.wildcard if same else star)

    @rule(verdict=verdicts, rounds=st.integers(1, 3))
    def exchange(self, verdict: str, rounds: int) -> None:
        """Let what is on its way through, a few times over."""
        for _ in range(rounds):
            while self.link.up:
                self.server_reads()
            self.server_writes()
            if self.link.down:
                self.client_reads(verdict)

    # -- the server ---------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.link.up)
    @rule()
    def server_reads(self) -> None:
        newest = self.link.stream.subscriptions.get(self.type_url)
        nonce_is_newest = newest is None or self.link.up[0].response_nonce == newest.last_nonce
        request = self.link.server_reads(self.snapshot, self.everything)
        first, self.started = not self.started, True
        if not self.link.up:
            self.dropped.clear()
        if self.transport == "sotw":
            self.read_had_names = self.read_had_names or bool(request.resource_names)
            if first or nonce_is_newest:
                self._server_read_list(set(request.resource_names), first=first)
        else:
            self._server_read_delta(request, first=first)

    def _server_read_list(self, listed: set[str], *, first: bool) -> None:
        legacy = not self.read_had_names and self.type_url in WILDCARD_TYPES
        was_wildcard, self.read_wildcard = self.read_wildcard, legacy or "*" in listed
        if self.read_wildcard and not was_wildcard:
            self.refused = {name: body for name, body in self.refused.items() if name in self.read_names}
        listed.discard("*")
        self.asked |= listed - self.read_names
        self.asked &= listed
        self.read_names = listed
        self.owes_first = self.owes_first or (first and self.is_full and (self.read_wildcard or bool(listed)))

    def _server_read_delta(self, request: Any, *, first: bool) -> None:
        more, less = set(request.resource_names_subscribe), set(request.resource_names_unsubscribe)
        if first and not more and not less and self.type_url in WILDCARD_TYPES:
            self.read_wildcard = True
        if first:
            self.owes_first = self.read_wildcard or "*" in more
        if "*" in more:
            if self.read_wildcard:
                self.asked |= set(NAMES)  # what it covers is provided again
            else:
                self.refused = {name: body for name, body in self.refused.items() if name in self.read_names}
            self.read_wildcard = True
        self.asked |= more - {"*"} - (set(request.initial_resource_versions) if first else set())
        self.read_names |= more - {"*"}
        if "*" in less:
            self.read_wildcard = False
        for name in less & self.read_names:
            self.read_names.discard(name)
            if self.read_wildcard:
                self.asked.add(name)

    @rule()
    def server_writes(self) -> None:
        subscription = self.link.stream.subscriptions.get(self.type_url)
        was_waiting = subscription is not None and subscription.pending is not None
        response = self.link.server_writes(self.snapshot, self.everything)
        if response is None:
            return
        self.link.down.pop()
        assert not was_waiting, "a second response before the first was answered"
        names = [one.name for one in response.resources] if self.transport == "delta" else list(content_of(response))
        assert len(set(names)) == len(names), "a name twice"
        news = self._necessary(response)
        self.link.down.append((response, news))

    def _necessary(self, response: Any) -> set[str]:
        """Return the names that are news to the client; fail if the response is of no use to anyone."""
        bodies = content_of(response)
        owed = self.asked | (set() if self.transport == "delta" or self.is_full else self.deleted)
        news = {
            name
            for name, body in bodies.items()
            if name in owed or (self.acked.get(name) != body and self.refused.get(name) != body)
        }
        removed = set(response.removed_resources) if self.transport == "delta" else set()
        if self.is_full:
            maybe = set(self.refused) if self.came_with_more else set()
            removed = (set(self.holds) | self.dropped | self.unsure | maybe) - set(bodies) - set(self._bodies())
        errors = set() if self.transport == "delta" else {one.resource_name.name for one in response.resource_errors}
        assert not errors & set(bodies), f"a resource and an error: {response}"
        theirs = self.asked | set(self.holds) | self.dropped | self.unsure | set(self.refused)
        of_use = news | (removed & theirs) | (errors & self.asked)
        assert of_use or self.owes_first, f"needless: {response}"
        if not self.is_full:
            assert news == set(bodies), f"needless resources {set(bodies) - news} in {response}"
        told = set(bodies) | removed | errors
        for name in news | removed | errors:
            self.refused.pop(name, None)
        self.asked -= told
        self.deleted -= told
        self.owes_first = False
        return news

    # -- the end ------------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Let everything through, ACK all: the client has what the server has for it, but for what it refused."""
        for _ in range(60):
            while self.link.up:
                self.server_reads()
            self.server_writes()
            if not self.link.down:
                break
            self.client_reads("ack")
        else:
            raise AssertionError("no silence after 60 rounds")
        for name, body in self._bodies().items():
            if self._is_mine(name) and self.refused.get(name) != body:
                assert self.holds.get(name) == body, f"the client lacks {name}"
        if self.transport == "delta" or self.is_full:
            assert set(self.holds) <= set(self._bodies()), "the client holds what is gone"


@pytest.mark.parametrize("transport", ["delta", "sotw"])
@pytest.mark.parametrize("type_url", [CDS, EDS], ids=["clusters", "endpoints"])
def test_any_client_converges_and_hears_nothing_needless(transport: Transport, type_url: str) -> None:
    """Subscribe, unsubscribe, ACK, NACK, stale, reconnect, set, delete, in any order."""
    machine = type("Machine", (AnyClient,), {"transport": transport, "type_url": type_url})

    run_state_machine_as_test(machine, settings=MACHINE)
