"""Keep up with a cluster: list each kind, watch it from there, start over when the past is lost, keep all on trouble.

    list ──► watch ──► (ended, broken) ──► watch from the last version ──► …
      ▲         └── 410 Gone, resync due ──┐
      └───────────────────────────────────┘

While the API server is away the last state stays. Source: Kubernetes docs, "API concepts", "Efficient detection of
changes"; client-go's reflector (back-off, jitter, bookmarks, a watch that ends at once counts as a failure).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass

from istio.client import KubernetesClient, Object
from istio.errors import (
    IstioError,
    NoSuchObjectError,
    NotPermittedError,
    QueryRejectedError,
    SourceUnavailableError,
    StartOverError,
    TryLaterError,
)
from istio.kinds import Kind
from istio.objects import Key, Pruned
from istio.pruning import key_of, prune
from istio.settings import KubernetesSettings

log = logging.getLogger(__name__)

SHORTEST_WATCH_S = 1.0
LIST_AFTER_FAILURES = 8
OnChange = Callable[[Kind, Key, Pruned | None], None]


@dataclass(frozen=True, slots=True)
class Timing:
    """Clock, sleep and chance, handed in. ``chance`` returns a number in [0, 1)."""

    now_s: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    chance: Callable[[], float]

    def about(self, seconds: float) -> float:
        """Return ``seconds`` ± 10 %, so that replicas and kinds do not move in step."""
        return seconds * (0.9 + 0.2 * self.chance())


@dataclass(slots=True)
class KindStatus:
    """What ``/debug/sourcez`` tells of a kind. ``heard_s`` is by the timing's clock."""

    kind: str
    synced: bool = False
    absent: bool = False
    objects: int = 0
    lists: int = 0
    watches: int = 0
    failures: int = 0
    heard_s: float = 0.0
    error: str = ""


