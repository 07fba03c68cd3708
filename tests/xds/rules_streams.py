"""Rules about streams: who is there, which types, and in which order they are served."""

from __future__ import annotations

import grpc

from tests.xds.messages import CDS, EDS, LDS, RDS, cluster, endpoints, listener, routes
from tests.xds.peer import Ended, Peer
from tests.xds.rule import ADS, SINGLE, Trial, expect, rule
from tests.xds.rules_subscription import ACK, nothing_but_errors

BASIC = "Basic Protocol Overview"
AGGREGATED = "Aggregated Discovery Service"
CONSISTENCY = "Eventual consistency considerations"
WARMING = "Resource warming"
VARIANTS = "RPC Services and Methods for Each Variant"


@rule(BASIC)
async def the_node_comes_once(trial: Trial) -> None:
    """Only the first request carries the node; later ones without it belong to the same proxy."""
    await trial.set(endpoints("A"), endpoints("B"))
    topic = (await trial.open()).topic(EDS)
    await topic.ask("A")
    await topic.collect("A")
    await topic.ask("A", "B") if topic.is_sotw else await topic.ask("B")
    await topic.collect("B")


@rule(BASIC)
async def another_node_later_changes_nothing(trial: Trial) -> None:
    """Checking the first message's node is enough: a later, other one is ignored, or the stream ends."""
    await trial.set(endpoints("A"))
    peer = await trial.open()
    topic = peer.topic(EDS)
    await topic.ask("A")
    answer = await topic.hear()
    assert peer.node is not None
    other = type(peer.node)(id="somebody-else.conformance", cluster="other")
    await topic.request(names=("A",), version=answer.version, nonce=answer.nonce, node=other)
    topic.version = answer.version
    try:
        await peer.silence()
        await trial.set(endpoints("A", 2))
        expect((await topic.collect("A")).resources["A"], endpoints("A", 2), "the first node's resource")
    except Ended as end:
        expect(end.code, grpc.StatusCode.INVALID_ARGUMENT, "status of the stream")


@rule(BASIC)
async def a_stream_without_node_does_not_hang(trial: Trial) -> None:
    """No node at all: refused with INVALID_ARGUMENT, or served as some default."""
    peer = await trial.open()
    peer.node = None
    topic = peer.topic(CDS)
    await topic.ask()
    try:
        await topic.take()
    except Ended as end:
        expect(end.code, grpc.StatusCode.INVALID_ARGUMENT, "status of the stream")


@rule(AGGREGATED, ADS)
async def a_request_without_type_is_refused(trial: Trial) -> None:
    """On the aggregated stream the type URL says which logical stream is meant: without it, INVALID_ARGUMENT."""
    peer = await trial.open()
    await peer.topic(CDS).request(type_url="")
    expect(await peer.ended(CDS), grpc.StatusCode.INVALID_ARGUMENT, "status of the stream")


@rule(AGGREGATED, ADS)
async def an_unknown_type_does_not_end_the_stream(trial: Trial) -> None:
    """Clients ask for types that a server does not know; the others are served."""
    await trial.set(cluster("A"))
    peer = await trial.open()
    unknown = peer.topic("type.googleapis.com/envoy.config.unknown.v9.Thing")
    await unknown.ask("x")
    await peer.topic(CDS).ask()
    await peer.topic(CDS).collect("A")
    if not unknown.inbox.empty():
        answer = await unknown.take()
        expect((*answer.removed, *answer.errors), ("x",), "at most: it does not exist")


@rule(AGGREGATED, ADS)
async def types_are_apart(trial: Trial) -> None:
    """Each type has its own nonce and version: a NACK or change of one is nothing to another."""
    await trial.set(cluster("A"), endpoints("A"), listener("L", "R"))
    peer = await trial.open()
    clusters, listeners = peer.topic(CDS), peer.topic(LDS)
    await clusters.ask()
    await clusters.collect("A")
    await listeners.ask()
    await listeners.collect("L")
    await trial.set(listener("L", "R", 2))
    await listeners.nack(await listeners.hear())
    await peer.silence()
    await trial.set(cluster("A", 2))
    await clusters.collect("A")


@rule(VARIANTS, SINGLE)
async def a_stream_has_its_type(trial: Trial) -> None:
    """On a single-type stream the type URL may be left out."""
    await trial.set(endpoints("A"))
    topic = (await trial.open()).topic(EDS)
    if topic.is_sotw:
        await topic.request(type_url="", names=("A",))
    else:
        await topic.request(type_url="", subscribe=("A",))
    topic.names = ("A",)
    await topic.collect("A")


@rule(VARIANTS, SINGLE)
async def a_stream_has_no_other_type(trial: Trial) -> None:
    """A request for clusters on the endpoints' stream is refused with INVALID_ARGUMENT."""
    await trial.set(cluster("A"), endpoints("A"))
    peer = await trial.open()
    await peer.topic(EDS).request(type_url=CDS)
    expect(await peer.ended(EDS), grpc.StatusCode.INVALID_ARGUMENT, "status of the stream")


