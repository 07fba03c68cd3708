"""What every proxy should have, and the streams to wake when that changes. One event loop, no locks."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, MutableSet
from dataclasses import dataclass, field
from typing import Protocol

from mesh.topology import ContainerName, ServiceName
from xds_server.consistency import problems
from xds_server.ingest.bounded import Budget
from xds_server.last_good import NackTally
from xds_server.ordering import Subscriptions
from xds_server.proxy import Proxy
from xds_server.resources.names import CDS, EDS, LDS, RDS, istio_cluster, service_port_of
from xds_server.snapshot import NOTHING, Resource, Snapshot
from xds_server.stream import Stream
from xds_server.subscription import Subscription

log = logging.getLogger(__name__)

MOST_ALIKE = 1_000  # sets of names that sidecars share
REQUEST_BYTES_PER_S, REQUEST_BURST_BYTES = 1024.0 * 1024.0, 8.0 * 1024.0 * 1024.0
"""Of requests that a proxy has read, on all its streams; past that they wait. A request costs 512 at least."""
MOST_LOOKED_AT = 200_000  # versions that were found good; beyond this they are looked at again

Source = Callable[[Proxy], Snapshot | None]
"""Returns what a proxy should have, or None for a stranger, which is then left as it is."""


@dataclass(slots=True, eq=False)
class Client:
    """A connected proxy: its streams and what it should have."""

    proxy: Proxy
    snapshot: Snapshot | None = None
    is_stale: bool = True
    streams: list[Stream] = field(default_factory=list)
    changed_at_s: float = 0.0
    routed_at_s: float = 0.0  # when it last accepted routes or listeners, seconds since the epoch
    refused: list[str] = field(default_factory=list)
    budget: Budget = field(default_factory=lambda: Budget(rate=REQUEST_BYTES_PER_S, burst=REQUEST_BURST_BYTES))
    _dropped: dict[str, tuple[str, Resource]] = field(default_factory=dict)  # endpoints' name: cluster, endpoints
    _said: list[tuple[Subscription, int]] = field(default_factory=list)
    _services: frozenset[ServiceName] = frozenset()

    @property
    def subscriptions(self) -> list[Subscriptions]:
        return [stream.subscriptions for stream in self.streams]

    def services(self, read: Callable[[frozenset[str]], frozenset[ServiceName]]) -> frozenset[ServiceName]:
        """Return what ``read`` made of the names whose endpoints it subscribes to, when it last said another thing."""
        said = [(one[EDS], one[EDS].interests) for one in self.subscriptions if EDS in one]
        if said != self._said:
            self._said = said
            self._services = read(frozenset[str]().union(*(one.names for one, _ in said)))
        return self._services

    def wake(self, *, but: Stream | None = None) -> None:
        for stream in self.streams:
            if stream is not but:
                stream.dirty.set()

    def replace_snapshot(self, new: Snapshot) -> None:
        """Take a new snapshot; keep the endpoints of clusters that it drops at hand."""
        old, self.snapshot = self.snapshot, new
        if old is None:
            return
        for name, cluster in old.of(CDS).items():
            if name not in new.of(CDS):
                refs = (ref for type_url, ref in cluster.refers if type_url == EDS)
                self._dropped.update((ref, (name, old.of(EDS)[ref])) for ref in refs if ref in old.of(EDS))

    def retained(self) -> Mapping[str, Resource]:
        """Return endpoints of clusters that were dropped and that the proxy still has, or is being sent."""
        if not self._dropped:
            return NOTHING
        clusters = [subscriptions[CDS] for subscriptions in self.subscriptions if CDS in subscriptions]
        self._dropped = {
            ref: (cluster, one)
            for ref, (cluster, one) in self._dropped.items()
            if any(subscription.holds(cluster) for subscription in clusters)
        }
        return {ref: one for ref, (_, one) in self._dropped.items()}

    def note_ack(self, type_url: str, *, now_s: float) -> None:
        """Note when requests began to be routed anew."""
        if type_url in (RDS, LDS):
            self.routed_at_s = now_s

    def converged(self) -> bool:
        """Whether the proxy has accepted all that it should have; False while that is not even computed."""
        if self.is_stale or self.snapshot is None:
            return False
        return all(stream.converged(self.snapshot) for stream in self.streams)


class Check(Protocol):
    """What looks at a snapshot before it is served; nothing found means that it may be."""

    def __call__(
        self, snapshot: Snapshot, previous: Snapshot | None = None, *, looked_at: MutableSet[str]
    ) -> list[str]: ...


def _log_inconsistent(proxy_id: str, found: list[str]) -> None:
    log.error("the snapshot for %s is refused, the previous one stays: %s", proxy_id, "; ".join(found[:3]))


class Store:
    """The present source of snapshots and the clients that are connected.

    ``counts`` says whether a proxy's refusals do: whoever may take names in which nobody is must not speak for many.

    Level-triggered: a client that is slow finds, when it is ready, the newest snapshot and none of those between.
    """

    def __init__(
        self,
        source: Source,
        *,
        check: Check = problems,
        on_inconsistent: Callable[[str, list[str]], None] = _log_inconsistent,
        on_condemned: Callable[[list[str]], None] = lambda groups: None,
    ) -> None:
        self._check = check
        self._source, self._on_inconsistent, self._on_condemned = source, on_inconsistent, on_condemned
        self.counts: Callable[[Proxy], bool] = lambda proxy: True
        self.clients: dict[str, Client] = {}
        self.settled = asyncio.Condition()
        self.waiting = 0  # how many wait on it
        self.generation = 0
        self.tally = NackTally()
        self._changed: frozenset[str] = frozenset()
        self._looked_at: set[str] = set()
        self._services_of: dict[frozenset[str], frozenset[ServiceName]] = {}

    def join(self, stream: Stream, proxy: Proxy) -> Client:
        """Add a stream that has introduced itself; its proxy gets the newest snapshot."""
        client = self.clients.get(proxy.id)
        if client is None:
            client = self.clients[proxy.id] = Client(proxy)
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

    def sidecars(self) -> dict[ContainerName, frozenset[ServiceName]]:
        """Return Istio's proxies by their workload ids, and the services whose endpoints each subscribes to now.

        In Kubernetes a workload id is the name of the pod's container in the mesh. Proxies with the same subscriptions
        have the same object, the same as the last time.
        O(proxies + subscriptions of those that said something since).
        """
        found: dict[ContainerName, frozenset[ServiceName]] = {}
        for client in self.clients.values():
            if client.proxy.is_istio:
                services = client.services(self._read)
                name = ContainerName(client.proxy.workload_id)
                known = found.get(name)
                found[name] = services if known is None else known | services
        return found

    def _read(self, names: frozenset[str]) -> frozenset[ServiceName]:
        """Return the services of istiod's clusters among these."""
        known = self._services_of.get(names)
        if known is None:
            if len(self._services_of) > MOST_ALIKE:
                self._services_of.clear()
            found = frozenset(one.service for one in map(istio_cluster, names) if one is not None)
            known = self._services_of[names] = found
        return known

    def apply(self, source: Source, *, only: Iterable[str] | None = None, changed: Iterable[str] = ()) -> Change:
        """Replace the source, and wake the clients whose snapshot is another now.

        From here on every stream that opens sees the new source. ``only`` names the workloads that can have changed, if
        the caller knows; ``changed`` the groups (service ports) that have. A proxy that the source does not know, or
        whose new snapshot would break its traffic, keeps what it has.
        """
        self._source = source
        self.generation += 1
        self._changed = frozenset(changed)
        self.tally.changed(self._changed)
        if len(self._looked_at) > MOST_LOOKED_AT:
            self._looked_at.clear()
        now_s = time.monotonic()
        touched = None if only is None else frozenset(only)
        for client in self.clients.values():
            if touched is None or client.proxy.workload_id in touched:
                client.is_stale = True
                client.changed_at_s = client.changed_at_s or now_s
                client.wake()
        return Change(self, self.generation)

    def refresh(self, client: Client) -> Snapshot | None:
        """Return what a client should have by the present source; computed when it is asked for, not when it changed.

        So a change costs each client's work only when its stream is ready to write, however many changes there were.
        """
        if client.is_stale:
            client.is_stale = False
            new = self._source(client.proxy)
            if new is not None and new is not client.snapshot:
                new = self._consistent(client, _reusing(new, client.snapshot))
                if new is not None:
                    client.replace_snapshot(new)
        return client.snapshot

    def _consistent(self, client: Client, new: Snapshot) -> Snapshot | None:
        """Return ``new``, or None where it would break traffic: then the client keeps what it has."""
        client.refused = self._check(new, client.snapshot, looked_at=self._looked_at)
        if not client.refused:
            return new
        self._on_inconsistent(client.proxy.id, client.refused)
        return None

    def note_sent(self, proxy: Proxy, resources: Iterable[Resource]) -> None:
        """Count who is sent which service's change."""
        if self._changed and self.counts(proxy):
            self.tally.sent(proxy.id, self._groups(resources))

    def note_refused(self, proxy: Proxy, resources: Iterable[Resource]) -> None:
        """Count a NACK; a service whose change is refused too often is condemned, and the owner of the store told."""
        if not self.counts(proxy):
            return
        condemned = self.tally.refused(proxy.id, self._groups(resources))
        if condemned:
            self._on_condemned(condemned)

    def _groups(self, resources: Iterable[Resource]) -> set[str]:
        """Return the groups of these: by a cluster's name, or else all that changed last (a route names several)."""
        groups: set[str] = set()
        for one in resources:
            group = service_port_of(one.name)
            if group is None:
                return groups | self._changed
            groups.add(group)
        return groups

    async def note_settled(self) -> None:
        """Tell those who wait for ACKs that one came."""
        if self.waiting:
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
        self.store.waiting += 1
        try:
            async with asyncio.timeout(deadline_s), self.store.settled:
                while waiting := {name for name in waiting if not self._has_it(name)}:
                    await self.store.settled.wait()
        except TimeoutError:
            return frozenset(name for name in waiting if not self._has_it(name))
        finally:
            self.store.waiting -= 1
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
