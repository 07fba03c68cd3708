"""Prune objects to what this room needs, the moment they arrive.

A Pod as the API sends it is 5 to 20 kB of JSON; what is kept is a few hundred bytes. Status heartbeats change nothing
that is kept, so that a pruned object that equals the old one is no news.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from istio.errors import UnreadableAnswerError
from istio.kinds import (
    DESTINATION_RULES,
    ENDPOINT_SLICES,
    NAMESPACES,
    NODES,
    PEER_AUTHENTICATIONS,
    PODS,
    SERVICES,
    VIRTUAL_SERVICES,
    Kind,
)
from istio.objects import (
    BOOTSTRAP_OVERRIDE,
    INJECTED,
    DestinationRule,
    Endpoint,
    EndpointSlice,
    Key,
    Namespace,
    Node,
    PeerAuthentication,
    Pod,
    Pruned,
    Service,
    ServicePort,
    Strings,
    Subset,
    TrafficPolicy,
    VirtualService,
)
from mesh.policy import PREFIX

_OF_PLACES = re.compile(r"topology\.|failure-domain\.")
_RUNTIME_ID = re.compile(r"[a-z][-.a-z0-9]*://([0-9a-f]{12,64})")
DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
PROXIES = ("istio-proxy", "askew-sidecar")
SERVICE_OF_SLICE = "kubernetes.io/service-name"
KEPT_ANNOTATIONS = frozenset(
    (
        "service.kubernetes.io/topology-mode",
        "service.kubernetes.io/topology-aware-hints",
        "networking.istio.io/traffic-distribution",
        "ambient.istio.io/redirection",
        INJECTED,
        BOOTSTRAP_OVERRIDE,
    )
)


def key_of(body: Mapping[str, Any]) -> Key:
    """Return namespace and name of an object. Raises UnreadableAnswerError for what is none."""
    metadata = _mapping(body.get("metadata"))
    if not _text(metadata.get("name")):
        raise UnreadableAnswerError("object: found no metadata.name")
    return _text(metadata.get("namespace")), metadata["name"]


def prune(kind: Kind, body: Mapping[str, Any]) -> Pruned:
    """Return what is needed of an object. O(its size).

    What a CRD's schema would refuse (a string for a mapping) is read as absent: an odd object must not stop a watch.
    """
    metadata = body["metadata"]
    spec, status = _mapping(body.get("spec")), _mapping(body.get("status"))
    return _PRUNERS[kind](_Parts(body, metadata, spec, status, *key_of(body)))


@dataclass(frozen=True, slots=True)
class _Parts:
    body: Mapping[str, Any]
    metadata: Mapping[str, Any]
    spec: Mapping[str, Any]
    status: Mapping[str, Any]
    namespace: str
    name: str

    @property
    def labels(self) -> Strings:
        return _strings(self.metadata.get("labels"))

    @property
    def annotations(self) -> Strings:
        kept = _mapping(self.metadata.get("annotations"))
        return _strings({key: kept[key] for key in kept if key.startswith(PREFIX) or key in KEPT_ANNOTATIONS})


def _namespace(parts: _Parts) -> Namespace:
    return Namespace(parts.name, parts.labels, parts.annotations)


def _node(parts: _Parts) -> Node:
    labels = {key: value for key, value in parts.labels.items() if _OF_PLACES.match(key)}
    return Node(parts.name, labels, ready=_condition(parts, "Ready").get("status", "True") == "True")


def _pod(parts: _Parts) -> Pod:
    annotations = dict(parts.annotations)
    if INJECTED in annotations:
        annotations[INJECTED] = "injected"  # the value is long, and only its being there counts
    workload_kind, workload = _workload(parts)
    addresses = [_mapping(one).get("ip", "") for one in _items(parts.status.get("podIPs"))]
    return Pod(
        namespace=sys.intern(parts.namespace),
        name=parts.name,
        node=sys.intern(_text(parts.spec.get("nodeName"))),
        addresses=tuple(addresses or filter(None, [_text(parts.status.get("podIP"))])),
        labels=parts.labels,
        annotations=annotations,
        service_account=sys.intern(_text(parts.spec.get("serviceAccountName")) or "default"),
        workload=sys.intern(workload),
        workload_kind=workload_kind,
        host_network=parts.spec.get("hostNetwork") is True,
        ended=parts.status.get("phase") in ("Succeeded", "Failed"),
        uid=_text(parts.metadata.get("uid")),
        container_id=_container_id(parts),
        ready_since_s=_ready_since_s(parts),
        is_gateway=_is_gateway(parts),
    )


def _ready_since_s(parts: _Parts) -> float | None:
    """Return when a pod became ready, by its kubelet's clock; None for one that is not, or that is being deleted."""
    ready = _condition(parts, "Ready")
    if ready.get("status") != "True" or parts.metadata.get("deletionTimestamp"):
        return None
    try:
        return datetime.fromisoformat(_text(ready.get("lastTransitionTime"))).timestamp()
    except ValueError:
        return 0.0


