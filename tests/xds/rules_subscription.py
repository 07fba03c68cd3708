"""Rules of all four variants: what a client asks for and what it gets."""

from __future__ import annotations

from tests.xds.messages import CDS, EDS, LDS, RDS, cluster, endpoints, listener, routes
from tests.xds.peer import Answer, Topic
from tests.xds.rule import DELTA, SOTW, Trial, expect, rule

HINTS = "How the client specifies what resources to return"
ACK = "ACK/NACK and resource type instance version"
UPDATE = "When to send an update"
GROUPING = "Grouping Resources into Responses"
DELETING = "Deleting Resources"
MISSING = "Knowing When a Requested Resource Does Not Exist"
UNSUBSCRIBING = "Unsubscribing From Resources"
RESOURCE_UPDATES = "Resource updates"


@rule(HINTS)
async def no_names_at_first_are_all_clusters(trial: Trial) -> None:
    """The first CDS request without names is a wildcard; the response has a nonce, and versions."""
    await trial.set(cluster("A"), cluster("B"))
    topic = (await trial.open()).topic(CDS)
    await topic.ask()
    answer = await topic.collect("A", "B")
    expect(sorted(answer.resources), ["A", "B"], "clusters")
    expect(bool(answer.nonce), True, "a nonce")
    if topic.is_sotw:
        expect(bool(answer.version), True, "version_info")
    else:
        expect(all(answer.versions.values()), True, "a version for each resource")


@rule(HINTS)
async def no_names_at_first_are_all_listeners(trial: Trial) -> None:
    """The same for LDS."""
    await trial.set(listener("L", "R"), listener("M", "R", 2))
    topic = (await trial.open()).topic(LDS)
    await topic.ask()
    expect(sorted((await topic.collect("L", "M")).resources), ["L", "M"], "listeners")


@rule(HINTS)
async def the_star_is_all(trial: Trial) -> None:
    """The special name "*" is a wildcard subscription."""
    await trial.set(cluster("A"), cluster("B"))
    topic = (await trial.open()).topic(CDS)
    await topic.ask("*")
    expect(sorted((await topic.collect("A", "B")).resources), ["A", "B"], "clusters")


@rule(HINTS)
async def no_names_at_first_are_no_endpoints(trial: Trial) -> None:
    """The wildcard belongs to LDS and CDS; an EDS request without names asks for nothing."""
    await trial.set(endpoints("A"))
    await (await trial.open()).topic(EDS).ask()


@rule(HINTS)
async def a_subset_is_answered(trial: Trial) -> None:
    """A client that names some resources gets those, without naming all that there are."""
    await trial.set(cluster("A"), cluster("B"), endpoints("A"), endpoints("B"))
    topic = (await trial.open()).topic(EDS)
    await topic.ask("A")
    answer = await topic.collect("A")
    expect("A" in answer.resources, True, "A is answered")


@rule(HINTS)
async def a_name_taken_up_again_is_sent_again(trial: Trial) -> None:
    """Dropped and asked for again, a resource is resent though it has not changed."""
    await trial.set(endpoints("A"), endpoints("B"))
    topic = (await trial.open()).topic(EDS)
    await topic.ask("A", "B")
    await topic.collect("A", "B")
    await topic.drop("B")
    await topic.ask("A", "B") if topic.is_sotw else await topic.ask("B")
    await topic.collect("B")


@rule(UNSUBSCRIBING)
async def no_names_after_names_are_none(trial: Trial) -> None:
    """A client that drops its last name has unsubscribed; it is no wildcard, not even for clusters."""
    await trial.set(cluster("A"), cluster("B"), endpoints("A"))
    peer = await trial.open()
    for type_url in (EDS, CDS):
        topic = peer.topic(type_url)
        await topic.ask("A")
        await topic.collect("A")
        await topic.drop("A")
    await peer.silence()
    await trial.set(cluster("A", 2), endpoints("A", 2))


