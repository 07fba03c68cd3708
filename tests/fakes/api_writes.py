"""Writes to the API-server stand-in over HTTP: create, update, patch, apply, delete, evict."""

from __future__ import annotations

import copy
from typing import Any

from aiohttp import web

from tests.fakes.api_kinds import KINDS
from tests.fakes.api_objects import Object, Objects, StatusError, Writer
from tests.fakes.api_request import ApiRequest

MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"
_NAMESPACES = next(kind for kind in KINDS if kind.plural == "namespaces")
_BUDGETS = next(kind for kind in KINDS if kind.plural == "poddisruptionbudgets")


def write(objects: Objects, asked: ApiRequest, body: Object, request: web.Request) -> tuple[int, Object]:
    """Return the HTTP status and the answer of one write. Raises StatusError."""
    manager = asked.query.get("fieldManager") or request.headers.get("User-Agent", "unknown").split("/")[0]
    writer = Writer(manager, subresource=asked.subresource)
    if asked.query.get("dryRun") == "All":
        objects = _copy_of(objects)
    if asked.subresource == "eviction":
        return _evict(objects, asked, body)
    if asked.verb == "delete":
        return _delete(objects, asked, body)
    if asked.verb == "patch":
        return _patch(objects, asked, body, writer, content_type=request.content_type)
    _check_address(asked, body)
    if asked.verb == "create":
        metadata = body["metadata"]
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = f"{metadata['generateName']}{objects.version:05x}"
        if not metadata.get("name"):
            raise StatusError(422, "Invalid", "metadata.name: Required value: name or generateName is required")
        if asked.kind.namespaced:
            objects.get(_NAMESPACES, ("", asked.namespace))
        if asked.kind.has_status:
            body.pop("status", None)  # only the status subresource sets it
        return 201, objects.create(asked.kind, body, writer)
    return 200, objects.update(asked.kind, body, writer)


def _copy_of(objects: Objects) -> Objects:
    dry = copy.copy(objects)
    dry._objects = copy.deepcopy(objects._objects)
    dry._changes = copy.copy(objects._changes)
    dry.listeners = []
    return dry


def _check_address(asked: ApiRequest, body: Object) -> None:
    """Refuse a body whose namespace or name is not that of the path; fill in what it leaves out."""
    metadata = body.setdefault("metadata", {})
    for key, value in (("namespace", asked.namespace), ("name", asked.name)):
        if value and metadata.setdefault(key, value) != value:
            message = f"the {key} of the provided object does not match the {key} sent on the request"
            raise StatusError(400, "BadRequest", message)


def _patch(
    objects: Objects, asked: ApiRequest, body: Object, writer: Writer, *, content_type: str
) -> tuple[int, Object]:
    if content_type == APPLY:
        if not asked.query.get("fieldManager"):
            raise StatusError(422, "Invalid", "fieldManager: Required value: is required for apply patch")
        _check_address(asked, body)
        if body.get("kind") != asked.kind.kind or body.get("apiVersion") != asked.kind.api_version:
            raise StatusError(400, "BadRequest", "apiVersion and kind must be set and match the request")
        existed = any(one["metadata"]["name"] == asked.name for one in objects.all_of(asked.kind) if asked.covers(one))
        if not existed and asked.kind.namespaced:
            objects.get(_NAMESPACES, ("", asked.namespace))
        force = asked.query.get("force") == "true"
        applied = objects.apply(asked.kind, body, Writer(writer.manager, "Apply", asked.subresource), force=force)
        return (200 if existed else 201), applied
    if content_type != MERGE:
        raise StatusError(415, "UnsupportedMediaType", f"the stand-in takes {MERGE} and {APPLY}")
    old = objects.get(asked.kind, (asked.namespace, asked.name))
    new = merge_patched(old, body)
    new["metadata"] = dict(new["metadata"])
    return 200, objects.update(asked.kind, new, writer)


def merge_patched(old: Any, patch: Any) -> Any:
    """Return what RFC 7386 says: maps merged, null removes, all else replaced."""
    if not isinstance(patch, dict):
        return patch
    result = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patched(result.get(key), value)
    return result


def _delete(objects: Objects, asked: ApiRequest, body: Object) -> tuple[int, Object]:
    preconditions = body.get("preconditions", {})
    grace = body.get("gracePeriodSeconds", asked.query.get("gracePeriodSeconds"))
    found, is_gone = objects.delete(
        asked.kind,
        (asked.namespace, asked.name),
        uid=preconditions.get("uid", ""),
        resource_version=preconditions.get("resourceVersion", ""),
        grace_s=None if grace is None else int(grace),
    )
    if not is_gone:
        return 200, found
    details = {
        "name": asked.name,
        "group": asked.kind.group,
        "kind": asked.kind.plural,
        "uid": found["metadata"]["uid"],
    }
    return 200, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def _evict(objects: Objects, asked: ApiRequest, body: Object) -> tuple[int, Object]:
    """Evict a pod: 429 where its budget allows none, 500 where it has several (docs, "API-initiated eviction")."""
    pod = objects.get(asked.kind, (asked.namespace, asked.name))
    options = body.get("deleteOptions", {})
    uid = options.get("preconditions", {}).get("uid", "")
    budgets = [one for one in objects.all_of(_BUDGETS) if _covers(one, pod)]
    if len(budgets) > 1:
        message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        raise StatusError(500, "InternalError", message)
    dry = options.get("dryRun") == ["All"]
    if uid and uid != pod["metadata"]["uid"]:
        raise StatusError(409, "Conflict", f"Precondition failed: UID in precondition: {uid}")
    for budget in budgets:
        allowed = budget.get("status", {}).get("disruptionsAllowed", 0)
        if allowed < 1:
            cause = {
                "reason": "DisruptionBudget",
                "message": f"The disruption budget {budget['metadata']['name']} needs healthy pods",
            }
            message = "Cannot evict pod as it would violate the pod's disruption budget."
            raise StatusError(429, "TooManyRequests", message, details={"causes": [cause]}, retry_s=10)
        if not dry:
            status = {**budget["status"], "disruptionsAllowed": allowed - 1}
            budget = {**budget, "status": status}
            objects.update(_BUDGETS, budget, Writer("disruption-controller", subresource="status"))
    if not dry:
        objects.delete(asked.kind, (asked.namespace, asked.name))
    return 201, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def _covers(budget: Object, pod: Object) -> bool:
    wanted = budget.get("spec", {}).get("selector", {}).get("matchLabels", {})
    labels = pod["metadata"].get("labels", {})
    same = budget["metadata"]["namespace"] == pod["metadata"]["namespace"]
    return same and bool(wanted) and all(labels.get(key) == value for key, value in wanted.items())
