"""A stream: introduction, types, what is sent again, how long it waits, how much fits into one response."""

from __future__ import annotations

import pytest
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.rpc import status_pb2

from tests.xds_server.small_world import cds, eds, lds, rds, world
from xds_server.errors import RefuseStreamError
from xds_server.proxy import proxy_of
from xds_server.resources.names import CDS, EDS, LDS, RDS
from xds_server.snapshot import Resource, Snapshot
from xds_server.stream import MOST_TYPES, Stream

HOLD_S = 5.0
WHOLE = world(cds("A"), eds("A"), lds("L", routes="R"), rds("R", "A"))


def node(name: str = "page-0.default", **metadata: str) -> base_pb2.Node:
    message = base_pb2.Node(id=name, cluster="page.default", user_agent_name="envoy")
    message.metadata.update(metadata)
    return message


class Client:
    """A delta client of one stream; time stands still unless ``now_s`` is moved."""

    def __init__(self, *, only_type: str | None = None, largest_bytes: int = 1 << 20) -> None:
        self.stream = Stream("delta", only_type=only_type)
        self.stream.introduce(discovery_pb2.DeltaDiscoveryRequest(node=node()))
        self.largest_bytes = largest_bytes
        self.now_s = 100.0
        self.oversized: list[tuple[str, str]] = []
        self.snapshot: Snapshot = WHOLE
        self.retained: dict[str, Resource] = {}

    def says(self, type_url: str, *names: str, nonce: str = "", error: str = "", drop: tuple[str, ...] = ()) -> None:
        request = discovery_pb2.DeltaDiscoveryRequest(
            type_url=type_url,
            resource_names_subscribe=names,
            resource_names_unsubscribe=drop,
            response_nonce=nonce,
            error_detail=status_pb2.Status(code=3, message=error) if error else None,
        )
        self.stream.receive(request, self.snapshot, [self.stream.subscriptions], now_s=self.now_s)

    def hears(self) -> discovery_pb2.DeltaDiscoveryResponse | None:
        """Return the next response, None for silence."""
        message = self.stream.next_message(
            self.snapshot,
            [self.stream.subscriptions],
            now_s=self.now_s,
            hold_limit_s=HOLD_S,
            largest_bytes=self.largest_bytes,
            on_oversized=lambda type_url, name: self.oversized.append((type_url, name)),
            retained=self.retained,
        )
        return None if message is None else discovery_pb2.DeltaDiscoveryResponse.FromString(message[2])

    def takes(self, type_url: str, error: str = "") -> list[str]:
        """Hear a response of ``type_url``, answer it, and return the names in it."""
        response = self.hears()
        assert response is not None
        assert response.type_url == type_url
        self.says(type_url, nonce=response.nonce, error=error)
        return [one.name for one in response.resources]

    def wakes_in_s(self) -> float | None:
        return self.stream.wake_in_s(now_s=self.now_s, hold_limit_s=HOLD_S)


def test_the_first_request_introduces_the_proxy() -> None:
    """Only the first request needs a node; a later one, even another, changes nothing."""
    stream = Stream("delta")
    proxy = stream.introduce(discovery_pb2.DeltaDiscoveryRequest(node=node(NODE_NAME="n1")))
    assert proxy is not None
    assert (proxy.id, proxy.cluster, proxy.node_name) == ("page-0.default", "page.default", "n1")

    assert stream.introduce(discovery_pb2.DeltaDiscoveryRequest(node=node("other"))) is None
    assert stream.proxy is proxy


@pytest.mark.parametrize("message", [discovery_pb2.DeltaDiscoveryRequest(), discovery_pb2.DiscoveryRequest()])
def test_a_stream_without_node_is_refused(message: discovery_pb2.DiscoveryRequest) -> None:
    """Askew serves nobody whom it does not know."""
    with pytest.raises(RefuseStreamError, match=r"^node: the first request"):
        Stream("sotw").introduce(message)


@pytest.mark.parametrize("name", ["", "x" * 513, "a\nb", "a\x00b"])
def test_an_unusable_node_id_is_refused(name: str) -> None:
    """An id goes into logs, pages and maps: it is short and printable."""
    with pytest.raises(RefuseStreamError, match=r"^node\.id: found .* allowed: 1 to 512 printable"):
        proxy_of(node(name))


def test_both_forms_of_the_id_name_a_workload() -> None:
    """Ours and Istio's."""
    assert proxy_of(node("a-0.ns")).workload_id == "a-0.ns"
    assert proxy_of(node("sidecar~10.0.0.1~a-0.ns~ns.svc.cluster.local")).workload_id == "a-0.ns"


