"""Clients that are let in and mean harm: what they can see, keep us busy with, have us keep, and write into the log."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import grpc
import grpc.aio
import pytest
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.status.v3 import csds_pb2
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from tests.fakes.authority import Authority
from tests.xds_server.ports import Port, open_port
from tests.xds_server.proxy_stream import ADS, Proxy
from tests.xds_server.small_world import Delta, by_name, cds, world
from xds_server import store as store_module
from xds_server import stream as stream_module
from xds_server.admission import Admission
from xds_server.debug import csds
from xds_server.debug.node_matching import MOST_MATCHERS
from xds_server.encode import LONGEST_ERROR
from xds_server.extras import Extras
from xds_server.ingest.collector import Collector
from xds_server.ingest.settings import IngestSettings
from xds_server.metrics import XdsMetrics
from xds_server.proxy import LONGEST_TEXT, MOST_TEXTS, proxy_of
from xds_server.refusal_log import MOST_LINES
from xds_server.resources.names import CDS
from xds_server.server import XdsServer
from xds_server.settings import XdsSettings
from xds_server.store import Store
from xds_server.subscription import _names

FETCH = f"/{csds.SERVICE}/FetchClientStatus"


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    async with open_port(world(cds("shop", endpoints=""))) as opened:
        yield opened


def asks(*names: str, type_url: str = CDS, nonce: str = "", error: str = "", node: str = "") -> bytes:
    """Return a delta request."""
    request = discovery_pb2.DeltaDiscoveryRequest(
        type_url=type_url, resource_names_subscribe=names, response_nonce=nonce
    )
    if node:
        request.node.id = node
    if error:
        request.error_detail.message = error
    return request.SerializeToString()


async def status(port: Port, *requests: bytes) -> grpc.StatusCode:
    """Send these on one stream, the first with a node; return how it ends."""
    call = port.stream(ADS)
    for request in (asks("shop", node="web-0.shop"), *requests):
        await call.write(request)
    with suppress(grpc.aio.AioRpcError):
        while await asyncio.wait_for(call.read(), 10) is not grpc.aio.EOF:  # type: ignore[attr-defined]
            pass
    return await call.code()


async def test_a_certificate_shows_the_proxies_that_it_may_be_and_no_others(tmp_path: Path) -> None:
    """CSDS tells a proxy's whole configuration: to its own certificate, on the port that requires one."""
    authority = Authority(tmp_path)
    own = authority.issue("server", "IP:127.0.0.1")
    settings = XdsSettings(
        port=0, drain_s=0.2, certificate_file=str(own.certificate), key_file=str(own.key),
        client_ca_file=str(authority.certificate),
    )  # fmt: skip
    store, metrics = Store(lambda _: world(cds("shop", endpoints=""))), XdsMetrics(CollectorRegistry())
    admission = Admission(settings, metrics)
    collector = Collector(IngestSettings(), identify=lambda _: None, now_s=lambda: 0.0, admission=admission)
    server = XdsServer(store, settings, metrics, extras=Extras(store, collector), admission=admission)
    await server.start()
    channels, seen = [], []
    for number, namespace in enumerate(("shop", "bank")):
        issued = authority.issue(namespace, f"URI:spiffe://cluster.local/ns/{namespace}/sa/web")
        credentials = grpc.ssl_channel_credentials(
            authority.certificate.read_bytes(), issued.key.read_bytes(), issued.certificate.read_bytes()
        )
        options = [("grpc.use_local_subchannel_pool", 1)]
        channel = grpc.aio.secure_channel(f"127.0.0.1:{server.port}", credentials, options=options)
        channels.append(channel)
        assert await Proxy(channel, f"web-{number}.{namespace}").first_answer() == ["shop"]
    for channel in channels:
        answer = csds_pb2.ClientStatusResponse.FromString(await channel.unary_unary(FETCH)(b""))
        seen.append([config.node.id for config in answer.config])
    for channel in channels:
        await channel.close()
    await server.stop()

    assert seen == [["web-0.shop"], ["web-1.bank"]]
    assert metrics.identity_refusals._value.get() == 0


async def test_matchers_are_bounded(port: Port) -> None:
    """Each is tried on each proxy."""
    request = csds_pb2.ClientStatusRequest()
    for _ in range(MOST_MATCHERS + 1):
        request.node_matchers.add().node_id.exact = "web-0.shop"
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await port.channel.unary_unary(FETCH)(request.SerializeToString())

    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_long_refusal_is_a_short_line(port: Port, caplog: pytest.LogCaptureFixture) -> None:
    """Megabytes of reasons, with line ends that would look like lines of our own: cut before anything looks at them."""
    call = port.stream(ADS)
    await call.write(asks("shop", node="web-0.shop"))
    response = discovery_pb2.DeltaDiscoveryResponse.FromString(await call.read())
    error = "\n2026-11-30 INFO all is well\x1b[31m" + "x" * 3_000_000
    await call.write(asks(nonce=response.nonce, error=error))
    (client,) = port.store.clients.values()
    subscription = client.streams[0].subscriptions[CDS]
    async with asyncio.timeout(10):
        while not subscription.nacks:  # noqa: ASYNC110 - no event for it
            await asyncio.sleep(0.01)
    call.cancel()
    (line,) = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]

    assert len(subscription.last_error) == LONGEST_ERROR
    assert len(line) < 1200
    assert line.isprintable()


