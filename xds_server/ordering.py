"""In which order a proxy's changes go on the wire: make before break. Pure.

Additions go forward, CDS, EDS, LDS, RDS; removals backwards. A route or listener is held while a cluster that it names,
or that cluster's endpoints, is not with the client yet; with Envoy that is what keeps every request served through a
change. A client that asks for clusters by name (gRPC) goes the other way round, from listener to cluster, and nothing
is held for it. Source: xDS protocol, "Eventual consistency considerations".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from xds_server.resources.names import CDS, EDS
from xds_server.snapshot import ORDER, Resource, Snapshot
from xds_server.subscription import NO_CHANGES, Changes, Subscription

Subscriptions = Mapping[str, Subscription]


class Step(NamedTuple):
    """What a stream should do now: send ``changes`` of one type.

    ``held``: something waits for others of the same proxy, and should go out all the same when it has waited too long.
    What waits for a cluster that the client refused waits without end and is not counted.
    """

    type_url: str = ""
    changes: Changes = NO_CHANGES
    held: bool = False

    def __bool__(self) -> bool:
        return bool(self.type_url)


NOTHING_TO_DO = Step()


def next_step(own: Subscriptions, all_of_proxy: Sequence[Subscriptions], snapshot: Snapshot, *, patient: bool) -> Step:
    """Return the next response that one stream should send.

    Parameters
    ----------
    own:
        The stream's subscriptions by type.
    all_of_proxy:
        Those of every stream of the same proxy, ``own`` among them: with single-type streams the order spans streams.
    snapshot:
        What the proxy should have.
    patient:
        False when something was held for too long: then it goes out all the same.
    """
    if all(one.pending is not None or one.is_settled(snapshot.of(type_url)) for type_url, one in own.items()):
        return NOTHING_TO_DO
    held = busy = waited = False
    for type_url in _in_order(own):
        subscription = own[type_url]
        if subscription.pending is not None:
            busy = True
            continue
        resources = snapshot.of(type_url)
        changes = subscription.changes(resources)
        ready, waits = _split(subscription, changes, all_of_proxy, snapshot, busy=busy and patient, patient=patient)
        waited = waited or waits
        waits_for_more = waits and not _all_refused(changes, ready, all_of_proxy, snapshot)
        held = held or waits_for_more
        if ready or (subscription.owes_first_answer and not waits):
            return Step(type_url, ready, held)
        busy = busy or waits_for_more
    if waited or busy or _unsettled(all_of_proxy, snapshot):
        return Step(held=held)
    return _next_removal(own, all_of_proxy, snapshot)


def _in_order(own: Subscriptions) -> list[str]:
    return [type_url for type_url in ORDER if type_url in own] + [type_url for type_url in own if type_url not in ORDER]


def _split(
    subscription: Subscription,
    changes: Changes,
    all_of_proxy: Sequence[Subscriptions],
    snapshot: Snapshot,
    *,
    busy: bool,
    patient: bool,
) -> tuple[Changes, bool]:
    """Return what of ``changes`` may go now (removals never), and whether something waits."""
    missing = changes.missing
    if missing and subscription.type_url == EDS:
        missing = tuple(name for name in missing if not _outlives_its_endpoints(name, all_of_proxy, snapshot))
    if not changes.send and not missing:
        return NO_CHANGES, False
    may_go = changes.send
    if subscription.type_url in ORDER:
        may_go = tuple(
            one
            for one in changes.send
            if (not busy or one.name in subscription.forced)
            and (
                _is_supported(one, all_of_proxy, snapshot) if patient else not _is_refused(one, all_of_proxy, snapshot)
            )
        )
    waits = len(may_go) < len(changes.send)
    return Changes(send=may_go, missing=missing), waits


def _outlives_its_endpoints(name: str, all_of_proxy: Sequence[Subscriptions], snapshot: Snapshot) -> bool:
    """Whether the client still has a cluster that is to go, so that it must not hear yet that it has no endpoints.

    A changed cluster of Envoy's asks anew on a single-type stream. Told that there is nothing, it would take the place
    of the old one, empty, while routes still lead to it. It need not be told: it goes when the routes have moved.
    """
    if name in snapshot.of(CDS):
        return False
    clusters = (subscriptions[CDS] for subscriptions in all_of_proxy if CDS in subscriptions)
    return any(name in one.known for one in clusters if one.wildcard)


def _all_refused(changes: Changes, ready: Changes, all_of_proxy: Sequence[Subscriptions], snapshot: Snapshot) -> bool:
    """Whether all that waits leans on a refused cluster: only the client's next word can release it, no clock."""
    ready_names = {one.name for one in ready.send}
    return all(_is_refused(one, all_of_proxy, snapshot) for one in changes.send if one.name not in ready_names)


