"""Watches of the API-server stand-in: chunked lines, bookmarks, 410 Gone, selectors that objects enter and leave."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.fakes.api_faults import abort
from tests.fakes.api_kinds import ServedKind
from tests.fakes.api_objects import Change, Object, StatusError
from tests.fakes.api_request import ApiRequest
from tests.fakes.api_selectors import Matches, selector

if TYPE_CHECKING:
    from tests.fakes.api_server import ApiServer

DEFAULT_TIMEOUT_S = 1800.0


class Watch:
    """One open watch."""

    def __init__(self, server: ApiServer, request: web.Request, asked: ApiRequest) -> None:
        self.kind: ServedKind = asked.kind
        self.request = request
        self._server, self._asked = server, asked
        chosen = selector(asked.query.get("labelSelector", ""), asked.query.get("fieldSelector", ""))
        self._matches: Matches = lambda body: asked.covers(body) and chosen(body)
        self._version = int(asked.query.get("resourceVersion", "0") or "0")
        self._wants_bookmarks = asked.query.get("allowWatchBookmarks") in ("1", "true")
        self._news = asyncio.Event()
        self._bookmark_due = False
        self._sent_bytes = 0
        self.response = web.StreamResponse(headers={"Content-Type": "application/json"})

    def bookmark_now(self) -> None:
        self._bookmark_due = self._wants_bookmarks
        self._news.set()

    def changed(self, kind: ServedKind) -> None:
        if kind == self.kind:
            self._news.set()

    async def run(self) -> None:
        """Send until the client's ``timeoutSeconds`` are over, an error, or the connection's end."""
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + float(self._asked.query.get("timeoutSeconds", DEFAULT_TIMEOUT_S))
        bookmark_s = loop.time() + self._server.bookmark_every_s
        if not self._version:
            await self._send_present()
        while loop.time() < ends_s:
            self._news.clear()
            if not self._server.faults.stalled and not await self._send_changes():
                return
            try:
                async with asyncio.timeout_at(min(ends_s, bookmark_s)):
                    await self._news.wait()
            except TimeoutError:
                self._bookmark_due = self._wants_bookmarks
                bookmark_s = loop.time() + self._server.bookmark_every_s

    async def _send_present(self) -> None:
        found, self._version = self._server.objects.snapshot(self.kind)
        for body in found:
            if self._matches(body):
                await self._send("ADDED", body)

    async def _send_changes(self) -> bool:
        """Send what is new, then a bookmark that is due; return whether to go on."""
        try:
            changes = self._server.objects.changes_since(self.kind, self._version)
        except StatusError as error:
            await self._send("ERROR", error.body())
            return False
        for change in changes:
            self._version = change.version
            event = self._event(change)
            if event is not None:
                await self._send(*event)
        if self._bookmark_due:
            self._bookmark_due = False
            # A bookmark names the newest version of the whole store, as the watch cache does after its progress notify.
            self._version = self._server.objects.version
            metadata = {"resourceVersion": str(self._version), "creationTimestamp": None}
            await self._send(
                "BOOKMARK", {"kind": self.kind.kind, "apiVersion": self.kind.api_version, "metadata": metadata}
            )
        return True

    def _event(self, change: Change) -> tuple[str, Object] | None:
        """Return the event that this watch sees: an object that leaves a selector is deleted, to it."""
        before = change.old is not None and self._matches(change.old)
        after = not change.deleted and self._matches(change.new)
        if after:
            return ("MODIFIED" if before else "ADDED"), change.new
        if not before:
            return None
        assert change.old is not None
        metadata = {**change.old["metadata"], "resourceVersion": str(change.version)}
        return "DELETED", change.new if change.deleted else {**change.old, "metadata": metadata}

    async def _send(self, kind: str, body: Any) -> None:
        line = json.dumps({"type": kind, "object": body}, separators=(",", ":")).encode() + b"\n"
        cut = self._server.faults.cut_after_bytes
        if cut and self._sent_bytes + len(line) > cut:
            await self.response.write(line[: max(1, cut - self._sent_bytes)])
            abort(self.request)
            raise ConnectionResetError
        self._sent_bytes += len(line)
        await self.response.write(line)


async def serve(server: ApiServer, request: web.Request, asked: ApiRequest) -> web.StreamResponse:
    """Answer a watch."""
    watch = Watch(server, request, asked)
    version = int(asked.query.get("resourceVersion", "0") or "0")
    if server.faults.gone_as_status and version:
        server.objects.changes_since(asked.kind, version)  # raises 410
    await watch.response.prepare(request)
    server.watches.append(watch)
    server.objects.listeners.append(watch.changed)
    try:
        await watch.run()
    except ConnectionError:
        pass
    finally:
        server.watches.remove(watch)
        server.objects.listeners.remove(watch.changed)
    return watch.response
