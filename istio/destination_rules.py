"""What a Service's DestinationRule says of each of its clusters: balancing, ejection, subsets. Pure.

Source: Istio, ``DestinationRule`` ("port level settings will override the destination-level settings", without
inheritance of what they leave out) and ``MergeTrafficPolicy`` for subsets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from istio.integration import SteeredService, host_of
from mesh.topology import Service, ServiceName

LEAST_REQUEST = "LEAST_REQUEST"
_MEANS_LEAST_REQUEST = frozenset({"", "UNSPECIFIED", "LEAST_CONN", LEAST_REQUEST})


@dataclass(frozen=True, slots=True)
class ClusterPolicy:
    """One cluster's balancing (``LEAST_REQUEST``, ``ROUND_ROBIN``, ``RANDOM``, ``PASSTHROUGH``, ``consistentHash``),
    and whether endpoints that fail are ejected.
    """

    balancing: str = LEAST_REQUEST
    ejects: bool = False


def rule_for(
    service: ServiceName, rules: Iterable[Mapping[str, Any]], *, root_namespace: str, cluster_domain: str
) -> Mapping[str, Any]:
    """Return the ``spec`` of the DestinationRule that holds for a Service, or an empty one.

    In the Service's namespace first, then in the root namespace; the exact host before a wildcard, then the oldest
    name. Rules in a client's own namespace are not looked at: they would differ from client to client.
    """
    namespace, host = service.rpartition(".")[2], host_of(service, cluster_domain=cluster_domain)
    found: list[tuple[bool, bool, str, Mapping[str, Any]]] = []
    for rule in rules:
        metadata, spec = rule["metadata"], rule.get("spec") or {}
        own = metadata.get("namespace", "default")
        if own not in (namespace, root_namespace):
            continue
        wanted = _full_host(str(spec.get("host", "")), own, cluster_domain)
        is_wild = wanted.startswith("*")
        if wanted == host or (is_wild and host.endswith(wanted[1:])):
            found.append((own != namespace, is_wild, str(metadata["name"]), spec))
    return min(found, key=lambda one: one[:3])[3] if found else {}


def cluster_policies(service: Service, rule: Mapping[str, Any], *, cluster_domain: str) -> dict[str, ClusterPolicy]:
    """Return Istio's clusters of a Service, by name, each with what the rule (a ``spec``) says of it."""
    host = host_of(service.name, cluster_domain=cluster_domain)
    whole = rule.get("trafficPolicy") or {}
    found = {}
    for port in service.ports:
        base = _of_port(whole, port.number)
        found[f"outbound|{port.number}||{host}"] = _policy(base)
        for subset in rule.get("subsets") or ():
            own = subset.get("trafficPolicy") or {}
            at_port = _of_port(own, port.number)
            merged = at_port if at_port is not own else {**base, **own}
            found[f"outbound|{port.number}|{subset['name']}|{host}"] = _policy(merged)
    return found


def subset_labels(rule: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return the labels that each subset of a rule (a ``spec``) wants."""
    return {str(subset["name"]): dict(subset.get("labels") or {}) for subset in rule.get("subsets") or ()}


def steered_service(service: ServiceName, policies: Mapping[str, ClusterPolicy]) -> SteeredService:
    """Return a Service for its EnvoyFilter: on which of its clusters LEAST_REQUEST is to be without a bias."""
    least = tuple(name for name, policy in policies.items() if policy.balancing == LEAST_REQUEST)
    return SteeredService(service, None if len(least) == len(policies) else least)


def _of_port(policy: Mapping[str, Any], port: int) -> Mapping[str, Any]:
    settings = policy.get("portLevelSettings") or ()
    return next((one for one in settings if (one.get("port") or {}).get("number") == port), policy)


def _policy(policy: Mapping[str, Any]) -> ClusterPolicy:
    balancer = policy.get("loadBalancer") or {}
    simple = str(balancer.get("simple", ""))
    balancing = LEAST_REQUEST if simple in _MEANS_LEAST_REQUEST else simple
    if balancer.get("consistentHash"):
        balancing = "consistentHash"
    return ClusterPolicy(balancing, policy.get("outlierDetection") is not None)


def _full_host(host: str, namespace: str, cluster_domain: str) -> str:
    """Return a rule's host in full: a short name is of the rule's own namespace."""
    if "." not in host and not host.startswith("*"):
        return f"{host}.{namespace}.svc.{cluster_domain}"
    name, _, rest = host.partition(".")
    if rest and "." not in rest and not name.startswith("*"):
        return f"{host}.svc.{cluster_domain}"
    return f"{host}.{cluster_domain}" if host.endswith(".svc") else host