def _is_gateway(parts: _Parts) -> bool:
    """Whether Istio's proxy is there as a gateway or waypoint: its arguments say so (``proxy router``)."""
    containers = map(_mapping, _items(parts.spec.get("containers")))
    arguments = (_items(one.get("args")) for one in containers if one.get("name") == PROXIES[0])
    return any("router" in one or "waypoint" in one for one in arguments)


def _condition(parts: _Parts, kind: str) -> Mapping[str, Any]:
    found = map(_mapping, _items(parts.status.get("conditions")))
    return next((one for one in found if one.get("type") == kind), {})


def _container_id(parts: _Parts) -> str:
    """Return the runtime's id of the app's container: the one that kubectl means, or the first that is no proxy.

    Istio writes the annotation when it injects its sidecar. Sidecars in ``initContainers`` are never the app.
    """
    names = [_text(_mapping(one).get("name")) for one in _items(parts.spec.get("containers"))]
    meant = _text(_mapping(parts.metadata.get("annotations")).get(DEFAULT_CONTAINER))
    app = meant if meant in names else next((name for name in names if name not in PROXIES), "")
    for one in map(_mapping, _items(parts.status.get("containerStatuses"))):
        if one.get("name") == app and "running" in _mapping(one.get("state")):
            found = _RUNTIME_ID.fullmatch(_text(one.get("containerID")))
            return found[1] if found else ""
    return ""


def _workload(parts: _Parts) -> tuple[str, str]:
    """Return the kind and name of what the pod is one of, as istiod names it: a ReplicaSet is its Deployment."""
    owners = [_mapping(one) for one in _items(parts.metadata.get("ownerReferences"))]
    owner = next((one for one in owners if one.get("controller") is True), None)
    if owner is None:
        return "Pod", parts.name
    kind, name = _text(owner.get("kind")), _text(owner.get("name"))
    template = parts.labels.get("pod-template-hash", "")
    if kind == "ReplicaSet" and template and name.endswith("-" + template):
        return "Deployment", name.removesuffix("-" + template)
    return kind, name


def _service(parts: _Parts) -> Service:
    spec = parts.spec
    ports = [
        ServicePort(
            number=_number(port.get("port")),
            name=_text(port.get("name")),
            protocol=_text(port.get("protocol")) or "TCP",
            app_protocol=_text(port.get("appProtocol")),
        )
        for port in map(_mapping, _items(spec.get("ports")))
    ]
    conditions = [
        (one["type"], _text(one.get("status")), _text(one.get("reason")), _text(one.get("message")))
        for one in map(_mapping, _items(parts.status.get("conditions")))
        if _text(one.get("type")).startswith(PREFIX)
    ]
    return Service(
        namespace=parts.namespace,
        name=parts.name,
        uid=_text(parts.metadata.get("uid")),
        type=_text(spec.get("type")) or "ClusterIP",
        cluster_ip=_text(spec.get("clusterIP")),
        ip_families=tuple(map(str, _items(spec.get("ipFamilies")))),
        ports=tuple(ports),
        has_selector=bool(spec.get("selector")),
        selector=_strings(spec.get("selector")),
        labels=parts.labels,
        annotations=parts.annotations,
        session_affinity=_text(spec.get("sessionAffinity")),
        publishes_not_ready=spec.get("publishNotReadyAddresses") is True,
        internal_traffic_policy=_text(spec.get("internalTrafficPolicy")),
        traffic_distribution=_text(spec.get("trafficDistribution")),
        conditions=tuple(conditions),
    )


