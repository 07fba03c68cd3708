"""Who is planned for where a mesh does not say who calls whom: who calls, and of whom nobody knows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import pytest

from estimators.ages import Heard
from estimators.calls_document import calls_document, calls_from_document
from estimators.known_calls import FORGET_S, LEARN_S, STEP_S, KnownCalls, Span, as_called, learn_calls, seen_callers
from estimators.load_reports import ClientRequests
from estimators.sidecar_counters import SidecarCounts
from estimators.steady_rate import Counted, SteadyRate
from mesh.errors import BadInputError
from mesh.policy import Policy
from mesh.telemetry import Callers, Telemetry
from mesh.topology import (
    Call,
    ClientRate,
    Container,
    ContainerName,
    Node,
    NodeName,
    Port,
    Protocol,
    Service,
    ServiceName,
    ServicePort,
    Topology,
)

MANAGED = Policy(routing="local-first")


def service(name: str, *, policy: Policy = MANAGED, protocol: Protocol = "http") -> Service:
    full = ServiceName(f"{name}.shop")
    pods = [Container(ContainerName(f"{name}-{i}.shop"), full, NodeName("n1"), f"10.0.{len(name)}.{i}") for i in (1, 2)]
    return Service(full, (Port(80, protocol),), policy, tuple(pods))


WEB, CART, OTHER = service("web", policy=Policy()), service("cart"), service("other", policy=Policy())
MESH = Topology(nodes=(Node(NodeName("n1")),), services=(WEB, CART, OTHER))
TO_CART = ServicePort(CART.name, 80)
ONE, LITTLE = SteadyRate(Counted(1.0, 5.0), Counted(1.0, 5.0)), SteadyRate(Counted(0.1, 5.0), Counted(0.1, 5.0))


class Watcher:
    """Sidecars that report every minute: those of ``heard`` services, of which ``calling`` call the cart."""

    def __init__(self, topology: Topology = MESH) -> None:
        self.topology, self.known, self.now_s = topology, KnownCalls(), 1000.0

    def minutes(
        self,
        count: float,
        *,
        heard: Collection[str] = (),
        calling: Collection[str] = (),
        counted: Collection[str] = (),
        callers: tuple[str, ...] | None = None,
        is_whole: bool = True,
    ) -> KnownCalls:
        for _ in range(round(count)):
            fresh = Heard(self.now_s, 5.0)
            rates = {name: {TO_CART: ONE} if name.split("-")[0] in calling else {} for name in map(str, self._names())}
            requests = {
                name: ClientRequests(fresh, 60.0, rates=rates[name])
                for name in self._names()
                if name.split("-")[0] in heard
            }
            sidecars = {name: SidecarCounts(fresh) for name in requests if name.split("-")[0] in counted}
            told = (
                [] if callers is None else [Callers(CART.name, self.now_s, tuple(map(ServiceName, callers)), is_whole)]
            )
            telemetry = Telemetry(self.now_s, callers=tuple(told))
            self.known = learn_calls(self.known, self.topology, telemetry, requests=requests, sidecars=sidecars)
            self.now_s += STEP_S
        return self.known

    def _names(self) -> list[ContainerName]:
        return list(self.topology.container_by_name)

    def planned(self, server: Service = CART) -> set[str]:
        """Return the services whose containers a plan for ``server`` has rows for."""
        return {client.service.split(".")[0] for client in as_called(self.topology, self.known).clients_of[server.name]}


@pytest.fixture
def watcher() -> Watcher:
    return Watcher()


LONG = LEARN_S / STEP_S + 2


def test_before_anything_is_known_everyone_is_planned_for(watcher: Watcher) -> None:
    """As it always was; of a service that gets no plan nobody."""
    assert watcher.planned() == {"web", "cart", "other"}
    assert watcher.planned(OTHER) == set()


def test_who_is_long_heard_and_does_not_call_is_left_out(watcher: Watcher) -> None:
    """Callers stay, and so does who is not heard: nothing is known of it."""
    watcher.minutes(LONG, heard={"web", "cart"}, calling={"web"})
    assert watcher.planned() == {"web", "other"}
    watcher.minutes(LONG, heard={"web", "cart", "other"}, calling={"web"})
    assert watcher.planned() == {"web"}


def test_a_short_silence_says_nothing(watcher: Watcher) -> None:
    """Who was heard for less than five minutes may call yet."""
    watcher.minutes(LEARN_S / STEP_S - 1, heard={"web", "cart", "other"}, calling={"web"})
    assert watcher.planned() == {"web", "cart", "other"}


def test_who_is_heard_no_more_counts_as_a_client_again(watcher: Watcher) -> None:
    """Its sidecars report nothing (a new image, a lost way) while others do: it may call, and nobody would see it."""
    all_three = {"web", "cart", "other"}
    watcher.minutes(LONG, heard=all_three, calling={"web"})
    assert watcher.planned() == {"web"}
    watcher.minutes(LONG, heard={"web", "cart"}, calling={"web"})
    assert watcher.planned() == {"web", "other"}
    watcher.minutes(2, heard=all_three, calling={"web"})
    assert watcher.planned() == {"web", "other"}
    watcher.minutes(LONG, heard=all_three, calling={"web"})
    assert watcher.planned() == {"web"}


def test_a_first_call_is_learnt_at_once(watcher: Watcher) -> None:
    """One request, one tick; for all containers of the workload, those that come later too."""
    watcher.minutes(LONG, heard={"web", "cart", "other"})
    assert watcher.planned() == set()
    watcher.minutes(1, heard={"web", "cart", "other"}, calling={"other"})
    assert [client.name for client in as_called(MESH, watcher.known).clients_of[CART.name]] == [
        "other-1.shop",
        "other-2.shop",
    ]


def test_what_stopped_stays_known_for_a_day_of_watching(watcher: Watcher) -> None:
    """Forgetting is slow; and time in which nobody watches does not count."""
    watcher.minutes(LONG, heard={"web", "cart", "other"}, calling={"web"})
    watcher.now_s += 30 * FORGET_S
    watcher.minutes(FORGET_S / STEP_S - 5, heard={"web", "cart", "other"})
    assert watcher.planned() == {"web"}
    watcher.minutes(10, heard={"web", "cart", "other"})
    assert watcher.planned() == set()


def test_a_count_that_only_fades_is_no_call(watcher: Watcher) -> None:
    """A rate falls for ever; what is left of old requests is not a new one."""
    fresh = Heard(1000.0, 5.0)
    requests = {ContainerName("web-1.shop"): ClientRequests(fresh, 60.0, rates={TO_CART: LITTLE})}
    known = learn_calls(KnownCalls(), MESH, Telemetry(1000.0), requests=requests, sidecars={})
    assert known.calls == {}


def test_connections_without_requests_are_known_by_their_bytes() -> None:
    """Load reports do not tell of TCP: who is to be left out must be counted, and bytes are a call."""
    watcher = Watcher(replace(MESH, services=(WEB, service("cart", protocol="tcp"), OTHER)))
    everyone = {"web", "cart", "other"}
    watcher.minutes(LONG, heard=everyone)
    assert watcher.planned() == everyone
    watcher.minutes(LONG, heard=everyone, counted=everyone)
    assert watcher.planned() == set()
    fresh = Heard(watcher.now_s, 5.0)
    moved = SteadyRate(Counted(0.0, 5.0, (9.0, 0.0)), Counted(0.0, 5.0, (9.0, 0.0)))
    sidecars = {ContainerName("web-2.shop"): SidecarCounts(fresh, rates={TO_CART: moved})}
    known = learn_calls(watcher.known, MESH, Telemetry(watcher.now_s), requests={}, sidecars=sidecars)
    assert set(known.calls) == {Call(WEB.name, CART.name)}


def test_a_services_own_sidecars_name_all_its_callers(watcher: Watcher) -> None:
    """Where a Prometheus knows them all, nobody else is planned for; where some are nameless, everyone is."""
    watcher.minutes(LONG, callers=("web.shop",), is_whole=False)
    assert watcher.planned() == {"web", "cart", "other"}
    watcher.minutes(LONG, callers=("web.shop",))
    assert watcher.planned() == {"web"}


def test_what_is_given_is_known(watcher: Watcher) -> None:
    """A rate of the mesh file is a call; a mesh that says who calls whom is left as it is, and teaches nothing."""
    rates = (ClientRate(ContainerName("other-1.shop"), CART.name, 2.0),)
    watcher.minutes(LONG, heard={"web", "cart", "other"})
    given = as_called(replace(MESH, rates=rates), watcher.known)
    assert given.calls == (Call(OTHER.name, CART.name),)
    said = replace(MESH, calls=(Call(WEB.name, CART.name),))
    assert as_called(said, KnownCalls()) is said
    assert learn_calls(KnownCalls(), said, Telemetry(1.0), requests={}, sidecars={}) == KnownCalls()


def test_what_is_known_changes_once_a_minute(watcher: Watcher) -> None:
    """Between two steps of the clock it is the same object: nothing to save, nothing to tell other replicas."""
    watcher.minutes(LONG, heard={"web"}, calling={"web"})
    known = watcher.known
    watcher.now_s -= STEP_S - 5.0
    assert watcher.minutes(1, heard={"web"}, calling={"web"}) is known


def test_who_is_gone_from_the_mesh_harms_nothing(watcher: Watcher) -> None:
    """What was learnt of services that are gone stays until it is forgotten, and is passed over."""
    watcher.minutes(LONG, heard={"web", "cart", "other"}, calling={"web"})
    smaller = replace(MESH, services=(CART, OTHER))
    assert as_called(smaller, watcher.known).clients_of[CART.name] == ()


def test_what_was_saved_is_read(watcher: Watcher) -> None:
    """Everything but the time of the last step, which belongs to the run."""
    known = watcher.minutes(LONG, heard={"web", "cart"}, calling={"web"}, counted={"cart"}, callers=())
    assert calls_from_document(calls_document(known)) == replace(known, stepped_at_s=0.0)


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"calls": [["web.shop", "cart.shop", 61.0]]}, "calls[0][2]"),
        ({"calls": [["web", "cart.shop", 0.0]]}, "calls[0][0]"),
        ({"calls": [["web.shop", "cart.shop"]]}, "calls[0]"),
        ({"clients": [["web.shop", 50.0, 40.0]]}, "clients[0]"),
        ({"clock_s": -1.0}, "clock_s"),
        ({"more": 1}, "more"),
    ],
)
def test_anything_else_is_refused(document: dict[str, object], path: str) -> None:
    """One line: where, what was found, what is allowed."""
    whole = calls_document(KnownCalls(clock_s=60.0, clients={WEB.name: Span(0.0, 60.0)}))
    with pytest.raises(BadInputError) as refused:
        calls_from_document({**whole, **document})
    assert refused.value.path == path


def test_who_is_known_to_call_is_fewer_than_those_who_might() -> None:
    """What was seen, what has a rate, what the mesh says itself; of whom nobody knows is no caller."""
    rate = ClientRate(OTHER.containers[0].name, CART.name, 1.0)
    known = KnownCalls(calls={Call(WEB.name, OTHER.name): 0.0})

    assert seen_callers(MESH, KnownCalls()) == {}
    assert seen_callers(replace(MESH, rates=(rate,)), known) == {OTHER.name: {WEB.name}, CART.name: {OTHER.name}}
    assert seen_callers(replace(MESH, calls=(Call(WEB.name, CART.name),)), KnownCalls()) == {CART.name: {WEB.name}}
