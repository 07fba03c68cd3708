"""Links from measurements on nodes: of whole services, as the server; and what is worth measuring."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from askew.control_loop import Memory, tick
from estimators.live_links import live_links
from estimators.measured_links import HELD_S, RENEWED_S, ToMeasure, held, measured_relations, to_measure
from estimators.told_links import told_links, with_told_links
from mesh.link_measurement import LinkBytes, Measurement, Side
from mesh.mesh_file import parse_mesh_file
from mesh.picture import Link
from mesh.telemetry import ByteExchange, LinkSample, Telemetry, ToldLinks
from mesh.topology import Container, ContainerName, Service, ServiceName, Topology
from tests.estimators.test_live_links import CALLS, MESH, Watching, bytes_of, methods_of

NOW_S = 10_000.0
WEB, SHOP, CART = (ServiceName(f"{name}.default") for name in ("web", "shop", "cart"))
LOCAL_FIRST = "    annotations: {askew.mesh/routing: local-first}\n"
MANAGED = MESH.replace("    port: 80\n", "    port: 80\n" + LOCAL_FIRST)


def mesh(text: str = MANAGED) -> Topology:
    return parse_mesh_file(text)


def served(peer: str, received: int, sent: int, *, port: int = 80, side: Side = "server") -> LinkBytes:
    return LinkBytes(peer, port, side, bytes_sent=sent, bytes_received=received, connections=1)


def sample(name: str, *links: LinkBytes, age_s: float = 10.0, complete: bool = True) -> LinkSample:
    """Return what was measured of a container in 5 s."""
    measurement = Measurement(ContainerName(name), "sockets", 5.0, links, cost_cpu_s=0.001, complete=complete)
    return LinkSample(NOW_S - age_s, measurement)


# web-1 sends shop-1 100 bytes/s and gets 1,000, web-2 sends shop-2 200 and gets 2,000.
OF_SHOP = (
    sample("shop-1", served("127.5.0.1", 500, 5000), served("127.5.0.5", 9, 9, side="client")),
    sample("shop-2", served("127.5.0.2", 1000, 10_000), age_s=40.0),
)


def test_a_service_that_is_measured_whole_tells_what_its_clients_exchange_with_it() -> None:
    """Summed over its containers, by the client's address, as old as the oldest; calls of its own are not counted."""
    [(call, relation)] = measured_relations(mesh(), OF_SHOP, now_s=NOW_S).items()
    assert call == (WEB, SHOP)
    assert (relation.sent_bytes_per_s, relation.received_bytes_per_s) == (300.0, 3000.0)
    assert (relation.method, relation.time_s, relation.confidence) == ("agent", NOW_S - 40.0, 1.0)


@pytest.mark.parametrize(
    "samples",
    [(), OF_SHOP[:1], (OF_SHOP[0], replace(OF_SHOP[1], time_s=NOW_S - HELD_S - 1.0))],
    ids=["none", "one container", "one too old"],
)
def test_what_is_not_measured_whole_is_no_link(samples: tuple[LinkSample, ...]) -> None:
    """A part of the bytes is not the link."""
    assert measured_relations(mesh(), samples, now_s=NOW_S) == {}


def test_who_cannot_be_named_is_left_out() -> None:
    """An address of nobody, the service's own, and one that containers of two services share."""
    topology = mesh()
    shared = [replace(one, address="127.5.0.9") for one in topology.service_by_name[CART].containers]
    web, shop, cart = topology.services
    twice = replace(topology, services=(replace(web, containers=(web.containers[0], _at(web, "127.5.0.9"))), shop,
                                        replace(cart, containers=tuple(shared))))  # fmt: skip
    strange = (served("127.5.0.9", 1, 1), served("10.9.9.9", 1, 1), served("127.5.0.4", 1, 1))
    samples = (sample("shop-1", *strange, served("127.5.0.1", 500, 5000)), sample("shop-2"))
    found = measured_relations(twice, samples, now_s=NOW_S)
    assert {call: one.sent_bytes_per_s for call, one in found.items()} == {(WEB, SHOP): 100.0}


