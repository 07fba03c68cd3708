"""Protobuf's wire format, as far as splicing needs it: tags, lengths, varints.

Building messages of 1,000 endpoints from objects costs about 5 µs an endpoint; joining bytes that were serialised once
costs about 1 µs. What is spliced here is compared with protobuf's own bytes in the tests.
Source: protobuf.dev, "Encoding".
"""

from __future__ import annotations

from functools import lru_cache


def varint(value: int) -> bytes:
    """Return ``value`` (>= 0) as a base-128 varint.

    >>> varint(300).hex()
    'ac02'
    """
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, payload: bytes) -> bytes:
    """Return a length-delimited field: a string, bytes or an embedded message.

    >>> field(1, b"ab").hex()
    '0a026162'
    """
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def text_field(number: int, value: str) -> bytes:
    """Return a string field, or nothing for the empty string, as proto3 does."""
    return field(number, value.encode()) if value else b""


def number_field(number: int, value: int) -> bytes:
    """Return a varint field, or nothing for 0, as proto3 does."""
    return varint(number << 3) + varint(value) if value else b""


@lru_cache(maxsize=65536)
def wrapped_number_field(number: int, value: int) -> bytes:
    """Return a ``google.protobuf.UInt32Value`` field; present also when ``value`` is 0."""
    return field(number, number_field(1, value))
