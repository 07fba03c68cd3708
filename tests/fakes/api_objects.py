"""The objects behind the API-server stand-in: one counter of versions, a log of changes, the rules of a write.

Objects are never changed in place: a write puts a new one, so that a snapshot is a list of references.
Sources: Kubernetes docs, "API concepts" (resource versions, watches, 410 Gone), "Finalizers", "Server-Side Apply".
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.fakes.api_kinds import ServedKind
from tests.fakes.api_ownership import fields_of, from_fields_v1, merged, overlap, to_fields_v1, value_at, without

Object = dict[str, Any]
Name = tuple[str, str]  # namespace (empty for cluster-wide kinds), name


class StatusError(Exception):
    """An answer of the API server that is a ``Status`` with a failure."""

    def __init__(
        self, code: int, reason: str, message: str, *, details: Object | None = None, retry_s: int = 0
    ) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.details = code, reason, message, details or {}
        self.retry_s = retry_s

    def body(self) -> Object:
        return {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "details": self.details, "code": self.code,
        }  # fmt: skip


def gone(message: str) -> StatusError:
    return StatusError(410, "Expired", message)


@dataclass(frozen=True, slots=True)
class Change:
    """One write: ``old`` is None for a creation, ``new`` carries the new version also for a deletion."""

    version: int
    old: Object | None
    new: Object
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes, as managedFields have it."""

    manager: str = "unknown"
    operation: str = "Update"
    subresource: str = ""