def _at(service: Service, address: str) -> Container:
    return replace(service.containers[1], address=address)


def test_what_comes_from_a_nodes_own_address_is_nobodys() -> None:
    """The kubelet's probes do, and who is masqueraded, not only the one service that uses the host's network."""
    topology = mesh()
    web, shop, cart = topology.services
    on_host = tuple(replace(one, on_host_network=True) for one in cart.containers)
    probed = sample("shop-1", *(served(one.address, 70, 70) for one in on_host), served("127.5.0.1", 500, 5000))
    topology = replace(topology, services=(web, shop, replace(cart, containers=on_host)))

    assert measured_relations(topology, (probed, sample("shop-2")), now_s=NOW_S).keys() == {(WEB, SHOP)}


def test_what_missed_bytes_is_half_sure() -> None:
    """Nobody knows how many."""
    samples = (OF_SHOP[0], sample("shop-2", complete=False))
    assert measured_relations(mesh(), samples, now_s=NOW_S)[WEB, SHOP].confidence == 0.5


def test_of_a_container_that_serves_two_services_the_port_tells() -> None:
    """And nothing else could: a sidecar's own port is neither's, so that it is half sure."""
    topology = mesh()
    web, shop, cart = topology.services
    both = replace(shop.containers[0], service=CART, ports={81: 8081}, is_client=False)
    shop = replace(shop, containers=(replace(shop.containers[0], ports={80: 8080}),))
    topology = replace(topology, services=(web, shop, replace(cart, containers=(both,))))
    links = (
        served("127.5.0.1", 500, 0, port=8080),
        served("127.5.0.2", 50, 0, port=8081),
        served("127.5.0.2", 5, 0, port=15006),
    )
    found = measured_relations(topology, [sample("shop-1", *links)], now_s=NOW_S)
    assert {call: (one.sent_bytes_per_s, one.confidence) for call, one in found.items()} == {
        (WEB, SHOP): (100.0, 0.5), (WEB, CART): (10.0, 0.5)}  # fmt: skip


def test_a_tick_shows_it_as_an_agents_link() -> None:
    """With its age and how sure it is, where no sidecar counts and calls are not known; the telemetry alone decides."""
    telemetry = Telemetry(time_s=NOW_S, link_samples=OF_SHOP)
    _, picture, _ = tick(Memory(), mesh(), telemetry)
    assert picture.links == (
        Link(SHOP, WEB, 3000.0, "agent", 1.0, 0.0, NOW_S - 40.0),
        Link(WEB, SHOP, 300.0, "agent", 1.0, 0.0, NOW_S - 40.0),
    )
    assert tick(Memory(), mesh(), replace(telemetry, link_samples=()))[1].links == ()


def test_sidecars_and_a_prometheus_are_believed_before_it(rng: np.random.Generator) -> None:
    """What every client's sidecar counts stays; a Prometheus' means over minutes go before seconds of an agent."""
    watching = Watching(rng)
    watching.after(12)
    told = measured_relations(watching.topology, OF_SHOP, now_s=NOW_S)
    now_s = watching.sidecars.now_s
    counted = live_links(watching.topology, watching.counts, watching.requests, now_s=now_s, told=told)
    assert set(methods_of(counted).values()) == {"measured"}

    alone = live_links(mesh(), {}, {}, now_s=NOW_S, told=told)
    worked_out = ToldLinks(NOW_S, 300.0, (Link(WEB, SHOP, 5.0, "cadvisor", 0.5), Link(SHOP, WEB, 6.0, "cadvisor", 0.5)))
    assert with_told_links(alone, worked_out, services=mesh().service_by_name.keys(), now_s=NOW_S) == alone
    asked = ByteExchange(WEB, SHOP, NOW_S, 300.0, 7.0, 8.0, residual=None)
    reading = ToldLinks(NOW_S, 300.0, told_links([asked]))
    both = with_told_links(alone, reading, services=mesh().service_by_name.keys(), now_s=NOW_S)
    assert (bytes_of(both), methods_of(both)["web shop"]) == (
        {("web", "shop"): 7.0, ("shop", "web"): 8.0}, "prometheus")  # fmt: skip


