"""Whether an annotated Service can be steered, and if not, why: what was found, and what is allowed. Pure.

A refused Service is left to Istio as if it had no annotation; an Event and a condition say what is found here. The
names of the traps are those of ``docs/istio.md``.
Sources: Istio's endpoint building and cluster conversion (headless and DNS clusters are not EDS; HBONE and
multi-network endpoints need addresses that only istiod knows); Envoy docs, load balancers (which ones heed weights).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from istio.destination_rules import LEAST_REQUEST, clashing_subsets, cluster_policies
from istio.objects import NETWORK, DestinationRule, EndpointSlice, Namespace, Pod, Service, VirtualService
from mesh.errors import one_line, shown
from mesh.policy import PREFIX, Policy

CLUSTERS = "topology.istio.io/controlPlaneClusters"
SLICE_CONTROLLERS = ("", "endpointslice-controller.k8s.io")
HEEDING_WEIGHTS = (*LEAST_REQUEST, "ROUND_ROBIN")
ROUTING = PREFIX + "routing"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that stands against steering a Service; one that does not ``refuse`` is only told."""

    trap: str
    subject: str
    found: str
    allowed: str
    refuses: bool = True

    def __str__(self) -> str:
        return one_line(f"{self.trap}: {self.subject}: found {self.found}, allowed: {self.allowed}")


@dataclass(frozen=True, slots=True)
class View:
    """All that a check may look at: the Service and what belongs to it. ``pods`` are those of its endpoints."""

    service: Service
    policy: Policy
    namespace: Namespace
    pods: Sequence[Pod] = ()
    slices: Sequence[EndpointSlice] = ()
    rules: Sequence[DestinationRule] = ()
    virtual_services: Sequence[VirtualService] = ()
    networks: frozenset[str] = frozenset()
    """Of the mesh: what its root namespace and its gateways between networks say."""
    has_istio: bool = True


def findings(view: View) -> tuple[Finding, ...]:
    """Return everything that stands against steering, in the order of the checks. O(pods + rules)."""
    return tuple(finding for check in _CHECKS for finding in check(view))


def _kind_of_service(view: View) -> Iterator[Finding]:
    service = view.service
    subject = "spec.type"
    if service.type == "ExternalName":
        yield Finding("external-name", subject, "ExternalName", "a Service with a cluster IP: this one is a DNS name")
        return
    if service.cluster_ip == "None":
        yield Finding("headless", "spec.clusterIP", "None", "a Service with a cluster IP: sidecars do not balance here")
    if not service.has_selector:
        yield Finding("no-selector", "spec.selector", "nothing", "a selector: its endpoints are not the cluster's")
    if not any(port.protocol == "TCP" for port in service.ports):
        yield Finding("no-tcp-port", "spec.ports", "no TCP port", "at least one: Istio passes UDP and SCTP by")


def _kept_together(view: View) -> Iterator[Finding]:
    """What promises a client that it comes to a certain endpoint."""
    service = view.service
    if service.session_affinity == "ClientIP":
        yield Finding("session-affinity", "spec.sessionAffinity", "ClientIP", "None: shares move clients")
    stateful = sorted(pod.workload for pod in view.pods if pod.workload_kind == "StatefulSet")
    if stateful:
        allowed = "pods of equal rank: those of a StatefulSet have names and state of their own"
        yield Finding("stateful-set", "endpoints", f"pods of StatefulSet {stateful[0]}", allowed)
    if service.publishes_not_ready:
        subject = "spec.publishNotReadyAddresses"
        yield Finding("publish-not-ready", subject, "true", "false: only ready endpoints get shares")


def _other_locality_rules(view: View) -> Iterator[Finding]:
    service = view.service
    settings = [
        ("traffic-distribution", "spec.trafficDistribution", service.traffic_distribution, ("",)),
        ("internal-traffic-policy", "spec.internalTrafficPolicy", service.internal_traffic_policy, ("", "Cluster")),
    ]
    settings += [
        (
            "topology-annotation",
            f"metadata.annotations[{key}]",
            service.annotations.get(key, ""),
            ("", "Disabled", "disabled"),
        )
        for key in (
            "service.kubernetes.io/topology-mode",
            "service.kubernetes.io/topology-aware-hints",
            "networking.istio.io/traffic-distribution",
        )
    ]
    for trap, subject, value, harmless in settings:
        if value not in harmless:
            allowed = f"not beside {ROUTING}: both would say which endpoints are near"
            yield Finding(trap, subject, value, allowed)