async def test_a_flood_of_refusals_is_no_flood_of_lines(port: Port, caplog: pytest.LogCaptureFixture) -> None:
    """Who refuses and asks anew can do so for ever."""
    call = port.stream(ADS)
    await call.write(asks("shop", node="web-0.shop"))
    for _ in range(3 * MOST_LINES):
        response = discovery_pb2.DeltaDiscoveryResponse.FromString(await asyncio.wait_for(call.read(), 10))
        await call.write(asks("shop", nonce=response.nonce, error="no"))
    await asyncio.wait_for(call.read(), 10)
    call.cancel()

    assert sum("refused" in record.getMessage() for record in caplog.records) == MOST_LINES


@pytest.mark.parametrize("name", ["shop", "a.b", "outbound|80||shop.x", "[::1]:80"])
@given(parts=st.lists(st.sampled_from(["shop", "a.b", ".", " ", "|", "c", "-", "/", ":", "80", "[::1]:80", "é"])))
def test_names_in_a_refusal_are_whole_words(name: str, parts: list[str]) -> None:
    """As a regular expression says it, which would look at each character for each name."""
    error = "".join(parts)
    found = re.search(rf"(?<![\w.|/-]){re.escape(name)}(?![\w|/-]|\.\w)", error)

    assert _names(error, name) == (found is not None)


async def test_what_a_stream_asks_for_is_bounded(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    """In all of its requests and types together; it would be kept as long as the stream is open."""
    monkeypatch.setattr(stream_module, "MOST_NAMES", 10)
    more = [asks(*(f"{type_url}-{number}" for number in range(4)), type_url=type_url) for type_url in ("a", "b", "c")]

    assert await status(port, *more) is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "request_", [asks("x" * 2_000_000), asks("x", type_url="t" * 2_000_000), asks(*(f"{n}" for n in range(60_000)))]
)
async def test_one_huge_request_ends_its_stream(port: Port, request_: bytes) -> None:
    """A name of megabytes, a type of megabytes, more names than any sidecar knows."""
    assert await status(port, request_) is grpc.StatusCode.INVALID_ARGUMENT


def test_of_a_node_what_is_kept_is_bounded() -> None:
    """It is kept as long as its streams are open: megabytes of metadata, features and names of programs are not."""
    node = base_pb2.Node(id="web-0.shop", cluster="c" * 1_000_000, user_agent_name="u" * 1_000_000)
    node.client_features.extend(["f" * 1_000_000, "xds.a", *(f"f{number}" for number in range(10_000))])
    node.metadata.update({f"k{number}": "v" for number in range(10_000)})
    node.metadata.update({"NODE_NAME": "n1", "long": "x" * 1_000_000})
    proxy = proxy_of(node)

    assert proxy.metadata == {"NODE_NAME": "n1"}
    assert (len(proxy.cluster), len(proxy.user_agent)) == (LONGEST_TEXT, LONGEST_TEXT)
    assert "xds.a" in proxy.features
    assert len(proxy.features) < MOST_TEXTS
    node.metadata.Clear()
    node.metadata.update({"a": "b", "long": "x" * 1_000_000})
    assert proxy_of(node).metadata == {"a": "b"}


def test_refusals_of_those_who_are_nobody_condemn_nothing() -> None:
    """A certificate of a namespace may take any name in it; invented sidecars must not roll a Service back."""
    condemned: list[list[str]] = []
    store = Store(lambda _: None, on_condemned=condemned.append)
    store.counts = lambda proxy: not proxy.id.startswith("ghost")
    group, cluster = "shop.default:80", cds("80.shop.default.askew")
    store.apply(lambda _: None, changed=[group])
    store._groups = lambda _: {group}  # type: ignore[method-assign]
    for number in range(100):
        store.note_refused(proxy_of(base_pb2.Node(id=f"ghost-{number}.default")), [cluster])
    assert condemned == []
    for number in range(3):
        store.note_refused(proxy_of(base_pb2.Node(id=f"web-{number}.default")), [cluster])

    assert condemned == [[group]]


async def test_who_floods_us_with_requests_waits_and_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a proxy that has spent its part nothing more is read for a while; another is served meanwhile."""
    monkeypatch.setattr(store_module, "REQUEST_BYTES_PER_S", 1.0)
    monkeypatch.setattr(store_module, "REQUEST_BURST_BYTES", 5 * 512.0)
    async with open_port(world(cds("shop", endpoints=""))) as port:
        flood = port.stream(ADS)
        await flood.write(asks("shop", node="web-0.shop"))
        await flood.read()
        for number in range(20):
            await flood.write(asks(f"name-{number}"))
        other = Proxy(port.channel, "web-1.shop")
        assert await other.first_answer() == ["shop"]
        port.apply(world(cds("shop", "2", endpoints="")))
        assert await other.answer() == ["shop"]
        names = port.store.clients["web-0.shop"].streams[0].subscriptions[CDS].names
        flood.cancel()

    assert 1 <= len(names) <= 6


def test_a_refusal_that_names_some_parks_those() -> None:
    """Also where the rest of a long one was cut off: what it does not name is sent again, and named then."""
    client, resources = Delta(CDS, "a", "b"), by_name(cds("a"), cds("b"))
    response = client.server.begin(client.server.changes(resources))
    client.nack(response, "a: is bad")

    assert set(client.server.rejected) == {"a"}
    assert [one.name for one in client.server.changes(resources).send] == ["b"]