def test_it_settles_what_counters_alone_can_only_guess(rng: np.random.Generator) -> None:
    """On a cycle of three services without counters of two, one measured service leaves less to be measured."""
    calls = "calls: [{from: web, to: shop}, {from: shop, to: cart}, {from: web, to: cart}]\n"
    watching = Watching(rng, text=MESH + calls, without=("web-1", "web-2", "shop-1"))
    watching.sidecars.rates["web-1", "cart.default"] = 30.0
    guessed = watching.after(12)
    told = measured_relations(watching.topology, OF_SHOP, now_s=NOW_S)
    now_s = watching.sidecars.now_s
    known = live_links(watching.topology, watching.counts, watching.requests, now_s=now_s, told=told)
    assert (methods_of(guessed)["web shop"], methods_of(known)["web shop"]) == ("estimated", "agent")
    assert bytes_of(known)["web", "shop"] == 300.0
    assert (guessed.to_measure, known.to_measure) == ((WEB,), ())


def wanted(
    topology: Topology | None = None,
    *,
    links: tuple[Link, ...] = (),
    samples: tuple[LinkSample, ...] = (),
    most: int = 60,
    obstacles: tuple[str, ...] = (),
) -> ToMeasure:
    """Return what should be measured."""
    return to_measure(
        mesh() if topology is None else topology,
        links,
        held(samples, now_s=NOW_S),
        now_s=NOW_S,
        most=most,
        obstacle=lambda one: "no agent" if one.name in obstacles else "",
    )


def due(found: ToMeasure) -> list[str]:
    return [one.name for one in found.due]


def told(source: str, target: str, method: str = "prometheus", confidence: float = 1.0) -> Link:
    return Link(source, target, 1.0, method, confidence)  # type: ignore[arg-type]


def test_managed_services_whose_bytes_nobody_tells_are_measured() -> None:
    """The smaller ones first; others never."""
    assert due(wanted()) == ["cart-1", "shop-1", "shop-2"]
    assert due(wanted(mesh(MESH))) == []
    assert due(wanted(mesh(MANAGED.replace("local-first", "local-first, askew.mesh/mode: observe")))) == []


def test_who_is_told_of_is_not_measured() -> None:
    """Where callers are known each must be; else any tells that there is a source. A guess is no source."""
    assert due(wanted(links=(told(WEB, SHOP),))) == ["cart-1"]
    known = mesh(MANAGED + CALLS)
    assert due(wanted(known, links=(told(WEB, SHOP, "peeled"),))) == ["cart-1"]
    assert due(wanted(known, links=(told(WEB, SHOP, "peeled", 0.3), told(SHOP, CART, "agent")))) == [
        "cart-1", "shop-1", "shop-2"]  # fmt: skip
    assert due(wanted(known, links=(told(WEB, SHOP, "estimated"), told(SHOP, CART, "measured")))) == [
        "shop-1", "shop-2"]  # fmt: skip


def test_a_service_that_cannot_be_measured_whole_is_not_measured_at_all() -> None:
    """It would cost and tell nothing: an obstacle at one container, or more containers than can be kept."""
    found = wanted(obstacles=("shop-2",))
    assert (due(found), found.left_out) == (["cart-1"], {SHOP: "shop-2: no agent"})
    found = wanted(most=2)
    assert (due(found), found.left_out) == (
        ["cart-1"], {SHOP: "2 containers, and only 1 more can be kept measured"})  # fmt: skip


def test_the_oldest_is_renewed_first_and_a_young_one_not() -> None:
    """Who was never measured before all."""
    samples = (sample("cart-1", age_s=RENEWED_S + 1.0), sample("shop-2", age_s=RENEWED_S - 1.0))
    assert due(wanted(samples=samples)) == ["shop-1", "cart-1"]
    samples = (sample("cart-1", age_s=RENEWED_S + 1.0), *(sample(f"shop-{n}", age_s=RENEWED_S + n) for n in (1, 2)))
    assert due(wanted(samples=samples)) == ["shop-2", "cart-1", "shop-1"]
