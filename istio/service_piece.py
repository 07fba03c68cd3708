"""One Service's part of a topology: its noun, its endpoints, what Istio knows of them, what stands against it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from istio.agent_pods import AgentPods
from istio.cluster import Cluster
from istio.destination_rules import RuleIndex, ejecting_clusters, host_of, subset_labels
from istio.endpoints import Ready, ready_endpoints
from istio.objects import INJECTED, EndpointSlice, Key, Namespace, Pod, Service, Strings, VirtualService
from istio.peer_authentication import MtlsModes
from istio.preflight import Finding, View, findings
from istio.protocols import protocol_of
from mesh.errors import BadInputError, shown
from mesh.istio_facts import EndpointFacts
from mesh.policy import PREFIX, UNMANAGED, Policy, Traits, parse_namespace_mode, parse_policy, parse_traits, stricter
from mesh.topology import Container, ContainerName, Node, NodeName, Port, ServiceName
from mesh.topology import Service as MeshService

TLS_MODE = "security.istio.io/tlsMode"
LOOPBACK = "127.0.0.1"
"""Where our own sidecar listens in a pod, which it shares with its app."""


@dataclass(frozen=True, slots=True)
class TopologySettings:
    """What the objects do not say."""

    cluster_domain: str = "cluster.local"
    root_namespace: str = "istio-system"
    cluster_id: str = "Kubernetes"
    """Istio's own name of this cluster, for telemetry."""
    programming: Literal["endpoint-weights", "istio-native"] = "endpoint-weights"
    """What a Service gets that asks for nothing else; in mode ``native`` no Service can have endpoint weights."""
    agents: AgentPods = field(default_factory=AgentPods)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What concerns all Services alike; made anew when a Node, a Namespace or a rule of Istio's changes."""

    settings: TopologySettings
    nodes: Mapping[NodeName, Node]
    rules: RuleIndex
    routes: Mapping[str, tuple[VirtualService, ...]]
    """VirtualServices by host."""
    mtls: MtlsModes
    networks: frozenset[str]
    has_istio: bool

    def steers(self, pod: Pod) -> bool:
        """Whether a pod's requests can follow us: it has Istio's sidecar, or there is no Istio here."""
        return not pod.ended and (not self.has_istio or INJECTED in pod.annotations)


@dataclass(frozen=True)
class Piece:
    """A Service as the topology has it, with Istio's side of it. ``zones`` are of nodes that only endpoints name."""

    service: MeshService
    facts: Mapping[ContainerName, EndpointFacts] = field(default_factory=dict)
    subsets: Mapping[str, Strings] = field(default_factory=dict)
    ejecting: frozenset[str] = frozenset()
    findings: tuple[Finding, ...] = ()
    zones: Mapping[NodeName, str] = field(default_factory=dict)


def name_of(key: Key) -> ContainerName:
    """Return the name of a pod's container in the mesh: ``<pod>.<namespace>``.

    >>> name_of(("shop", "reviews-0"))
    'reviews-0.shop'
    """
    return ContainerName(f"{key[1]}.{key[0]}")


def service_piece(cluster: Cluster, service: Service, around: Surroundings) -> Piece:
    """Return a Service's part. O(endpoints · log)."""
    key = (service.namespace, service.name)
    slices = cluster.slices_of(key)
    ready = ready_endpoints(service, slices)
    # A slice may be ahead of its pods; without the pod nobody knows whether it takes mTLS. istiod waits for it, too.
    ready = [one for one in ready if one.pod is None or one.pod in cluster.pods] or ready
    pods: Mapping[Key | None, Pod] = {one.pod: pod for one in ready if one.pod and (pod := cluster.pods.get(one.pod))}
    rules = around.rules.of(service)
    policy, found = _policy(cluster, service, around, slices)
    traits, wrong = _traits(pods.values())
    name = ServiceName(f"{service.name}.{service.namespace}")
    containers = tuple(_containers(cluster, service, name, ready, pods, traits, around))
    domain = around.settings.cluster_domain
    return Piece(
        service=MeshService(name=name, ports=_ports(service), policy=policy, containers=containers),
        facts=_facts(containers, ready, pods, around),
        subsets=subset_labels(rules),
        ejecting=frozenset(ejecting_clusters(service, rules, domain)),
        findings=(*found, *wrong) if policy.routing != "off" or found else (),
        zones={NodeName(one.node): one.zone for one in ready if one.zone and one.node not in around.nodes},
    )


def _policy(
    cluster: Cluster, service: Service, around: Surroundings, slices: Sequence[EndpointSlice]
) -> tuple[Policy, tuple[Finding, ...]]:
    """Return what holds: the annotations, unless something stands against them."""
    if not any(key.startswith(PREFIX) for key in service.annotations):
        return UNMANAGED, ()
    namespace = cluster.namespaces.get(service.namespace) or Namespace(service.namespace)
    try:
        policy = parse_policy(service.annotations, path="metadata.annotations")
        mode = parse_namespace_mode(namespace.annotations, path=f"namespace {namespace.name}: metadata.annotations")
    except BadInputError as error:
        return UNMANAGED, (Finding("wrong-annotation", error.path, shown(error.found), error.allowed),)
    policy = replace(policy, mode=stricter(policy.mode, mode))
    if around.has_istio and policy.programming in (None, "endpoint-weights"):
        policy = replace(policy, programming=around.settings.programming)
    if policy.routing == "off" or policy.mode == "off":
        return policy, ()
    keys = {endpoint.pod for one in slices for endpoint in one.endpoints if endpoint.pod}
    view = View(
        service=service,
        policy=policy,
        namespace=namespace,
        pods=[cluster.pods[key] for key in sorted(keys) if key in cluster.pods],
        slices=slices,
        rules=around.rules.of(service),
        virtual_services=around.routes.get(host_of(service, around.settings.cluster_domain), ()),
        networks=around.networks,
        has_istio=around.has_istio,
    )
    found = findings(view)
    if any(one.refuses for one in found):
        return UNMANAGED, found
    return policy, found


