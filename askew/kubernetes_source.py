"""A Kubernetes cluster as a source: watched objects in, a topology out whenever it is another one.

The last topology stays while the API server is away. Nothing is handed on before every kind of object is known once.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from askew.errors import CommandError
from askew.mesh_source import SourceStatus
from istio.client import KubernetesClient, connect
from istio.cluster import Cluster
from istio.errors import CannotConnectError
from istio.extender import selects
from istio.kinds import CORE_KINDS, ISTIO_KINDS, Kind
from istio.objects import Key, Pod, Pruned
from istio.preflight import Finding
from istio.service_piece import TopologySettings
from istio.settings import KubernetesSettings
from istio.topology import TopologyBuilder
from istio.wanted import needing_bootstrap
from istio.watch import ClusterWatch, Reflector, Timing
from mesh.topology import ServiceName, Topology

log = logging.getLogger(__name__)
AS_ISTIO_INSTALLS = TopologySettings()
SYSTEM_TIMING = Timing(time.monotonic, asyncio.sleep, random.SystemRandom().random)
STILL_NEEDED = (
    "{} pods name the ConfigMap askew-bootstrap, which istio.mode does not keep any more: they cannot start without it."
    " Take sidecar.istio.io/bootstrapOverride off them, restart them, then delete it (askew istio remove does)"
)


class KubernetesSource:
    """Hands a new topology to ``on_change`` whenever the cluster has another one."""

    def __init__(
        self,
        settings: KubernetesSettings,
        seen_as: TopologySettings = AS_ISTIO_INSTALLS,
        *,
        timing: Timing = SYSTEM_TIMING,
    ) -> None:
        self._settings, self._timing = settings, timing
        self.on_change: Callable[[Topology], None] = lambda topology: None
        self.on_error: Callable[[], None] = lambda: None
        self.on_seen: Callable[[], None] = lambda: None  # something was other than before, were it but a refusal
        self.on_objects: Callable[[], None] = lambda: None  # some object was other, also where the topology is not
        self.topology: Topology | None = None
        self.findings: Mapping[ServiceName, tuple[Finding, ...]] = {}
        self.check_page: Callable[[], dict[str, Any]] = dict  # whether sidecars come for what is steered
        self.keeps_bootstrap = False  # whether the mode is the one that keeps the ConfigMap of pods' bootstraps
        self.cluster = Cluster()
        self.client: KubernetesClient | None = None
        self._status = SourceStatus("kubernetes", settings.api_server or settings.kubeconfig or "in-cluster")
        self._builder = TopologyBuilder(self.cluster, seen_as)
        self._changed = asyncio.Event()
        self._watch = ClusterWatch(())
        self._watching: asyncio.Task[None] | None = None

    @property
    def status(self) -> SourceStatus:
        """What ``/debug/sourcez`` tells: not well as long as any kind is not."""
        errors = [f"{one.kind}: {one.error}" for one in self.kinds() if one.error]
        self._status.error = "; ".join(errors[:3])
        return self._status

    async def start(self) -> None:
        """Connect and wait until the cluster is known. Raises CommandError where there is no configuration of one."""
        try:
            self.client = await connect(self._settings)
        except CannotConnectError as error:
            raise CommandError(str(error)) from error
        self._watch = ClusterWatch(self._reflector(self.client, kind) for kind in (*CORE_KINDS, *ISTIO_KINDS))
        self._watching = asyncio.create_task(self._watch.run(), name="kubernetes-watch")
        synced = asyncio.create_task(self._watch.synced(), name="kubernetes-sync")
        try:
            await asyncio.wait((synced, self._watching), return_when=asyncio.FIRST_COMPLETED)
        finally:
            synced.cancel()
            with suppress(asyncio.CancelledError):
                await synced
        self._build()

    async def run(self) -> None:
        """Build the topology anew after changes, until cancelled or the watch fails."""
        assert self._watching is not None
        while True:
            changed = asyncio.create_task(self._changed.wait(), name="kubernetes-changed")
            try:
                await asyncio.wait((changed, self._watching), return_when=asyncio.FIRST_COMPLETED)
            finally:
                changed.cancel()
            if self._watching.done():
                return self._watching.result()
            self._changed.clear()
            topology, findings = self.topology, self.findings
            self._build()
            if self.topology is not None and self.topology is not topology:
                self.on_change(self.topology)
            self.on_objects()
            if self.topology is not topology or self.findings != findings:
                self.on_seen()
            # A rollout is a stream of events: leave the loop to others between two builds, at most this often.
            await self._timing.sleep(self._settings.build_pause_s)

    async def stop(self) -> None:
        """End the watch and the connections."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait((self._watching,))
        if self.client is not None:
            await self.client.close()

    def page(self) -> dict[str, Any]:
        """Return what ``/debug/sourcez`` adds: each kind of object, and what stands against annotated Services."""
        now_s = self._timing.now_s()
        kinds = [
            {
                "kind": one.kind, "synced": one.synced, "installed": not one.absent, "objects": one.objects,
                "lists": one.lists, "watches": one.watches, "failures": one.failures,
                "heard_s_ago": round(now_s - one.heard_s, 1) if one.synced and not one.absent else None,
                "error": one.error,
            }
            for one in self.kinds()
        ]  # fmt: skip
        return {
            "kinds": kinds,
            "still_need_bootstrap": {} if self.keeps_bootstrap else self._need_bootstrap(),
            "findings": {name: [str(one) for one in found] for name, found in self.findings.items()},
        } | self.check_page()

    def _need_bootstrap(self) -> dict[str, str]:
        needing = needing_bootstrap(self.cluster)
        return {namespace: STILL_NEEDED.format(needing[namespace]) for namespace in sorted(needing)}

    def services_of_new(self, pod: Pod) -> list[str]:
        """Return what the topology calls a pod that does not run yet: Services that select it, and its workload.

        O(Services).
        """
        selecting = [f"{one.name}.{one.namespace}" for one in self.cluster.services.values() if selects(one, pod)]
        return [*selecting, f"workload:{pod.workload}.{pod.namespace}"]

    def kinds(self) -> list[Any]:
        """Return the status of each kind that is watched."""
        return [reflector.status for reflector in self._watch.reflectors]

    def _reflector(self, client: KubernetesClient, kind: Kind) -> Reflector:
        return Reflector(
            client,
            kind,
            self._settings,
            timing=self._timing,
            on_change=self._take,
            on_absent=self._take_absent,
            on_error=lambda: self.on_error(),
        )

    def _take(self, kind: Kind, key: Key, new: Pruned | None) -> None:
        self.cluster.put(kind, key, new)
        self._changed.set()

    def _take_absent(self, kind: Kind, absent: bool) -> None:
        self.cluster.set_absent(kind, absent=absent)
        self._changed.set()

    def _build(self) -> None:
        seen = self._builder.build()
        for name, found in seen.findings.items():
            if found != self.findings.get(name):
                log.warning("%s: %s", name, "; ".join(map(str, found)))
        self.topology, self.findings = seen.topology, seen.findings
        self._status.loads += 1
        self._status.loaded_at_s = time.time()
