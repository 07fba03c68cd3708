"""Whether sidecars come for what we steer: what one replica sees, what others tell it, and what became of it.

The leader judges (``istio/self_check.py``, ``istio/roll_call.py``); the others tell it within a second who has come to
them, and hear what it knows, so that each of them can go on from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from askew.control_plane import ControlPlane
from askew.kubernetes_source import KubernetesSource
from askew.replication.asked import services_of
from askew.replication.wire import Decided
from askew.settings import ServeSettings
from estimators.known_calls import seen_callers
from istio.roll_call import Present, RollCall, ready_replicas, sidecar_pods
from istio.self_check import RECONNECT_S, SOME_BEGIN, CheckMemory, SelfCheck, limit_s
from istio.wanted import is_native
from mesh.topology import ContainerName, ServiceName, Topology

REST_S = 5.0
"""Between two looks while nothing is on trial."""
FRESH_S = 60.0
"""What was handed over counts for this long: a lease is gone for up to 15 s, and ticks are 5 s apart."""
MOST_NAMES = 20


class SidecarCheck(Collector):
    """``look`` every second. ``applied``, ``leadership_changed`` and ``take`` tell it what it cannot see."""

    def __init__(
        self,
        plane: ControlPlane,
        source: KubernetesSource,
        settings: ServeSettings,
        *,
        now_s: Callable[[], float] = time.monotonic,
        epoch_s: Callable[[], float] = time.time,
    ) -> None:
        self._plane, self._source, self._settings = plane, source, settings
        self._now_s, self._epoch_s = now_s, epoch_s
        self._limit_s = limit_s(settings.istio.initial_fetch_timeout_s)
        self._handed: tuple[float, CheckMemory] | None = None
        self._homes: tuple[Topology, dict[ContainerName, ServiceName]] = Topology(), {}
        self._begin(CheckMemory())

    def _begin(self, handed: CheckMemory) -> None:
        now_s, epoch_s = self._now_s(), self._epoch_s()
        self.check = SelfCheck(self._limit_s, handed, now_s=now_s, epoch_s=epoch_s)
        self._roll = RollCall(handed.came)
        self._applied: frozenset[ServiceName] | None = None
        self.silent: frozenset[str] = frozenset()
        self._looked_s = self._counted_s = now_s - REST_S
        self.missing: dict[ServiceName, tuple[ContainerName, ...]] = {}

    def leadership_changed(self, *, leads: bool) -> None:
        """Begin where the last leader was, if we have heard it lately; or keep for ourselves where we are."""
        if not leads:
            self._handed = self._now_s(), self.memory()
            self._begin(CheckMemory())
        elif self._handed is not None and self._now_s() - self._handed[0] < FRESH_S:
            self._begin(self._handed[1])
        else:
            self._begin(CheckMemory())

    def take(self, decided: Decided) -> None:
        """Keep what the leader knows."""
        if decided.check is not None:
            self._handed = self._now_s(), decided.check

    @property
    def heard(self) -> CheckMemory:
        """What was handed over last, to us or by ourselves."""
        return CheckMemory() if self._handed is None else self._handed[1]

    def memory(self) -> CheckMemory:
        """Return what another leader should go on from."""
        return self.check.memory(self._roll.came_for)

    def applied(self, services: frozenset[ServiceName]) -> None:
        """Note for which Services our filters are in the cluster, as was just seen."""
        self._applied = services

    def look(self, *, written: frozenset[ServiceName]) -> bool:
        """Return whether somebody, or nobody, came for another Service; the leader knows of all.

        ``written`` are the Services whose filters we wrote ourselves. O(pods + calls).
        """
        replicas, applied = self._plane.replicas, self._applied
        if replicas is None:
            return False
        if not replicas.leads:
            replicas.follower_side.note_asked(self._plane.store.sidecars())
            return False
        topology, now_s = self._source.topology or Topology(), self._now_s()
        wanted = self._wanted(topology)
        needs = applied is not None and (self.check.needs(wanted, applied) or now_s - self._looked_s >= REST_S)
        if applied is None or not needs:
            return False
        self._looked_s = now_s
        watchdog, cluster = self._settings.watchdog, self._source.cluster
        self.silent = replicas.silent(ready_replicas(cluster, (watchdog.namespace, watchdog.service)))
        asked = replicas.asked(self._plane.store.sidecars())
        present = Present(
            pods=sidecar_pods(cluster, gateways=self._settings.istio.gateways == "steer"),
            homes=self._homes_in(topology),
            callers=seen_callers(topology, self._plane.memory.calls),
            asked=asked,
        )
        self._roll.look(present, frozenset(wanted) & applied)
        epoch_s = self._epoch_s()
        changed = self.check.look(
            wanted,
            applied,
            services_of(asked) | replicas.leader_side.services(),
            now_s=now_s,
            inherited=applied - written,
            absent=lambda service, age_s: self._roll.absent_callers(service, since_s=epoch_s - age_s),
            silent_replicas=self.silent,
        )
        return self._count_missing(now_s, epoch_s) or changed

    def _count_missing(self, now_s: float, epoch_s: float) -> bool:
        """Return whether a Service is missed by somebody that was by nobody before, or the reverse."""
        # Who came to a replica that is not heard is not known: it stays as it was.
        if self.silent or now_s - self._counted_s < REST_S:
            return False
        self._counted_s = now_s
        before, long_s = self.missing.keys(), self._limit_s + RECONNECT_S
        old = self.check.settled(since_s=now_s - long_s)
        found = self._roll.missing(since_s=epoch_s - long_s)
        self.missing = {service: found[service] for service in sorted(found.keys() & old)}
        return before != self.missing.keys()

    def _wanted(self, topology: Topology) -> list[ServiceName]:
        return [
            service.name
            for service in topology.services
            if service.policy.managed
            and not is_native(self._settings.istio, service)
            and topology.clients_of[service.name]
        ]

    def _homes_in(self, topology: Topology) -> dict[ContainerName, ServiceName]:
        if self._homes[0] is not topology:
            containers = topology.container_by_name.values()
            self._homes = topology, {one.name: one.service for one in containers if one.is_client}
        return self._homes[1]

    def page(self) -> dict[str, Any]:
        """Return what ``/debug/sourcez`` adds."""
        said = {name: self.check.why(name) for name in sorted(self.check.unheard)}
        return {
            "waiting_for_sidecars": sorted(self.check.waiting),
            "no_sidecar_came": {name: why for name, why in said.items() if not why.startswith(SOME_BEGIN)},
            "sidecars_did_not_come": {name: why for name, why in said.items() if why.startswith(SOME_BEGIN)},
            "replicas_not_heard": sorted(self.silent),
            "sidecars": {
                name: {
                    "expected": one.expected,
                    "came": one.came,
                    "missing": list(self.missing.get(name, ())[:MOST_NAMES]),
                    "missing_in_all": len(self.missing.get(name, ())),
                    "others": one.others,
                }
                for name, one in self._roll.counts().items()
            },
        }

    def collect(self) -> Iterator[Metric]:
        """Yield the metric; only the leader has series, one for each steered Service."""
        found = GaugeMetricFamily(
            "askew_sidecars_missing",
            "Ready sidecars that should take a Service's endpoints from us and have never asked for them.",
            labels=["service"],
        )
        for service in sorted(self._roll.steered):
            found.add_metric([service], len(self.missing.get(service, ())))
        yield found
