"""CSDS tells what a scripted client was sent, has accepted and has refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.status.v3 import csds_pb2
from hypothesis import given
from hypothesis import strategies as st

from tests.xds_server.ports import Port, open_port
from tests.xds_server.small_world import cds, eds, world
from xds_server.debug import csds
from xds_server.debug.node_matching import UnsupportedMatcherError, matches_any
from xds_server.proxy import Proxy
from xds_server.resources.names import CDS, EDS

ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
FETCH, STREAM = (f"/{csds.SERVICE}/{name}" for name in ("FetchClientStatus", "StreamClientStatus"))
A1 = cds("a", "1")


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    async with open_port(world(A1, eds("a"))) as opened:
        yield opened


class Client:
    """A proxy that speaks delta ADS as the test says."""

    def __init__(self, port: Port, name: str = "load-1.default") -> None:
        self.call = port.stream(ADS + "DeltaAggregatedResources")
        self.name = name

    async def ask(self, type_url: str, *names: str) -> None:
        node = {"id": self.name, "metadata": {"NAMESPACE": "default"}}
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=type_url, node=node, resource_names_subscribe=names)
        await self.call.write(request.SerializeToString())

    async def read(self) -> Any:
        return discovery_pb2.DeltaDiscoveryResponse.FromString(await asyncio.wait_for(self.call.read(), 5))

    async def answer(self, response: Any, error: str = "") -> None:
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
        if error:
            request.error_detail.message = error
        await self.call.write(request.SerializeToString())


async def fetch(port: Port, **request: Any) -> Any:
    """Return the answer to a request."""
    data = csds_pb2.ClientStatusRequest(**request).SerializeToString()
    return csds_pb2.ClientStatusResponse.FromString(await port.channel.unary_unary(FETCH)(data))


async def statuses(port: Port, type_url: str = CDS) -> dict[str, str]:
    """Return name to status of the one client's resources of a type."""
    (config,) = (await fetch(port)).config
    found = (one for one in config.generic_xds_configs if one.type_url == type_url)
    return {one.name: csds_pb2.ConfigStatus.Name(one.config_status) for one in found}


async def until_statuses(port: Port, wanted: dict[str, str], type_url: str = CDS) -> None:
    async with asyncio.timeout(5):
        while await statuses(port, type_url) != wanted:  # noqa: ASYNC110 - the other end is a real connection
            await asyncio.sleep(0.005)


async def test_a_resource_goes_from_sent_to_accepted(port: Port) -> None:
    """STALE while the ACK is missing, SYNCED afterwards; what nobody asked for is NOT_SENT."""
    client = Client(port)
    await client.ask(CDS)
    response = await client.read()
    await until_statuses(port, {"a": "STALE"})
    await client.answer(response)
    await until_statuses(port, {"a": "SYNCED"})
    assert await statuses(port, EDS) == {"a": "NOT_SENT"}
    (config,) = (await fetch(port)).config
    (cluster,) = (one for one in config.generic_xds_configs if one.type_url == CDS)
    assert (cluster.version_info, cluster.xds_config.value) == (A1.version, A1.body)
    assert cluster.last_updated.seconds > 0
    assert (config.node.id, config.node.metadata["NAMESPACE"]) == ("load-1.default", "default")
    client.call.cancel()


async def test_a_refusal_is_an_error_with_its_text(port: Port) -> None:
    """ERROR names the refused version and keeps the accepted one; a new version leaves it behind."""
    client = Client(port)
    await client.ask(CDS)
    await client.answer(await client.read())
    await until_statuses(port, {"a": "SYNCED"})
    refused, fixed = cds("a", "2"), cds("a", "3")
    port.apply(world(refused, eds("a")))
    await client.answer(await client.read(), error="a: too many words")
    await until_statuses(port, {"a": "ERROR"})
    (config,) = (await fetch(port, exclude_resource_contents=True)).config
    (cluster,) = (one for one in config.generic_xds_configs if one.type_url == CDS)
    assert (cluster.version_info, cluster.error_state.version_info) == (A1.version, refused.version)
    assert cluster.error_state.details == "a: too many words"
    assert not cluster.HasField("xds_config")
    port.apply(world(fixed, eds("a")))
    response = await client.read()
    await until_statuses(port, {"a": "STALE"})
    await client.answer(response)
    await until_statuses(port, {"a": "SYNCED"})
    client.call.cancel()


