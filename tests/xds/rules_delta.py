"""Rules of the incremental variants alone."""

from __future__ import annotations

from tests.xds.messages import CDS, EDS, cluster, endpoints
from tests.xds.rule import DELTA, Trial, expect, rule
from tests.xds.rules_subscription import DELETING, GROUPING, HINTS

INCREMENTAL = "Incremental xDS"
SUBSCRIBING = "Subscribing to Resources"
UNSUBSCRIBING = "Unsubscribing from Resources (incremental)"
MISSING = "Knowing When a Requested Resource Does Not Exist (incremental)"


@rule(GROUPING, DELTA)
async def one_of_a_hundred(trial: Trial) -> None:
    """One of 100 clusters changes: the response holds that one."""
    await trial.set(*(cluster(f"c{i}") for i in range(100)))
    topic = (await trial.open()).topic(CDS)
    await topic.ask()
    await topic.collect(*(f"c{i}" for i in range(100)))
    await trial.set(cluster("c7", 2))
    expect(sorted((await topic.collect("c7")).resources), ["c7"], "resources in the response")


@rule(DELETING, DELTA)
async def a_deleted_resource_is_named(trial: Trial) -> None:
    """removed_resources holds it, once."""
    await trial.set(cluster("A"), cluster("B"))
    topic = (await trial.open()).topic(CDS)
    await topic.ask()
    await topic.collect("A", "B")
    await trial.delete(CDS, "A")
    answer = await topic.collect(removed=("A",))
    expect((answer.removed, answer.names), (("A",), ()), "removed and resources")


@rule(MISSING, DELTA)
async def an_unknown_name_is_removed(trial: Trial) -> None:
    """A in resources, X in removed_resources, at once; X is sent when it is created."""
    await trial.set(endpoints("A"))
    topic = (await trial.open()).topic(EDS)
    await topic.ask("A", "X")
    answer = await topic.collect("A", removed=("X",))
    expect((sorted(answer.resources), answer.removed), (["A"], ("X",)), "resources and removed")
    await trial.set(endpoints("X"))
    await topic.collect("X")


@rule(SUBSCRIBING, DELTA)
async def a_name_subscribed_again_is_sent_again(trial: Trial) -> None:
    """The client may have forgotten it, though the server believes that it has the newest version."""
    await trial.set(endpoints("A"), endpoints("B"))
    topic = (await trial.open()).topic(EDS)
    await topic.ask("A", "B")
    await topic.collect("A", "B")
    await topic.ask("A")
    expect(sorted((await topic.collect("A")).resources), ["A"], "resources in the response")


@rule(SUBSCRIBING, DELTA)
async def a_name_on_top_of_the_wildcard_is_sent(trial: Trial) -> None:
    """A is subscribed to by name after the wildcard has brought it: it is sent."""
    await trial.set(cluster("A"), cluster("B"))
    topic = (await trial.open()).topic(CDS)
    await topic.ask("*")
    await topic.collect("A", "B")
    await topic.ask("A")
    await topic.collect("A")


@rule(UNSUBSCRIBING, DELTA)
async def a_name_dropped_beside_the_wildcard_is_sent(trial: Trial) -> None:
    """The client cannot know whether to keep it: it comes in resources, as the wildcard covers it."""
    await trial.set(cluster("A"), cluster("B"))
    topic = (await trial.open()).topic(CDS)
    await topic.ask("*", "A")
    await topic.collect("A", "B")
    await topic.drop("A")
    await topic.collect("A")


@rule(UNSUBSCRIBING, DELTA)
async def an_unknown_name_dropped_beside_the_wildcard_is_removed(trial: Trial) -> None:
    """The same for a name that the wildcard does not cover: it comes in removed_resources."""
    await trial.set(cluster("A"))
    topic = (await trial.open()).topic(CDS)
    await topic.ask("*", "X")
    await topic.collect("A", removed=("X",))
    await topic.drop("X")
    await topic.collect(removed=("X",))


@rule(UNSUBSCRIBING, DELTA)
async def an_unsubscription_is_not_answered(trial: Trial) -> None:
    """Without a wildcard there is nothing to say, and no more of it is sent."""
    await trial.set(endpoints("A"), endpoints("B"))
    peer = await trial.open()
    topic = peer.topic(EDS)
    await topic.ask("A", "B")
    await topic.collect("A", "B")
    await topic.drop("A")
    await peer.silence()
    await trial.set(endpoints("A", 2))


@rule(UNSUBSCRIBING, DELTA)
async def a_phantom_unsubscription_is_ignored(trial: Trial) -> None:
    """A name that the client was never subscribed to: no answer, and the stream lives."""
    await trial.set(endpoints("A"))
    peer = await trial.open()
    topic = peer.topic(EDS)
    await topic.ask("A")
    await topic.collect("A")
    await topic.drop("nobody")
    await peer.silence()
    await trial.set(endpoints("A", 2))
    await topic.collect("A")


