"""Frozen values as bytes and back, told by their types: what one replica remembers, another can go on from.

Nothing is named in the bytes but what a type holds, so that both sides must have the same types; ``form_of`` is the
digest of all of them. Unlike pickle, reading can only ever make values of the type that was asked for.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import enum
import hashlib
import json
import types
import typing
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar, cast

import numpy as np

from askew.replication.errors import CodecError
from estimators.latency import CumulativeHistogram
from mesh.telemetry import LatencyHistogram

T = TypeVar("T")
Encode = Callable[[Any], Any]
Decode = Callable[[Any], Any]
LARGEST_BYTES = 1 << 29
_STANDS_FOR: dict[Any, type] = {CumulativeHistogram: LatencyHistogram}
"""A protocol, and the type of ours that is found where it is asked for."""
_PLAIN: dict[type, tuple[type, ...]] = {
    bool: (bool,),
    int: (int,),
    float: (float, int),
    str: (str,),
    type(None): (type(None),),
}


def encode(value: object, kind: Any) -> bytes:
    """Return ``value``, of type ``kind``, as compressed JSON. O(size)."""
    return compressed(json.dumps(plain(value, kind), separators=(",", ":")))


def plain(value: object, kind: Any) -> Any:
    """Return ``value``, of type ``kind``, as lists, numbers and texts."""
    return _codec(kind)[0](value)


def compressed(text: str) -> bytes:
    """Return a text as it is sent."""
    return zlib.compress(text.encode(), 1)


def decode(data: bytes, kind: type[T]) -> T:
    """Return the value of type ``kind`` in ``data``.

    Raises
    ------
    CodecError
        for bytes that ``encode`` did not make of this type, or that would unpack to more than half a GiB.
    """
    try:
        value: T = from_plain(json.loads(uncompressed(data)), kind)
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise CodecError(f"{kind.__name__}: found bytes of another form ({error})") from error
    return value


def from_plain(value: Any, kind: Any) -> Any:
    """Return the value of type ``kind`` that ``plain`` made this of; raises what reading such data can raise."""
    return _codec(cast(Any, kind))[1](value)


def uncompressed(data: bytes) -> bytes:
    """Return a text that was sent. Raises ValueError for bytes that are no whole one, or a larger one than allowed."""
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(data, LARGEST_BYTES)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if unpacker.unconsumed_tail or not unpacker.eof:
        raise ValueError(f"{len(data)} bytes that do not end")
    return text


def form_of(kind: Any) -> str:
    """Return a digest of a type and all types in it: two replicas with the same one read each other's values."""
    return _form_of(kind)


@cache
def _form_of(kind: Any) -> str:
    seen: dict[str, str] = {}
    _describe(kind, seen)
    text = "\n".join(f"{name}={seen[name]}" for name in sorted(seen))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _describe(kind: Any, seen: dict[str, str]) -> None:
    members = members_of(kind)
    if members is not None:
        name = f"{kind.__module__}.{kind.__qualname__}"
        if name not in seen:
            seen[name] = ", ".join(f"{field}: {hint}" for field, hint in members.items())
            for hint in members.values():
                _describe(hint, seen)
        return
    if isinstance(kind, typing.NewType):
        seen[f"{kind.__module__}.{kind.__name__}"] = str(kind.__supertype__)
    for argument in typing.get_args(kind):
        _describe(argument, seen)


@cache
def members_of(kind: Any) -> dict[str, Any] | None:
    """Return field to type of a dataclass or a named tuple; None for any other type."""
    kind = _STANDS_FOR.get(kind, kind)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return {field.name: hints[field.name] for field in dataclasses.fields(kind)}
    if isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields"):
        hints = typing.get_type_hints(kind)
        return {name: hints[name] for name in kind._fields}
    return None


@cache
def _codec(kind: Any) -> tuple[Encode, Decode]:
    if isinstance(kind, typing.NewType):
        return _codec(kind.__supertype__)
    if kind in _PLAIN:
        return _same, _plain(kind)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return lambda value: value.value, kind
    members = members_of(kind)
    if members is not None:
        return _record(_STANDS_FOR.get(kind, kind), members)
    return _generic(kind, typing.get_origin(kind), typing.get_args(kind))


