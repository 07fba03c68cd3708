"""Responses are spliced from bytes: protobuf reads out of them what was put in, for both transports."""

from __future__ import annotations

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2, duration_pb2
from google.rpc import status_pb2
from hypothesis import given
from hypothesis import strategies as st

from xds_server.encode import IDENTIFIER, decode, encode, size_of, to_request
from xds_server.errors import RefuseStreamError
from xds_server.resources.names import CDS, EDS
from xds_server.resources.wire import field, number_field, text_field, varint, wrapped_number_field
from xds_server.snapshot import Resource, resource
from xds_server.subscription import Response

texts = st.text(st.characters(codec="utf-8"), max_size=40)
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=300)
ttls = st.one_of(st.none(), st.integers(1, 10**9).map(lambda ms: ms / 1000))


@st.composite
def responses(draw: st.DrawFn) -> tuple[str, Response]:
    type_url = draw(st.sampled_from([CDS, EDS, "type.googleapis.com/x.Y"]))
    bodies = draw(st.dictionaries(names, st.tuples(st.binary(max_size=400), ttls), max_size=5))
    resources = tuple(resource(type_url, name, body, ttl_s=ttl_s) for name, (body, ttl_s) in bodies.items())
    gone = draw(st.lists(names, max_size=3, unique=True))
    beats = frozenset(one.name for one in resources if one.ttl_s is not None and draw(st.booleans()))
    return type_url, Response(
        nonce=draw(names),
        version=draw(texts),
        resources=resources,
        news=resources,
        removed=tuple(gone[:1]),
        missing=tuple(gone[1:]),
        bodyless=beats,
    )


def wrapped(one: Resource, *, beat: bool) -> discovery_pb2.Resource:
    message = discovery_pb2.Resource(name=one.name, version=one.version)
    if not beat:
        message.resource.CopyFrom(any_pb2.Any(type_url=one.type_url, value=one.body))
    if one.ttl_s is not None:
        duration = duration_pb2.Duration()
        duration.FromMilliseconds(round(one.ttl_s * 1000))
        message.ttl.CopyFrom(duration)
    return message


@given(responses())
def test_delta(drawn: tuple[str, Response]) -> None:
    """The same message as protobuf's own objects make."""
    type_url, response = drawn
    expected = discovery_pb2.DeltaDiscoveryResponse(
        type_url=type_url,
        nonce=response.nonce,
        resources=[wrapped(one, beat=one.name in response.bodyless) for one in response.resources],
        removed_resources=[*response.removed, *response.missing],
    )
    expected.control_plane.identifier = IDENTIFIER

    assert discovery_pb2.DeltaDiscoveryResponse.FromString(encode(type_url, response, "delta")) == expected


@given(responses(), st.booleans())
def test_sotw(drawn: tuple[str, Response], takes_ttl: bool) -> None:
    """The same, wrapped where there is a TTL and the client knows it, with an error for each missing name."""
    type_url, response = drawn
    expected = discovery_pb2.DiscoveryResponse(type_url=type_url, nonce=response.nonce, version_info=response.version)
    for one in response.resources:
        body = any_pb2.Any(type_url=type_url, value=one.body)
        if one.ttl_s is not None and takes_ttl:
            body.Pack(wrapped(one, beat=one.name in response.bodyless), deterministic=True)
        expected.resources.append(body)
    expected.control_plane.identifier = IDENTIFIER
    data = encode(type_url, response, "sotw", takes_ttl=takes_ttl)
    found = discovery_pb2.DiscoveryResponse.FromString(data)
    errors = {one.resource_name.name: one.error_detail.code for one in found.resource_errors}
    found.ClearField("resource_errors")

    assert errors == dict.fromkeys(response.missing, 5)
    assert _parsed(found) == _parsed(expected)


def _parsed(message: discovery_pb2.DiscoveryResponse) -> list[object]:
    """Return what can be compared: a wrapped resource's bytes may have their fields in another order."""
    out: list[object] = [message.type_url, message.nonce, message.version_info, message.control_plane]
    for one in message.resources:
        is_wrapped = one.type_url.endswith("discovery.v3.Resource")
        out.append(discovery_pb2.Resource.FromString(one.value) if is_wrapped else one)
    return out


@given(responses())
def test_size_is_never_less(drawn: tuple[str, Response]) -> None:
    """Chunks are cut by an estimate that must not fall short of the bytes, frame of the response aside."""
    type_url, response = drawn
    only = response._replace(removed=(), missing=(), nonce="", bodyless=frozenset())
    frame = len(encode(type_url, only._replace(resources=(), news=()), "delta"))

    assert len(encode(type_url, only, "delta")) - frame <= size_of(response.resources)


@given(st.integers(0, 2**64 - 1), st.integers(1, 2**29 - 1), st.binary(max_size=300))
def test_wire_formats(value: int, number: int, payload: bytes) -> None:
    """Varints, tags and lengths, read back by hand as the encoding's description has it."""

    def read(data: bytes) -> tuple[int, bytes]:
        total = shift = 0
        for index, byte in enumerate(data):
            total |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return total, data[index + 1 :]
        raise AssertionError("no end")

    assert read(varint(value)) == (value, b"")
    tag, rest = read(field(number, payload))
    assert tag == number << 3 | 2
    assert read(rest) == (len(payload), payload) if payload else read(rest) == (0, b"")
    assert number_field(number, 0) == text_field(number, "") == b""
    assert wrapped_number_field(1, 0) == b"\x0a\x00"


def test_a_delta_request_is_reduced_to_what_the_rules_look_at() -> None:
    """Names in both forms, nonce, error, versions."""
    message = discovery_pb2.DeltaDiscoveryRequest(
        resource_names_subscribe=["a"],
        resource_names_unsubscribe=["b"],
        response_nonce="7",
        initial_resource_versions={"a": "1"},
        error_detail=status_pb2.Status(code=3, message="no"),
    )
    message.resource_locators_subscribe.add(name="c")
    message.resource_locators_unsubscribe.add(name="d")
    request = to_request(message)

    assert (request.subscribe, request.unsubscribe) == (("a", "c"), ("b", "d"))
    assert (request.nonce, request.error, dict(request.initial_versions)) == ("7", "no", {"a": "1"})


def test_a_sotw_request_is_reduced_to_what_the_rules_look_at() -> None:
    """Names in both forms, version, nonce; an error without text is an error all the same."""
    message = discovery_pb2.DiscoveryRequest(
        resource_names=["a"], version_info="v", response_nonce="7", error_detail=status_pb2.Status()
    )
    message.resource_locators.add(name="c")
    request = to_request(message)

    assert (request.subscribe, request.version, request.nonce, request.error) == (("a", "c"), "v", "7", "")


@pytest.mark.parametrize("transport", ["delta", "sotw"])
def test_bytes_that_are_no_request(transport: str) -> None:
    """The stream is refused with a message that says what was expected."""
    with pytest.raises(RefuseStreamError, match=r"^3 bytes that are no envoy\.service\.discovery\.v3\.\w+Request$"):
        decode(b"\xff\xff\xff", transport)  # type: ignore[arg-type]
