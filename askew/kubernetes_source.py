"""A cluster as a source: watch it, build the topology when it rests, keep the last one while the API is away."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from askew.mesh_source import SourceStatus
from istio.client import KubernetesClient
from istio.cluster import Cluster
from istio.kinds import CORE_KINDS, ISTIO_KINDS, Kind
from istio.objects import Key, Pruned
from istio.service_piece import TopologySettings
from istio.settings import KubernetesSettings
from istio.topology import Seen, TopologyBuilder
from istio.watch import ClusterWatch, Reflector, Timing
from mesh.topology import Topology

GATHER_S = 0.02  # events that come together make one topology


class KubernetesSource:
    """Hands a new topology to ``on_change`` whenever the cluster says another one; ``on_seen`` hears of refusals, too.

    ``start`` first: it lists all kinds, so that ``load`` has a whole topology. ``stop`` at the end.
    """

    def __init__(self, client: KubernetesClient, settings: KubernetesSettings, look: TopologySettings) -> None:
        self.cluster = Cluster()
        self.seen = Seen()
        self.topology: Topology | None = None
        self.status = SourceStatus("kubernetes", settings.api_server or "the cluster")
        self.on_change: Callable[[Topology], None] = lambda topology: None
        self.on_error: Callable[[], None] = lambda: None
        self.on_seen: Callable[[], None] = lambda: None
        self._builder = TopologyBuilder(self.cluster, look)
        self._dirty = asyncio.Event()
        timing = Timing(time.monotonic, asyncio.sleep, random.random)
        self._watch = ClusterWatch(
            Reflector(
                client,
                kind,
                settings,
                timing=timing,
                on_change=self._changed,
                on_absent=self._absent,
                on_error=self._failed,
            )
            for kind in (*CORE_KINDS, *ISTIO_KINDS)
        )
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to watch, and wait until every kind has been listed."""
        self._watching = asyncio.create_task(self._watch.run(), name="watch-cluster")
        await self._watch.synced()

    async def stop(self) -> None:
        """End all watches."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait((self._watching,))

    def load(self) -> Topology:
        """Return the present topology."""
        self._build()
        assert self.topology is not None
        return self.topology

    async def run(self) -> None:
        """Build anew after every change, until cancelled. What ends the watches ends this, too."""
        assert self._watching is not None
        while True:
            changed = asyncio.create_task(self._dirty.wait(), name="cluster-changed")
            try:
                await asyncio.wait((changed, self._watching), return_when=asyncio.FIRST_COMPLETED)
            finally:
                changed.cancel()
            if self._watching.done():
                return self._watching.result()
            await asyncio.sleep(GATHER_S)
            before, seen = self.topology, self.seen
            self._build()
            if self.topology is not None and self.topology is not before:
                self.on_change(self.topology)
            if self.seen is not seen:
                self.on_seen()

    def _build(self) -> None:
        self._dirty.clear()
        self.seen = self._builder.build()
        if self.seen.topology != self.topology:
            self.topology = self.seen.topology
        self.status.loads += 1
        self.status.loaded_at_s = time.time()

    def _changed(self, kind: Kind, key: Key, new: Pruned | None) -> None:
        self.cluster.put(kind, key, new)
        self._dirty.set()

    def _absent(self, kind: Kind, absent: bool) -> None:
        self.cluster.set_absent(kind, absent=absent)
        self._dirty.set()

    def _failed(self) -> None:
        self.status.refusals += 1
        self.on_error()