@rule(UPDATE)
async def an_ack_is_not_answered(trial: Trial) -> None:
    """The server sends only when resources have changed; an ACK changes nothing."""
    await trial.set(cluster("A"), endpoints("A"))
    peer = await trial.open()
    await peer.topic(CDS).ask()
    await peer.topic(CDS).collect("A")
    await peer.topic(EDS).ask("A")
    await peer.topic(EDS).collect("A")


@rule(ACK)
async def a_nack_is_not_answered(trial: Trial) -> None:
    """A refused version is not sent again; a fixed one is, once."""
    await trial.set(cluster("A"), endpoints("A"))
    peer = await trial.open()
    topic = peer.topic(CDS)
    await topic.ask()
    await topic.nack(await topic.hear())
    await peer.silence()
    await trial.set(cluster("A", 2))
    expect((await topic.collect("A")).resources["A"], cluster("A", 2), "the fixed cluster")


@rule(ACK)
async def a_nack_of_endpoints_is_not_answered(trial: Trial) -> None:
    """The same for a type that is asked for by name, when the client had an older version."""
    await trial.set(endpoints("A"))
    peer = await trial.open()
    topic = peer.topic(EDS)
    await topic.ask("A")
    await topic.collect("A")
    await trial.set(endpoints("A", 2))
    await topic.nack(await topic.hear())
    await peer.silence()
    await trial.set(endpoints("A", 3))
    expect((await topic.collect("A")).resources["A"], endpoints("A", 3), "the fixed endpoints")


@rule(ACK)
async def after_a_nack_other_resources_go_on(trial: Trial) -> None:
    """A refused resource does not stop updates of others."""
    await trial.set(endpoints("A"), endpoints("B"))
    topic = (await trial.open()).topic(EDS)
    await topic.ask("A", "B")
    await topic.collect("A", "B")
    await trial.set(endpoints("A", 2))
    await topic.nack(await topic.hear())
    await trial.set(endpoints("B", 2))
    expect((await topic.collect("B")).resources["B"], endpoints("B", 2), "B")


@rule(ACK)
async def nonces_are_unique(trial: Trial) -> None:
    """Every response on a stream has a nonce that no other response on it has."""
    await trial.set(cluster("A"))
    topic = (await trial.open()).topic(CDS)
    await topic.ask()
    nonces = []
    for content in range(2, 6):
        nonces.append((await topic.collect("A")).nonce)
        await trial.set(cluster("A", content))
    nonces.append((await topic.collect("A")).nonce)
    expect((len(set(nonces)), all(nonces)), (5, True), "different nonces")


@rule(GROUPING)
async def a_change_is_sent(trial: Trial) -> None:
    """One of ten resources changes: it is sent; in delta it alone, in state of the world (EDS) the others may come."""
    await trial.set(*(endpoints(f"e{i}") for i in range(10)))
    topic = (await trial.open()).topic(EDS)
    names = [f"e{i}" for i in range(10)]
    await topic.ask(*names)
    await topic.collect(*names)
    await trial.set(endpoints("e3", 2))
    answer = await topic.collect("e3")
    expect(answer.resources["e3"], endpoints("e3", 2), "the changed resource")
    if not topic.is_sotw:
        expect(sorted(answer.resources), ["e3"], "the changed resource alone")


@rule("Duplicate Resource Names")
async def a_name_given_twice_is_sent_once(trial: Trial) -> None:
    """No response holds a name twice."""
    await trial.set(endpoints("A"))
    topic = (await trial.open()).topic(EDS)
    await topic.ask("A", "A")
    expect((await topic.collect("A")).names, ("A",), "names in the response")


@rule("Duplicate Resource Names")
async def a_name_and_the_wildcard_send_once(trial: Trial) -> None:
    """A resource that is named and in the wildcard too stands in a response once."""
    await trial.set(cluster("A"), cluster("B"))
    topic = (await trial.open()).topic(CDS)
    await topic.ask("*", "A")
    expect(sorted((await topic.collect("A", "B")).names), ["A", "B"], "names in the response")