@rule(HINTS, DELTA)
async def the_wildcard_can_be_dropped_and_a_name_kept(trial: Trial) -> None:
    """ "*" goes, A stays; then A goes, and that is nothing, not everything."""
    await trial.set(cluster("A"), cluster("B"))
    peer = await trial.open()
    topic = peer.topic(CDS)
    await topic.ask()
    await topic.collect("A", "B")
    await topic.ask("A")
    await topic.collect("A")
    await topic.drop("*")
    await peer.silence()
    await trial.set(cluster("B", 2))
    await peer.silence()
    await trial.set(cluster("A", 2))
    await topic.collect("A")
    await topic.drop("A")
    await peer.silence()
    await trial.set(cluster("A", 3), cluster("B", 3))


@rule(INCREMENTAL, DELTA)
async def a_stale_nonce_does_not_stop_a_subscription(trial: Trial) -> None:
    """Subscription changes count even where the nonce is stale."""
    await trial.set(endpoints("A"), endpoints("B"))
    topic = (await trial.open()).topic(EDS)
    await topic.ask("A")
    first = await topic.take()
    await trial.set(endpoints("A", 2))
    await topic.take()
    await topic.ask("B", nonce=first.nonce)
    await topic.collect("B")


@rule(INCREMENTAL, DELTA)
async def a_spontaneous_request_is_no_ack(trial: Trial) -> None:
    """A request without nonce changes the subscription; the ACK or NACK that follows is still understood."""
    await trial.set(endpoints("A"), endpoints("B"))
    peer = await trial.open()
    topic = peer.topic(EDS)
    await topic.ask("A")
    pending = await topic.hear()
    await topic.ask("B")
    await topic.nack(pending, "A is refused")
    await topic.collect("B")
    await peer.silence()
    await trial.set(endpoints("A", 2))
    await topic.collect("A")


@rule(INCREMENTAL, DELTA)
async def a_reconnecting_client_gets_what_it_lacks(trial: Trial) -> None:
    """initial_resource_versions: what is current is not sent, what is stale is, what is gone is named."""
    await trial.set(endpoints("A"), endpoints("B"), endpoints("gone"))
    before = await trial.open()
    await before.topic(EDS).ask("A", "B", "gone")
    has = (await before.topic(EDS).collect("A", "B", "gone")).versions
    await trial.closed(before)
    await trial.delete(EDS, "gone", and_set=[endpoints("B", 2)])
    topic = (await trial.open()).topic(EDS)
    await topic.ask("A", "B", "gone", has=has)
    answer = await topic.collect("B", removed=("gone",))
    expect((sorted(answer.resources), answer.removed), (["B"], ("gone",)), "resources and removed")


@rule(INCREMENTAL, DELTA)
async def a_reconnecting_wildcard_client_gets_what_it_lacks(trial: Trial) -> None:
    """The same under the wildcard."""
    await trial.set(cluster("A"), cluster("gone"))
    before = await trial.open()
    await before.topic(CDS).ask("*")
    has = (await before.topic(CDS).collect("A", "gone")).versions
    await trial.closed(before)
    await trial.delete(CDS, "gone", and_set=[cluster("new")])
    topic = (await trial.open()).topic(CDS)
    await topic.ask("*", has=has)
    answer = await topic.collect("new", removed=("gone",))
    expect((sorted(answer.resources), answer.removed), (["new"], ("gone",)), "resources and removed")


@rule(INCREMENTAL, DELTA)
async def a_reconnecting_client_that_has_all_gets_nothing(trial: Trial) -> None:
    """All versions are current: no resource is sent again; a later change is."""
    await trial.set(endpoints("A"))
    before = await trial.open()
    await before.topic(EDS).ask("A")
    has = (await before.topic(EDS).collect("A")).versions
    await trial.closed(before)
    peer = await trial.open()
    topic = peer.topic(EDS)
    await topic.ask("A", has=has)
    await peer.silence()
    await trial.set(endpoints("A", 2))
    await topic.collect("A")


@rule("gRPC: 4 MiB is the default limit of a received message", DELTA)
async def a_large_state_comes_in_parts(trial: Trial) -> None:
    """6 MB of clusters arrive whole at a client with gRPC's default limit; no response exceeds it."""
    await trial.set(*(cluster(f"c{i}", padding=300_000) for i in range(20)))
    topic = (await trial.open()).topic(CDS)
    await topic.ask()
    answer = await topic.collect(*(f"c{i}" for i in range(20)))
    expect(answer.size <= 4 * 1024 * 1024, True, f"largest response, {answer.size} bytes, within 4 MiB")
    expect(len(answer.names), 20, "resources, each once")