def _is_supported(one: Resource, all_of_proxy: Sequence[Subscriptions], snapshot: Snapshot) -> bool:
    """Whether what ``one`` leans on is with the client: its clusters and their endpoints."""
    for type_url, name in one.refers:
        if type_url == CDS and not _has_cluster(name, all_of_proxy, snapshot):
            return False
    return True


def _is_refused(one: Resource, all_of_proxy: Sequence[Subscriptions], snapshot: Snapshot) -> bool:
    """Whether the client refused a cluster that ``one`` needs, or its endpoints, and has no older one: ``one`` would
    break traffic.
    """
    clusters = snapshot.of(CDS)
    needed = [(type_url, name) for type_url, name in one.refers if type_url == CDS]
    needed += [ref for _, name in needed if name in clusters for ref in clusters[name].refers]
    return any(_lacks_by_choice(type_url, name, all_of_proxy) for type_url, name in needed)


def _lacks_by_choice(type_url: str, name: str, all_of_proxy: Sequence[Subscriptions]) -> bool:
    of_type = [subscriptions[type_url] for subscriptions in all_of_proxy if type_url in subscriptions]
    return any(name in subscription.rejected and name not in subscription.known for subscription in of_type)


def _has_cluster(name: str, all_of_proxy: Sequence[Subscriptions], snapshot: Snapshot) -> bool:
    sees_all = [subs[CDS] for subs in all_of_proxy if CDS in subs and subs[CDS].wildcard]
    if not sees_all:
        return True  # a client that asks by name: it fetches the cluster after the route
    if not any(name in subscription.known and not _is_going(name, subscription) for subscription in sees_all):
        return False
    cluster = snapshot.of(CDS).get(name)
    if cluster is None:
        return True
    return all(_has_endpoints(ref, all_of_proxy) for type_url, ref in cluster.refers if type_url == EDS)


def _has_endpoints(name: str, all_of_proxy: Sequence[Subscriptions]) -> bool:
    """Whether some stream of the proxy has ACKed these endpoints, and is not being sent them again.

    A cluster that is added anew is warmed by a new subscription. One of before may still look open: Envoy has dropped
    it, but its end has not arrived; what it is sent will not be ACKed.
    """
    of_type = (subscriptions[EDS] for subscriptions in all_of_proxy if EDS in subscriptions)
    return any(name in one.known and name not in one.forced and not _is_under_way(name, one) for one in of_type)


def _is_under_way(name: str, subscription: Subscription) -> bool:
    pending = subscription.pending
    return pending is not None and (name in pending.removed or any(one.name == name for one in pending.news))


def _is_going(name: str, subscription: Subscription) -> bool:
    """Whether the removal of ``name`` is on its way: then it must come again before anything may lean on it."""
    return subscription.pending is not None and name in subscription.pending.removed


def _unsettled(all_of_proxy: Sequence[Subscriptions], snapshot: Snapshot) -> bool:
    """Whether some addition of the proxy is still to be sent or ACKed, so that nothing may be removed yet."""
    for subs in all_of_proxy:
        for type_url, subscription in subs.items():
            if type_url in ORDER and (subscription.pending or subscription.changes(snapshot.of(type_url)).send):
                return True
    return False


def _next_removal(own: Subscriptions, all_of_proxy: Sequence[Subscriptions], snapshot: Snapshot) -> Step:
    for type_url in reversed(_in_order(own)):
        subscription = own[type_url]
        removed = subscription.changes(snapshot.of(type_url)).removed
        if not removed:
            continue
        if subscription.transport != "delta" and not subscription.full_state:
            subscription.drop_silently(removed)
            continue
        if _goes_first_elsewhere(type_url, own, all_of_proxy, snapshot):
            return Step()  # the ACK of that removal wakes this stream
        return Step(type_url, Changes(removed=removed))
    return Step()


def _goes_first_elsewhere(
    type_url: str, own: Subscriptions, all_of_proxy: Sequence[Subscriptions], snapshot: Snapshot
) -> bool:
    """Whether another stream of the proxy still has to remove what may lean on what ``type_url`` is about to lose."""
    leaning = ORDER[ORDER.index(type_url) + 1 :] if type_url in ORDER else ()
    return any(
        (subscription.transport == "delta" or subscription.full_state)
        and subscription.changes(snapshot.of(later)).removed
        for subscriptions in all_of_proxy
        if subscriptions is not own
        for later in leaning
        if (subscription := subscriptions.get(later)) is not None
    )


def clusters_changed(response_news: Sequence[Resource], known_before: Callable[[str], bool]) -> list[str]:
    """Return the EDS names to send again after an ACK of these clusters: Envoy warms a changed cluster until its
    endpoints come, though they are the same ("Resource warming").
    """
    return [ref for one in response_news for type_url, ref in one.refers if type_url == EDS and known_before(ref)]