async def test_what_does_not_exist_is_not_sent(port: Port) -> None:
    """A name that a client waits for is listed without a version."""
    client = Client(port)
    await client.ask(EDS, "nowhere")
    await client.answer(await client.read())
    await until_statuses(port, {"a": "NOT_SENT", "nowhere": "NOT_SENT"}, EDS)
    client.call.cancel()


async def test_a_stream_answers_each_request(port: Port) -> None:
    """Every request with the state at that time."""
    status = port.stream(STREAM)
    request = csds_pb2.ClientStatusRequest().SerializeToString()
    await status.write(request)
    assert not csds_pb2.ClientStatusResponse.FromString(await asyncio.wait_for(status.read(), 5)).config
    client = Client(port)
    await client.ask(CDS)
    await client.read()
    await status.write(request)
    assert len(csds_pb2.ClientStatusResponse.FromString(await asyncio.wait_for(status.read(), 5)).config) == 1
    status.cancel()
    client.call.cancel()


async def test_matchers_choose_the_proxies(port: Port) -> None:
    """By node id; several are alternatives."""
    clients = [Client(port, f"load-{number}.default") for number in (1, 2, 3)]
    for client in clients:
        await client.ask(CDS)
        await client.read()
    matchers = [{"node_id": {"exact": "load-1.default"}}, {"node_id": {"prefix": "load-3"}}]
    found = await fetch(port, node_matchers=matchers)
    assert [config.node.id for config in found.config] == ["load-1.default", "load-3.default"]
    for client in clients:
        client.call.cancel()


@pytest.mark.parametrize("data", [b"\xff\xff", b"\x0a\x04\x0a\x02\x2a\x00"])
async def test_requests_that_are_none_are_refused(port: Port, data: bytes) -> None:
    """Bytes that are no request, and matchers that we do not apply (a regular expression)."""
    client = Client(port)
    await client.ask(CDS)
    await client.read()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await port.channel.unary_unary(FETCH)(data)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    client.call.cancel()


PROXY = Proxy("load-1.default", metadata={"NODE_NAME": "N1"})


@pytest.mark.parametrize(
    ("matcher", "fits"),
    [
        ({"node_id": {"exact": "load-1.default"}}, True),
        ({"node_id": {"exact": "LOAD-1.default", "ignore_case": True}}, True),
        ({"node_id": {"exact": "load-1"}}, False),
        ({"node_id": {"suffix": ".default"}}, True),
        ({"node_id": {"contains": "-1."}}, True),
        ({"node_metadatas": [{"path": [{"key": "NODE_NAME"}], "value": {"string_match": {"exact": "N1"}}}]}, True),
        ({"node_metadatas": [{"path": [{"key": "NODE_NAME"}], "value": {"string_match": {"exact": "n1"}}}]}, False),
        ({"node_metadatas": [{"path": [{"key": "ZONE"}], "value": {"string_match": {"prefix": ""}}}]}, False),
        ({"node_metadatas": [{"path": [{"key": "ZONE"}], "value": {"present_match": True}}]}, False),
        (
            {
                "node_id": {"prefix": "load"},
                "node_metadatas": [{"path": [{"key": "NODE_NAME"}], "value": {"present_match": True}}],
            },
            True,
        ),
        ({}, True),
    ],
)
def test_a_matcher_fits_or_not(matcher: dict[str, Any], fits: bool) -> None:
    """All that one matcher says must hold."""
    request = csds_pb2.ClientStatusRequest(node_matchers=[matcher])
    assert matches_any(request.node_matchers, PROXY) is fits


@pytest.mark.parametrize(
    "matcher",
    [
        {"node_id": {"safe_regex": {"regex": "(a+)+$"}}},
        {"node_metadatas": [{"path": [{"key": "a"}, {"key": "b"}], "value": {"present_match": True}}]},
        {"node_metadatas": [{"path": [{"key": "a"}], "value": {"bool_match": True}}]},
    ],
)
def test_other_matchers_are_refused(matcher: dict[str, Any]) -> None:
    """They would need RE2, or what we do not keep of a node."""
    request = csds_pb2.ClientStatusRequest(node_matchers=[matcher])
    with pytest.raises(UnsupportedMatcherError, match="allowed"):
        matches_any(request.node_matchers, PROXY)


@given(data=st.binary(max_size=120))
def test_any_request_is_answered_or_refused(data: bytes) -> None:
    """Whatever the matchers hold, the only error is the one that refuses."""
    try:
        request = csds_pb2.ClientStatusRequest.FromString(data)
        matches_any(request.node_matchers, PROXY)
    except (csds.DecodeError, UnsupportedMatcherError):
        pass
