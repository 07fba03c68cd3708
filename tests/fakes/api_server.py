"""A stand-in for the Kubernetes API server: real HTTP, lists and watches, writes with all their conflicts, faults.

In a test::

    async with ApiServer() as api:
        api.put({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "reviews", "namespace": "default"}})
        client = await connect(ClientSettings(api_server=api.url))

``put``, ``edit`` and ``remove`` write as someone else would (``kubectl``, a controller), without HTTP. Not there:
admission, schemas, garbage collection of owned objects, JSON patch and strategic merge patch, protobuf, discovery of
single resources.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Self

from aiohttp import web

from tests.fakes import api_watch, api_writes
from tests.fakes.api_faults import Faults, abort
from tests.fakes.api_kinds import KINDS, ServedKind
from tests.fakes.api_objects import Name, Object, Objects, StatusError, Writer, gone
from tests.fakes.api_request import ApiRequest, NoSuchPathError, parsed
from tests.fakes.api_selectors import selector
from tests.fakes.api_tokens import Tokens

SOMEONE = Writer("kubectl-edit")
NAMESPACES = ("default", "kube-system", "istio-system", "askew-system")


class ApiServer:
    """Serves ``kinds`` on a free port of 127.0.0.1 from ``start`` to ``stop``."""

    def __init__(
        self,
        *,
        kinds: Iterable[ServedKind] = KINDS,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        bookmark_every_s: float = 60.0,
        token: str = "",
    ) -> None:
        self.kinds = list(kinds)
        self.objects = Objects(now=now)
        self.tokens = Tokens(now)
        self.faults = Faults()
        self.requests: list[ApiRequest] = []
        self.bookmark_every_s, self.token = bookmark_every_s, token
        self.watches: list[api_watch.Watch] = []
        self.port = 0
        self._runner: web.AppRunner | None = None
        self._open: dict[int, web.Request] = {}
        for name in NAMESPACES:
            self.put({"kind": "Namespace", "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}}})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; after ``stop``, on the same port again."""
        app = web.Application(client_max_size=4 << 20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Break all connections and listen no more: an outage, until ``start``. The objects stay."""
        if self._runner is not None:
            for request in list(self._open.values()):
                abort(request)
            await self._runner.cleanup()
            self._runner = None

    # -- what others do in the cluster --------------------------------------------------------------------------------

    def kind(self, name: str) -> ServedKind:
        """Return a kind by its ``kind`` or plural."""
        return next(kind for kind in self.kinds if name in (kind.kind, kind.plural))

    def put(self, body: Object) -> Object:
        """Create an object or replace the whole of it, status too, whatever its version."""
        kind, body = self.kind(body["kind"]), copy.deepcopy(body)
        metadata = body["metadata"]
        if kind.namespaced:
            metadata.setdefault("namespace", "default")
        name = (metadata.get("namespace", ""), metadata["name"])
        try:
            old = self.objects.get(kind, name)
        except StatusError:
            return self.objects.create(kind, body, SOMEONE)
        metadata["resourceVersion"] = old["metadata"]["resourceVersion"]
        found = self.objects.update(kind, copy.deepcopy(body), SOMEONE)
        if "status" in body and name in [_name_of(one) for one in self.objects.all_of(kind)]:
            metadata["resourceVersion"] = found["metadata"]["resourceVersion"]
            found = self.objects.update(kind, body, Writer(SOMEONE.manager, subresource="status"))
        return found

    def edit(self, kind: str, name: str, change: Callable[[Object], None], *, namespace: str = "default") -> Object:
        """Change a copy of an object by a function and put it."""
        body = copy.deepcopy(self.get(kind, name, namespace=namespace))
        change(body)
        return self.put(body)

    def get(self, kind: str, name: str, *, namespace: str = "default") -> Object:
        """Return a stored object (not a copy). Raises StatusError where there is none."""
        served = self.kind(kind)
        return self.objects.get(served, (namespace if served.namespaced else "", name))

    def all_of(self, kind: str) -> list[Object]:
        """Return the stored objects of a kind."""
        return list(self.objects.all_of(self.kind(kind)))

    def remove(self, kind: str, name: str, *, namespace: str = "default") -> None:
        """Delete an object without grace, as the kubelet does at a pod's end; finalizers still hold it."""
        served = self.kind(kind)
        self.objects.delete(served, (namespace if served.namespaced else "", name), grace_s=0)

    def install(self, kind: ServedKind) -> None:
        """Serve one more kind, as a new CRD does."""
        self.kinds.append(kind)

    def uninstall(self, plural: str) -> ServedKind:
        """Serve a kind no more: its paths are 404, its watches end."""
        kind = self.kind(plural)
        self.kinds.remove(kind)
        self.cut_watches(plural)
        return kind

    # -- faults that act once -----------------------------------------------------------------------------------------

    def cut_watches(self, plural: str = "") -> None:
        """Break the open watches of a kind, or all."""
        for watch in list(self.watches):
            if plural in ("", watch.kind.plural):
                abort(watch.request)

    def compact(self, plural: str = "") -> None:
        """Lose the past of a kind, or all: who watches from an older version gets 410 Gone."""
        for kind in self.kinds:
            if plural in ("", kind.plural):
                self.objects.compact(kind)

    def send_bookmarks(self) -> None:
        """Let every watch that wants bookmarks have one now."""
        for watch in self.watches:
            watch.bookmark_now()

    def writes(self) -> list[ApiRequest]:
        """Return the requests that wanted to change something, oldest first."""
        return [request for request in self.requests if request.verb not in ("get", "list", "watch")]

    # -- HTTP ---------------------------------------------------------------------------------------------------------

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self._open[id(request)] = request
        try:
            return await self._answer(request)
        except NoSuchPathError:
            return web.Response(status=404, text="404 page not found\n", content_type="text/plain")
        except StatusError as error:
            headers = {"Retry-After": str(error.retry_s)} if error.retry_s else {}
            return web.json_response(error.body(), status=error.code, headers=headers)
        finally:
            del self._open[id(request)]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.path in ("/healthz", "/livez", "/readyz"):
            return web.Response(text="ok")
        if request.path == "/version":
            return web.json_response({"major": "1", "minor": "34", "gitVersion": "v1.34.0"})
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            raise StatusError(401, "Unauthorized", "Unauthorized")
        asked = parsed(request, self.kinds)
        self.requests.append(asked)
        await self.faults.before(asked.verb, asked.kind.plural, asked.kind.group)
        if asked.verb == "watch":
            return await api_watch.serve(self, request, asked)
        if asked.verb == "list":
            return web.json_response(self._list(asked))
        if asked.verb == "get":
            return web.json_response(self.objects.get(asked.kind, (asked.namespace, asked.name)))
        body = await request.text()
        if asked.kind.plural == "tokenreviews":
            return web.json_response(self.tokens.review(_parsed_body(body)), status=201)
        status, answer = api_writes.write(self.objects, asked, _parsed_body(body), request)
        return web.json_response(answer, status=status)

    def _list(self, asked: ApiRequest) -> Object:
        limit, start, version = int(asked.query.get("limit", "0")), "", 0
        if asked.query.get("continue"):
            try:
                version, start = json.loads(asked.query["continue"])
            except ValueError as error:
                raise gone("The provided continue parameter is not valid") from error
        elif int(asked.query.get("resourceVersion", "0") or "0") > self.objects.version:
            raise StatusError(504, "Timeout", "Too large resource version", retry_s=1)
        found, version = self.objects.snapshot(asked.kind, version)
        matches = selector(asked.query.get("labelSelector", ""), asked.query.get("fieldSelector", ""))
        chosen = [one for one in found if asked.covers(one) and matches(one) and (not start or _key(one) > start)]
        metadata: dict[str, Any] = {"resourceVersion": str(version)}
        if limit and len(chosen) > limit:
            metadata |= {"continue": json.dumps([version, _key(chosen[limit - 1])])}
            metadata |= {"remainingItemCount": len(chosen) - limit}
            chosen = chosen[:limit]
        if not asked.kind.custom:
            chosen = [{key: one[key] for key in one if key not in ("kind", "apiVersion")} for one in chosen]
        kind = asked.kind
        return {"kind": kind.kind + "List", "apiVersion": kind.api_version, "metadata": metadata, "items": chosen}


def _key(body: Object) -> str:
    return f"{body['metadata'].get('namespace', '')}/{body['metadata']['name']}"


def _name_of(body: Object) -> Name:
    return body["metadata"].get("namespace", ""), body["metadata"]["name"]


def _parsed_body(text: str) -> Object:
    try:
        return json.loads(text) if text else {}  # type: ignore[no-any-return]
    except ValueError as error:
        raise StatusError(400, "BadRequest", f"the object provided is unrecognized: {error}") from error


async def serve_for_ever(port: int = 0) -> None:
    """Run a stand-in by itself, for a person to try ``kubectl --server`` on."""
    server = ApiServer()
    server.port = port
    async with server:
        print(server.url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve_for_ever())
