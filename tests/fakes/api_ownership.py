"""Field ownership of server-side apply, as the API server keeps it in ``metadata.managedFields``.

A path is a tuple of segments in FieldsV1's own spelling: ``f:name`` a key, ``k:{...}`` an item of a keyed list,
``v:...`` a member of a set, ``.`` the item itself. Lists that the kind does not name are atomic: one owner for all.
Source: Kubernetes docs, "Server-Side Apply"; sigs.k8s.io/structured-merge-diff.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from typing import Any

Path = tuple[str, ...]
Keyed = Mapping[str, tuple[str, ...]]

SETS: Keyed = {"metadata.finalizers": ()}
_SERVERS_OWN = frozenset(
    (
        *("name", "namespace", "uid", "creationTimestamp", "resourceVersion", "generation", "managedFields"),
        *("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generateName"),
    )
)


def fields_of(body: Mapping[str, Any], keyed: Keyed) -> frozenset[Path]:
    """Return the leaves of an object that a manager can own."""
    found: set[Path] = set()
    for key, value in body.items():
        if key in ("apiVersion", "kind"):
            continue
        if key == "metadata":
            value = {name: one for name, one in value.items() if name not in _SERVERS_OWN}
            if not value:
                continue
        _leaves(value, (f"f:{key}",), key, keyed, found)
    return frozenset(found)


def _leaves(value: Any, path: Path, dotted: str, keyed: Keyed, found: set[Path]) -> None:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            _leaves(inner, (*path, f"f:{key}"), f"{dotted}.{key}", keyed, found)
    elif isinstance(value, list) and dotted in SETS:
        found.update((*path, "v:" + json.dumps(member)) for member in value)
    elif isinstance(value, list) and dotted in keyed:
        for item in value:
            inside = (*path, _item_key(item, keyed[dotted]))
            found.add((*inside, "."))
            for key, inner in item.items():
                _leaves(inner, (*inside, f"f:{key}"), f"{dotted}.{key}", keyed, found)
    else:
        found.add(path)


def _item_key(item: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    return "k:" + json.dumps({key: item[key] for key in keys if key in item}, separators=(",", ":"))


def value_at(body: Any, path: Path) -> Any:
    """Return what stands at a path; None where nothing does."""
    for segment in path:
        kind, rest = segment[:2], segment[2:]
        if segment == ".":
            return body is not None
        if kind == "f:":
            body = body.get(rest) if isinstance(body, dict) else None
        elif kind == "k:":
            body = _item(body, json.loads(rest))
        else:
            return isinstance(body, list) and json.loads(rest) in body
    return body


def _item(items: Any, key: Mapping[str, Any]) -> Any:
    return next((item for item in items or () if all(item.get(name) == value for name, value in key.items())), None)


def merged(live: Any, applied: Any, keyed: Keyed, dotted: str = "") -> Any:
    """Return ``live`` with ``applied`` laid over it: maps and named lists by item, all else replaced."""
    if isinstance(live, dict) and isinstance(applied, dict):
        result = dict(live)
        for key, value in applied.items():
            result[key] = merged(live.get(key), value, keyed, f"{dotted}.{key}" if dotted else key)
        return result
    if isinstance(live, list) and isinstance(applied, list) and dotted in SETS:
        return [*live, *(member for member in applied if member not in live)]
    if isinstance(live, list) and isinstance(applied, list) and dotted in keyed:
        result_items = list(live)
        for item in applied:
            key = {name: item[name] for name in keyed[dotted] if name in item}
            old = _item(result_items, key)
            if old is None:
                result_items.append(copy.deepcopy(item))
            else:
                result_items[result_items.index(old)] = merged(old, item, keyed, dotted)
        return result_items
    return copy.deepcopy(applied)


def without(body: dict[str, Any], path: Path) -> None:
    """Remove what stands at a path of ``body`` (a deep copy of the caller's), and the maps that it leaves empty."""
    trail: list[tuple[Any, str]] = []
    place: Any = body
    for segment in path if path[-1] != "." else path[:-1]:
        trail.append((place, segment))
        place = value_at(place, (segment,))
        if place is None or place is False:
            return
    for place, segment in reversed(trail):
        if segment.startswith("f:"):
            del place[segment[2:]]
        elif segment.startswith("k:"):
            place.remove(_item(place, json.loads(segment[2:])))
        else:
            place.remove(json.loads(segment[2:]))
        if place:
            return


def to_fields_v1(paths: Iterable[Path]) -> dict[str, Any]:
    """Return paths as the nested mapping that the API shows."""
    tree: dict[str, Any] = {}
    for path in sorted(paths):
        place = tree
        for segment in path:
            place = place.setdefault(segment, {})
    return tree


def from_fields_v1(tree: Mapping[str, Any], before: Path = ()) -> frozenset[Path]:
    """Return the paths in a nested mapping: the reverse of ``to_fields_v1``."""
    if not tree:
        return frozenset((before,)) if before else frozenset()
    return frozenset().union(*(from_fields_v1(inner, (*before, segment)) for segment, inner in tree.items()))


def overlap(one: Path, other: Path) -> bool:
    """Whether one path is the other, or stands above it."""
    shortest = min(len(one), len(other))
    return one[:shortest] == other[:shortest]
