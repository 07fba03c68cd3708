"""What a request to the API-server stand-in asks: the verb as RBAC names it, the kind, the object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aiohttp import web

from tests.fakes.api_kinds import ServedKind
from tests.fakes.api_objects import Object, StatusError

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class NoSuchPathError(Exception):
    """Nothing is served there: the group, the version or the resource is not installed."""


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """A request, parsed. ``namespace`` is empty for all namespaces and for cluster-wide kinds."""

    verb: str
    kind: ServedKind
    namespace: str
    name: str
    subresource: str
    query: Mapping[str, str]

    def covers(self, body: Object) -> bool:
        """Whether an object stands in the namespace that was asked for."""
        return self.namespace in ("", body["metadata"].get("namespace", ""))


def parsed(request: web.Request, kinds: Iterable[ServedKind]) -> ApiRequest:
    """Return what is asked. Raises NoSuchPathError, or 405 for a method that the path does not take."""
    parts = request.path.strip("/").split("/")
    if parts[:2] == ["api", "v1"]:
        group, version, rest = "", "v1", parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        raise NoSuchPathError(request.path)
    namespace = ""
    if rest[:1] == ["namespaces"] and len(rest) > 2 and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    plural, name, subresource = (*rest, "", "", "")[:3]
    kind = next((one for one in kinds if (one.group, one.version, one.plural) == (group, version, plural)), None)
    if kind is None or len(rest) > 3 or (name and kind.namespaced != bool(namespace)):
        raise NoSuchPathError(request.path)
    query = dict(request.query)
    if request.method == "GET":
        verb = "watch" if query.get("watch") in ("1", "true") else "get" if name else "list"
    elif request.method in _VERBS and (request.method == "POST") == (not name or subresource == "eviction"):
        verb = _VERBS[request.method]
    else:
        raise StatusError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    return ApiRequest(verb, kind, namespace, name, subresource, query)
