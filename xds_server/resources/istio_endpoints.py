"""EDS for the clusters that istiod gave its sidecars: an answer for every name, at once.

istiod keeps clusters, listeners and routes; of the clusters of annotated Services we are only asked for the endpoints,
by names that istiod made up (``outbound|9080|v2|reviews.default.svc.cluster.local``). A name that is not answered
would leave a cluster warming, and with it a whole new pod; so each is answered when it is asked for, also a Service
that we do not steer: all its ready endpoints with equal weights, which is what istiod would give.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from mesh.plan import Plan, ServicePlan
from mesh.standby import standbys
from mesh.topology import Container, Service, ServicePort, Topology
from xds_server.resources.endpoints import HEAVIEST
from xds_server.resources.istio_frame import IstioFrame
from xds_server.resources.names import EDS, IstioCluster, istio_cluster
from xds_server.resources.service_piece import PlannedWeights
from xds_server.resources.wire import text_field
from xds_server.snapshot import Resource, Snapshot, resource

_CLA_CLUSTER_NAME = 1

MOST_STRANGERS = 10_000
"""Sidecars that the topology does not know whose answers are kept; more of them, and all of theirs are made anew."""
MOST_INVENTED = 1_000
"""Names beyond those of all clusters that a sidecar is answered: subsets that nobody defines yet, odd spellings."""


class IstioEndpoints:
    """The endpoints of Istio's clusters, by one topology and one plan.

    Parameters
    ----------
    predecessor:
        The one before: answers that cannot have changed are taken over from it.
    pinned:
        Service ports that are answered by an earlier one, because proxies refused the present answers.
    """

    def __init__(
        self,
        topology: Topology,
        plan: Plan,
        *,
        predecessor: IstioEndpoints | None = None,
        pinned: Mapping[ServicePort, IstioEndpoints] | None = None,
    ) -> None:
        self.topology, self.plan = topology, plan
        self.pinned = dict(pinned or {})
        self._frames: dict[IstioCluster, IstioFrame] = {}
        self._earlier_frames: dict[IstioCluster, IstioFrame] = {}
        self._planned: dict[IstioCluster, PlannedWeights] = {}
        self._plain: dict[str, Resource] = {}
        self._answers: dict[str, Answers] = {}
        self._before: dict[str, Answers] = {}
        self._most_names = 0
        # Shared by all that follow each other: a proxy that nothing has changed for keeps its old snapshot, but what it
        # asks for from now on is answered by the newest.
        self._newest: list[IstioEndpoints] = predecessor._newest if predecessor is not None else []
        self._newest[:] = [self]
        if predecessor is None:
            return
        self._before = {**predecessor._before, **predecessor._answers}
        if predecessor.topology is topology and predecessor.pinned == self.pinned:
            self._frames, self._planned = predecessor._frames, predecessor._planned
            self._earlier_frames, self._most_names = predecessor._earlier_frames, predecessor._most_names
        else:
            self._earlier_frames = {
                cluster: frame
                for cluster, frame in (predecessor._earlier_frames | predecessor._frames).items()
                if cluster.service in topology.service_by_name
            }
        known = topology.container_by_proxy_id
        self._before = {proxy: answers for proxy, answers in self._before.items() if proxy in known}

    @property
    def most_names(self) -> int:
        """How many names there are that a sidecar can ask for with good reason, and some more. O(clusters) once."""
        if not self._most_names:
            self._most_names = sum(1 for _ in self._clusters()) + MOST_INVENTED
        return self._most_names

    def preparing(self) -> Iterator[None]:
        """Make ahead, one cluster a step, what an answer to any client is made of. A step is O(its endpoints).

        Who asks before the last step is answered all the same, only later.
        """
        for cluster in self._clusters():
            service = self.topology.service_by_name[cluster.service]
            plan = self.plan.services.get(ServicePort(cluster.service, cluster.port))
            self._frame(cluster, service).equal_groups  # noqa: B018 - computed once, when it is looked at
            if plan is not None:
                self._weights(cluster, service, plan)
            yield

    def _clusters(self) -> Iterator[IstioCluster]:
        for service in self.topology.services:
            subsets = ("", *self.topology.istio.subsets.get(service.name, ()))
            yield from (IstioCluster(service.name, port.number, one) for port in service.ports for one in subsets)

    def snapshot(self, proxy: str) -> Snapshot:
        """Return what a sidecar of Istio's may ask us for; the same object until something has changed.

        ``proxy`` is ``<pod>.<namespace>``; one that the topology does not know gets equal weights.
        """
        answers = self._answers.get(proxy)
        if answers is None:
            if len(self._answers) >= len(self.topology.container_by_proxy_id) + MOST_STRANGERS:
                known = self.topology.container_by_proxy_id
                self._answers = {name: one for name, one in self._answers.items() if name in known}
            earlier = self._before.pop(proxy, None)
            answers = self._answers[proxy] = Answers(self._newest, proxy, {} if earlier is None else earlier.made)
        return answers.snapshot

    def answer(self, proxy: str, name: str, earlier: Answer | None) -> Answer | None:
        """Return a cluster's endpoints for a sidecar, or None: gone, and the sidecar should keep what it has.

        ``earlier`` is what it was answered before, None for a name that it asks for the first time.
        """
        cluster = istio_cluster(name)
        service = None if cluster is None else self.topology.service_by_name.get(cluster.service)
        if cluster is None or service is None or all(port.number != cluster.port for port in service.ports):
            # Told once that there is nothing, it stops waiting. Who has endpoints of a Service that has just gone
            # keeps them until istiod takes the cluster away.
            return None if earlier is not None and not earlier.is_stranger else _nothing(name)
        service_port = ServicePort(cluster.service, cluster.port)
        pinned = self.pinned.get(service_port)
        if pinned is not None:
            return pinned.answer(proxy, name, earlier)
        plan = self.plan.services.get(service_port)
        if earlier is not None and earlier.topology is self.topology and earlier.plan is plan:
            return earlier
        if cluster.subset not in self.topology.istio.subsets.get(service.name, ()):
            cluster = cluster._replace(subset="")  # nobody defines it: it is the whole Service, and kept once
        one = self._steered(proxy, name, cluster, service, plan) if plan is not None else None
        return Answer(one or self._plain_of(name, cluster, service), self.topology, plan)

    def _steered(
        self, proxy: str, name: str, cluster: IstioCluster, service: Service, plan: ServicePlan
    ) -> Resource | None:
        """Return the plan's weights; None where the plan says nothing of this client and these endpoints."""
        client = self.topology.container_by_proxy_id.get(proxy)
        if client is None or not plan.applied or plan.programming == "istio-native":
            return None
        frame = self._frame(cluster, service)
        row = self._weights(cluster, service, plan).row(client.name)
        if not any(row):
            return None
        spares = self._spares(client, frame, row) if name in self.topology.istio.ejecting else []
        body, load = frame.assignment(name, _not_all_equal(row), spares)
        return resource(EDS, name, body, load=load)

    def _plain_of(self, name: str, cluster: IstioCluster, service: Service) -> Resource:
        one = self._plain.get(name)
        if one is None:
            frame = self._frame(cluster, service)
            groups, load = frame.equal_groups
            body = text_field(_CLA_CLUSTER_NAME, name) + groups
            if len(self._plain) >= self.most_names:
                self._plain.clear()
            # A subset of which no endpoint is ready is empty at istiod's, too.
            one = self._plain[name] = resource(EDS, name, body, may_be_empty=not frame.names, load=load)
        return one

    def _weights(self, cluster: IstioCluster, service: Service, plan: ServicePlan) -> PlannedWeights:
        planned = self._planned.get(cluster)
        if planned is None or planned.plan is not plan:
            planned = self._planned[cluster] = PlannedWeights(plan, self._frame(cluster, service))
        return planned

    def _frame(self, cluster: IstioCluster, service: Service) -> IstioFrame:
        frame = self._frames.get(cluster)
        if frame is None:
            facts = self.topology.istio
            members = [
                container
                for container in service.containers
                if facts.is_in_subset(container.name, service.name, cluster.subset)
            ]
            frame = self._earlier_frames.pop(cluster, None)
            if frame is None or not frame.is_right_for(self.topology, members, facts):
                frame = IstioFrame(self.topology, members, cluster.port, facts)
            self._frames[cluster] = frame
        return frame

    def _spares(self, client: Container, frame: IstioFrame, row: list[int]) -> list[int]:
        used = [container for container, weight in zip(frame.containers, row, strict=True) if weight]
        chosen = standbys(self.topology, client, frame.containers, used=used)
        return [frame.position[container.name] for container in chosen]


