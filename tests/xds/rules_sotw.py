"""Rules of the state-of-the-world variants alone."""

from __future__ import annotations

from tests.xds.messages import CDS, EDS, cluster, endpoints
from tests.xds.rule import SOTW, Trial, expect, rule
from tests.xds.rules_subscription import ACK, DELETING, GROUPING, HINTS, RESOURCE_UPDATES


@rule(GROUPING, SOTW)
async def clusters_come_complete(trial: Trial) -> None:
    """Each CDS response holds all clusters, also those that have not changed."""
    await trial.set(cluster("A"), cluster("B"))
    topic = (await trial.open()).topic(CDS)
    await topic.ask()
    await topic.collect("A", "B")
    await trial.set(cluster("A", 2))
    expect(sorted((await topic.take()).resources), ["A", "B"], "clusters in the response")


@rule(DELETING, SOTW)
async def a_cluster_is_deleted_by_its_absence(trial: Trial) -> None:
    """A response without the deleted one and with all others; when the last goes, an empty response."""
    await trial.set(cluster("A"), cluster("B"))
    topic = (await trial.open()).topic(CDS)
    await topic.ask()
    await topic.collect("A", "B")
    await trial.delete(CDS, "A")
    expect(sorted((await topic.take()).resources), ["B"], "clusters in the response")
    await trial.delete(CDS, "B")
    expect(sorted((await topic.take()).resources), [], "clusters in the response")


@rule(DELETING, SOTW)
async def a_deleted_assignment_needs_no_word(trial: Trial) -> None:
    """EDS has no way to say so: silence, or resource_errors; never a response that changes the others."""
    await trial.set(endpoints("A"), endpoints("B"))
    peer = await trial.open()
    topic = peer.topic(EDS)
    await topic.ask("A", "B")
    await topic.collect("A", "B")
    await trial.delete(EDS, "A")
    try:
        answer = await topic.hear(within_s=0.3)
    except AssertionError:
        return
    expect("A" in answer.resources, False, "A in a response after it was deleted")
    await topic.ack(answer)


@rule(ACK, SOTW)
async def an_error_makes_a_nack(trial: Trial) -> None:
    """error_detail with the newest nonce and the present version is a NACK: no resend, and it does not hang."""
    await trial.set(endpoints("A"), endpoints("B"))
    peer = await trial.open()
    topic = peer.topic(EDS)
    await topic.ask("A")
    await topic.collect("A")
    await topic.ask("A", "B")
    answer = await topic.hear()
    await topic.request(names=("A", "B"), version=answer.version, nonce=answer.nonce, error="B is refused")
    await peer.silence()
    await trial.set(endpoints("B", 2))
    expect((await topic.collect("B")).resources["B"], endpoints("B", 2), "the fixed endpoints")


@rule(ACK, SOTW)
async def a_nack_may_ask_for_more(trial: Trial) -> None:
    """A NACK that also names a new resource gets the new one; the refused one is not sent again."""
    await trial.set(endpoints("A"), endpoints("B"))
    topic = (await trial.open()).topic(EDS)
    await topic.ask("A")
    answer = await topic.hear()
    topic.names = ("A", "B")
    await topic.nack(answer, "A is refused")
    expect(sorted((await topic.collect("B")).resources), ["B"], "resources in the response")


@rule(RESOURCE_UPDATES, SOTW)
async def a_stale_request_is_not_answered(trial: Trial) -> None:
    """A request with an old nonce is ignored; one with the newest nonce and the same names is answered."""
    await trial.set(endpoints("A"), endpoints("B"))
    peer = await trial.open()
    topic = peer.topic(EDS)
    await topic.ask("A")
    first = await topic.take()
    await trial.set(endpoints("A", 2))
    second = await topic.hear()
    await topic.request(names=("A", "B"), version=first.version, nonce=first.nonce)
    await peer.silence()
    topic.names = ("A", "B")
    await topic.ack(second)
    await topic.collect("B")


@rule(HINTS, SOTW)
async def the_star_can_be_dropped_and_a_name_kept(trial: Trial) -> None:
    """Unset, then "*" and A, then A, then unset: wildcard, both, A alone, nothing."""
    await trial.set(cluster("A"), cluster("B"))
    peer = await trial.open()
    topic = peer.topic(CDS)
    await topic.ask()
    await topic.collect("A", "B")
    await topic.ask("*", "A")
    await topic.collect("A", "B")
    await topic.ask("A")
    await peer.silence()
    await trial.set(cluster("B", 2))
    await peer.silence()
    await trial.set(cluster("A", 2))
    await topic.collect("A")
    await topic.ask()
    await peer.silence()
    await trial.set(cluster("A", 3), cluster("B", 3))


@rule(ACK, SOTW)
async def a_reconnecting_client_is_answered(trial: Trial) -> None:
    """The old stream's nonce means nothing on a new one; an old version is answered with the present state."""
    await trial.set(cluster("A"), endpoints("A"))
    before = await trial.open()
    await before.topic(CDS).ask()
    old = await before.topic(CDS).take()
    await trial.closed(before)
    await trial.set(cluster("A", 2))
    topic = (await trial.open()).topic(CDS)
    await topic.request(version=old.version, nonce=old.nonce)
    expect((await topic.collect("A")).resources["A"], cluster("A", 2), "the present cluster")


@rule(ACK, SOTW)
async def a_reconnecting_client_that_names_resources_is_answered(trial: Trial) -> None:
    """The version belongs to the type, so it does not say which names the client had: they are sent."""
    await trial.set(endpoints("A"))
    before = await trial.open()
    await before.topic(EDS).ask("A")
    old = await before.topic(EDS).take()
    await trial.closed(before)
    topic = (await trial.open()).topic(EDS)
    await topic.request(names=("A",), version=old.version, nonce=old.nonce)
    topic.names = ("A",)
    await topic.collect("A")


@rule(ACK, SOTW)
async def a_reconnecting_wildcard_client_goes_on(trial: Trial) -> None:
    """With the present version of a wildcard the server may be silent or answer; a change is sent either way."""
    await trial.set(cluster("A"))
    before = await trial.open()
    await before.topic(CDS).ask()
    old = await before.topic(CDS).take()
    await trial.closed(before)
    peer = await trial.open()
    topic = peer.topic(CDS)
    await topic.request(version=old.version, nonce=old.nonce)
    try:
        await topic.ack(await topic.hear(within_s=0.5))
    except AssertionError:
        topic.version = old.version
    await trial.set(cluster("A", 2))
    expect((await topic.collect("A")).resources["A"], cluster("A", 2), "the changed cluster")


@rule(HINTS, SOTW)
async def an_empty_wildcard_is_answered(trial: Trial) -> None:
    """A client with no clusters hears so: its initialisation waits for the first CDS response."""
    await trial.set(endpoints("A"))
    topic = (await trial.open()).topic(CDS)
    await topic.ask()
    expect((await topic.take()).names, (), "clusters")
