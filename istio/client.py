"""The Kubernetes API: requests, lists and watches as plain JSON, errors by what to do.

Only here, and in ``kubeconfig.py``, is the library known.

Objects stay dicts as the API sends them: the library's model objects cost ten times the memory and the time, and the
caller prunes at once what it does not need.
"""

from __future__ import annotations

import builtins
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import aiohttp
from kubernetes_asyncio.client.configuration import Configuration
from kubernetes_asyncio.client.rest import RESTClientObject
from kubernetes_asyncio.config import ConfigException, load_incluster_config

from istio.errors import (
    CannotConnectError,
    ChangedMeanwhileError,
    ExistsAlreadyError,
    IstioError,
    NoSuchObjectError,
    NotPermittedError,
    QueryRejectedError,
    SourceUnavailableError,
    StartOverError,
    TryLaterError,
    UnreadableAnswerError,
)
from istio.kinds import TOKEN_REVIEWS, Kind
from istio.kubeconfig import REFUSED, load_kubeconfig, why_refused
from istio.settings import KubernetesSettings
from mesh.errors import one_line

Object = dict[str, Any]
EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
FIELD_MANAGER = "askew"
LONGEST_LINE_BYTES = 16 << 20  # etcd takes objects up to 1.5 MiB
_MERGE, _APPLY = "application/merge-patch+json", "application/apply-patch+yaml"
_OVERLOADED = frozenset({408, 425})


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list; ``more`` is the token for the next, empty at the end."""

    items: list[Object]
    resource_version: str
    more: str


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """A change; a bookmark has only ``metadata.resourceVersion``."""

    type: EventType
    object: Object


class KubernetesClient:
    """One API server. Every method raises what ``istio/errors.py`` names; nothing is tried twice in here."""

    def __init__(self, configuration: Configuration, settings: KubernetesSettings) -> None:
        self._configuration, self._settings = configuration, settings
        self._rest = RESTClientObject(configuration)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._rest.close()

    # -- reading ------------------------------------------------------------------------------------------------------

    async def get(self, kind: Kind, name: str, *, namespace: str = "") -> Object:
        """Return an object."""
        return await self._call("GET", kind.path(namespace=namespace, name=name))

    async def page(
        self, kind: Kind, *, namespace: str = "", label_selector: str = "", name: str = "", more: str = ""
    ) -> Page:
        """Return one page of a list; ``more`` comes from the page before. Raises StartOverError for an old one."""
        query = {"limit": str(self._settings.page_objects)}
        query |= {"labelSelector": label_selector} if label_selector else {}
        query |= {"fieldSelector": f"metadata.name={name}"} if name else {}
        query |= {"continue": more} if more else {}
        body = await self._call("GET", kind.path(namespace=namespace), query)
        items, metadata = body.get("items"), body.get("metadata")
        if not (items is None or isinstance(items, builtins.list)) or not isinstance(metadata, dict):
            raise UnreadableAnswerError(f"{kind}: found a {body.get('kind')}, allowed: a list")
        return Page(items or [], metadata.get("resourceVersion", ""), metadata.get("continue", ""))

    async def list(self, kind: Kind, *, namespace: str = "", label_selector: str = "", name: str = "") -> list[Object]:
        """Return all objects of a kind; for kinds with few, or a selector. With a ``name``, those of each namespace."""
        found: list[Object] = []
        more = ""
        while True:
            page = await self.page(kind, namespace=namespace, label_selector=label_selector, name=name, more=more)
            found += page.items
            if not (more := page.more):
                return found

    async def watch(
        self,
        kind: Kind,
        *,
        resource_version: str,
        watch_s: float,
        namespace: str = "",
        label_selector: str = "",
        on_open: Callable[[], None] = lambda: None,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Yield what changes after ``resource_version`` until the server ends the watch, after ``watch_s`` at most.

        ``on_open`` is called when the server has accepted: an idle cluster says nothing for minutes.
        Raises StartOverError where the version is too old. Close it with ``contextlib.aclosing``.
        """
        query = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": resource_version}
        query |= {"timeoutSeconds": str(max(1, round(watch_s)))}
        query |= {"labelSelector": label_selector} if label_selector else {}
        # The server ends it in time; a connection that is dead without saying so is given up a little later.
        limit = aiohttp.ClientTimeout(total=watch_s + self._settings.deadline_s, sock_connect=self._settings.deadline_s)
        url = kind.path(namespace=namespace)
        response = await self._request("GET", url, query, timeout=limit)
        try:
            if response.status != 200:
                raise _refusal(url, response, await _read(response))
            on_open()
            async for line in _lines(response):
                yield _event(url, line)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise SourceUnavailableError(one_line(f"{url}: {error or type(error).__name__}")) from error
        finally:
            response.close()

    # -- writing ------------------------------------------------------------------------------------------------------

    async def create(self, kind: Kind, body: Object, *, namespace: str = "") -> Object:
        """Create an object. Raises ExistsAlreadyError."""
        return await self._call("POST", kind.path(namespace=namespace), _managed(), body)

    async def replace(self, kind: Kind, body: Object, *, subresource: str = "") -> Object:
        """Put an object in place of the version in its metadata. Raises ChangedMeanwhileError."""
        return await self._call("PUT", _path(kind, body, subresource), _managed(), body)

    async def merge_patch(
        self, kind: Kind, name: str, patch: Object, *, namespace: str = "", subresource: str = ""
    ) -> Object:
        """Lay a JSON merge patch over an object; with ``metadata.resourceVersion`` in it, only over that version."""
        path = kind.path(namespace=namespace, name=name, subresource=subresource)
        return await self._call("PATCH", path, _managed(), patch, content_type=_MERGE)

    async def apply(
        self,
        kind: Kind,
        body: Object,
        *,
        field_manager: str = FIELD_MANAGER,
        force: bool = False,
        dry_run: bool = False,
        subresource: str = "",
    ) -> Object:
        """Server-side apply. Raises ChangedMeanwhileError with the owners, unless ``force`` takes their fields."""
        query = {"fieldManager": field_manager, "force": "true" if force else "false"}
        query |= {"dryRun": "All"} if dry_run else {}
        whole = {"apiVersion": kind.api_version, "kind": kind.name, **body}
        return await self._call("PATCH", _path(kind, body, subresource), query, whole, content_type=_APPLY)

    async def delete(
        self, kind: Kind, name: str, *, namespace: str = "", uid: str = "", resource_version: str = ""
    ) -> Object:
        """Delete an object, only the one of ``uid`` and ``resource_version`` where they are given."""
        preconditions = {"uid": uid} if uid else {}
        preconditions |= {"resourceVersion": resource_version} if resource_version else {}
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions} if preconditions else None
        return await self._call("DELETE", kind.path(namespace=namespace, name=name), None, body)

    async def evict(self, pod: str, *, namespace: str, uid: str, dry_run: bool = False) -> None:
        """Evict a pod. Raises TryLaterError where its budget allows none, SourceUnavailableError for several."""
        options: Object = {"preconditions": {"uid": uid}} | ({"dryRun": ["All"]} if dry_run else {})
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": namespace},
            "deleteOptions": options,
        }
        await self._call("POST", f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction", None, body)

    async def review_token(self, token: str, *, audience: str) -> Object:
        """Ask whose a bearer token is; return the status of the TokenReview. Raises nothing that holds the token."""
        spec = {"token": token, "audiences": [audience]}
        body = {"apiVersion": TOKEN_REVIEWS.api_version, "kind": TOKEN_REVIEWS.name, "spec": spec}
        try:
            status = (await self._call("POST", TOKEN_REVIEWS.path(), None, body)).get("status")
        except UnreadableAnswerError:  # it may show a part of the answer, which says the token again
            status = None
        if not isinstance(status, dict):
            raise UnreadableAnswerError(f"{TOKEN_REVIEWS}: found no status, allowed: a TokenReview")
        return status

    # -- HTTP ---------------------------------------------------------------------------------------------------------

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        *,
        content_type: str = "application/json",
    ) -> Object:
        limit = aiohttp.ClientTimeout(total=self._settings.deadline_s)
        response = await self._request(method, path, query, body, content_type=content_type, timeout=limit)
        try:
            text = await _read(response)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise SourceUnavailableError(one_line(f"{path}: {error or type(error).__name__}")) from error
        finally:
            response.release()
        if not 200 <= response.status < 300:
            raise _refusal(path, response, text)
        return _parsed(path, text)

    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        *,
        content_type: str = "application/json",
        timeout: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": "application/json", "Content-Type": content_type, "User-Agent": "askew"}
        try:
            for auth in (await self._configuration.auth_settings()).values():
                headers[auth["key"]] = auth["value"]
            response: aiohttp.ClientResponse = await self._rest.request(
                method,
                f"{self._configuration.host}{path}",
                query_params=dict(query or {}),
                headers=headers,
                body=body,
                _preload_content=False,
                _request_timeout=timeout,
            )
        except TimeoutError as error:
            raise SourceUnavailableError(f"{path}: no answer in {timeout.total} s") from error
        except (aiohttp.ClientError, OSError, ValueError, ConfigException) as error:
            raise SourceUnavailableError(one_line(f"{path}: {error or type(error).__name__}")) from error
        return response


