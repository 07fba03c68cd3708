"""Make before break: in which order a proxy's changes go on the wire ("Eventual consistency considerations")."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest

from tests.xds_server.small_world import cds, eds, lds, rds, world
from xds_server.ordering import Step, clusters_changed, next_step
from xds_server.resources.names import CDS, EDS, LDS, RDS
from xds_server.snapshot import ORDER, Snapshot
from xds_server.subscription import Request, Response, Subscription, Transport

TRANSPORTS: tuple[Transport, ...] = ("delta", "sotw")
EMPTY = world()
# One service A, whole: what leads to it and what it leans on.
WHOLE = world(cds("A"), eds("A"), lds("L", routes="R"), rds("R", "A"))


class Proxy:
    """An Envoy-like client: all clusters and listeners, endpoints and routes by name; on one stream or on four."""

    def __init__(self, transport: Transport, *, streams: int = 1, names: Iterable[str] = ("A", "B", "R")) -> None:
        self.transport = transport
        self.patient = True
        self.subscriptions = {type_url: Subscription(type_url, transport) for type_url in ORDER}
        if streams == 1:
            self.streams = [self.subscriptions]
        else:
            self.streams = [{type_url: one} for type_url, one in self.subscriptions.items()]
        for type_url in (CDS, LDS):
            self.subscriptions[type_url].receive(Request())
        for type_url in (EDS, RDS):
            self.subscriptions[type_url].receive(Request(subscribe=tuple(names)))
            self.subscriptions[type_url].forced.clear()

    def step(self, snapshot: Snapshot) -> Step:
        """Return the first thing that any stream would send now."""
        steps = [next_step(own, self.streams, snapshot, patient=self.patient) for own in self.streams]
        return next((step for step in steps if step), steps[0])

    def steps(self, snapshot: Snapshot) -> list[Step]:
        """Return what each stream would do now."""
        return [next_step(own, self.streams, snapshot, patient=self.patient) for own in self.streams]

    def send(self, step: Step) -> Response:
        return self.subscriptions[step.type_url].begin(step.changes)

    def answer(self, type_url: str, response: Response, error: str | None = None) -> None:
        subscription = self.subscriptions[type_url]
        names = tuple(subscription.names) if self.transport == "sotw" else ()
        subscription.receive(Request(subscribe=names, nonce=response.nonce, error=error))

    def run(self, snapshot: Snapshot, refuse: Sequence[str] = ()) -> list[str]:
        """Serve until silence, ACKing all but the types in ``refuse``; return what was sent, in order."""
        sent = []
        while step := self.step(snapshot):
            response = self.send(step)
            mark = "-" if step.changes.removed else ""
            sent.append(mark + step.type_url.rsplit(".", 1)[1])
            self.answer(step.type_url, response, "no" if step.type_url in refuse else None)
        return sent


C, E, L, R = (type_url.rsplit(".", 1)[1] for type_url in (CDS, EDS, LDS, RDS))


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("streams", [1, 4])
def test_what_is_added_goes_forward(transport: Transport, streams: int) -> None:
    """Clusters, their endpoints, listeners, routes; also when each type has its own stream."""
    assert Proxy(transport, streams=streams).run(WHOLE) == [C, E, L, R]


@pytest.mark.parametrize("streams", [1, 4])
def test_what_is_removed_goes_backwards(streams: int) -> None:
    """Nothing is taken away while something that leans on it is still there; also across streams."""
    proxy = Proxy("delta", streams=streams)
    proxy.run(WHOLE)

    assert proxy.run(EMPTY) == [f"-{R}", f"-{L}", f"-{E}", f"-{C}"]


@pytest.mark.parametrize("streams", [1, 4])
def test_what_is_removed_goes_backwards_without_words_for_it(streams: int) -> None:
    """State of the world can say only that listeners and clusters are gone."""
    proxy = Proxy("sotw", streams=streams)
    proxy.run(WHOLE)

    assert proxy.run(EMPTY) == [f"-{L}", f"-{C}"]


@pytest.mark.parametrize("streams", [1, 4])
def test_a_removal_waits_for_the_removal_of_what_leans_on_it(streams: int) -> None:
    """While the listener's removal is un-ACKed, its cluster stays."""
    proxy = Proxy("delta", streams=streams, names=("A",))
    proxy.run(world(cds("A", endpoints=""), lds("L", clusters=["A"])))
    step = proxy.step(EMPTY)
    assert step.type_url == LDS
    response = proxy.send(step)

    assert not any(proxy.steps(EMPTY))
    proxy.answer(LDS, response)
    assert proxy.step(EMPTY).type_url == CDS


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("streams", [1, 4])
def test_a_route_moves_by_way_of_both_clusters(transport: Transport, streams: int) -> None:
    """The specification's own example: X and Y, then the route from X to Y, then X goes."""
    proxy = Proxy(transport, streams=streams)
    proxy.run(WHOLE)
    moved = world(cds("B"), eds("B"), lds("L", routes="R"), rds("R", "B"))

    expected = [C, E, R, f"-{E}", f"-{C}"] if transport == "delta" else [C, E, R, f"-{C}"]
    assert proxy.run(moved) == expected


