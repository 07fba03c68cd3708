"""What every proxy should have, and the streams to wake when that changes. One event loop, no locks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from xds_server.ordering import Subscriptions
from xds_server.proxy import Proxy
from xds_server.snapshot import Snapshot
from xds_server.stream import Stream

Source = Callable[[Proxy], Snapshot | None]
"""Returns what a proxy should have, or None for a stranger, which is then left as it is."""


@dataclass(slots=True, eq=False)
class Client:
    """A connected proxy: its streams and what it should have."""

    proxy: Proxy
    snapshot: Snapshot | None = None
    streams: list[Stream] = field(default_factory=list)
    changed_at_s: float = 0.0

    @property
    def subscriptions(self) -> list[Subscriptions]:
        return [stream.subscriptions for stream in self.streams]

    def wake(self, *, but: Stream | None = None) -> None:
        for stream in self.streams:
            if stream is not but:
                stream.dirty.set()

    def converged(self) -> bool:
        return self.snapshot is not None and all(stream.converged(self.snapshot) for stream in self.streams)


class Store:
    """The present source of snapshots and the clients that are connected.

    Level-triggered: a client that is slow finds, when it is ready, the newest snapshot and none of those between.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.clients: dict[str, Client] = {}
        self.settled = asyncio.Condition()
        self.generation = 0

    def join(self, stream: Stream, proxy: Proxy) -> Client:
        """Add a stream that has introduced itself; its proxy gets the newest snapshot."""
        client = self.clients.get(proxy.id)
        if client is None:
            client = self.clients[proxy.id] = Client(proxy)
            client.snapshot = self._source(proxy)
        client.streams.append(stream)
        return client

    def leave(self, stream: Stream) -> None:
        """Remove a stream that has ended, and its proxy with its last stream."""
        client = self.clients.get(stream.proxy.id) if stream.proxy else None
        if client is None or stream not in client.streams:
            return
        client.streams.remove(stream)
        if not client.streams:
            del self.clients[client.proxy.id]
        else:
            client.wake()

    def apply(self, source: Source, *, only: Iterable[str] | None = None) -> Change:
        """Replace the source, and wake the clients whose snapshot is another now.

        From here on every stream that opens sees the new source. ``only`` names the proxies that can have changed, if
        the caller knows. A proxy that the source does not know keeps what it has.
        """
        self._source = source
        self.generation += 1
        now_s = time.monotonic()
        names = self.clients.keys() if only is None else only
        for name in list(names):
            client = self.clients.get(name)
            if client is None:
                continue
            new = source(client.proxy)
            if new is None:
                continue
            new = _reusing(new, client.snapshot)
            if new is not client.snapshot:
                client.snapshot = new
                client.changed_at_s = now_s
                client.wake()
        return Change(self, self.generation)

    async def note_settled(self) -> None:
        """Tell those who wait for ACKs that one came."""
        async with self.settled:
            self.settled.notify_all()


@dataclass(frozen=True, slots=True)
class Change:
    """A change that was applied; awaitable until proxies have it."""

    store: Store
    generation: int

    async def acked(self, nodes: Iterable[str], deadline_s: float) -> frozenset[str]:
        """Wait until every proxy of ``nodes`` has ACKed all that it should have now; return those that have not.

        A proxy that is not connected is among them. Never raises for a proxy that is slow.
        """
        waiting = set(nodes)
        try:
            async with asyncio.timeout(deadline_s), self.store.settled:
                while waiting := {name for name in waiting if not self._has_it(name)}:
                    await self.store.settled.wait()
        except TimeoutError:
            return frozenset(name for name in waiting if not self._has_it(name))
        return frozenset()

    def _has_it(self, name: str) -> bool:
        client = self.store.clients.get(name)
        return client is not None and client.converged()


def _reusing(new: Snapshot, old: Snapshot | None) -> Snapshot:
    """Return ``new`` with the parts of ``old`` that say the same, so that "is it another?" is a look at identities."""
    if old is None:
        return new
    merged = {}
    same = new.resources.keys() == old.resources.keys()
    for type_url, resources in new.resources.items():
        before = old.of(type_url)
        if _alike(resources, before):
            merged[type_url] = before
        else:
            merged[type_url] = resources
            same = False
    return old if same else Snapshot(merged)


def _alike(new: Mapping[str, object], old: Mapping[str, object]) -> bool:
    return new is old or new == old
