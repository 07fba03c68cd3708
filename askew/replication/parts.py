"""A large value in parts, of which only those are told that are others than the last time.

A record's fields are taken apart down to its mappings; each entry of a mapping is a part (a service port's plan, a
client's reports), and so is each field that is something else. An entry that is the same object, or equal, is not even
encoded. The reader keeps the parts: what was not told anew stays the same object for whoever compares by identity.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

from askew.replication.errors import CodecError
from askew.replication.value_codec import compressed, from_plain, members_of, plain, uncompressed

T = TypeVar("T")
Place = tuple[str, str]
"""A field's path from the root, and an entry's key as JSON; empty for a field that is no mapping."""


class PartWriter(Generic[T]):
    """Remembers what it was told last of one value of type ``kind``, and tells what is new."""

    def __init__(self, kind: type[T]) -> None:
        self._kind = kind
        self._known: dict[Place, tuple[Any, str]] = {}

    def changes(self, value: T) -> bytes:
        """Return what differs from the value before; all of it the first time. O(parts + size of the changed ones)."""
        before, now, told = self._known, {}, []
        for place, part, kind in _parts(value, self._kind, ""):
            known = before.get(place)
            if known is None or not _same(known[0], part):
                known = (part, _text(plain(part, kind)))
                told.append(_told(place, known[1]))
            now[place] = known
        self._known = now
        return _message(told, [place for place in before if place not in now])

    def whole(self) -> bytes:
        """Return all of the last value. O(size), but nothing is encoded anew."""
        return _message([_told(place, text) for place, (_, text) in self._known.items()], [])


class PartReader(Generic[T]):
    """Puts together what a ``PartWriter`` of the same type tells."""

    def __init__(self, kind: type[T]) -> None:
        self._kind = kind
        self._kinds = dict(_fields(kind, ""))
        self._entries: dict[str, dict[str, tuple[Any, Any]]] = {}

    def take(self, data: bytes, *, is_whole: bool) -> T:
        """Return the value after these changes. Raises CodecError for bytes that tell of no value of this type."""
        try:
            told, gone = json.loads(uncompressed(data))
            if is_whole:
                self._entries = {}
            for path, key in gone:
                del self._entries[path][key]
            for path, key, value in told:
                self._entries.setdefault(path, {})[key] = self._read(path, key, value)
            whole: T = self._joined(self._kind, "")
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise CodecError(f"{self._kind.__name__}: found changes of another form ({error})") from error
        return whole

    def _read(self, path: str, key: str, value: Any) -> tuple[Any, Any]:
        kind = self._kinds[path]
        entry = _entry_types(kind)
        if entry is None:
            return None, from_plain(value, kind)
        return from_plain(json.loads(key), entry[0]), from_plain(value, entry[1])

    def _joined(self, kind: Any, path: str) -> Any:
        members = members_of(kind)
        if members is not None:
            return kind(*(self._joined(hint, f"{path}.{name}") for name, hint in members.items()))
        entries = self._entries.get(path, {})
        if _entry_types(kind) is not None:
            return dict(entries.values())
        return entries[""][1]


def _parts(value: Any, kind: Any, path: str) -> Iterator[tuple[Place, Any, Any]]:
    members = members_of(kind)
    if members is not None:
        for name, hint in members.items():
            yield from _parts(getattr(value, name), hint, f"{path}.{name}")
        return
    entry = _entry_types(kind)
    if entry is None:
        yield (path, ""), value, kind
        return
    for key, one in value.items():
        yield (path, _text(plain(key, entry[0]))), one, entry[1]


def _fields(kind: Any, path: str) -> Iterator[tuple[str, Any]]:
    members = members_of(kind)
    if members is None:
        yield path, kind
        return
    for name, hint in members.items():
        yield from _fields(hint, f"{path}.{name}")


def _entry_types(kind: Any) -> tuple[Any, Any] | None:
    """Return the types of a mapping's keys and values; None for any other type."""
    origin = typing.get_origin(kind)
    if not (isinstance(origin, type) and issubclass(origin, Mapping)):
        return None
    key, value = typing.get_args(kind)
    return key, value


def _same(one: Any, other: Any) -> bool:
    try:
        return one is other or bool(one == other)
    except ValueError:  # arrays say neither yes nor no: tell them anew
        return False


def _told(place: Place, text: str) -> str:
    return f"[{_text(place[0])},{_text(place[1])},{text}]"


def _message(told: list[str], gone: list[Place]) -> bytes:
    return compressed(f"[[{','.join(told)}],{_text(gone)}]")


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
