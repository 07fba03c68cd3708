"""Rules about time to live and about errors that the server tells."""

from __future__ import annotations

import asyncio

from tests.xds.messages import CDS, EDS, cluster, endpoints
from tests.xds.peer import Answer, Topic
from tests.xds.rule import ALL, SOTW, Trial, expect, rule

TTL = "TTL"
ERRORS = "gRFC A88 and xRFC TP3: resource_errors"
FEATURES = (
    "xds.config.supports-resource-ttl",
    "xds.config.resource-in-sotw",
    "xds.config.supports-resource-in-sotw",
)


async def _heartbeat(topic: Topic, name: str) -> Answer:
    answer = await topic.take()
    expect((answer.heartbeats, name in answer.resources), ((name,), False), "a heartbeat without a body")
    return answer


@rule(TTL, ALL, needs="ttl")
async def a_resource_with_a_ttl_is_said_again(trial: Trial) -> None:
    """A client that knows TTL gets it, and heartbeats (same version, no body) before it runs out."""
    await trial.set(endpoints("A"), ttl_s=2.0)
    topic = (await trial.open(features=FEATURES)).topic(EDS)
    await topic.ask("A")
    first = await topic.collect("A")
    expect(first.ttl_s, {"A": 2.0}, "TTL")
    began_s = asyncio.get_running_loop().time()
    beat = await _heartbeat(topic, "A")
    expect(asyncio.get_running_loop().time() - began_s < 2.0, True, "the heartbeat before the TTL has passed")
    expect((beat.ttl_s, beat.versions), ({"A": 2.0}, first.versions), "TTL and version of the heartbeat")
    await trial.set(endpoints("A"))
    expect((await topic.collect("A")).ttl_s, {}, "TTL after it was removed")


@rule(TTL, SOTW, needs="ttl")
async def a_client_that_does_not_know_ttl_gets_plain_resources(trial: Trial) -> None:
    """Without the client features a resource is not wrapped, and there is no heartbeat."""
    await trial.set(endpoints("A"), ttl_s=0.4)
    peer = await trial.open()
    await peer.topic(EDS).ask("A")
    answer = await peer.topic(EDS).collect("A")
    expect((answer.ttl_s, answer.versions), ({}, {}), "TTL and wrapper")
    await peer.silence(1.0)


@rule(ERRORS, SOTW, needs="errors")
async def a_missing_name_is_an_error(trial: Trial) -> None:
    """NOT_FOUND for X, once, in a response whose resources do not hold X; created later, X is sent."""
    await trial.set(endpoints("A"))
    peer = await trial.open()
    topic = peer.topic(EDS)
    await topic.ask("A", "X")
    answer = await topic.take()
    while not answer.errors:
        answer = await topic.take()
    expect((dict(answer.errors), "X" in answer.resources), ({"X": 5}, False), "errors")
    await peer.silence()
    await trial.set(endpoints("X"))
    await topic.collect("X")


@rule(ERRORS, SOTW, needs="errors")
async def errors_stand_beside_all_good_clusters(trial: Trial) -> None:
    """A CDS response with an error still holds every cluster that exists."""
    await trial.set(cluster("A"), cluster("B"))
    topic = (await trial.open()).topic(CDS)
    await topic.ask("A", "B", "X")
    answer = await topic.take()
    expect((sorted(answer.resources), dict(answer.errors)), (["A", "B"], {"X": 5}), "clusters and errors")