def _slice(parts: _Parts) -> EndpointSlice:
    labels = parts.labels
    ports = [_mapping(port) for port in _items(parts.body.get("ports"))]
    return EndpointSlice(
        namespace=parts.namespace,
        name=parts.name,
        service=sys.intern(labels.get(SERVICE_OF_SLICE, "")),
        family=_text(parts.body.get("addressType")),
        ports=tuple((_text(port.get("name")), port["port"]) for port in ports if isinstance(port.get("port"), int)),
        endpoints=tuple(_endpoint(_mapping(one)) for one in _items(parts.body.get("endpoints"))),
        managed_by=labels.get("endpointslice.kubernetes.io/managed-by", ""),
    )


def _endpoint(one: Mapping[str, Any]) -> Endpoint:
    """Read an endpoint; a condition that is not there means ready, serving, and not terminating."""
    conditions, target = _mapping(one.get("conditions")), _mapping(one.get("targetRef"))
    ready = conditions.get("ready") is not False
    pod = None
    if target.get("kind") == "Pod":
        pod = sys.intern(_text(target.get("namespace"))), _text(target.get("name"))
    return Endpoint(
        addresses=tuple(map(str, _items(one.get("addresses")))),
        ready=ready,
        serving=ready if conditions.get("serving") is None else conditions["serving"] is True,
        terminating=conditions.get("terminating") is True,
        node=sys.intern(_text(one.get("nodeName"))),
        zone=sys.intern(_text(one.get("zone"))),
        pod=pod,
    )


def _destination_rule(parts: _Parts) -> DestinationRule:
    subsets = [
        Subset(
            name=_text(one.get("name")),
            labels=_strings(one.get("labels")),
            policy=_traffic_policy(one["trafficPolicy"]) if one.get("trafficPolicy") else None,
        )
        for one in map(_mapping, _items(parts.spec.get("subsets")))
    ]
    return DestinationRule(
        namespace=parts.namespace,
        name=parts.name,
        host=_text(parts.spec.get("host")),
        policy=_traffic_policy(parts.spec.get("trafficPolicy")),
        subsets=tuple(subsets),
        labels=parts.labels,
        for_some_clients=bool(_mapping(parts.spec.get("workloadSelector")).get("matchLabels")),
    )


def _traffic_policy(value: object) -> TrafficPolicy:
    policy = _mapping(value)
    balancer = _mapping(policy.get("loadBalancer"))
    locality = _mapping(balancer.get("localityLbSetting"))
    ports = [
        (_number(_mapping(one.get("port")).get("number")), _traffic_policy(one))
        for one in map(_mapping, _items(policy.get("portLevelSettings")))
    ]
    return TrafficPolicy(
        balancer="consistentHash" if balancer.get("consistentHash") else _text(balancer.get("simple")),
        ejects="outlierDetection" in policy,
        tls_mode=_text(_mapping(policy.get("tls")).get("mode")),
        distributes=bool(locality.get("distribute") or locality.get("failover")),
        warms_up=bool(balancer.get("warmup") or balancer.get("warmupDurationSecs")),
        ports=tuple(ports),
    )


def _virtual_service(parts: _Parts) -> VirtualService:
    hosts, gateways = _items(parts.spec.get("hosts")), _items(parts.spec.get("gateways"))
    return VirtualService(parts.namespace, parts.name, tuple(map(str, hosts)), tuple(map(str, gateways)), parts.labels)


def _peer_authentication(parts: _Parts) -> PeerAuthentication:
    modes = _mapping(parts.spec.get("portLevelMtls"))
    return PeerAuthentication(
        namespace=parts.namespace,
        name=parts.name,
        selector=_strings(_mapping(parts.spec.get("selector")).get("matchLabels")),
        mode=_text(_mapping(parts.spec.get("mtls")).get("mode")),
        ports=tuple((int(port), _text(_mapping(one).get("mode"))) for port, one in modes.items() if port.isdecimal()),
        created=_text(parts.metadata.get("creationTimestamp")),
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: object) -> Iterable[Any]:
    return value if isinstance(value, list) else ()


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _strings(value: object) -> Strings:
    """Return a mapping of strings with shared keys and values: thousands of pods have the same few labels."""
    return {sys.intern(key): sys.intern(one) for key, one in _mapping(value).items() if isinstance(one, str)}


_PRUNERS: Mapping[Kind, Callable[[_Parts], Pruned]] = {
    NAMESPACES: _namespace,
    NODES: _node,
    PODS: _pod,
    SERVICES: _service,
    ENDPOINT_SLICES: _slice,
    DESTINATION_RULES: _destination_rule,
    VIRTUAL_SERVICES: _virtual_service,
    PEER_AUTHENTICATIONS: _peer_authentication,
}
