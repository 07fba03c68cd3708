"""Whatever bytes a client sends: its stream ends with INVALID_ARGUMENT or lives on, and the server serves the next."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import grpc
import grpc.aio
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError
from google.rpc import status_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.xds.askew_target import StoreControl, serving
from tests.xds.messages import CDS, EDS, LDS, RDS, cluster, endpoints
from tests.xds.peer import ADS_DELTA, ADS_SOTW, SINGLE_DELTA, SINGLE_SOTW, Variant
from tests.xds_server.small_world import cds, eds, lds, rds, world
from xds_server.encode import decode
from xds_server.errors import RefuseStreamError
from xds_server.stream import Stream
from xds_server.subscription import Transport

SNAPSHOT = world(cds("A"), eds("A"), lds("L", routes="R"), rds("R", "A"))
texts = st.one_of(
    st.sampled_from(["", "*", "A", "R", "nobody", "\x00", "é" * 50, "x" * 5000]),
    st.text(st.characters(codec="utf-8"), max_size=8),
)
types = st.one_of(st.sampled_from([CDS, EDS, LDS, RDS, "", "type.googleapis.com/x"]), texts)
nonces = st.one_of(st.sampled_from(["", "1", "2", "3", "ff"]), texts)
errors = st.one_of(st.none(), st.builds(status_pb2.Status, code=st.integers(-5, 20), message=texts))
nodes = st.one_of(st.none(), st.builds(base_pb2.Node, id=texts, client_features=st.lists(texts, max_size=2)))
lists = st.lists(texts, max_size=4)
sotw = st.builds(
    discovery_pb2.DiscoveryRequest,
    version_info=texts,
    node=nodes,
    resource_names=lists,
    type_url=types,
    response_nonce=nonces,
    error_detail=errors,
)
delta = st.builds(
    discovery_pb2.DeltaDiscoveryRequest,
    node=nodes,
    type_url=types,
    resource_names_subscribe=lists,
    resource_names_unsubscribe=lists,
    initial_resource_versions=st.dictionaries(texts, texts, max_size=3),
    response_nonce=nonces,
    error_detail=errors,
)


@st.composite
def wounded(draw: st.DrawFn, whole: st.SearchStrategy[object]) -> bytes:
    """Draw a valid request and change bytes of it, cut it, or put something in."""
    data = bytearray(draw(whole).SerializeToString())  # type: ignore[attr-defined]
    for _ in range(draw(st.integers(0, 4))):
        if not data:
            break
        at = draw(st.integers(0, len(data) - 1))
        match draw(st.sampled_from(["flip", "cut", "put"])):
            case "flip":
                data[at] = draw(st.integers(0, 255))
            case "cut":
                del data[at:]
            case _:
                data[at:at] = draw(st.binary(max_size=6))
    return bytes(data)


def inputs(transport: Transport) -> st.SearchStrategy[list[bytes]]:
    whole = sotw if transport == "sotw" else delta
    return st.lists(st.one_of(wounded(whole), st.binary(max_size=60)), min_size=1, max_size=8)


def feed(stream: Stream, transport: Transport, data: bytes) -> None:
    """Give a stream one message as the server does, and let it write all that it wants to."""
    message = decode(data, transport)
    stream.introduce(message)
    stream.receive(message, SNAPSHOT, [stream.subscriptions], now_s=0.0)
    for _ in range(100):
        sent = stream.next_message(
            SNAPSHOT,
            [stream.subscriptions],
            now_s=0.0,
            hold_limit_s=5.0,
            largest_bytes=1 << 20,
            on_oversized=lambda *_: None,
        )
        if sent is None:
            return
        kind = discovery_pb2.DeltaDiscoveryResponse if transport == "delta" else discovery_pb2.DiscoveryResponse
        assert kind.FromString(sent[2]).nonce == sent[1].nonce
    raise AssertionError("one request is answered for ever")


def run(transport: Transport, messages: Sequence[bytes]) -> None:
    stream = Stream(transport)
    for data in messages:
        try:
            feed(stream, transport, data)
        except RefuseStreamError as error:
            refusal = str(error)
            break
    else:
        return
    assert refusal.isprintable()


@settings(max_examples=400)
@given(inputs("sotw"))
def test_state_of_the_world_never_breaks(messages: list[bytes]) -> None:
    """Anything is answered, ignored or refused; nothing else is raised, and no answer goes on for ever."""
    run("sotw", messages)


@settings(max_examples=400)
@given(inputs("delta"))
def test_delta_never_breaks(messages: list[bytes]) -> None:
    """The same."""
    run("delta", messages)


@given(st.sampled_from(["delta", "sotw"]), st.binary(max_size=200))
def test_the_decoder_reads_what_protobuf_reads(transport: Transport, data: bytes) -> None:
    """A request or a refusal, as protobuf has it."""
    kind = discovery_pb2.DeltaDiscoveryRequest if transport == "delta" else discovery_pb2.DiscoveryRequest
    try:
        expected = kind.FromString(data)
    except DecodeError:
        expected = None
    try:
        found = decode(data, transport)
    except RefuseStreamError:
        found = None

    assert found == expected or (found is not None and expected is not None and str(found) == str(expected))


async def throw(channel: grpc.aio.Channel, variant: Variant, messages: Sequence[bytes]) -> grpc.StatusCode | None:
    """Write raw bytes on a stream, then end it; return the status that the server gives it.

    None where our own side has lost it: grpc.aio says INTERNAL of a call on which it wrote after its end.
    """
    call = channel.stream_stream(variant.path(EDS))()
    try:
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # the server may end it while we write
            for data in messages:
                await call.write(data)
            await call.done_writing()
        async with asyncio.timeout(10):
            with suppress(grpc.aio.AioRpcError):
                while await call.read() is not grpc.aio.EOF:
                    pass
            is_ours = await call.details() == "Internal error from Core"
            return None if is_ours else await call.code()
    finally:
        call.cancel()


def draw_into(found: list[list[bytes]], strategy: st.SearchStrategy[list[bytes]]) -> None:
    """Draw a hundred lists of messages; the connection that they go over must not be made anew for each."""

    @settings(max_examples=100, database=None)
    @given(strategy)
    def collect(messages: list[bytes]) -> None:
        found.append(messages)

    collect()


async def test_the_server_survives_it() -> None:
    """A hundred streams of rubbish on each variant, over a real connection; then a good client is served."""
    control = StoreControl()
    seen: set[grpc.StatusCode | None] = set()
    drawn: dict[Transport, list[list[bytes]]] = {"delta": [], "sotw": []}
    for transport, found in drawn.items():
        draw_into(found, inputs(transport))
    async with serving(control) as target:
        await control.put("good", [cluster("A"), endpoints("A")], {})
        async with grpc.aio.insecure_channel(target) as channel:
            for variant in (ADS_DELTA, ADS_SOTW, SINGLE_DELTA, SINGLE_SOTW):
                jobs = (throw(channel, variant, messages) for messages in drawn[variant.transport])
                seen.update(await asyncio.gather(*jobs))
            good = discovery_pb2.DeltaDiscoveryRequest(node=base_pb2.Node(id="good"), type_url=EDS)
            good.resource_names_subscribe.append("A")
            call = channel.stream_stream(ADS_DELTA.path(EDS))()
            await call.write(good.SerializeToString())
            answer = discovery_pb2.DeltaDiscoveryResponse.FromString(await asyncio.wait_for(call.read(), 5))
            call.cancel()
        async with asyncio.timeout(10):
            while control.store.clients:  # noqa: ASYNC110 - nothing tells when the last one is gone
                await asyncio.sleep(0.02)

    assert [one.name for one in answer.resources] == ["A"]
    # Whether any of the streams of rubbish happens to be good enough to end well is chance.
    assert seen - {None, grpc.StatusCode.OK} == {grpc.StatusCode.INVALID_ARGUMENT}
