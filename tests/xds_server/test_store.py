"""The store: what a change costs, who is woken, who has it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2

from tests.xds.askew_target import as_resource
from tests.xds.messages import cluster, endpoints
from tests.xds_server.small_world import world
from tests.xds_server.wires import delta_request
from xds_server.proxy import Proxy
from xds_server.resources.names import CDS, EDS
from xds_server.snapshot import Snapshot
from xds_server.store import Client, Store
from xds_server.stream import Stream


def a_world(*, cluster_content: int = 1, port: int = 1, more: Iterable[str] = ()) -> Snapshot:
    """Return a snapshot of one cluster with its endpoints, and of more clusters without."""
    clusters = [cluster("A", cluster_content), *(cluster(name) for name in more)]
    return world(*(as_resource(one) for one in (*clusters, endpoints("A", port))))


ONE, TWO = a_world(), a_world(port=2)


class Source:
    """A source that can be changed and that counts how often it is asked."""

    def __init__(self, **snapshots: Snapshot) -> None:
        self.snapshots, self.asked = snapshots, 0

    def __call__(self, proxy: Proxy) -> Snapshot | None:
        self.asked += 1
        return self.snapshots.get(proxy.id)


def connected(store: Store, name: str) -> tuple[Stream, Client]:
    stream = Stream("delta")
    proxy = stream.introduce(discovery_pb2.DeltaDiscoveryRequest(node=base_pb2.Node(id=name)))
    assert proxy is not None
    client = store.join(stream, proxy)
    store.refresh(client)
    stream.dirty.clear()
    return stream, client


def exchange(stream: Stream, client: Client) -> None:
    """Send and ACK until there is nothing to send."""
    assert client.snapshot is not None
    while message := stream.next_message(
        client.snapshot,
        client.subscriptions,
        now_s=0.0,
        hold_limit_s=5.0,
        largest_bytes=1 << 20,
        on_oversized=lambda *_: None,
    ):
        request = delta_request(message[0], nonce=message[1].nonce)
        stream.receive(request, client.snapshot, client.subscriptions, now_s=0.0)


def subscribe(stream: Stream, client: Client, type_url: str, *names: str, error: str | None = None) -> None:
    stream.receive(delta_request(type_url, more=names), client.snapshot, client.subscriptions, now_s=0.0)


def test_a_client_gets_the_newest_snapshot_when_it_joins() -> None:
    """Once any client has seen part of a change, a stream that opens later sees all of it."""
    store = Store(Source(a=ONE, b=ONE))
    _, first = connected(store, "a")
    store.apply(Source(a=TWO, b=TWO))
    _, later = connected(store, "b")

    assert (store.refresh(first), later.snapshot) == (TWO, TWO)


def test_streams_of_one_proxy_share_a_client() -> None:
    """Single-type streams: one client, asked for once, gone with the last stream."""
    source = Source(a=ONE)
    store = Store(source)
    one, client = connected(store, "a")
    other, same = connected(store, "a")
    assert same is client
    assert source.asked == 1
    store.leave(one)
    assert store.clients == {"a": client}
    store.leave(other)
    assert store.clients == {}
    store.leave(other)  # leaving twice is nothing


def test_a_stream_that_never_introduced_itself_leaves_nothing() -> None:
    """A connection that broke before its first request."""
    store = Store(Source())
    store.leave(Stream("delta"))

    assert store.clients == {}


def test_a_snapshot_is_computed_when_it_is_asked_for() -> None:
    """Ten changes while a client is busy cost one computation."""
    store = Store(Source(a=ONE))
    stream, client = connected(store, "a")
    source = Source(a=TWO)
    for _ in range(10):
        store.apply(source)

    assert stream.dirty.is_set()
    assert source.asked == 0
    assert not client.converged()
    assert (store.refresh(client), source.asked) == (TWO, 1)
    assert (store.refresh(client), source.asked) == (TWO, 1)


def test_what_did_not_change_stays_the_same_object() -> None:
    """Is it another? is then a look at identities: a new snapshot keeps the old one's unchanged types."""
    store = Store(Source(a=ONE))
    _, client = connected(store, "a")
    store.apply(Source(a=a_world()))
    assert store.refresh(client) is ONE
    store.apply(Source(a=a_world(port=2)))
    new = store.refresh(client)

    assert new is not None
    assert new.of(CDS) is ONE.of(CDS)
    assert new.of(EDS) == TWO.of(EDS)


def test_only_the_named_are_woken() -> None:
    """A caller that knows who can have changed saves the others the work; the source is new for all."""
    store = Store(Source(a=ONE, b=ONE))
    (one, _), (other, client) = connected(store, "a"), connected(store, "b")
    store.apply(Source(a=TWO, b=TWO), only=["a", "nobody"])

    assert (one.dirty.is_set(), other.dirty.is_set()) == (True, False)
    assert store.refresh(client) is ONE


def test_a_stranger_keeps_what_it_has() -> None:
    """A container that has just gone from the mesh goes on serving; one that is unknown gets nothing, not an error."""
    store = Store(Source(a=ONE))
    (_, client), (_, stranger) = connected(store, "a"), connected(store, "x")
    store.apply(Source())

    assert (store.refresh(client), store.refresh(stranger)) == (ONE, None)
    assert not stranger.converged()


