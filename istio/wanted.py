"""All objects of ours that a cluster should hold, from a topology and a plan. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from istio.cluster import Cluster
from istio.destination_rules import RuleIndex, least_request_clusters
from istio.difference import KubeObject
from istio.envoy_filters import render
from istio.integration import BOOTSTRAP_CONFIG, Integration, SteeredService
from istio.native import render_native
from istio.objects import BOOTSTRAP_OVERRIDE, INJECTED
from mesh.plan import Plan
from mesh.topology import Service, ServiceName, Topology


def wanted_objects(
    to: Integration,
    topology: Topology,
    plan: Plan,
    *,
    least_request: Mapping[ServiceName, tuple[str, ...]] | None = None,
    left_alone: frozenset[ServiceName] = frozenset(),
    client_namespaces: Collection[str] | None = None,
) -> list[KubeObject]:
    """Return the objects of all Services that are managed, refused ones excepted (their policy says ``off``).

    Parameters
    ----------
    least_request:
        By Service, the names of the clusters that Istio balances by LEAST_REQUEST; one that is not in it has no other.
    left_alone:
        Services for which there shall be nothing for the time being, whatever their policy.
    client_namespaces:
        For the mode ``bootstrap``: where sidecars are, started or not (``sidecar_namespaces``); None: where the
        topology has clients.

    A Service goes the native way where the mode or its annotation says so: then the objects hold the plan's shares. All
    other objects depend on which Services are annotated, not on the plan.
    """
    managed = [
        service
        for service in topology.services
        if service.policy.managed and service.ports and service.name not in left_alone
    ]
    native = [service for service in managed if is_native(to, service)]
    found: list[KubeObject] = []
    if to.mode != "native":
        known = least_request or {}
        steered = [
            SteeredService(service.name, known.get(service.name)) for service in managed if not is_native(to, service)
        ]
        clients = _client_namespaces(topology) if client_namespaces is None else client_namespaces
        found = render(to, steered, client_namespaces=sorted(clients))
    for service in native:
        found += render_native(topology, plan, service, cluster_domain=to.cluster_domain)
    return found


def sidecar_namespaces(cluster: Cluster) -> frozenset[str]:
    """Return the namespaces of pods that Istio has given a sidecar, and that have not ended. O(pods).

    Also of those that have not started: one that names the ConfigMap of the mode ``bootstrap`` waits for it.
    """
    pods = cluster.pods.items()
    return frozenset(namespace for (namespace, _), pod in pods if not pod.ended and INJECTED in pod.annotations)


def needing_bootstrap(cluster: Cluster) -> Counter[str]:
    """Return by namespace how many pods name the ConfigMap of the mode ``bootstrap``: none starts without it. O(pods).

    It stays when the mode is another, for their sake.
    """
    pods = cluster.pods.items()
    return Counter(
        namespace
        for (namespace, _), pod in pods
        if not pod.ended and pod.annotations.get(BOOTSTRAP_OVERRIDE) == BOOTSTRAP_CONFIG
    )


def _client_namespaces(topology: Topology) -> set[str]:
    every = (container for service in topology.services for container in service.containers)
    return {container.namespace for container in every if container.is_client}


def least_request(
    cluster: Cluster, services: Iterable[ServiceName], *, cluster_domain: str
) -> dict[ServiceName, tuple[str, ...]]:
    """Return those of ``services`` with a DestinationRule that has another policy, and their clusters without one."""
    rules = RuleIndex(cluster.destination_rules.values(), cluster_domain)
    found = {}
    for name in services:
        short, _, namespace = name.rpartition(".")
        service = cluster.services.get((namespace, short))
        clusters = None if service is None else least_request_clusters(service, rules.of(service), cluster_domain)
        if clusters is not None:
            found[name] = clusters
    return found


def is_native(to: Integration, service: Service) -> bool:
    """Return whether a Service goes the way of mode native, by the mode or by its annotation."""
    return to.mode == "native" or service.policy.programming == "istio-native"