@pytest.mark.parametrize("streams", [1, 4])
def test_old_clusters_are_repeated_until_the_route_has_moved(streams: int) -> None:
    """State of the world would delete a cluster by leaving it out: so the response holds both."""
    proxy = Proxy("sotw", streams=streams)
    proxy.run(WHOLE)
    moved = world(cds("B"), eds("B"), lds("L", routes="R"), rds("R", "B"))
    first = proxy.send(proxy.step(moved))

    assert [one.name for one in first.resources] == ["A", "B"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_route_is_held_until_its_cluster_has_endpoints(transport: Transport) -> None:
    """A cluster without its endpoints is still warming: a route that leads to it would lead nowhere."""
    proxy = Proxy(transport)
    proxy.answer(CDS, proxy.send(proxy.step(WHOLE)))
    endpoints = proxy.step(WHOLE)
    assert endpoints.type_url == EDS
    response = proxy.send(endpoints)

    waiting = proxy.step(WHOLE)
    assert not waiting
    assert waiting.held
    proxy.answer(EDS, response)
    assert proxy.step(WHOLE).type_url == LDS


def test_a_route_on_another_stream_is_held() -> None:
    """Single-type streams: a route does not overtake a cluster that is on its way elsewhere."""
    proxy = Proxy("delta", streams=4)
    proxy.send(proxy.step(WHOLE))
    routes = proxy.steps(WHOLE)[ORDER.index(RDS)]

    assert routes.held
    assert not routes


def test_a_cluster_that_is_to_go_is_not_told_that_it_has_no_endpoints() -> None:
    """Envoy's changed cluster asks anew on a stream of its own: empty, it would take the place of the one in use."""
    proxy = Proxy("delta", streams=4)
    proxy.run(WHOLE)
    moved = world(cds("B"), eds("B"), lds("L", routes="R"), rds("R", "B"))
    warming = {EDS: Subscription(EDS, "delta")}
    everything = [*proxy.streams, warming]
    warming[EDS].receive(Request(subscribe=("A",)))
    assert not next_step(warming, everything, moved, patient=True)

    assert proxy.run(moved)[-1] == f"-{C}"
    assert "A" not in proxy.subscriptions[CDS].known
    assert next_step(warming, everything, moved, patient=True).changes.missing == ("A",)


@pytest.mark.parametrize("going", [EDS, CDS])
def test_a_route_does_not_cross_the_removal_of_its_cluster(going: str) -> None:
    """On single-type streams: a cluster whose removal is on its way is not there any more, ACKed or not."""
    proxy = Proxy("delta", streams=4)
    without = world(cds("B"), eds("B"), lds("L", routes="R"), rds("R", "B"))
    proxy.run(world(*WHOLE.all(), cds("B"), eds("B")))
    while (step := proxy.step(without)) and not (step.changes.removed and step.type_url == going):
        proxy.answer(step.type_url, proxy.send(step))
    proxy.send(step)

    routes = proxy.steps(WHOLE)[ORDER.index(RDS)]
    assert routes.held
    assert not routes


def test_what_is_held_too_long_goes() -> None:
    """A client that never fetches endpoints gets its route all the same."""
    proxy = Proxy("delta", names=("R",))
    assert proxy.run(WHOLE) == [C, L]
    assert proxy.step(WHOLE).held
    proxy.patient = False

    assert proxy.run(WHOLE) == [R]


@pytest.mark.parametrize("refused", [CDS, EDS])
def test_a_route_to_a_refused_cluster_never_goes(refused: str) -> None:
    """A cluster that the client refused, or whose endpoints it refused, would turn the route into an outage."""
    proxy = Proxy("delta")
    proxy.run(WHOLE, refuse=[refused])
    proxy.patient = False

    assert R not in proxy.run(WHOLE, refuse=[refused])
    assert not proxy.step(WHOLE).held, "no clock can release it, so none must tick"


def test_a_route_to_a_refused_cluster_goes_when_the_cluster_is_mended() -> None:
    """The next version is accepted: everything follows."""
    proxy = Proxy("delta")
    proxy.run(WHOLE, refuse=[CDS])

    assert proxy.run(world(*WHOLE.all(), cds("A", "2"))) == [C, R]


def test_a_route_to_a_cluster_whose_new_version_was_refused_goes() -> None:
    """The client still has the older version, so traffic flows."""
    proxy = Proxy("delta")
    proxy.run(WHOLE)
    proxy.run(world(*WHOLE.all(), cds("A", "2")), refuse=[CDS])

    assert R in proxy.run(world(*WHOLE.all(), cds("A", "2"), rds("R", "A", content="2")))


def test_a_refused_cluster_does_not_hold_what_does_not_lean_on_it() -> None:
    """Other listeners and routes go on."""
    snapshot = world(*WHOLE.all(), cds("bad", endpoints=""), lds("M", clusters=["bad"]))
    proxy = Proxy("delta")
    while step := proxy.step(snapshot):
        bad = any(one.name == "bad" for one in step.changes.send)
        proxy.answer(step.type_url, proxy.send(step), "Cluster bad: no" if bad else None)

    assert (set(proxy.subscriptions[LDS].known), set(proxy.subscriptions[RDS].known)) == ({"L"}, {"R"})


def test_nothing_is_removed_while_a_route_is_held() -> None:
    """The old route still leads to the old cluster."""
    proxy = Proxy("delta")
    proxy.run(WHOLE)
    moved = world(cds("B"), eds("B"), lds("L", routes="R"), rds("R", "B"))
    proxy.run(moved, refuse=[CDS])

    assert "A" in proxy.subscriptions[CDS].known


def test_a_client_that_asks_by_name_goes_the_other_way() -> None:
    """gRPC: from the listener to the route to the cluster; nothing is held for it."""
    own = {type_url: Subscription(type_url, "sotw") for type_url in (LDS, RDS)}
    own[LDS].receive(Request(subscribe=("L",)))
    own[RDS].receive(Request(subscribe=("R",)))
    listener = next_step(own, [own], WHOLE, patient=True)
    assert listener.type_url == LDS
    own[LDS].receive(Request(subscribe=("L",), nonce=own[LDS].begin(listener.changes).nonce))

    assert next_step(own, [own], WHOLE, patient=True).type_url == RDS


def test_a_client_without_cds_is_not_kept_waiting() -> None:
    """An Envoy with static clusters that fetches only routes."""
    own = {RDS: Subscription(RDS, "delta")}
    own[RDS].receive(Request(subscribe=("R",)))

    assert next_step(own, [own], WHOLE, patient=True).type_url == RDS


def test_types_outside_the_order_are_served() -> None:
    """A type that the order does not know waits for nothing and stops nothing."""
    other = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
    own = {other: Subscription(other, "delta")}
    own[other].receive(Request(subscribe=("s",)))

    step = next_step(own, [own], world(), patient=True)
    assert (step.type_url, step.changes.missing) == (other, ("s",))


def test_endpoints_of_changed_clusters_are_named() -> None:
    """ "Resource warming": only those of the clusters in the response, and only what the client subscribes to."""
    assert clusters_changed([cds("A"), cds("B", endpoints="other"), cds("C")], {"A", "other"}.__contains__) == [
        "A",
        "other",
    ]
