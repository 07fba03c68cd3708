"""Which sidecars should come for the endpoints of which steered Services, which came, and which are missing. Pure.

A sidecar may well have no cluster of a Service: a Sidecar resource keeps it from it. So one is missed on evidence only:
its workload is known to call the Service, or another sidecar of its workload has come for it. Of the rest nobody knows,
and they are not missed. That a pod has come counts until it is another pod; that its sidecar is away later is another
matter.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache

from istio.cluster import Cluster
from istio.objects import INJECTED, Key
from istio.service_piece import name_of
from mesh.topology import ContainerName, ServiceName

MOST_SETS = 10_000
NONE: frozenset[ServiceName] = frozenset()


@dataclass(frozen=True, slots=True)
class SidecarPod:
    """A pod with a sidecar: which one of its name, and since when it is ready (seconds since the epoch), if it is."""

    uid: str
    ready_since_s: float | None


@dataclass(frozen=True)
class Present:
    """What is known at one moment.

    Attributes
    ----------
    pods:
        The pods whose sidecars our EnvoyFilters concern.
    homes:
        The service of each client container.
    callers:
        Of each Service those that are known to call it.
    asked:
        The services that each sidecar subscribes to, whichever replica it came to.
    """

    pods: Mapping[ContainerName, SidecarPod] = field(default_factory=dict)
    homes: Mapping[ContainerName, ServiceName] = field(default_factory=dict)
    callers: Mapping[ServiceName, Collection[ServiceName]] = field(default_factory=dict)
    asked: Mapping[ContainerName, frozenset[ServiceName]] = field(default_factory=dict)


@dataclass(slots=True)
class Counted:
    """Of one Service, among the sidecars that are ready: those that should come, those that have come, the others."""

    expected: int = 0
    came: int = 0
    others: int = 0


@dataclass(frozen=True, slots=True)
class _Pod:
    name: ContainerName
    uid: str
    ready_since_s: float | None
    asked: frozenset[ServiceName]
    came: frozenset[ServiceName]


class RollCall:
    """``look`` again and again; then ask.

    ``handed`` is who came for which Service as another leader knew it.
    """

    def __init__(self, handed: Mapping[ServiceName, frozenset[ContainerName]] | None = None) -> None:
        self.steered = NONE
        self._pods: dict[ContainerName, _Pod] = {}
        self._ready_of: dict[ServiceName, list[_Pod]] = {}
        self._callers: Mapping[ServiceName, Collection[ServiceName]] = {}
        self._same: dict[frozenset[ServiceName], frozenset[ServiceName]] = {}
        self._handed: dict[ContainerName, frozenset[ServiceName]] = {}
        for service, names in (handed or {}).items():
            for name in names:
                self._handed[name] = self._handed.get(name, NONE) | {service}

    def look(self, now: Present, steered: frozenset[ServiceName]) -> None:
        """Take in who is there and who has come; of Services that are not ``steered`` nothing is kept. O(pods)."""
        is_other = steered != self.steered
        if is_other or len(self._same) > MOST_SETS:
            self.steered, self._same = steered, {}
        joined = cache(lambda before, asked: self._once((before | asked) & steered))  # the same few, again and again
        pods: dict[ContainerName, _Pod] = {}
        ready_of: defaultdict[ServiceName, list[_Pod]] = defaultdict(list)
        for name, one in now.pods.items():
            asked = now.asked.get(name, NONE)
            known = self._pods.get(name)
            if known is None or known.uid != one.uid:  # or another pod of its name
                came = joined(self._handed.get(name, NONE), asked)
            elif is_other or known.asked is not asked:
                came = joined(known.came, asked)
            else:
                came = known.came
            pods[name] = pod = _Pod(name, one.uid, one.ready_since_s, asked, came)
            if one.ready_since_s is not None and name in now.homes:
                ready_of[now.homes[name]].append(pod)
        self._pods, self._ready_of, self._callers = pods, dict(ready_of), now.callers
        self._handed = {}

    def _once(self, services: frozenset[ServiceName]) -> frozenset[ServiceName]:
        """Return the one object of this value: most sidecars have come for the same."""
        return self._same.setdefault(services, services)

    def came_for(self, services: Collection[ServiceName]) -> dict[ServiceName, frozenset[ContainerName]]:
        """Return who has come for each of these Services. O(pods · services)."""
        return {
            service: frozenset(pod.name for pod in self._pods.values() if service in pod.came) for service in services
        }

    def absent_callers(self, service: ServiceName, *, since_s: float) -> tuple[ContainerName, ...]:
        """Return the sidecars of known callers that were ready at ``since_s``, are now, and have not come, by name."""
        ready = (pod for caller in self._callers.get(service, ()) for pod in self._ready_of.get(caller, ()))
        return tuple(sorted(pod.name for pod in ready if service not in pod.came and _since(pod) <= since_s))

    def missing(self, *, since_s: float) -> dict[ServiceName, tuple[ContainerName, ...]]:
        """Return of each steered Service the sidecars that should have come and have not, ready since ``since_s``.

        O(pods + calls), where the sidecars of a workload came for the same.
        """
        found: defaultdict[ServiceName, list[ContainerName]] = defaultdict(list)
        called = self._called()
        for home, pods in self._ready_of.items():
            wanted = self._wanted(called.get(home, NONE), pods)
            late = [pod for pod in pods if pod.came is not wanted and _since(pod) <= since_s]
            for name, service in ((pod.name, service) for pod in late for service in wanted - pod.came):
                found[service].append(name)
        return {service: tuple(sorted(names)) for service, names in found.items()}

    def counts(self) -> dict[ServiceName, Counted]:
        """Return the figures of each steered Service. O(pods + different sets of Services)."""
        called, ready = self._called(), 0
        came, expected = Counter[frozenset[ServiceName]](), Counter[frozenset[ServiceName]]()
        for home, pods in self._ready_of.items():
            ready += len(pods)
            expected[self._wanted(called.get(home, NONE), pods)] += len(pods)
            came.update(pod.came for pod in pods)
        found = {service: Counted(others=ready) for service in sorted(self.steered)}
        for services, number in came.items():
            for service in services:
                found[service].came += number
        for services, number in expected.items():
            for service in services:
                found[service].expected += number
                found[service].others -= number
        return found

    def _called(self) -> dict[ServiceName, frozenset[ServiceName]]:
        called: defaultdict[ServiceName, set[ServiceName]] = defaultdict(set)
        for service in self.steered & self._callers.keys():
            for caller in self._callers[service]:
                called[caller].add(service)
        return {caller: frozenset(services) for caller, services in called.items()}

    def _wanted(self, called: frozenset[ServiceName], pods: list[_Pod]) -> frozenset[ServiceName]:
        return self._once(called.union(*{id(pod.came): pod.came for pod in pods}.values()))


def _since(pod: _Pod) -> float:
    return pod.ready_since_s or 0.0


def sidecar_pods(cluster: Cluster, *, gateways: bool) -> dict[ContainerName, SidecarPod]:
    """Return the pods with Istio's sidecar, ``gateways`` too if ours are steered. O(pods).

    One on a node that is not ready, or that the API does not know, is as little ready.
    """
    nodes = {name for name, node in cluster.nodes.items() if node.ready}
    return {
        name_of(key): SidecarPod(pod.uid, pod.ready_since_s if pod.node in nodes else None)
        for key, pod in cluster.pods.items()
        if INJECTED in pod.annotations and not pod.ended and (gateways or not pod.is_gateway)
    }


def ready_replicas(cluster: Cluster, service: Key) -> frozenset[str]:
    """Return the names of the pods that are ready endpoints of a Service. O(its endpoints)."""
    ends = (end for one in cluster.slices_of(service) for end in one.endpoints)
    return frozenset(end.pod[1] for end in ends if end.pod is not None and end.ready and not end.terminating)