async def check(settings: KubernetesSettings) -> None:
    """Raise CannotConnectError where ``connect`` would, without asking anybody: no cloud for a token, no plugin."""
    await (await connect(settings, asks_for_tokens=False)).close()


async def connect(settings: KubernetesSettings, *, asks_for_tokens: bool = True) -> KubernetesClient:
    """Return a client by the settings: a URL, a kubeconfig, the pod's service account, the user's kubeconfig.

    Raises CannotConnectError where there is no configuration, or a bad one. Nothing is sent to the API server yet.
    """
    if settings.api_server:
        return KubernetesClient(Configuration(host=settings.api_server.rstrip("/")), settings)
    configuration = Configuration()
    try:
        if not settings.kubeconfig and os.environ.get("KUBERNETES_SERVICE_HOST"):
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await load_kubeconfig(configuration, settings, asks_for_tokens=asks_for_tokens)
        return KubernetesClient(configuration, settings)
    except REFUSED as error:
        where = settings.kubeconfig or "kubernetes"
        allowed = "kubernetes.api_server, a kubeconfig, or a pod's service account"
        raise CannotConnectError(one_line(f"{where}: found {why_refused(error)}, allowed: {allowed}")) from error


def _managed() -> dict[str, str]:
    return {"fieldManager": FIELD_MANAGER}


