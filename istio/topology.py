"""A cluster's objects as a topology. Pure: the same objects give the same topology, in whatever order they came.

``TopologyBuilder`` keeps the pieces of Services that no change concerns; ``topology_of`` builds all anew.
In Kubernetes a pod's name is unique in its namespace only, so a container is named ``<pod>.<namespace>``. A pod that
serves several Services is a client once, under its home Service; one that serves none is one of its workload's,
``workload:<name>.<namespace>``, which has no port.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from istio.agent_pods import agent_addresses
from istio.cluster import Cluster
from istio.destination_rules import RuleIndex
from istio.objects import NETWORK, Key, Pod, VirtualService
from istio.objects import Node as KubernetesNode
from istio.peer_authentication import MtlsModes
from istio.preflight import Finding
from istio.service_piece import (
    Piece,
    Surroundings,
    TopologySettings,
    client_of_workload,
    name_of,
    service_piece,
)
from mesh.istio_facts import EndpointFacts, IstioFacts
from mesh.topology import Container, ContainerName, Node, NodeName, Service, ServiceName, Topology

ZONE = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")
REGION = ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region")
SUBZONE = ("topology.istio.io/subzone",)


@dataclass(frozen=True)
class Seen:
    """A topology, and what stands against steering the Services that ask for it."""

    topology: Topology = field(default_factory=Topology)
    findings: Mapping[ServiceName, tuple[Finding, ...]] = field(default_factory=dict)


class TopologyBuilder:
    """Builds a cluster's topology again and again; what no change concerns is taken over."""

    def __init__(self, cluster: Cluster, settings: TopologySettings) -> None:
        self._cluster, self._settings = cluster, settings
        self._pieces: dict[Key, Piece] = {}
        self._idle: dict[Key, tuple[Pod, Surroundings, Container]] = {}
        self._around: Surroundings | None = None
        self._seen = Seen()

    def build(self) -> Seen:
        """Return the present state, the same object while nothing has changed.

        O(endpoints of the Services that changes concern, plus Services and pods).
        """
        stale, pods = self._cluster.take_stale()
        if self._around is not None and stale is not None and not stale and not pods:
            return self._seen
        return self.rebuild(stale)

    def rebuild(self, stale: Iterable[Key] | None = None) -> Seen:
        """Look at the Services in ``stale`` again, at everything where it is None; return the state."""
        if stale is None or self._around is None:
            self._around = surroundings(self._cluster, self._settings)
            stale = self._cluster.services.keys() | self._pieces.keys()
        for key in stale:
            service = self._cluster.services.get(key)
            if service is None:
                self._pieces.pop(key, None)
                continue
            piece = service_piece(self._cluster, service, self._around)
            if piece != self._pieces.get(key):  # the old one stays, for whoever compares by identity
                self._pieces[key] = piece
        seen = self._assembled(self._around)
        if seen != self._seen:
            self._seen = seen
        return self._seen

    def _assembled(self, around: Surroundings) -> Seen:
        pieces = [self._pieces[key] for key in sorted(self._pieces)]
        services = [piece.service for piece in pieces]
        services += self._workloads(services, around)
        facts: dict[ContainerName, EndpointFacts] = {}
        zones: dict[NodeName, str] = {}
        for piece in pieces:
            facts |= piece.facts
            zones |= piece.zones
        istio = IstioFacts(
            endpoints=facts,
            subsets={piece.service.name: piece.subsets for piece in pieces if piece.subsets},
            ejecting=frozenset().union(*(piece.ejecting for piece in pieces)),
        )
        agents = agent_addresses(self._cluster, self._settings.agents)
        nodes = _places(services, around, zones, agents)
        topology = Topology(nodes=nodes, services=tuple(services), istio=istio)
        return Seen(topology, {piece.service.name: piece.findings for piece in pieces if piece.findings})

    def _workloads(self, services: Sequence[Service], around: Surroundings) -> list[Service]:
        """Return the pods that no Service has as clients, grouped by workload."""
        housed = {one.name for service in services for one in service.containers if one.is_client}
        groups: defaultdict[ServiceName, list[Container]] = defaultdict(list)
        idle: dict[Key, tuple[Pod, Surroundings, Container]] = {}
        for key, pod in self._cluster.pods.items():
            if not pod.addresses or not pod.node or not around.steers(pod) or name_of(key) in housed:
                continue
            name = ServiceName(f"workload:{pod.workload}.{pod.namespace}")
            known = self._idle.get(key)
            if known is None or known[0] is not pod or known[1] is not around:
                known = (pod, around, client_of_workload(pod, name, around))
            idle[key] = known
            groups[name].append(known[2])
        self._idle = idle
        return [
            Service(name=name, containers=tuple(sorted(groups[name], key=lambda one: one.name)))
            for name in sorted(groups)
        ]


def topology_of(cluster: Cluster, settings: TopologySettings) -> Seen:
    """Return the topology of a cluster, built from nothing. O(objects · log)."""
    return TopologyBuilder(cluster, settings).rebuild()


def surroundings(cluster: Cluster, settings: TopologySettings) -> Surroundings:
    """Return what concerns all Services alike."""
    routes: defaultdict[str, list[VirtualService]] = defaultdict(list)
    for key in sorted(cluster.virtual_services):
        one = cluster.virtual_services[key]
        for host in one.hosts:
            full = host if "." in host else f"{host}.{one.namespace}.svc.{settings.cluster_domain}"
            routes[full].append(one)
    root = cluster.namespaces.get(settings.root_namespace)
    networks = {service.labels[NETWORK] for service in cluster.services.values() if service.labels.get(NETWORK)}
    if root is not None and root.labels.get(NETWORK):
        networks.add(root.labels[NETWORK])
    return Surroundings(
        settings=settings,
        nodes={NodeName(name): _place(node) for name, node in cluster.nodes.items()},
        rules=RuleIndex(cluster.destination_rules.values(), settings.cluster_domain),
        routes={host: tuple(found) for host, found in routes.items()},
        mtls=MtlsModes(cluster.peer_authentications.values(), settings.root_namespace),
        networks=frozenset(networks),
        has_istio=cluster.has_istio,
    )


def _place(node: KubernetesNode) -> Node:
    def first(keys: tuple[str, ...]) -> str:
        return next((node.labels[key] for key in keys if node.labels.get(key)), "")

    return Node(NodeName(node.name), zone=first(ZONE), region=first(REGION), subzone=first(SUBZONE))


def _places(
    services: Iterable[Service], around: Surroundings, zones: Mapping[NodeName, str], agents: Mapping[NodeName, str]
) -> tuple[Node, ...]:
    """Return the nodes by name: the API's, and those that containers stand on before the API has told of them."""
    nodes = dict(around.nodes)
    for service in services:
        for container in service.containers:
            if container.node not in nodes:
                nodes[container.node] = Node(container.node, zone=zones.get(container.node, ""))
    nodes |= {name: replace(nodes[name], agent=address) for name, address in agents.items() if name in nodes}
    return tuple(nodes[name] for name in sorted(nodes))