def test_a_type_is_required_on_the_aggregated_stream() -> None:
    """ADS: "type_url" says which of the logical streams a request belongs to."""
    with pytest.raises(RefuseStreamError, match=r"^type_url: found nothing"):
        Client().says("")


def test_a_single_type_stream_serves_its_type() -> None:
    """No type means the stream's own; another one is an error of the client."""
    client = Client(only_type=EDS)
    client.says("", "A")
    assert client.takes(EDS) == ["A"]

    with pytest.raises(RefuseStreamError, match=r"^type_url: found '.*Cluster', allowed: .*ClusterLoadAssignment$"):
        client.says(CDS)


def test_types_on_a_stream_are_bounded() -> None:
    """A client that makes types up cannot fill memory."""
    client = Client()
    for i in range(MOST_TYPES):
        client.says(f"type.googleapis.com/t{i}")

    with pytest.raises(RefuseStreamError, match="more than 64 types"):
        client.says("type.googleapis.com/one.more")


def test_an_unknown_type_does_not_end_the_stream() -> None:
    """Clients probe new types; the others are served."""
    client = Client()
    client.says("type.googleapis.com/envoy.config.unknown.v9.Thing")
    assert client.hears() is None
    client.says(CDS)

    assert client.takes(CDS) == ["A"]


def _connected() -> Client:
    client = Client()
    client.says(CDS)
    assert client.takes(CDS) == ["A"]
    client.says(EDS, "A")
    assert client.takes(EDS) == ["A"]
    return client


def test_endpoints_of_a_changed_cluster_are_sent_again() -> None:
    """ "Resource warming": the cluster warms until its endpoints come, though they have not changed."""
    client = _connected()
    client.snapshot = world(*WHOLE.all(), cds("A", "2"))
    assert client.takes(CDS) == ["A"]

    assert client.takes(EDS) == ["A"]
    assert client.hears() is None


def test_endpoints_that_followed_their_cluster_are_not_sent_twice() -> None:
    """Envoy asks for a new cluster's endpoints before it ACKs the cluster; those endpoints end the warming."""
    client = Client()
    client.says(CDS)
    response = client.hears()
    assert response is not None
    client.says(EDS, "A")
    assert client.takes(EDS) == ["A"]
    client.says(CDS, nonce=response.nonce)

    assert client.hears() is None


def test_endpoints_follow_a_changed_cluster_before_its_ack() -> None:
    """Envoy holds the ACK of clusters on an aggregated stream back until all of them are warm."""
    client = _connected()
    client.snapshot = world(*WHOLE.all(), cds("A", "2"))
    response = client.hears()
    assert response is not None
    assert response.type_url == CDS
    assert client.takes(EDS) == ["A"]
    client.says(CDS, nonce=response.nonce)

    assert client.hears() is None


def test_a_cluster_that_is_dropped_while_it_warms_gets_its_endpoints() -> None:
    """Envoy holds the ACK of clusters back until the new one is warm; then it is told that the cluster is gone."""
    client = Client()
    client.says(CDS)
    response = client.hears()
    assert response is not None
    client.snapshot = world()
    client.retained = {"A": WHOLE.of(EDS)["A"]}
    client.says(EDS, "A")

    assert client.takes(EDS) == ["A"]
    client.says(CDS, nonce=response.nonce)
    client.retained = {}
    removed = []
    while later := client.hears():
        removed += later.removed_resources
        client.says(later.type_url, nonce=later.nonce)
    assert sorted(removed) == ["A", "A"]


def test_what_is_held_goes_after_the_limit() -> None:
    """The client never fetches endpoints: after 5 s it gets the route all the same, and no clock ticks on."""
    client = Client()
    client.says(CDS)
    client.takes(CDS)
    client.says(RDS, "R")
    assert client.hears() is None
    assert client.wakes_in_s() == pytest.approx(HOLD_S, abs=0.01)
    client.now_s += HOLD_S

    assert client.takes(RDS) == ["R"]
    assert client.hears() is None
    assert client.wakes_in_s() is None


def test_a_refused_cluster_starts_no_clock() -> None:
    """What leans on a refused cluster waits for the client's next word; a timer would spin for ever."""
    client = Client()
    client.says(CDS)
    client.takes(CDS, error="no")
    client.says(RDS, "R")
    assert client.hears() is None
    client.now_s += 10 * HOLD_S

    assert client.hears() is None
    assert client.wakes_in_s() is None


def test_large_responses_come_in_parts() -> None:
    """Each part is below the limit; the next follows the ACK; none is lost."""
    client = Client(largest_bytes=4_000)
    client.snapshot = world(*(eds(f"e{i:03}", "x" * 500) for i in range(20)))
    client.says(EDS, *(f"e{i:03}" for i in range(20)), "missing")
    got: list[str] = []
    removed: list[str] = []
    while response := client.hears():
        assert response.ByteSize() <= 4_000
        got += [one.name for one in response.resources]
        removed += response.removed_resources
        client.says(EDS, nonce=response.nonce)

    assert got == [f"e{i:03}" for i in range(20)]
    assert removed == ["missing"]
    assert client.oversized == []