def _path(kind: Kind, body: Object, subresource: str) -> str:
    metadata = body["metadata"]
    return kind.path(namespace=metadata.get("namespace", ""), name=metadata["name"], subresource=subresource)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    return await response.read()


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield the lines of a stream; what is after the last line end is an event that was cut off, and not one."""
    rest = b""
    async for piece in response.content.iter_any():
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > LONGEST_LINE_BYTES:
            raise UnreadableAnswerError(f"{response.url.path}: found a line of more than {LONGEST_LINE_BYTES} bytes")
        for line in lines:
            if line:
                yield line


def _event(path: str, line: bytes) -> WatchEvent:
    body = _parsed(path, line)
    kind, found = body.get("type"), body.get("object")
    if not isinstance(found, dict) or (kind != "ERROR" and not isinstance(found.get("metadata"), dict)):
        raise UnreadableAnswerError(f"{path}: found an event without an object")
    if kind == "ERROR":
        raise _failure(path, int(found.get("code") or 500), found)
    if kind not in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK"):
        raise UnreadableAnswerError(one_line(f"{path}: found an event of type {kind!a}"))
    return WatchEvent(kind, found)


def _parsed(path: str, text: bytes) -> Object:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableAnswerError(one_line(f"{path}: found {text[:80]!r}, allowed: JSON")) from error
    if not isinstance(body, dict):
        raise UnreadableAnswerError(f"{path}: found no object")
    return body


def _refusal(path: str, response: aiohttp.ClientResponse, text: bytes) -> IstioError:
    try:
        body = _parsed(path, text)
    except UnreadableAnswerError:
        body = {"message": text[:200].decode("utf-8", errors="replace")}
    return _failure(path, response.status, body, retry_after=response.headers.get("Retry-After", ""))


def _failure(path: str, status: int, body: Mapping[str, Any], *, retry_after: str = "") -> IstioError:
    """Return the error for a failed request. A 404 without a Status is the router's: the kind is not installed."""
    message = one_line(f"{path}: status {status}: {body.get('message') or body.get('reason') or 'no reason given'}")
    if status == 404:
        return NoSuchObjectError(message, kind_is_absent=body.get("kind") != "Status" or not body.get("details"))
    if status == 409 and body.get("reason") == "AlreadyExists":
        return ExistsAlreadyError(message)
    if status == 409:
        causes = (body.get("details") or {}).get("causes") or ()
        return ChangedMeanwhileError(message, owners=tuple(str(cause.get("message", "")) for cause in causes))
    if status == 429:
        return TryLaterError(message, retry_s=float(retry_after) if retry_after.isdigit() else 1.0)
    return _BY_STATUS.get(status, _by_class(status))(message)


def _by_class(status: int) -> Callable[[str], IstioError]:
    return SourceUnavailableError if status >= 500 or status in _OVERLOADED else QueryRejectedError


_BY_STATUS: Mapping[int, Callable[[str], IstioError]] = {
    401: NotPermittedError,
    403: NotPermittedError,
    410: StartOverError,
}
