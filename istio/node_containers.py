"""What each node's agent should know: the pods of its node that ask for something. Pure.

A pod is told of where a Service that it serves has ``askew.mesh/slo``, or where it says ``askew.mesh/best-effort``.
``askew.mesh/mode`` of the Service and its Namespace holds here too: ``observe`` and ``off`` tell nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from istio.cluster import Cluster
from istio.objects import Key, Namespace, Pod, Service
from istio.service_piece import home_of, name_of
from mesh.errors import BadInputError, one_line
from mesh.listeners import PROMETHEUS_PORT
from mesh.node_containers import NodeContainer
from mesh.policy import BEST_EFFORT, PREFIX, Mode, Policy, parse_namespace_mode, parse_policy, parse_traits, stricter
from mesh.topology import ContainerName, NodeName

SLO = PREFIX + "slo"
SIDECARS_PAGE = f"{PROMETHEUS_PORT}/stats/prometheus?filter=downstream_rq_time"


@dataclass(frozen=True, slots=True)
class NodeLists:
    """Containers by node, sorted by name; and what a pod's annotations say that cannot be meant, one line each."""

    of: Mapping[NodeName, tuple[NodeContainer, ...]] = field(default_factory=dict)
    wrong: tuple[str, ...] = ()


def node_lists(cluster: Cluster) -> NodeLists:
    """Return what agents should know. O(pods, plus the endpoints of Services with an objective)."""
    asked, wrong = _asked(cluster), []
    found: defaultdict[NodeName, list[NodeContainer]] = defaultdict(list)
    for key, pod in cluster.pods.items():
        policy = asked.get(key)
        if policy is None and BEST_EFFORT not in pod.annotations:
            continue
        if pod.ended or not pod.node or not pod.container_id:
            continue
        try:
            best_effort = parse_traits(pod.annotations).best_effort
        except BadInputError as error:
            best_effort = False
            wrong.append(one_line(f"pod {name_of(key)}: {error} (the default is used)"))
        if best_effort and _is_applied(cluster, key):
            found[NodeName(pod.node)].append(NodeContainer(name_of(key), pod.container_id, best_effort=True))
        elif policy is not None and not best_effort:
            url = _latency_url(pod, policy, has_istio=cluster.has_istio)
            found[NodeName(pod.node)].append(
                NodeContainer(name_of(key), pod.container_id, slo=policy.slo, latency_url=url)
            )
    lists = {node: tuple(sorted(listed, key=lambda one: one.name)) for node, listed in found.items()}
    return NodeLists(lists, tuple(sorted(wrong)))


def runtime_id_of(cluster: Cluster, name: ContainerName) -> str:
    """Return the runtime's id of a container of the mesh, by which its node's agent finds it; its name without one."""
    pod, _, namespace = name.rpartition(".")
    found = cluster.pods.get((namespace, pod))
    return found.container_id if found is not None and found.container_id else name


def _asked(cluster: Cluster) -> dict[Key, Policy]:
    """Return the policy of each pod whose Service has an objective. A pod's home Service goes before its others."""
    asked: dict[Key, Policy] = {}
    for key in sorted(key for key, service in cluster.services.items() if SLO in service.annotations):
        policy = _policy(cluster, cluster.services[key])
        if policy is None or policy.slo is None or policy.mode != "apply":
            continue
        pods = {end.pod for one in cluster.slices_of(key) for end in one.endpoints if end.pod is not None}
        for pod in pods:
            if pod not in asked or home_of(cluster, pod) == key[1]:
                asked[pod] = policy
    return asked


def _policy(cluster: Cluster, service: Service) -> Policy | None:
    """Return what a Service's annotations ask for, or None where they are wrong: the preflight says so."""
    try:
        policy = parse_policy(service.annotations)
    except BadInputError:
        return None
    mode = _namespace_mode(cluster, service.namespace)
    return Policy(mode=stricter(policy.mode, mode), slo=policy.slo, latency_metrics=policy.latency_metrics)


def _is_applied(cluster: Cluster, pod: Key) -> bool:
    """Whether no Service of a pod, nor its Namespace, takes it out of our hands."""
    mode = _namespace_mode(cluster, pod[0])
    for key in cluster.services_of(pod):
        service = cluster.services.get(key)
        policy = _policy(cluster, service) if service is not None else None
        mode = stricter(mode, policy.mode) if policy is not None else mode
    return mode == "apply"


def _namespace_mode(cluster: Cluster, name: str) -> Mode:
    """Return a Namespace's mode; one that cannot be read may have meant the kill switch."""
    try:
        return parse_namespace_mode(cluster.namespaces.get(name, Namespace(name)).annotations)
    except BadInputError:
        return "off"


def _latency_url(pod: Pod, policy: Policy, *, has_istio: bool) -> str:
    """Return where a pod's request times are to be read.

    Istio's sidecars have buckets that are too coarse for a slack: there, only the app's own page will do.
    """
    if not pod.addresses:
        return ""
    host = f"[{pod.addresses[0]}]" if ":" in pod.addresses[0] else pod.addresses[0]
    named = policy.latency_metrics
    if named is not None:
        return f"http://{host}:{named.port}{named.path}" + (f"#{named.histogram}" if named.histogram else "")
    return "" if has_istio else f"http://{host}:{SIDECARS_PAGE}"
