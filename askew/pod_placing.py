"""Where a new pod would be near to whom it talks to: NetMARKS' score from what the control plane knows, in memory."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from allocators.placement import Exchange, attraction, exchange_of, less_crowded, scores_of
from istio.objects import Pod
from mesh.picture import Link
from mesh.topology import ContainerName, Topology

LABELS_OF_SERVICES = ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")


@dataclass(frozen=True, slots=True)
class SchedulerSettings:
    """What kube-scheduler is told about where pods should go."""

    allowed_clients: str = "spiffe://cluster.local/ns/askew-system/sa/askew-scheduler,askew-scheduler.askew-system.svc"
    """URIs and DNS names, commas between: who may ask on the mTLS port. Empty: nobody."""

    crowded_share: float = 1.0
    """A node's score is halved if it holds more than this part of the pod's own siblings; 1 for never (NetMARKS)."""


class PodPlacer:
    """Scores nodes for a pod.

    Parameters
    ----------
    known:
        Returns the present topology and links.
    names_of:
        Returns the services that a pod will belong to, as the topology names them.
    """

    def __init__(
        self,
        known: Callable[[], tuple[Topology, tuple[Link, ...]]],
        *,
        names_of: Callable[[Pod], Iterable[str]],
        crowded_share: float = 1.0,
    ) -> None:
        self._known, self._names_of, self._crowded_share = known, names_of, crowded_share
        self._links: tuple[Link, ...] = ()
        self._exchange: Exchange = {}

    def scores(self, pod: Pod, nodes: Sequence[str]) -> list[int]:
        """Return a score from 0 to 10 for each node; all 0 where nothing is known of whom the pod will talk to.

        What a service exchanged counts for all of its pods alike. O(links, once a tick; then containers of whom the
        pod's services talk to, and nodes).
        """
        topology, links = self._known()
        if links is not self._links:
            self._links, self._exchange = links, exchange_of(links)
        names = sorted(set(self._names_of(pod)))
        partners: defaultdict[str, float] = defaultdict(float)
        for name in names:
            for partner, rate in self._exchange.get(name, {}).items():
                partners[partner] += rate
        former = {pod.name, f"{pod.name}.{pod.namespace}"}
        stand = {partner: _standing(topology, partner, former) for partner in partners}
        raw = attraction(partners, stand)
        scores = scores_of([raw.get(node, 0.0) for node in nodes])
        if self._crowded_share >= 1.0:
            return scores
        siblings = _siblings(topology, names, former)
        return less_crowded(scores, [siblings[node] for node in nodes], share=self._crowded_share)


def names_in_mesh(topology: Topology, pod: Pod) -> list[str]:
    """Return the service of a pod where the mesh comes from a file, which knows no selectors.

    It is the one that has a container of the pod's name, or else the one that a usual label names, or the pod's
    workload (its Deployment), in the pod's namespace.
    """
    container = topology.container_by_name.get(ContainerName(pod.name))
    if container is not None and container.namespace == pod.namespace:
        return [container.service]
    wanted = [*(pod.labels.get(label, "") for label in LABELS_OF_SERVICES), pod.workload]
    known: Iterable[str] = topology.service_by_name
    return [name for one in wanted if one and (name := f"{one}.{pod.namespace}") in known][:1]


def _standing(topology: Topology, service: str, former: set[str]) -> Counter[str]:
    found = topology.service_by_name.get(service)  # type: ignore[call-overload]
    return Counter(one.node for one in found.containers if one.name not in former) if found else Counter()


def _siblings(topology: Topology, names: Iterable[str], former: set[str]) -> Counter[str]:
    """Return how many containers of these services each node holds; one of several services counts once."""
    services = [topology.service_by_name.get(name) for name in names]  # type: ignore[call-overload]
    places = {one.name: one.node for service in services if service for one in service.containers}
    return Counter(node for name, node in places.items() if name not in former)
