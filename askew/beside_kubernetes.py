"""The composition root of ``askew serve --kubernetes``: read it from top to bottom."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from askew.control_plane import ControlPlane
from askew.guard import guarded
from askew.kubernetes_source import SYSTEM_TIMING, KubernetesSource
from askew.node_agents import NodeAgents
from askew.replication.replicas import Replicas
from askew.replication.wire import Decided
from askew.settings import ServeSettings
from askew.sidecar_check import SidecarCheck
from askew.token_access import token_check
from istio.agent_pods import AgentPods
from istio.cluster import Cluster
from istio.errors import SourceUnavailableError
from istio.events import ServiceTeller
from istio.integration import Integration
from istio.lease import LeaderElection, LeaseSettings
from istio.move_advice import MoveAdvisor
from istio.node_containers import node_lists, runtime_id_of
from istio.objects import Key, Pod
from istio.service_piece import TopologySettings
from istio.steering import Desired, Steering
from istio.token_reviews import TokenReviews
from istio.wanted import least_request, sidecar_namespaces, wanted_objects
from mesh.topology import ServiceName, Topology

SELF_CHECK_S = 1.0
ADVISE_AGAIN_S = 10.0


class BesideKubernetes:
    """One replica: watches a cluster, serves its sidecars, and keeps our objects in it."""

    def __init__(self, settings: ServeSettings) -> None:
        self.settings = settings
        self.plane: ControlPlane | None = None
        self.steering: Steering | None = None
        self._changed = asyncio.Event()
        self.check: SidecarCheck | None = None
        self._applied: frozenset[ServiceName] = frozenset()
        self._untold = asyncio.Event()

    async def run(self, *, on_ready: Callable[[], None] = lambda: None) -> None:
        """Serve until cancelled. Raises CommandError where there is no cluster to connect to, or a port is taken.

        The xDS port opens when the whole cluster has been seen, so that no sidecar is told that it has no endpoints;
        nothing is written to the cluster before it is open.
        """
        settings = self.settings
        source = KubernetesSource(settings.kubernetes, topology_settings(settings))
        source.keeps_bootstrap = settings.istio.mode == "bootstrap"
        reviews = TokenReviews(
            lambda token: _review(source, token, audience=settings.istio.token_audience),
            audience=settings.istio.token_audience,
        )
        plane = self.plane = ControlPlane(source, settings, check_token=token_check(reviews))
        plane.replicas = replicas = Replicas(
            settings.replication, settings.xds, plane.xds_metrics, on_decided=self._follow
        )
        check = self.check = SidecarCheck(plane, source, settings)
        source.check_page, replicas.check = check.page, check.memory
        plane.registry.register(check)
        is_open = asyncio.Event()
        serving = asyncio.create_task(plane.run(on_ready=is_open.set), name="control-plane")
        try:
            await _either(is_open, serving)
            assert source.client is not None
            await replicas.start()
            await self._act_as_one(plane, source, replicas, serving, on_ready)
        finally:
            # Last: the lease is given back, and the objects are left in order, over the source's connection.
            serving.cancel()
            await asyncio.wait((serving,))
            await reviews.close()

    async def _act_as_one(
        self,
        plane: ControlPlane,
        source: KubernetesSource,
        replicas: Replicas,
        serving: asyncio.Task[None],
        on_ready: Callable[[], None],
    ) -> None:
        """Stand for election, follow who leads, and write what the leader writes, as long as the plane serves."""
        assert source.client is not None
        election = LeaderElection(
            source.client,
            lease_settings(self.settings, replicas.identity),
            timing=SYSTEM_TIMING,
            on_change=lambda leads: self._leadership_changed(leads=leads),
        )
        teller = ServiceTeller(source.client, election)
        self.steering = Steering(
            source.client,
            self.settings.istio,
            lambda: desired(plane, source, self.settings.istio, left_alone=self._check().check.unheard),
            as_leader=election.as_leader,
            on_done=self._note_applied,
        )
        source.on_seen = plane.on_plan = self.steering.note_change
        replicas.take_part(election)
        agents = plane.agents
        agents.lists, agents.as_leader = lambda: node_lists(source.cluster), election.as_leader
        agents.links.name_of = lambda name: runtime_id_of(source.cluster, name)
        source.on_objects = agents.note_change
        advisor = MoveAdvisor(source.client, election)
        async with asyncio.TaskGroup() as parts:
            parts.create_task(_wait_for(serving), name="control-plane-serves")
            parts.create_task(guarded("replicas", replicas.run()), name="replicas")
            parts.create_task(guarded("steering", self._steer_while_leading(election)), name="steering")
            parts.create_task(guarded("self-check", self._check_itself()), name="self-check")
            parts.create_task(guarded("telling", self._keep_told(source, teller)), name="telling")
            parts.create_task(guarded("election", election.run()), name="election")
            advising = advise_of_moves(agents, advisor, lambda: source.cluster.pods)
            parts.create_task(guarded("move advice", advising), name="move-advice")
            on_ready()

    def _leadership_changed(self, *, leads: bool) -> None:
        assert self.plane is not None
        assert self.plane.replicas is not None
        self._check().leadership_changed(leads=leads)
        self.plane.replicas.leadership_changed(leads)
        self._changed.set()
        if leads:
            self.plane.lead()
        self.plane.agents.note_change()

    def _follow(self, decided: Decided) -> None:
        assert self.plane is not None
        self._check().take(decided)
        self.plane.follow(decided)

    async def _note_applied(self, applied: frozenset[ServiceName]) -> None:
        """Take in what is in the cluster. It waits for nobody: the next look may have to take something back."""
        assert self.steering is not None
        self._check().applied(applied)
        if self._look_for_sidecars():
            self.steering.note_change()
        self._applied = applied
        self._untold.set()

    async def _keep_told(self, source: KubernetesSource, teller: ServiceTeller) -> None:
        """Bring conditions and Events of the annotated Services up to date after each look, until cancelled."""
        while True:
            await self._untold.wait()
            self._untold.clear()
            topology, services, check = source.topology or Topology(), source.cluster.services.values(), self._check()
            await teller.step(services, topology, source.findings, applied=self._applied, check=check.check)
            await teller.tell_missing(services, check.missing)

    async def _check_itself(self) -> None:
        """Have it told, until cancelled, where sidecars do not come for what they should, or come at last."""
        assert self.steering is not None
        while True:
            await asyncio.sleep(SELF_CHECK_S)
            if self._look_for_sidecars():
                self.steering.note_change()

    def _look_for_sidecars(self) -> bool:
        """Return whether another Service is without sidecars that come for it."""
        return self._check().look(written=frozenset() if self.steering is None else self.steering.written)

    def _check(self) -> SidecarCheck:
        assert self.check is not None
        return self.check

    async def _steer_while_leading(self, election: LeaderElection) -> None:
        """Write our objects while we lead, and stop at once when another may."""
        assert self.steering is not None
        while True:
            self._changed.clear()
            self.steering.note_change()
            if not election.is_leader:
                await self._changed.wait()
                continue
            steering = asyncio.create_task(self.steering.run(), name="steering-while-leading")
            try:
                await _either(self._changed, steering)
            finally:
                steering.cancel()
                await asyncio.wait((steering,))


async def _review(source: KubernetesSource, token: str, *, audience: str) -> Mapping[str, Any]:
    """Ask the API server for a token, over the connection that the source has."""
    if source.client is None:
        raise SourceUnavailableError("tokens: there is no connection to the API server yet")
    return await source.client.review_token(token, audience=audience)


async def advise_of_moves(agents: NodeAgents, advisor: MoveAdvisor, pods: Callable[[], Mapping[Key, Pod]]) -> None:
    """Tell of the agents' wishes in the cluster, until cancelled; what could not be told is told later."""
    while True:
        agents.wished.clear()
        open_wishes = await advisor.step(agents.wishes(), pods())
        with suppress(TimeoutError):
            async with asyncio.timeout(ADVISE_AGAIN_S if open_wishes else None):
                await agents.wished.wait()