def test_a_resource_too_large_for_any_response_is_reported() -> None:
    """It goes out alone, and the operator hears of it."""
    client = Client(largest_bytes=1_000)
    client.snapshot = world(eds("big", "x" * 2_000), eds("small"))
    client.says(EDS, "big", "small")

    assert client.takes(EDS) == ["big"]
    assert client.oversized == [(EDS, "big")]
    assert client.takes(EDS) == ["small"]


def test_converged_means_accepted() -> None:
    """All sent, all ACKed; a refused resource is not had."""
    client = _connected()
    assert client.stream.converged(WHOLE)
    newer = world(*WHOLE.all(), cds("A", "2"))
    client.snapshot = newer
    assert not client.stream.converged(newer)
    client.takes(CDS, error="no")
    client.takes(EDS)

    assert not client.stream.converged(newer)
    assert client.stream.converged(WHOLE)


def test_a_stream_prints_who_it_is() -> None:
    """For logs: transport, proxy, what it waits for."""
    client = Client()
    client.says(LDS)
    client.hears()

    assert repr(client.stream) == "<delta stream of page-0.default waiting for Listener>"


def _sotw(*features: str) -> Stream:
    """Return a state-of-the-world stream of a client with these features that asks for the endpoints A."""
    stream = Stream("sotw")
    request = discovery_pb2.DiscoveryRequest(type_url=EDS, resource_names=["A"], node=node())
    request.node.client_features.extend(features)
    stream.introduce(request)
    stream.receive(request, None, [stream.subscriptions], now_s=0.0)
    return stream


def _next(stream: Stream, snapshot: Snapshot, now_s: float) -> discovery_pb2.DiscoveryResponse | None:
    message = stream.next_message(
        snapshot,
        [stream.subscriptions],
        now_s=now_s,
        hold_limit_s=HOLD_S,
        largest_bytes=1 << 20,
        on_oversized=lambda *_: None,
    )
    return None if message is None else discovery_pb2.DiscoveryResponse.FromString(message[2])


LIVES_10_S = world(eds("A")._replace(ttl_s=10.0))
WRAPPED = "type.googleapis.com/envoy.service.discovery.v3.Resource"


@pytest.mark.parametrize("wrapper", ["xds.config.supports-resource-in-sotw", "xds.config.resource-in-sotw"])
def test_a_resource_with_a_ttl_is_said_again(wrapper: str) -> None:
    """ "TTL": wrapped where the client says that it understands; again, without a body, before the time is over."""
    stream = _sotw("xds.config.supports-resource-ttl", wrapper)
    response = _next(stream, LIVES_10_S, 0.0)
    assert response is not None
    first = discovery_pb2.Resource.FromString(response.resources[0].value)
    assert (response.resources[0].type_url, first.ttl.seconds, first.HasField("resource")) == (WRAPPED, 10, True)
    ack = discovery_pb2.DiscoveryRequest(type_url=EDS, resource_names=["A"], response_nonce=response.nonce)
    stream.receive(ack, LIVES_10_S, [stream.subscriptions], now_s=0.0)
    assert _next(stream, LIVES_10_S, 1.0) is None
    assert stream.wake_in_s(now_s=1.0, hold_limit_s=HOLD_S) == pytest.approx(4.0, abs=0.01)

    beat = _next(stream, LIVES_10_S, 5.0)
    assert beat is not None
    again = discovery_pb2.Resource.FromString(beat.resources[0].value)
    assert (again.name, again.version, again.HasField("resource")) == ("A", first.version, False)


@pytest.mark.parametrize("features", [(), ("xds.config.resource-in-sotw",), ("xds.config.supports-resource-ttl",)])
def test_a_client_that_does_not_know_ttl_is_left_in_peace(features: tuple[str, ...]) -> None:
    """Not wrapped, and no clock ticks for heartbeats that are never sent."""
    stream = _sotw(*features)
    response = _next(stream, LIVES_10_S, 0.0)
    assert response is not None
    assert response.resources[0].type_url == EDS
    ack = discovery_pb2.DiscoveryRequest(type_url=EDS, resource_names=["A"], response_nonce=response.nonce)
    stream.receive(ack, LIVES_10_S, [stream.subscriptions], now_s=0.0)

    assert _next(stream, LIVES_10_S, 60.0) is None
    assert stream.wake_in_s(now_s=60.0, hold_limit_s=HOLD_S) is None