def _ambient(view: View) -> Iterator[Finding]:
    """HBONE endpoints need an inner address and tunnel metadata that only istiod gives."""
    places = [("namespace", view.namespace.labels), ("service", view.service.labels)]
    places += [(f"pod {pod.name}", pod.labels) for pod in view.pods]
    for subject, labels in places:
        if labels.get("istio.io/dataplane-mode") == "ambient":
            yield Finding("ambient", f"{subject} label", "istio.io/dataplane-mode=ambient", "sidecars only")
            return
        if labels.get("istio.io/use-waypoint", "none") != "none" and subject in ("namespace", "service"):
            yield Finding("ambient", f"{subject} label", "istio.io/use-waypoint", "sidecars only: no waypoint")
            return
    for pod in view.pods:
        if pod.annotations.get("ambient.istio.io/redirection") == "enabled":
            yield Finding("ambient", f"pod {pod.name}", "ambient.istio.io/redirection=enabled", "sidecars only")
            return


def _far_places(view: View) -> Iterator[Finding]:
    networks = set(view.networks) | {pod.labels[NETWORK] for pod in view.pods if pod.labels.get(NETWORK)}
    if view.namespace.labels.get(NETWORK):
        networks.add(view.namespace.labels[NETWORK])
    if len(networks) > 1:
        found = "networks " + ", ".join(sorted(networks))
        yield Finding("multi-network", f"label {NETWORK}", found, "one network: others are reached over gateways")
    clusters = view.namespace.annotations.get(CLUSTERS, "")
    shared = view.service.labels.get("istio.io/global") == "true"
    foreign = sorted({one.managed_by for one in view.slices if one.managed_by not in SLICE_CONTROLLERS})
    if foreign or shared or clusters:
        found = f"EndpointSlices of {foreign[0]}" if foreign else "istio.io/global=true" if shared else clusters
        yield Finding("multi-cluster", "endpoints", found, "one cluster: endpoints of others are not seen here")


def _host_network(view: View) -> Iterator[Finding]:
    on_host = sorted(pod.name for pod in view.pods if pod.host_network)
    if on_host:
        allowed = "pods with an address of their own: sidecars do not capture the host's network"
        yield Finding("host-network", f"pod {on_host[0]}", "hostNetwork: true", allowed)


def _balancers(view: View) -> Iterator[Finding]:
    told: set[tuple[str, str]] = set()
    for rule in view.rules:
        subject = f"DestinationRule {rule.namespace}/{rule.name}"
        for _, _, policy in cluster_policies(view.service, [rule]):
            balancer = policy.balancer
            if balancer not in HEEDING_WEIGHTS and (subject, balancer) not in told:
                told.add((subject, balancer))
                trap = "consistent-hash" if balancer == "consistentHash" else "balancer"
                yield Finding(trap, subject, balancer, "LEAST_REQUEST or ROUND_ROBIN: others do not heed weights")
            if policy.distributes and (subject, "locality") not in told:
                told.add((subject, "locality"))
                allowed = f"not beside {ROUTING}: both would say which endpoints are near"
                yield Finding("locality-setting", subject, "localityLbSetting with distribute or failover", allowed)
    for name in clashing_subsets(view.rules):
        allowed = "one meaning for all clients: endpoints are chosen without regard to the client's namespace"
        yield Finding("clashing-subsets", f"subset {name}", "two DestinationRules with other labels", allowed)


def _programming(view: View) -> Iterator[Finding]:
    subject = f"metadata.annotations[{PREFIX}programming]"
    programming = view.policy.programming
    if programming == "weighted-clusters" and view.has_istio:
        allowed = "endpoint-weights or istio-native: routes and clusters are istiod's"
        yield Finding("programming", subject, "weighted-clusters", allowed)
    if programming == "istio-native":
        others = [f"DestinationRule {rule.namespace}/{rule.name}" for rule in view.rules]
        others += [f"VirtualService {one.namespace}/{one.name}" for one in view.virtual_services]
        if others:
            yield Finding("rules-of-others", subject, others[0], "no rules for this host: Istio honours one of each")


def _ports(view: View) -> Iterator[Finding]:
    """A named ``targetPort`` that some pods do not have puts them into slices of their own, without that port."""
    wanted = {port.name for port in view.service.ports if port.protocol == "TCP"}
    offered = [frozenset(name for name, _ in one.ports) & wanted for one in view.slices if one.endpoints]
    somewhere = frozenset().union(*offered)
    for names in offered:
        for name in sorted(somewhere - names):
            found = "endpoints that do not have it"
            yield Finding("port-missing", f"port {shown(name)}", found, "the same ports on all endpoints")
            return


_CHECKS: tuple[Callable[[View], Iterator[Finding]], ...] = (
    _kind_of_service,
    _kept_together,
    _other_locality_rules,
    _ambient,
    _far_places,
    _host_network,
    _balancers,
    _programming,
    _ports,
)