async def _whole(trial: Trial, *, service: str = "A") -> Peer:
    """Bring up a peer as Envoy does, with one service in place."""
    await trial.set(cluster(service), endpoints(service), routes("R", service), listener("L", "R"))
    peer = await trial.open()
    for type_url, names in ((CDS, ()), (EDS, (service,)), (LDS, ()), (RDS, ("R",))):
        topic = peer.topic(type_url)
        await topic.ask(*names)
        await topic.collect(*(names or (("L",) if type_url == LDS else (service,))))
    return peer


@rule(CONSISTENCY, ADS)
async def what_is_added_comes_in_order(trial: Trial) -> None:
    """One change adds a cluster, its endpoints, a listener and a route: CDS, EDS, LDS, RDS on the wire."""
    peer = await _whole(trial)
    eds, rds = peer.topic(EDS), peer.topic(RDS)
    for topic, names in ((eds, ("A", "B")), (rds, ("R", "S"))):
        await topic.ask(*(names if topic.is_sotw else names[1:]))
        await (nothing_but_errors(topic) if topic.is_sotw else topic.collect(removed=names[1:]))
    start = len(peer.log)
    await trial.set(cluster("B"), endpoints("B"), routes("S", "B"), listener("M", "S", 2))
    await peer.topic(CDS).collect("B")
    await eds.collect("B")
    await peer.topic(LDS).collect("M")
    await rds.collect("S")
    first = dict.fromkeys(answer.type_url for answer in peer.log[start:])
    expect(list(first), [CDS, EDS, LDS, RDS], "order on the wire")


@rule(CONSISTENCY)
async def a_route_moves_by_way_of_both_clusters(trial: Trial) -> None:
    """A route moves from A to B in one change: B is there before the route, and A until the route is ACKed."""
    peer = await _whole(trial)
    clusters, eds, rds = peer.topic(CDS), peer.topic(EDS), peer.topic(RDS)
    await trial.delete(CDS, "A", and_set=[cluster("B"), endpoints("B"), routes("R", "B")])
    both = await clusters.take()
    if clusters.is_sotw:
        expect(sorted(both.resources), ["A", "B"], "clusters before the route moves")
    else:
        expect((sorted(both.resources), both.removed), (["B"], ()), "clusters before the route moves")
    expect(rds.inbox.empty(), True, "no route before its cluster is ACKed")
    await eds.ask("A", "B") if eds.is_sotw else await eds.ask("B")
    await eds.collect("B")
    moved = await rds.hear()
    await peer.silence()
    await rds.ack(moved)
    rest = await clusters.take()
    if clusters.is_sotw:
        expect(sorted(rest.resources), ["B"], "clusters after the route has moved")
    else:
        expect(rest.removed, ("A",), "removed after the route has moved")


@rule(WARMING)
async def endpoints_of_a_changed_cluster_are_sent_again(trial: Trial) -> None:
    """A cluster changes and its endpoints do not: after the cluster its endpoints come, or Envoy warms for 15 s."""
    peer = await _whole(trial)
    await trial.set(cluster("A", 2))
    await peer.topic(CDS).collect("A")
    expect((await peer.topic(EDS).collect("A")).resources["A"], endpoints("A"), "the same endpoints")


@rule(WARMING, ADS)
async def only_changed_clusters_have_their_endpoints_sent_again(trial: Trial) -> None:
    """Endpoints of clusters that have not changed stay where they are."""
    await trial.set(*(cluster(f"c{i}") for i in range(5)), *(endpoints(f"c{i}") for i in range(5)))
    peer = await trial.open()
    names = [f"c{i}" for i in range(5)]
    await peer.topic(CDS).ask()
    await peer.topic(CDS).collect(*names)
    await peer.topic(EDS).ask(*names)
    await peer.topic(EDS).collect(*names)
    await trial.set(cluster("c3", 2))
    await peer.topic(CDS).collect("c3")
    expect(sorted((await peer.topic(EDS).collect("c3")).resources), ["c3"], "endpoints sent again")


@rule(WARMING, ADS)
async def endpoints_are_not_sent_twice_at_start(trial: Trial) -> None:
    """Envoy asks for endpoints before it ACKs the clusters: they are sent once."""
    await trial.set(cluster("A"), endpoints("A"))
    peer = await trial.open()
    clusters, eds = peer.topic(CDS), peer.topic(EDS)
    await clusters.ask()
    answer = await clusters.hear()
    await eds.ask("A")
    await clusters.ack(answer)
    await eds.collect("A")


@rule(ACK)
async def two_proxies_are_apart(trial: Trial) -> None:
    """Two streams of one node: what one refuses, the other gets all the same."""
    await trial.set(endpoints("A"))
    one, other = await trial.open(), await trial.open()
    await one.topic(EDS).ask("A")
    await one.topic(EDS).nack(await one.topic(EDS).hear())
    await other.topic(EDS).ask("A")
    await other.topic(EDS).collect("A")