def _generic(kind: Any, origin: Any, arguments: tuple[Any, ...]) -> tuple[Encode, Decode]:
    if origin is typing.Literal:
        return _same, _one_of(arguments)
    if origin in (types.UnionType, typing.Union):
        return _union(arguments)
    if origin is tuple:
        return _tuple(arguments)
    if origin is frozenset:
        encode_one, decode_one = _codec(arguments[0])
        return (
            lambda value: sorted((encode_one(one) for one in value), key=repr),
            lambda value: frozenset(decode_one(one) for one in _list(value)),
        )
    if origin is np.ndarray:
        return _pack_array, _unpack_array
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(*arguments)
    raise TypeError(f"replication: found a value of type {kind}, allowed: frozen values")


def _same(value: Any) -> Any:
    return value


def _plain(kind: type) -> Decode:
    allowed = _PLAIN[kind]

    def take(value: Any) -> Any:
        if type(value) not in allowed:
            raise ValueError(f"a {type(value).__name__} where a {kind.__name__} belongs")
        return float(value) if kind is float else value

    return take


def _one_of(allowed: tuple[Any, ...]) -> Decode:
    def take(value: Any) -> Any:
        if value not in allowed:
            raise ValueError(f"{value!r:.40} where one of {allowed} belongs")
        return value

    return take


def _record(kind: Any, members: dict[str, Any]) -> tuple[Encode, Decode]:
    # The fields' codecs are looked up late: a type may hold itself.
    names = tuple(members)

    @cache
    def parts() -> tuple[tuple[Encode, ...], tuple[Decode, ...]]:
        codecs = [_codec(hint) for hint in members.values()]
        return tuple(one for one, _ in codecs), tuple(one for _, one in codecs)

    def pack(value: Any) -> list[Any]:
        return [one(getattr(value, name)) for one, name in zip(parts()[0], names, strict=True)]

    def unpack(value: Any) -> Any:
        decoders = parts()[1]
        return kind(*(one(part) for one, part in zip(decoders, _list(value), strict=True)))

    return pack, unpack


def _union(options: tuple[Any, ...]) -> tuple[Encode, Decode]:
    """A value of one of several types: the type's place in the union, and the value; null for None."""
    codecs = [_codec(option) for option in options]

    def pack(value: Any) -> Any:
        if value is None:
            return None
        place = next(i for i, option in enumerate(options) if _is_of(value, option))
        return [place, codecs[place][0](value)]

    def unpack(value: Any) -> Any:
        if value is None and type(None) in options:
            return None
        place, inner = _list(value)
        return codecs[place][1](inner)

    return pack, unpack


def _is_of(value: Any, option: Any) -> bool:
    if isinstance(option, typing.NewType):
        return _is_of(value, option.__supertype__)
    if option is float:
        return isinstance(value, (float, int)) and not isinstance(value, bool)
    return isinstance(value, typing.get_origin(option) or option)


def _tuple(arguments: tuple[Any, ...]) -> tuple[Encode, Decode]:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        pack_one, unpack_one = _codec(arguments[0])
        return (
            lambda value: [pack_one(one) for one in value],
            lambda value: tuple(unpack_one(one) for one in _list(value)),
        )
    codecs = [_codec(one) for one in arguments]
    return (
        lambda value: [codec[0](one) for codec, one in zip(codecs, value, strict=True)],
        lambda value: tuple(codec[1](one) for codec, one in zip(codecs, _list(value), strict=True)),
    )


def _mapping(key: Any, value: Any) -> tuple[Encode, Decode]:
    (pack_key, unpack_key), (pack_value, unpack_value) = _codec(key), _codec(value)
    return (
        lambda mapping: [[pack_key(k), pack_value(v)] for k, v in mapping.items()],
        lambda pairs: {unpack_key(k): unpack_value(v) for k, v in _list(pairs)},
    )


def _pack_array(value: Any) -> list[Any]:
    array = np.ascontiguousarray(value, dtype=np.float64)
    return [list(array.shape), base64.b64encode(array.tobytes()).decode()]


def _unpack_array(value: Any) -> Any:
    shape, text = _list(value)
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("an array that is no base64") from error
    array = np.frombuffer(data, dtype=np.float64).reshape(shape).copy()
    array.setflags(write=False)
    return array


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"a {type(value).__name__} where a list belongs")
    return value
