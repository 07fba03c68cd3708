"""What istiod makes of DestinationRules and VirtualServices, as far as ours go: subsets by label, weighted routes.

Follows Istio's ``cluster_builder.go`` (a cluster for each subset) and ``route.go``: routes whose ``sourceLabels`` or
port are another proxy's are left out of this one's, one destination is a cluster, several are weighted clusters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tests.fakes.istiod_config import IstioService

Rules = Sequence[Mapping[str, Any]]


def ruled(service: IstioService, rules: Rules) -> IstioService:
    """Return a service with the subsets and the balancer that its DestinationRule gives it."""
    for one in rules:
        spec = one["spec"]
        if one["kind"] == "DestinationRule" and spec["host"] == service.host:
            subsets = {subset["name"]: subset["labels"] for subset in spec["subsets"]}
            assert spec["trafficPolicy"] == {"loadBalancer": {"simple": "ROUND_ROBIN"}}
            policy = {**service.policy, "lb_policy": "ROUND_ROBIN"}
            return replace(service, subsets=tuple(subsets), subset_labels=subsets, policy=policy)
    return service


def ways(rules: Rules, port: int, proxy_labels: Mapping[str, str]) -> dict[str, list[dict[str, Any]]]:
    """Return by host where a proxy's routes of a port lead: the first that matches it is the one that it takes."""
    found: dict[str, list[dict[str, Any]]] = {}
    for one in rules:
        if one["kind"] != "VirtualService":
            continue
        for host in one["spec"]["hosts"]:
            found[host] = [
                _action(route["route"], port)
                for route in one["spec"].get("http", ())
                if any(_matches(match, port, proxy_labels) for match in route.get("match", ({},)))
            ]
    return found


def _matches(match: Mapping[str, Any], port: int, proxy_labels: Mapping[str, str]) -> bool:
    return match.get("port", port) == port and match.get("sourceLabels", {}).items() <= proxy_labels.items()


def _action(route: Sequence[Mapping[str, Any]], port: int) -> dict[str, Any]:
    named = [(_cluster(way["destination"], port), way.get("weight", 0)) for way in route]
    if len(named) == 1:
        return {"cluster": named[0][0]}
    return {"weighted_clusters": {"clusters": [{"name": name, "weight": weight} for name, weight in named]}}


def _cluster(destination: Mapping[str, Any], port: int) -> str:
    number = destination.get("port", {}).get("number", port)
    return f"outbound|{number}|{destination.get('subset', '')}|{destination['host']}"
