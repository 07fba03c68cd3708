"""Responses to bytes and requests from bytes: the only place that knows both transports' messages.

A resource's bytes are spliced in as they are; only the frame around them is made for each response.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError

from xds_server.errors import RefuseStreamError
from xds_server.resources.wire import field, number_field, text_field, varint
from xds_server.snapshot import Resource
from xds_server.subscription import Request, Response, Transport

IDENTIFIER = "askew"
LONGEST_ERROR = 16_384
"""Of why a client refuses a response; the rest is cut off: it is kept, logged, and looked through for each resource."""

# Field numbers of envoy.service.discovery.v3. The resources and the type URL have the same in both responses.
_RESOURCES, _TYPE_URL, _NONCE = 2, 4, 5
_SOTW_VERSION, _SOTW_CONTROL_PLANE, _SOTW_ERRORS = 1, 6, 7
_DELTA_REMOVED, _DELTA_CONTROL_PLANE = 6, 7
_ANY_TYPE_URL, _ANY_VALUE = 1, 2
_RESOURCE_VERSION, _RESOURCE_BODY, _RESOURCE_NAME, _RESOURCE_TTL = 1, 2, 3, 6
_RESOURCE_TYPE_URL = "type.googleapis.com/envoy.service.discovery.v3.Resource"
_ERROR_RESOURCE_NAME, _ERROR_DETAIL = 1, 2
_STATUS_CODE, _STATUS_MESSAGE, _NOT_FOUND = 1, 2, 5

DiscoveryMessage = Any  # discovery_pb2.DiscoveryRequest or DeltaDiscoveryRequest; the generated code has no types


def decode(data: bytes, transport: Transport) -> DiscoveryMessage:
    """Return the request in ``data``. Raises RefuseStreamError where there is none."""
    message = discovery_pb2.DeltaDiscoveryRequest if transport == "delta" else discovery_pb2.DiscoveryRequest
    try:
        return message.FromString(data)
    except DecodeError as error:
        raise RefuseStreamError(f"{len(data)} bytes that are no {message.DESCRIPTOR.full_name}") from error


def to_request(message: DiscoveryMessage) -> Request:
    """Return what the rules look at in a discovery request."""
    error = message.error_detail.message[:LONGEST_ERROR] if message.HasField("error_detail") else None
    if isinstance(message, discovery_pb2.DeltaDiscoveryRequest):
        return Request(
            subscribe=(*message.resource_names_subscribe, *(one.name for one in message.resource_locators_subscribe)),
            unsubscribe=(
                *message.resource_names_unsubscribe,
                *(one.name for one in message.resource_locators_unsubscribe),
            ),
            nonce=message.response_nonce,
            error=error,
            initial_versions=dict(message.initial_resource_versions),
        )
    return Request(
        subscribe=(*message.resource_names, *(one.name for one in message.resource_locators)),
        nonce=message.response_nonce,
        version=message.version_info,
        error=error,
    )


def encode(type_url: str, response: Response, transport: Transport, *, takes_ttl: bool = False) -> bytes:
    """Return the bytes of a DiscoveryResponse or DeltaDiscoveryResponse.

    ``takes_ttl`` says whether a state-of-the-world client understands wrapped resources; to others a TTL is not told.
    """
    bodyless = response.bodyless
    if transport == "delta":
        parts = [delta_resource(one, bodyless=one.name in bodyless) for one in response.resources]
        parts += [text_field(_DELTA_REMOVED, name) for name in (*response.removed, *response.missing)]
        parts.append(_control_plane(_DELTA_CONTROL_PLANE))
    else:
        parts = [text_field(_SOTW_VERSION, response.version)]
        parts += [_sotw_resource(one, takes_ttl=takes_ttl, bodyless=one.name in bodyless) for one in response.resources]
        parts += [_not_found(name) for name in response.missing]
        parts.append(_control_plane(_SOTW_CONTROL_PLANE))
    parts.append(_type_url(type_url))
    parts.append(text_field(_NONCE, response.nonce))
    return b"".join(parts)


def delta_resource(one: Resource, *, bodyless: bool = False) -> bytes:
    """Return ``one`` as a field of a delta response: a ``Resource`` with name and version around the ``Any``."""
    return field(_RESOURCES, _wrapped(one, bodyless=bodyless))


def _wrapped(one: Resource, *, bodyless: bool) -> bytes:
    body = b"" if bodyless else _any(one)
    wrapped = text_field(_RESOURCE_VERSION, one.version) + body + text_field(_RESOURCE_NAME, one.name)
    if one.ttl_s is not None:
        wrapped += field(_RESOURCE_TTL, _duration(one.ttl_s))
    return wrapped


def _sotw_resource(one: Resource, *, takes_ttl: bool, bodyless: bool) -> bytes:
    if one.ttl_s is None or not takes_ttl:
        return _any(one)
    wrapped = field(_ANY_VALUE, _wrapped(one, bodyless=bodyless))
    return field(_RESOURCES, text_field(_ANY_TYPE_URL, _RESOURCE_TYPE_URL) + wrapped)


def _not_found(name: str) -> bytes:
    """Return a ``ResourceError`` field: it does not exist, so that nobody waits 15 s for it (gRFC A88)."""
    error = number_field(_STATUS_CODE, _NOT_FOUND) + text_field(_STATUS_MESSAGE, "no such resource")
    named = field(_ERROR_RESOURCE_NAME, text_field(1, name))
    return field(_SOTW_ERRORS, named + field(_ERROR_DETAIL, error))


def size_of(resources: Iterable[Resource]) -> int:
    """Return about how many bytes these take in a response; never less than they do."""
    return sum(len(one.body) + len(one.name) + len(one.type_url) + 64 for one in resources)


def _any(one: Resource) -> bytes:
    # A Resource's body and a response's resources are both field 2, so that one framing serves both.
    head = _any_head(one.type_url)
    size = varint(len(one.body))
    length = len(head) + 1 + len(size) + len(one.body)
    return b"".join((b"\x12", varint(length), head, b"\x12", size, one.body))


@lru_cache(maxsize=64)
def _any_head(type_url: str) -> bytes:
    return text_field(_ANY_TYPE_URL, type_url)


@lru_cache(maxsize=64)
def _type_url(type_url: str) -> bytes:
    return text_field(_TYPE_URL, type_url)


@lru_cache(maxsize=4)
def _control_plane(number: int) -> bytes:
    return field(number, text_field(1, IDENTIFIER))


def _duration(seconds: float) -> bytes:
    whole = int(seconds)
    return number_field(1, whole) + number_field(2, round((seconds - whole) * 1e9))
