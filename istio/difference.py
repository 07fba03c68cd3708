"""What to do so that our objects in a cluster are those that are wanted, in an order that breaks no traffic. Pure.

What is ours says so by its label. The EnvoyFilter that adds the way to us comes first and goes last, so that no
cluster's endpoints are ever looked for over a way that is not there; its finalizer keeps that order against a person's
``kubectl delete`` too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from istio.integration import FINALIZER, MANAGED_BY, OWNER, SHARED_FILTER

KubeObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ref:
    """Which object: kind, namespace and name."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Apply:
    """Server-side apply. ``force`` takes back fields that someone else has written since: only on what is ours."""

    body: KubeObject
    force: bool

    @property
    def ref(self) -> Ref:
        return ref_of(self.body)


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete this very object (``uid``)."""

    ref: Ref
    uid: str


@dataclass(frozen=True, slots=True)
class Release:
    """Take our finalizer off, leaving ``finalizers``; only of this version, for the list is written whole."""

    ref: Ref
    resource_version: str
    finalizers: tuple[str, ...]


Action = Apply | Delete | Release


def difference(wanted: Iterable[KubeObject], present: Iterable[KubeObject]) -> list[Action]:
    """Return the actions, in order; none where all is as it should be.

    ``present`` are objects that a server returned; those without our label are left alone. An object on its way out is
    not written: it is wanted again when it is gone. O(objects).
    """
    ours = {ref_of(one): one for one in present if is_ours(one)}
    want = {ref_of(one): one for one in wanted}
    going = {ref for ref, one in ours.items() if one["metadata"].get("deletionTimestamp")}
    way_goes = any(_is_way(ref) and (ref in going or ref not in want) for ref in ours)
    applies = [
        Apply(one, force=ref in ours)
        for ref, one in want.items()
        if ref not in going
        and not (ref in ours and _says_the_same(ours[ref], one))
        # What leads over a way that is going must not come before the way is there again.
        and not (way_goes and _leads_over_it(ref, want))
    ]
    unwanted = [
        ref for ref in ours if ref not in going and (ref not in want or (way_goes and _leads_over_it(ref, want)))
    ]
    dependents = [ref for ref in unwanted if not _is_way(ref)]
    ways = [ref for ref in unwanted if _is_way(ref)]
    deletes = [Delete(ref, ours[ref]["metadata"].get("uid", "")) for ref in sorted(dependents, key=_last_rules) + ways]
    releases = [_release(ref, ours[ref]) for ref in [*ways, *going] if FINALIZER in _finalizers(ours[ref])]
    return [*sorted(applies, key=lambda one: not _is_way(one.ref)), *deletes, *releases]


def ref_of(one: Mapping[str, Any]) -> Ref:
    """Return which object this is."""
    metadata = one["metadata"]
    return Ref(one["kind"], metadata.get("namespace", ""), metadata["name"])


def is_ours(one: Mapping[str, Any]) -> bool:
    """Whether an object carries our label."""
    return bool((one["metadata"].get("labels") or {}).get(MANAGED_BY) == OWNER)


def _last_rules(ref: Ref) -> tuple[bool, str]:
    """Sort a DestinationRule behind the routes that lead to its subsets."""
    return ref.kind == "DestinationRule", str(ref)


def _is_way(ref: Ref) -> bool:
    return ref.kind == "EnvoyFilter" and ref.name == SHARED_FILTER


def _leads_over_it(ref: Ref, want: Mapping[Ref, KubeObject]) -> bool:
    """Whether an object needs the shared filter, which is wanted."""
    return ref.kind == "EnvoyFilter" and not _is_way(ref) and any(_is_way(one) for one in want)


def _says_the_same(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    labels = found["metadata"].get("labels") or {}
    return (
        all(found.get(key) == wanted.get(key) for key in ("spec", "data") if key in wanted)
        and all(labels.get(key) == value for key, value in (wanted["metadata"].get("labels") or {}).items())
        and set(_finalizers(wanted)) <= set(_finalizers(found))
    )


def _release(ref: Ref, found: Mapping[str, Any]) -> Release:
    left = tuple(one for one in _finalizers(found) if one != FINALIZER)
    return Release(ref, found["metadata"].get("resourceVersion", ""), left)


def _finalizers(one: Mapping[str, Any]) -> list[str]:
    return one["metadata"].get("finalizers") or []