class Reflector:
    """One kind of object, kept up with from ``run`` on. ``objects`` are the present ones, pruned."""

    def __init__(
        self,
        client: KubernetesClient,
        kind: Kind,
        settings: KubernetesSettings,
        *,
        timing: Timing,
        on_change: OnChange,
        on_absent: Callable[[Kind, bool], None] = lambda kind, absent: None,
        on_error: Callable[[], None] = lambda: None,
    ) -> None:
        self.kind = kind
        self.objects: dict[Key, Pruned] = {}
        self.synced = asyncio.Event()
        self.status = KindStatus(str(kind))
        self._client, self._settings, self._timing = client, settings, timing
        self._on_change, self._on_absent, self._on_error = on_change, on_absent, on_error
        self._version = ""
        self._resync_at_s = float("inf")
        self._failures_in_row = 0
        self._absences_in_row = 0
        self._watch_began_s = 0.0

    async def run(self) -> None:
        """Keep up until cancelled."""
        while True:
            try:
                if not self._version or self._timing.now_s() >= self._resync_at_s:
                    await self._list()
                await self._watch()
            except IstioError as error:
                await self._timing.sleep(self._wait_after(error))

    # -- one list, one watch ------------------------------------------------------------------------------------------

    async def _list(self) -> None:
        """Read all pages, pruning each at once, then tell what is other than before."""
        found: dict[Key, Pruned] = {}
        more = ""
        while True:
            page = await self._client.page(self.kind, more=more)
            for body in page.items:
                key = key_of(body)
                new, old = prune(self.kind, body), self.objects.get(key)
                found[key] = old if old is not None and old == new else new
            if not (more := page.more):
                break
        self._absences_in_row = 0
        self._set_absent(absent=False)
        gone = self.objects.keys() - found.keys()
        changed = [key for key, new in found.items() if self.objects.get(key) is not new]
        self.objects = found
        for key in sorted(gone):
            self._on_change(self.kind, key, None)
        for key in changed:
            self._on_change(self.kind, key, found[key])
        self._version = page.resource_version
        self.status.lists += 1
        resync_s = self._settings.resync_s
        self._resync_at_s = self._timing.now_s() + self._timing.about(resync_s) if resync_s else float("inf")
        self._heard()
        self._sync()

    async def _watch(self) -> None:
        """Take in changes until the watch ends. Raises what the client raises."""
        began_s, heard = self._timing.now_s(), False
        self._watch_began_s = began_s
        watch_s = self._timing.about(self._settings.watch_s)
        self.status.watches += 1
        stream = self._client.watch(self.kind, resource_version=self._version, watch_s=watch_s, on_open=self._heard)
        async with aclosing(stream):
            async for event in stream:
                heard = True
                self._heard()
                if event.type != "BOOKMARK":
                    self._take(event.object, deleted=event.type == "DELETED")
                self._version = event.object["metadata"]["resourceVersion"]
        if not heard and self._timing.now_s() - began_s < SHORTEST_WATCH_S:
            raise SourceUnavailableError(f"{self.kind}: the watch ended at once")
        self._failures_in_row = 0

    def _take(self, body: Object, *, deleted: bool) -> None:
        key = key_of(body)
        old = self.objects.get(key)
        if deleted:
            if self.objects.pop(key, None) is not None:
                self._on_change(self.kind, key, None)
        else:
            new = prune(self.kind, body)
            if new != old:
                self.objects[key] = new
                self._on_change(self.kind, key, new)
        self.status.objects = len(self.objects)

    # -- what a failure means -----------------------------------------------------------------------------------------

    def _wait_after(self, error: IstioError) -> float:
        """Take note of a failure; return for how long to wait, in seconds."""
        if isinstance(error, NoSuchObjectError) and error.kind_is_absent:
            return self._not_installed()
        if self._watch_began_s and self._timing.now_s() - self._watch_began_s > self._settings.longest_backoff_s:
            self._failures_in_row = 0  # it had been well for a while
        self._watch_began_s = 0.0
        self._failures_in_row += 1
        if self._failures_in_row >= LIST_AFTER_FAILURES:
            self._version = ""  # a server that was restored from a backup may not have come to our version
        if isinstance(error, StartOverError):
            self._version = ""  # the objects stay until the new list is there
            if self._failures_in_row == 1:
                return 0.0
        self.status.failures += 1
        if self.status.error != str(error):
            log.warning("%s: the last state stays: %s", self.kind, error)
        self.status.error = str(error)
        self._on_error()
        if isinstance(error, QueryRejectedError) and not isinstance(error, NotPermittedError):
            self._version = ""  # not what we asked for is known there: begin anew
        longest_s = self._settings.longest_backoff_s
        wait_s = min(longest_s, self._settings.backoff_s * 2.0 ** min(self._failures_in_row - 1, 30))
        if isinstance(error, TryLaterError):
            wait_s = max(wait_s, error.retry_s)
        return wait_s * (0.5 + 0.5 * self._timing.chance())

    def _not_installed(self) -> float:
        """The kind is not there. What was there is forgotten when a second look says the same: one may be a restart."""
        self._absences_in_row += 1
        self._version = ""
        if self.objects and self._absences_in_row < 2:
            return self._timing.about(self._settings.longest_backoff_s)
        for key in sorted(self.objects):
            self._on_change(self.kind, key, None)
        self.objects = {}
        self._set_absent(absent=True)
        self._sync()
        return self._timing.about(self._settings.absent_retry_s)

    def _set_absent(self, *, absent: bool) -> None:
        if absent != self.status.absent:
            log.info("%s: %s", self.kind, "not installed" if absent else "installed")
            self.status.absent = absent
            self._on_absent(self.kind, absent)

    def _heard(self) -> None:
        self.status.heard_s = self._timing.now_s()
        self.status.objects = len(self.objects)
        self.status.error = ""

    def _sync(self) -> None:
        self.status.synced = True
        self.synced.set()


class ClusterWatch:
    """Several kinds at once; ``synced`` when each has been listed, or is known not to be installed."""

    def __init__(self, reflectors: Iterable[Reflector]) -> None:
        self.reflectors = tuple(reflectors)

    async def run(self) -> None:
        """Keep up with all kinds until cancelled."""
        async with asyncio.TaskGroup() as parts:
            for reflector in self.reflectors:
                parts.create_task(reflector.run(), name=f"watch {reflector.kind}")

    async def synced(self) -> None:
        """Wait until every kind is known."""
        for reflector in self.reflectors:
            await reflector.synced.wait()