class Objects:
    """All objects of a cluster. ``history`` changes of each kind are kept for watches; older ones are compacted."""

    def __init__(self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC), history: int = 100_000) -> None:
        self.version, self.history, self._now = 1000, history, now
        self._objects: defaultdict[ServedKind, dict[Name, Object]] = defaultdict(dict)
        self._changes: defaultdict[ServedKind, list[Change]] = defaultdict(list)
        self._compacted: defaultdict[ServedKind, int] = defaultdict(int)
        self._snapshots: dict[tuple[ServedKind, int], list[Object]] = {}
        self._uids = 0
        self.listeners: list[Callable[[ServedKind], None]] = []

    # -- reading ------------------------------------------------------------------------------------------------------

    def snapshot(self, kind: ServedKind, version: int = 0) -> tuple[list[Object], int]:
        """Return all objects by name as of ``version`` (0: now) and that version. Raises 410 for a compacted one."""
        if not version:
            version = self.version
            found = [self._objects[kind][name] for name in sorted(self._objects[kind])]
            self._snapshots[kind, version] = found
        if (kind, version) not in self._snapshots:
            raise gone("The provided continue parameter is too old to display a consistent list result.")
        return self._snapshots[kind, version], version

    def get(self, kind: ServedKind, name: Name) -> Object:
        """Return one object. Raises 404."""
        found = self._objects[kind].get(name)
        if found is None:
            raise StatusError(
                404, "NotFound", f'{kind.full_name} "{name[1]}" not found',
                details={"name": name[1], "group": kind.group, "kind": kind.plural},
            )  # fmt: skip
        return found

    def changes_since(self, kind: ServedKind, version: int) -> list[Change]:
        """Return what came after ``version``. Raises 410 where some of it is compacted."""
        if version < self._compacted[kind]:
            raise gone(f"too old resource version: {version} ({self._compacted[kind]})")
        log = self._changes[kind]
        first = len(log)
        while first and log[first - 1].version > version:
            first -= 1
        return log[first:]

    def compact(self, kind: ServedKind) -> None:
        """Forget all changes so far, and the snapshots of unfinished lists."""
        self._changes[kind].clear()
        self._compacted[kind] = self.version
        for key in [key for key in self._snapshots if key[0] == kind]:
            del self._snapshots[key]

    # -- writing ------------------------------------------------------------------------------------------------------

    def create(self, kind: ServedKind, body: Object, writer: Writer) -> Object:
        """Store a new object. Raises 409 where there is one of its name."""
        metadata = body.setdefault("metadata", {})
        name = (metadata.get("namespace", ""), metadata["name"])
        if name in self._objects[kind]:
            raise StatusError(409, "AlreadyExists", f'{kind.full_name} "{name[1]}" already exists')
        self._uids += 1
        metadata |= {"uid": f"00000000-0000-4000-8000-{self._uids:012d}", "creationTimestamp": self._timestamp()}
        if "spec" in body:
            metadata["generation"] = 1
        for server_own in ("deletionTimestamp", "deletionGracePeriodSeconds", "managedFields"):
            metadata.pop(server_own, None)
        body = {"apiVersion": kind.api_version, "kind": kind.kind, **body}
        return self._put(kind, name, None, self._owned_by_update(kind, {}, body, writer))

    def update(self, kind: ServedKind, body: Object, writer: Writer) -> Object:
        """Replace an object. Raises 404, 409 for a version that is not the present one, 422 for a forbidden change."""
        metadata = body["metadata"]
        name = (metadata.get("namespace", ""), metadata["name"])
        old = self.get(kind, name)
        self._check_version(kind, old, metadata.get("resourceVersion", ""))
        if metadata.get("uid", old["metadata"]["uid"]) != old["metadata"]["uid"]:
            raise StatusError(409, "Conflict", f"Precondition failed: UID in precondition: {metadata['uid']}")
        new = self._with_servers_fields(kind, old, body, writer)
        return self._put(kind, name, old, self._owned_by_update(kind, old, new, writer))

    def apply(self, kind: ServedKind, body: Object, writer: Writer, *, force: bool = False) -> Object:
        """Server-side apply. Raises 409 with the causes where another manager owns a field with another value."""
        metadata = body.setdefault("metadata", {})
        name = (metadata.get("namespace", ""), metadata["name"])
        if metadata.pop("managedFields", None):
            raise StatusError(400, "BadRequest", "metadata.managedFields must be nil")
        old = self._objects[kind].get(name)
        if old is None:
            return self.create(kind, {**body, "metadata": dict(metadata)}, writer)
        given = metadata.pop("resourceVersion", "")
        if given:
            self._check_version(kind, old, given)
        applied = {key: value for key, value in body.items() if key != "status" or writer.subresource == "status"}
        return self._put(kind, name, old, self._applied(kind, old, applied, writer, force=force))

    def delete(
        self, kind: ServedKind, name: Name, *, uid: str = "", resource_version: str = "", grace_s: int | None = None
    ) -> tuple[Object, bool]:
        """Delete, or mark what has finalizers or (a pod) must end first; return the object and whether it is gone."""
        old = self.get(kind, name)
        if uid and uid != old["metadata"]["uid"]:
            raise StatusError(409, "Conflict", f"Precondition failed: UID in precondition: {uid}")
        if resource_version:
            self._check_version(kind, old, resource_version)
        grace_s = 30 if grace_s is None and kind.plural == "pods" else grace_s or 0
        if not old["metadata"].get("finalizers") and not grace_s:
            return self._remove(kind, name, old), True
        if "deletionTimestamp" in old["metadata"]:
            return old, False
        marked = copy.deepcopy(old)
        marked["metadata"] |= {"deletionTimestamp": self._timestamp(), "deletionGracePeriodSeconds": grace_s}
        return self._put(kind, name, old, marked), False

    # -- the rules ----------------------------------------------------------------------------------------------------

    def _check_version(self, kind: ServedKind, old: Object, given: str) -> None:
        name = old["metadata"]["name"]
        if not given and not kind.unconditional_update:
            message = "metadata.resourceVersion: Invalid value: 0: must be specified for an update"
            raise StatusError(422, "Invalid", f'{kind.full_name} "{name}" is invalid: {message}')
        if given and given != old["metadata"]["resourceVersion"]:
            why = "the object has been modified; please apply your changes to the latest version and try again"
            message = f'Operation cannot be fulfilled on {kind.full_name} "{name}": {why}'
            raise StatusError(409, "Conflict", message, details={"name": name, "kind": kind.plural})

    def _with_servers_fields(self, kind: ServedKind, old: Object, body: Object, writer: Writer) -> Object:
        """Return the body with what the client may not set taken from the old object."""
        if writer.subresource == "status":
            return {**copy.deepcopy(old), "status": body.get("status", {})}
        new = {"apiVersion": kind.api_version, "kind": kind.kind, **body, "metadata": dict(body["metadata"])}
        if kind.has_status:
            new.pop("status", None)
            if "status" in old:
                new["status"] = old["status"]
        for key in ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds"):
            new["metadata"].pop(key, None)
            if key in old["metadata"]:
                new["metadata"][key] = old["metadata"][key]
        before, now = old["metadata"].get("finalizers", []), new["metadata"].get("finalizers", [])
        if "deletionTimestamp" in old["metadata"] and set(now) - set(before):
            message = "no new finalizers can be added if the object is being deleted"
            raise StatusError(422, "Invalid", f"metadata.finalizers: Forbidden: {message}")
        return new

    def _owned_by_update(self, kind: ServedKind, old: Object, new: Object, writer: Writer) -> Object:
        """Give the fields that an update changed to its manager; what is no longer there is nobody's."""
        leaves = fields_of(new, kind.keyed)
        changed = {path for path in leaves if value_at(old, path) != value_at(new, path)}
        owners = {entry: paths & leaves for entry, paths in self._owners(old).items()}
        if writer.operation == "Apply":
            return self._with_owners(new, {**owners, writer: leaves})
        owners = {entry: paths if entry == writer else paths - changed for entry, paths in owners.items()}
        owners[writer] = owners.get(writer, frozenset()) | changed
        return self._with_owners(new, owners)

    def _applied(self, kind: ServedKind, old: Object, body: Object, writer: Writer, *, force: bool) -> Object:
        owners, wanted = self._owners(old), fields_of(body, kind.keyed)
        theirs = {entry: paths for entry, paths in owners.items() if entry != writer}
        differing = {path for path in wanted if value_at(old, path) != value_at(body, path)}
        clashes = [
            (entry, path, other)
            for entry, paths in theirs.items()
            for other in sorted(paths)
            for path in sorted(differing)
            if overlap(path, other)
        ]
        if clashes and not force:
            raise _apply_conflict(clashes)
        for entry, _, other in clashes:
            theirs[entry] = theirs[entry] - {other}
        new = copy.deepcopy(merged(old, body, kind.keyed))
        still_owned = frozenset().union(*theirs.values()) | wanted
        dropped = owners.get(writer, frozenset()) - wanted
        # Whole items first: without the fields of its key an item would not be found any more.
        for path in sorted(dropped, key=lambda path: (path[-1] != ".", -len(path), path)):
            if not any(overlap(path, other) for other in still_owned):
                without(new, path)
        return self._with_owners(new, {**theirs, writer: wanted})

    def _owners(self, body: Object) -> dict[Writer, frozenset[tuple[str, ...]]]:
        return {
            Writer(entry["manager"], entry["operation"], entry.get("subresource", "")): from_fields_v1(
                entry["fieldsV1"]
            )
            for entry in body.get("metadata", {}).get("managedFields", ())
        }

    def _with_owners(self, body: Object, owners: Mapping[Writer, frozenset[tuple[str, ...]]]) -> Object:
        entries = [
            {
                "manager": writer.manager, "operation": writer.operation, "apiVersion": body["apiVersion"],
                "time": self._timestamp(), "fieldsType": "FieldsV1", "fieldsV1": to_fields_v1(paths),
                **({"subresource": writer.subresource} if writer.subresource else {}),
            }
            for writer, paths in owners.items() if paths
        ]  # fmt: skip
        return {**body, "metadata": {**body["metadata"], "managedFields": entries}}

    def _put(self, kind: ServedKind, name: Name, old: Object | None, new: Object) -> Object:
        if old is not None and _said(old) == _said(new):
            return old  # a write that changes nothing gets no new version
        metadata = new["metadata"]
        if old is not None and "generation" in metadata and old.get("spec") != new.get("spec"):
            metadata["generation"] += 1
        held = metadata.get("finalizers") or metadata.get("deletionGracePeriodSeconds")
        if old is not None and "deletionTimestamp" in metadata and not held:
            return self._remove(kind, name, new)
        self.version += 1
        metadata["resourceVersion"] = str(self.version)
        self._objects[kind][name] = new
        self._note(kind, Change(self.version, old, new))
        return new

    def _remove(self, kind: ServedKind, name: Name, old: Object) -> Object:
        self.version += 1
        last = {**old, "metadata": {**old["metadata"], "resourceVersion": str(self.version)}}
        del self._objects[kind][name]
        self._note(kind, Change(self.version, old, last, deleted=True))
        return last

    def _note(self, kind: ServedKind, change: Change) -> None:
        log = self._changes[kind]
        log.append(change)
        if len(log) > self.history:
            self._compacted[kind] = log[0].version
            del log[0]
        for listener in list(self.listeners):
            listener(kind)

    def _timestamp(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%SZ")

    def all_of(self, kind: ServedKind) -> Iterator[Object]:
        """Yield every object of a kind, for tests to look at."""
        yield from self._objects[kind].values()


def _said(body: Object) -> Object:
    """Return an object without what a write that changes nothing would change."""
    owners = [{**entry, "time": ""} for entry in body["metadata"].get("managedFields", ())]
    return {**body, "metadata": {**body["metadata"], "managedFields": owners, "resourceVersion": ""}}


def _apply_conflict(clashes: list[tuple[Writer, tuple[str, ...], tuple[str, ...]]]) -> StatusError:
    causes = [
        {
            "reason": "FieldManagerConflict", "message": f'conflict with "{entry.manager}"',
            "field": "".join("." + segment[2:] if segment[1] == ":" else "" for segment in path),
        }
        for entry, path, _ in clashes
    ]  # fmt: skip
    managers = ", ".join(sorted({f'"{entry.manager}"' for entry, _, _ in clashes}))
    message = f"Apply failed with {len(causes)} conflict{'s' * (len(causes) > 1)}: conflicts with {managers}"
    return StatusError(409, "Conflict", message, details={"causes": causes})
