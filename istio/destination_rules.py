"""What DestinationRules say of a Service: its subsets, and how Istio balances each of its clusters.

Source: Istio reference, DestinationRule: a subset's policy lies over the host's, field by field; a port's policy
replaces the whole of what stands above it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from istio.objects import DestinationRule, Service, Strings, Subset, TrafficPolicy

LEAST_REQUEST = ("", "UNSPECIFIED", "LEAST_REQUEST", "LEAST_CONN")


def rule_host(rule: DestinationRule, cluster_domain: str) -> str:
    """Return the full host of a rule: a name without a dot is a Service of the rule's own namespace.

    >>> rule_host(DestinationRule("shop", "r", host="reviews"), "cluster.local")
    'reviews.shop.svc.cluster.local'
    """
    if "." in rule.host or rule.host.startswith("*"):
        return rule.host
    return f"{rule.host}.{rule.namespace}.svc.{cluster_domain}"


def host_of(service: Service, cluster_domain: str) -> str:
    """Return the host name under which Istio knows a Service."""
    return f"{service.name}.{service.namespace}.svc.{cluster_domain}"


class RuleIndex:
    """The rules by host: finds those of a Service in a few look-ups."""

    def __init__(self, rules: Iterable[DestinationRule], cluster_domain: str) -> None:
        self._domain = cluster_domain
        self._exact: dict[str, list[DestinationRule]] = {}
        self._suffixes: list[tuple[str, DestinationRule]] = []
        for rule in sorted(rules, key=lambda one: (one.namespace, one.name)):
            host = rule_host(rule, cluster_domain)
            if host.startswith("*"):
                self._suffixes.append((host[1:], rule))
            else:
                self._exact.setdefault(host, []).append(rule)

    def of(self, service: Service) -> tuple[DestinationRule, ...]:
        """Return all rules whose host is this Service, in any namespace; wildcard ones only where no other is."""
        host = host_of(service, self._domain)
        exact = self._exact.get(host)
        if exact:
            return tuple(exact)
        return tuple(rule for suffix, rule in self._suffixes if host.endswith(suffix))


def subset_labels(rules: Iterable[DestinationRule]) -> dict[str, Strings]:
    """Return the labels of each subset; of two definitions of one name the first counts (see ``clashing_subsets``)."""
    found: dict[str, Strings] = {}
    for rule in rules:
        for subset in rule.subsets:
            found.setdefault(subset.name, subset.labels)
    return found


def clashing_subsets(rules: Iterable[DestinationRule]) -> list[str]:
    """Return the names that two rules define with other labels: which one a client has depends on its namespace."""
    first: dict[str, Strings] = {}
    subsets = [subset for rule in rules for subset in rule.subsets]
    return [one.name for one in subsets if first.setdefault(one.name, one.labels) != one.labels]


def effective(policy: TrafficPolicy, subset: TrafficPolicy | None, port: int) -> TrafficPolicy:
    """Return the policy of one cluster: the subset's over the host's, the port's instead of both.

    >>> effective(TrafficPolicy(balancer="RANDOM"), TrafficPolicy(ejects=True), 80).balancer
    'RANDOM'
    """
    at_port = dict(policy.ports)
    if subset is not None:
        at_port |= dict(subset.ports)
        policy = replace(
            policy,
            balancer=subset.balancer or policy.balancer,
            ejects=subset.ejects or policy.ejects,
            tls_mode=subset.tls_mode or policy.tls_mode,
            distributes=subset.distributes or policy.distributes,
            warms_up=subset.warms_up or policy.warms_up,
        )
    return at_port.get(port, policy)


def cluster_policies(service: Service, rules: Iterable[DestinationRule]) -> Iterator[tuple[int, str, TrafficPolicy]]:
    """Yield port, subset (empty for the whole Service) and policy of every cluster that the rules shape."""
    for rule in rules:
        whole: tuple[Subset | None, ...] = (None,)
        for port in service.ports:
            for subset in (*whole, *rule.subsets):
                name, policy = ("", None) if subset is None else (subset.name, subset.policy)
                yield port.number, name, effective(rule.policy, policy, port.number)


def cluster_name(service: Service, *, port: int, subset: str, cluster_domain: str) -> str:
    """Return Istio's name of an outbound cluster."""
    return f"outbound|{port}|{subset}|{host_of(service, cluster_domain)}"


def ejecting_clusters(service: Service, rules: Iterable[DestinationRule], cluster_domain: str) -> Iterator[str]:
    """Yield the clusters with outlier detection: where every rule of the cluster has it."""
    ejects: dict[tuple[int, str], bool] = {}
    for port, subset, policy in cluster_policies(service, rules):
        ejects[port, subset] = ejects.get((port, subset), True) and policy.ejects
    for (port, subset), all_do in ejects.items():
        if all_do:
            yield cluster_name(service, port=port, subset=subset, cluster_domain=cluster_domain)


def least_request_clusters(
    service: Service, rules: Iterable[DestinationRule], cluster_domain: str
) -> tuple[str, ...] | None:
    """Return the clusters that Istio balances by LEAST_REQUEST, None for all of them (its default)."""
    balanced: Mapping[tuple[int, str], str] = {
        (port, subset): policy.balancer for port, subset, policy in cluster_policies(service, rules)
    }
    if all(balancer in LEAST_REQUEST for balancer in balanced.values()):
        return None
    return tuple(
        cluster_name(service, port=port, subset=subset, cluster_domain=cluster_domain)
        for (port, subset), balancer in balanced.items()
        if balancer in LEAST_REQUEST
    )