class Answer(NamedTuple):
    """What was answered, and by what: while those are the same, the answer is, too."""

    resource: Resource
    topology: Topology | None = None
    plan: ServicePlan | None = None

    @property
    def is_stranger(self) -> bool:
        """Whether it says that nothing is known of the name."""
        return self.topology is None


class Answers(Mapping[str, Resource]):
    """One sidecar's endpoints, made when they are asked for; iterates over those that were."""

    def __init__(self, newest: list[IstioEndpoints], proxy: str, earlier: Mapping[str, Answer]) -> None:
        self._newest, self._proxy, self._earlier = newest, proxy, earlier
        self.made: dict[str, Answer] = {}
        self.snapshot = Snapshot({EDS: self})

    def __getitem__(self, name: str) -> Resource:
        found = self.made.get(name)
        if found is None:
            newest, earlier = self._newest[0], self._earlier.get(name)
            too_many = earlier is None and len(self.made) >= newest.most_names
            found = _nothing(name) if too_many else newest.answer(self._proxy, name, earlier)
            if found is None:
                raise KeyError(name)
            if found.is_stranger:
                return found.resource  # made anew whenever it is asked for: names can be invented without end
            self.made[name] = found
        return found.resource

    def __iter__(self) -> Iterator[str]:
        return iter(list(self.made))

    def __len__(self) -> int:
        return len(self.made)

    # Two of them are alike only while neither is asked for more, which nobody can know.
    __eq__ = object.__eq__
    __hash__ = object.__hash__


def _nothing(name: str) -> Answer:
    return Answer(resource(EDS, name, text_field(_CLA_CLUSTER_NAME, name), may_be_empty=True))


def _not_all_equal(row: list[int]) -> list[int]:
    """Return the weights with one of them a ten-thousandth lighter, if all are the same.

    Envoy's LEAST_REQUEST makes two random choices where all weights are equal, whatever its bias; where they differ,
    and with the bias 0, it follows the weights.
    """
    used = [p for p, weight in enumerate(row) if weight]
    if len(used) < 2 or len({row[p] for p in used}) > 1:
        return row
    changed = row.copy()
    changed[used[-1]] = max(1, HEAVIEST - 1)
    for p in used[:-1]:
        changed[p] = HEAVIEST
    return changed