@rule(MISSING)
async def an_unknown_name_is_remembered(trial: Trial) -> None:
    """A resource that is asked for before it exists is sent as soon as it does."""
    await trial.set(endpoints("A"))
    peer = await trial.open()
    topic = peer.topic(EDS)
    await topic.ask("A", "X")
    await topic.collect("A", removed=() if topic.is_sotw else ("X",))
    await nothing_but_errors(topic)
    await peer.silence()
    await trial.set(endpoints("X"))
    expect((await topic.collect("X")).resources["X"], endpoints("X"), "the new resource")


@rule(MISSING)
async def an_unknown_name_alone_is_remembered(trial: Trial) -> None:
    """The same when nothing else was asked for."""
    peer = await trial.open()
    topic = peer.topic(EDS)
    await topic.ask("X")
    await (nothing_but_errors(topic) if topic.is_sotw else topic.collect(removed=("X",)))
    await peer.silence()
    await trial.set(endpoints("X"))
    await topic.collect("X")


async def nothing_but_errors(topic: Topic) -> Answer | None:
    """State of the world has no word for absence: allow silence, or one response that holds resource_errors."""
    if not topic.is_sotw:
        return None
    try:
        answer = await topic.hear(within_s=0.3)
    except AssertionError:
        return None
    expect((answer.names, bool(answer.errors)), ((), True), "silence, or resource_errors and no resource")
    await topic.ack(answer)
    return answer


@rule(DELETING)
async def a_deleted_resource_comes_back(trial: Trial) -> None:
    """Deleted and created again with the same content, it is sent again."""
    await trial.set(endpoints("A"), endpoints("B"))
    topic = (await trial.open()).topic(EDS)
    await topic.ask("A", "B")
    await topic.collect("A", "B")
    await trial.delete(EDS, "A")
    if not topic.is_sotw:
        await topic.collect(removed=("A",))
    else:
        await nothing_but_errors(topic)
    await trial.set(endpoints("A"))
    await topic.collect("A")


@rule(RESOURCE_UPDATES)
async def what_changed_between_is_not_sent(trial: Trial) -> None:
    """Many changes while a response is un-ACKed: the client gets the newest state, not each step on the way."""
    await trial.set(endpoints("A"))
    peer = await trial.open()
    topic = peer.topic(EDS)
    await topic.ask("A")
    first = await topic.hear()
    for content in range(2, 22):
        await trial.set(endpoints("A", content))
    await topic.ack(first)
    answers = [await topic.take()]
    while answers[-1].resources["A"] != endpoints("A", 21):
        answers.append(await topic.take())
    expect(len(answers) <= 2, True, f"{len(answers)} responses for 20 changes; at most 2")


@rule(HINTS)
async def routes_are_served_by_name(trial: Trial) -> None:
    """RDS: named, changed, and only the named."""
    await trial.set(cluster("A"), endpoints("A"), routes("R", "A"), routes("S", "A"))
    topic = (await trial.open()).topic(RDS)
    await topic.ask("R")
    expect(sorted((await topic.collect("R")).resources), ["R"], "routes")


@rule("Client Behavior", SOTW)
async def clusters_by_name_are_those_alone(trial: Trial) -> None:
    """gRPC names its clusters: each response holds all of the named, and no other is a reason to send."""
    await trial.set(cluster("A"), cluster("B"), cluster("C"))
    peer = await trial.open()
    topic = peer.topic(CDS)
    await topic.ask("A")
    await topic.collect("A")
    await topic.ask("A", "B")
    expect({"A", "B"} <= set((await topic.take()).resources), True, "A and B together")
    await trial.set(cluster("C", 2))


@rule("Client Behavior", DELTA)
async def clusters_by_name_are_those_alone_in_delta(trial: Trial) -> None:
    """The same in delta: what was not asked for is not sent."""
    await trial.set(cluster("A"), cluster("B"))
    topic = (await trial.open()).topic(CDS)
    await topic.ask("A")
    expect(sorted((await topic.collect("A")).resources), ["A"], "clusters")
    await trial.set(cluster("B", 2))