def _traits(pods: Iterable[Pod]) -> tuple[dict[Key, Traits], list[Finding]]:
    traits: dict[Key, Traits] = {}
    wrong: list[Finding] = []
    for pod in pods:
        if not any(key.startswith(PREFIX) for key in pod.annotations):
            continue
        try:
            traits[pod.namespace, pod.name] = parse_traits(pod.annotations)
        except BadInputError as error:
            allowed = f"{error.allowed} (the default is used)"
            wrong.append(
                Finding("wrong-annotation", f"pod {pod.name}: {error.path}", shown(error.found), allowed, refuses=False)
            )
    return traits, wrong


def _ports(service: Service) -> tuple[Port, ...]:
    return tuple(
        Port(
            number=port.number,
            protocol=protocol_of(name=port.name, app_protocol=port.app_protocol, number=port.number),
            name=port.name,
        )
        for port in service.ports
        if port.protocol == "TCP"
    )


def _containers(
    cluster: Cluster,
    service: Service,
    name: ServiceName,
    ready: Sequence[Ready],
    pods: Mapping[Key | None, Pod],
    traits: Mapping[Key, Traits],
    around: Surroundings,
) -> Iterator[Container]:
    shared: dict[int, dict[int, int]] = {}  # the endpoints of a slice have one mapping of ports
    for one in ready:
        ports = shared.get(id(one.ports))
        if ports is None:
            ports = shared[id(one.ports)] = {
                port.number: one.ports[port.name]
                for port in service.ports
                if port.protocol == "TCP" and port.name in one.ports
            }
        pod = pods.get(one.pod)
        said = traits.get(one.pod, Traits()) if one.pod else Traits()
        at = name_of(one.pod) if one.pod else ContainerName(f"{one.address}.{service.namespace}")
        is_home = pod is not None and one.pod is not None and home_of(cluster, one.pod) == service.name
        yield Container(
            name=at,
            service=name,
            node=NodeName(one.node),
            address=one.address,
            ports=ports,
            capacity=said.capacity,
            is_client=is_home and pod is not None and around.steers(pod),
            best_effort=said.best_effort,
            proxy=at,
            outbound_address="" if around.has_istio else LOOPBACK,
            service_account="" if pod is None else pod.service_account,
            on_host_network=pod is not None and pod.host_network,
        )


def home_of(cluster: Cluster, pod: Key) -> str:
    """Return the name of the Service under which a pod is a client: the first with a cluster IP, or else the first."""
    served = cluster.services_of(pod)
    if len(served) == 1:
        return next(iter(served))[1]
    known = [cluster.services[key] for key in served if key in cluster.services]
    return min(((one.cluster_ip == "None", one.name) for one in known), default=(False, ""))[1]


def client_of_workload(pod: Pod, service: ServiceName, around: Surroundings) -> Container:
    """Return a pod that serves nobody, as a client."""
    name = name_of((pod.namespace, pod.name))
    return Container(
        name=name,
        service=service,
        node=NodeName(pod.node),
        address=pod.addresses[0],
        proxy=name,
        outbound_address="" if around.has_istio else LOOPBACK,
        service_account=pod.service_account,
        on_host_network=pod.host_network,
    )


def _facts(
    containers: Sequence[Container], ready: Sequence[Ready], pods: Mapping[Key | None, Pod], around: Surroundings
) -> dict[ContainerName, EndpointFacts]:
    if not around.has_istio:
        return {}
    facts: dict[ContainerName, EndpointFacts] = {}
    for container, one in zip(containers, ready, strict=True):
        pod = pods.get(one.pod)
        if pod is not None:
            facts[container.name] = _facts_of(pod, container, around)
    return facts


def _facts_of(pod: Pod, container: Container, around: Surroundings) -> EndpointFacts:
    mode, by_port = around.mtls.of(pod.namespace, pod.labels)
    numbers = frozenset(container.ports.values()) | by_port.keys()
    return EndpointFacts(
        labels=_augmented(pod, around),
        takes_mtls=pod.labels.get(TLS_MODE) == "istio",
        plaintext_ports=frozenset(number for number in numbers if by_port.get(number, mode) == "DISABLE"),
        workload=_workload_text(pod, around.settings.cluster_id),
    )


def _augmented(pod: Pod, around: Surroundings) -> Strings:
    """Return a pod's labels with those that istiod adds to an endpoint (``AugmentLabels``)."""
    node = around.nodes.get(NodeName(pod.node), Node(NodeName(pod.node)))
    added = {
        "kubernetes.io/hostname": pod.node,
        "topology.kubernetes.io/region": node.region,
        "topology.kubernetes.io/zone": node.zone,
        "topology.istio.io/subzone": node.subzone,
        "topology.istio.io/cluster": around.settings.cluster_id,
    }
    return {**pod.labels, **{key: value for key, value in added.items() if value}}


def _workload_text(pod: Pod, cluster_id: str) -> str:
    """Return ``<workload>;<namespace>;<canonical service>;<canonical revision>;<cluster>``, as istiod writes it."""
    labels = pod.labels
    service = next(
        (
            labels[key]
            for key in ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")
            if labels.get(key)
        ),
        pod.workload,
    )
    revision = next(
        (
            labels[key]
            for key in ("service.istio.io/canonical-revision", "app.kubernetes.io/version", "version")
            if labels.get(key)
        ),
        "latest",
    )
    return ";".join((pod.workload, pod.namespace, service, "" if revision == "latest" else revision, cluster_id))