async def _wait_for(task: asyncio.Task[None]) -> None:
    """Wait for a task without taking it along when cancelled."""
    await asyncio.shield(task)


async def _either(event: asyncio.Event, task: asyncio.Task[None]) -> None:
    """Return when the event is set, or raise what ends the task before."""
    waiting = asyncio.create_task(event.wait())
    try:
        await asyncio.wait((waiting, task), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    if task.done():
        task.result()


def topology_settings(settings: ServeSettings) -> TopologySettings:
    """Return how a cluster's objects are read."""
    label, _, value = settings.nodes.agent_label.partition("=")
    return TopologySettings(
        cluster_domain=settings.istio.cluster_domain,
        root_namespace=settings.istio.root_namespace,
        cluster_id=settings.kubernetes.cluster_id,
        programming="istio-native" if settings.istio.mode == "native" else "endpoint-weights",
        agents=AgentPods(settings.watchdog.namespace, label, value, settings.nodes.agent_port),
    )


def lease_settings(settings: ServeSettings, identity: str) -> LeaseSettings:
    """Return which lease the replicas hold an election by."""
    replication = settings.replication
    return LeaseSettings(
        identity=identity,
        namespace=settings.watchdog.namespace,
        name=replication.lease,
        lease_s=replication.lease_s,
        renew_deadline_s=replication.renew_deadline_s,
        retry_s=replication.retry_s,
    )


def others_than_least_request(
    cluster: Cluster, topology: Topology, to: Integration
) -> Mapping[ServiceName, tuple[str, ...]]:
    """Return the managed Services of which not all clusters are balanced by LEAST_REQUEST, with those that are."""
    managed = [service.name for service in topology.services if service.policy.managed]
    return least_request(cluster, managed, cluster_domain=to.cluster_domain)


def desired(
    plane: ControlPlane, source: KubernetesSource, to: Integration, *, left_alone: frozenset[ServiceName]
) -> Desired:
    """Return what the cluster should hold of ours, by what was seen and planned last; nothing for ``left_alone``."""
    topology = source.topology or Topology()
    others = others_than_least_request(source.cluster, topology, to)
    clients = sidecar_namespaces(source.cluster) if to.mode == "bootstrap" else ()
    return Desired(
        wanted_objects(to, topology, plane.plan, least_request=others, left_alone=left_alone, client_namespaces=clients)
    )
