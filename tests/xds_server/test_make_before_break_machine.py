"""An Envoy-like client under any order of changes and messages: what it routes to is always there.

The client subscribes as Envoy does: all clusters and listeners, the endpoints of the clusters that it has, the routes
of the listeners that it has; it asks for new endpoints before it ACKs the clusters. It refuses clusters that are
marked bad, by name, and takes the others. Requests and responses cross; time stands still, so nothing held is let go.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.xds_server.small_world import cds, eds, lds, rds, world
from tests.xds_server.wires import Link, content_of, delta_request, sotw_request
from xds_server.resources.names import CDS, EDS, LDS, RDS
from xds_server.snapshot import ORDER, Snapshot
from xds_server.subscription import Transport

SERVICES = ("a", "b", "c")
LISTENERS = ("l", "m")
contents = st.sampled_from(["1", "2", "bad"])
services = st.dictionaries(st.sampled_from(SERVICES), st.tuples(contents, st.sampled_from(["1", "2"])), max_size=3)
MACHINE = settings(max_examples=120, stateful_step_count=30, phases=[Phase.generate, Phase.shrink])


class EnvoyLike(RuleBasedStateMachine):
    """One proxy on one aggregated stream, or on four."""

    transport: Transport
    aggregated: bool

    def __init__(self) -> None:
        super().__init__()
        one = Link(self.transport)
        self.links = {t: one if self.aggregated else Link(self.transport) for t in ORDER}
        self.all_links = list(dict.fromkeys(self.links.values()))
        self.snapshot: Snapshot = world()
        self.has: dict[str, dict[str, bytes]] = {type_url: {} for type_url in ORDER}
        self.asked: dict[str, list[str]] = {EDS: [], RDS: []}
        self.nonce = dict.fromkeys(ORDER, "")
        self.version = dict.fromkeys(ORDER, "")
        self.warming: set[str] = set()
        self.has_clusters = False

    @property
    def everything(self) -> list[Any]:
        return [link.stream.subscriptions for link in self.all_links]

    # -- the world ----------------------------------------------------------------------------------------------------

    @initialize(present=services, data=st.data())
    def start(self, present: dict[str, tuple[str, str]], data: st.DataObject) -> None:
        self.change(present, data)
        self._send(CDS)

    @rule(present=services, data=st.data())
    def change(self, present: dict[str, tuple[str, str]], data: st.DataObject) -> None:
        """Replace the whole world by another consistent one: listeners lead to routes, routes to present services."""
        resources = []
        for name, (content, endpoints) in present.items():
            resources += [cds(name, content), eds(name, endpoints)]
        for name in data.draw(st.sets(st.sampled_from(LISTENERS))):
            routed = data.draw(st.sets(st.sampled_from(sorted(present)))) if present else set()
            resources += [lds(name, routes=f"r{name}"), rds(f"r{name}", *sorted(routed))]
        self.snapshot = world(*resources)

    # -- the wires ----------------------------------------------------------------------------------------------------

    @rule(which=st.sampled_from(ORDER))
    def server_writes(self, which: str) -> None:
        link = self.links[which]
        waiting = {t for t, one in link.stream.subscriptions.items() if one.pending is not None}
        response = link.server_writes(self.snapshot, self.everything)
        if response is not None:
            assert response.type_url not in waiting, "a second response before the first was answered"

    @rule(which=st.sampled_from(ORDER))
    def server_reads(self, which: str) -> None:
        if self.links[which].up:
            self.links[which].server_reads(self.snapshot, self.everything)

    @rule(which=st.sampled_from(ORDER))
    def client_reads(self, which: str) -> None:
        if self.links[which].down:
            self._take(self.links[which].down.popleft())

    @rule(rounds=st.integers(1, 4))
    def exchange(self, rounds: int) -> None:
        """Let what is on its way through, a few times over."""
        for _ in range(rounds):
            for type_url in ORDER:
                self.server_reads(type_url)
                self.server_writes(type_url)
                self.client_reads(type_url)

    # -- the client ---------------------------------------------------------------------------------------------------

    def _send(
        self, type_url: str, *, reply_to: str = "", error: str | None = None, more: Any = (), less: Any = ()
    ) -> None:
        if self.transport == "sotw":
            request = sotw_request(
                type_url,
                self.asked.get(type_url, []),
                nonce=reply_to or self.nonce[type_url],
                version=self.version[type_url],
                error=error,
            )
        else:
            request = delta_request(type_url, more=more, less=less, nonce=reply_to, error=error)
        self.links[type_url].up.append(request)

    def _take(self, response: Any) -> None:
        type_url, bodies = response.type_url, content_of(response)
        self.nonce[type_url] = response.nonce
        is_full = self.transport == "sotw" and type_url in (CDS, LDS)
        bad = [name for name, body in bodies.items() if b"=bad" in body]
        gone = set(self.has[type_url]) - set(bodies) if is_full else set()
        if self.transport == "delta":
            gone = set(response.removed_resources)
        for name in gone:
            self.has[type_url].pop(name, None)
        for name, body in bodies.items():
            if name not in bad:
                if type_url == CDS and self.has[CDS].get(name) != body:
                    self.warming.add(name)
                self.has[type_url][name] = body
        if type_url == EDS:
            self.warming -= set(bodies)
        self.warming &= set(self.has[CDS])
        if type_url == CDS and not self.has_clusters:
            self.has_clusters = True
            self._send(LDS)  # Envoy asks for listeners when it has had its first clusters
        if type_url in (CDS, LDS):
            self._follow()
        if not bad and self.transport == "sotw":
            self.version[type_url] = response.version_info
        self._send(type_url, reply_to=response.nonce, error=f"{', '.join(bad)}: bad" if bad else None)

    def _follow(self) -> None:
        """Ask for what the clusters and listeners need, before they are ACKed."""
        routes = {self._route_of(body) for body in self.has[LDS].values()}
        for type_url, wanted in ((EDS, sorted(self.has[CDS])), (RDS, sorted(routes))):
            before = self.asked[type_url]
            if wanted == before:
                continue
            self.asked[type_url] = wanted
            for name in set(before) - set(wanted):
                self.has[type_url].pop(name, None)
            more, less = sorted(set(wanted) - set(before)), sorted(set(before) - set(wanted))
            self._send(type_url, more=more, less=less)

    @staticmethod
    def _route_of(listener: bytes) -> str:
        return f"r{listener.split(b'=')[0].decode()}"

    def _routed(self) -> set[str]:
        """Return the clusters that traffic is led to: those of routes that some listener uses."""
        routed: set[str] = set()
        for listener in self.has[LDS].values():
            route = self.has[RDS].get(self._route_of(listener), b":")
            routed |= set(route.split(b":", 1)[1].decode().split(",")) - {""}
        return routed

    @invariant()
    def nothing_dangles(self) -> None:
        """Every cluster that traffic is led to is there, with endpoints."""
        for cluster in self._routed():
            assert cluster in self.has[CDS], f"traffic is led to {cluster}, which is not there"
            assert cluster in self.has[EDS], f"traffic is led to {cluster}, which has no endpoints"

    def teardown(self) -> None:
        """Let everything through: the client has all but what it refused, and what leans on that; nothing warms."""
        quiet = 0
        for _ in range(80):
            self.exchange(1)
            quiet = 0 if any(link.up or link.down for link in self.all_links) else quiet + 1
            if quiet == 2:
                break
        else:
            raise AssertionError("no silence after 80 rounds")
        assert not self.warming & set(self.snapshot.of(CDS))
        bad = {name for name, one in self.snapshot.of(CDS).items() if b"=bad" in one.body}
        for type_url, one in ((t, one) for t in ORDER for one in self.snapshot.of(t).values()):
            if (type_url == CDS and one.name in bad) or one.name not in self.asked.get(type_url, [one.name]):
                continue
            leans_on = {name for needed, name in one.refers if needed == CDS}
            if leans_on <= set(self.has[CDS]) - bad:
                assert self.has[type_url].get(one.name) == one.body, f"the client lacks {one.name}"
        if not bad:
            assert set(self.has[CDS]) == set(self.snapshot.of(CDS))
            assert set(self.has[LDS]) == set(self.snapshot.of(LDS))


@pytest.mark.parametrize("transport", ["delta", "sotw"])
@pytest.mark.parametrize("aggregated", [True, False], ids=["ads", "single"])
def test_make_before_break(transport: Transport, aggregated: bool) -> None:
    """Any changes, any order of messages: no traffic is ever led to what is not there."""
    machine = type("Machine", (EnvoyLike,), {"transport": transport, "aggregated": aggregated})

    run_state_machine_as_test(machine, settings=MACHINE)