def test_a_stranger_that_becomes_known_is_woken() -> None:
    """Its stream is open already."""
    store = Store(Source())
    stream, client = connected(store, "a")
    store.apply(Source(a=ONE))

    assert stream.dirty.is_set()
    assert store.refresh(client) is ONE


def test_an_inconsistent_snapshot_is_refused() -> None:
    """A cluster without its endpoints would break traffic: the previous snapshot stays, and somebody hears of it."""
    told: list[tuple[str, list[str]]] = []
    store = Store(Source(a=ONE), on_inconsistent=lambda name, found: told.append((name, found)))
    _, client = connected(store, "a")
    store.apply(Source(a=a_world(more=["B"])))

    assert store.refresh(client) is ONE
    assert [name for name, _ in told] == ["a"]
    assert client.refused == told[0][1]
    assert "B" in client.refused[0]


async def test_acked_returns_when_all_have_it() -> None:
    """Wait for the ACKs of a change."""
    store = Store(Source(a=ONE))
    stream, client = connected(store, "a")
    subscribe(stream, client, CDS)
    waiting = asyncio.create_task(store.apply(Source(a=TWO)).acked(["a"], 60.0))
    await asyncio.sleep(0)
    store.refresh(client)
    exchange(stream, client)
    await store.note_settled()

    assert await waiting == frozenset()


async def test_acked_names_those_that_have_not() -> None:
    """Slow, not connected, or refusing: named at the deadline, never an exception."""
    store = Store(Source(ok=ONE, slow=ONE, no=ONE))
    for name in ("ok", "slow", "no"):
        stream, client = connected(store, name)
        subscribe(stream, client, EDS, "A")
        if name == "ok":
            exchange(stream, client)
        if name == "no":
            message = stream.next_message(
                ONE, client.subscriptions, now_s=0, hold_limit_s=5, largest_bytes=9999, on_oversized=lambda *_: None
            )
            assert message is not None
            nack = delta_request(EDS, nonce=message[1].nonce, error="no")
            stream.receive(nack, ONE, client.subscriptions, now_s=0)

    change = store.apply(Source(ok=ONE, slow=ONE, no=ONE))
    for client in store.clients.values():
        store.refresh(client)
    missing = await change.acked(["ok", "slow", "no", "away"], 0.01)
    assert missing == {"slow", "no", "away"}


@pytest.mark.parametrize("generations", [1, 3])
def test_generations_count(generations: int) -> None:
    """Each change has a number."""
    store = Store(Source())
    for _ in range(generations):
        change = store.apply(Source())

    assert change.generation == generations


SHOP = "outbound|9080||shop.default.svc.cluster.local"
SUBSET, TILL = SHOP.replace("||", "|v1|"), SHOP.replace("shop", "till")
POD = "sidecar~10.0.0.{0}~load-{0}.default~default.svc.cluster.local"


def test_who_subscribes_to_which_services_endpoints() -> None:
    """Of Istio's proxies, each by its pod, on all its streams; ours and those that have left are not among them."""
    store = Store(Source(ours=ONE))
    (a, first), (b, _), (c, second) = (connected(store, POD.format(number)) for number in (1, 1, 2))
    ours, own = connected(store, "ours")
    for stream, client, name in ((a, first, SHOP), (b, first, TILL), (c, second, SUBSET), (ours, own, SHOP)):
        subscribe(stream, client, EDS, name)
    subscribe(c, second, CDS, SHOP)
    before = store.sidecars()
    store.leave(b)

    assert before == {"load-1.default": {"shop.default", "till.default"}, "load-2.default": {"shop.default"}}
    assert store.sidecars() == {"load-1.default": {"shop.default"}, "load-2.default": {"shop.default"}}


def test_what_sidecars_subscribe_to_is_one_object_until_it_changes() -> None:
    """So that whoever asks every second sees at once that nothing is new; all with the same share it."""
    store = Store(Source())
    (a, first), (b, second) = (connected(store, POD.format(number)) for number in (1, 2))
    subscribe(a, first, EDS, SHOP, TILL)
    subscribe(b, second, EDS, TILL, SHOP)
    one, again = store.sidecars(), store.sidecars()
    subscribe(a, first, EDS, SUBSET.replace("shop", "cart"))
    other = store.sidecars()

    assert one["load-1.default"] is one["load-2.default"] is again["load-1.default"] is other["load-2.default"]  # type: ignore[index]
    assert other["load-1.default"] == {"shop.default", "till.default", "cart.default"}  # type: ignore[index]


def test_a_name_that_is_given_back_is_not_subscribed_to() -> None:
    """A sidecar whose cluster is istiod's again."""
    store = Store(Source())
    stream, client = connected(store, POD.format(1))
    subscribe(stream, client, EDS, SHOP)
    before = store.sidecars()
    request = discovery_pb2.DeltaDiscoveryRequest(type_url=EDS, resource_names_unsubscribe=[SHOP])
    stream.receive(request, None, client.subscriptions, now_s=0.0)

    assert list(before.values()) == [{"shop.default"}]
    assert list(store.sidecars().values()) == [frozenset()]
