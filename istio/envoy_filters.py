"""The EnvoyFilters that hand the endpoints of annotated Services to Askew. Pure: services in, Kubernetes objects out.

Each Service has one that merges nothing but where its clusters' endpoints come from (and, where Istio balances by
LEAST_REQUEST, the bias that makes weights a promise). It never holds a weight: every change of an EnvoyFilter is a full
push to all proxies, so they change only when a Service is annotated or not. Never a ``transport_socket`` in a merge:
istiod would then drop the rest of the patch.
Source: Istio, ``EnvoyFilter`` v1alpha3.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from istio.integration import (
    BOOTSTRAP_CONFIG,
    FINALIZER,
    LABELS,
    SHARED_FILTER,
    Integration,
    SteeredService,
    host_of,
)
from istio.way_in import eds_source, xds_cluster

API_VERSION = "networking.istio.io/v1alpha3"
KIND = "EnvoyFilter"
SHARED_PRIORITY, SERVICE_PRIORITY = 10, 20  # the cluster stands before the clusters that lead over it
BIAS = {"active_request_bias": {"default_value": 0.0, "runtime_key": "askew.active_request_bias"}}

KubeObject = dict[str, Any]


def render(
    to: Integration, services: Iterable[SteeredService], *, client_namespaces: Sequence[str] = ()
) -> list[KubeObject]:
    """Return all objects of a mode but ``native``: what is shared first, then one EnvoyFilter for each Service.

    Without a steered Service nothing is needed, and nothing is returned, but for mode ``bootstrap`` the ConfigMap in
    each of ``client_namespaces``: a pod that names it cannot start where it is missing, whoever is steered.

    Raises ValueError for the mode ``native``, whose objects hold shares (``native.py``).
    """
    if to.mode == "native":
        raise ValueError("mode native has no EnvoyFilters")
    steered = sorted(services, key=lambda service: service.name)
    shared: list[KubeObject] = []
    if to.mode == "dynamicCluster" and steered:
        shared = [shared_filter(to)]
    elif to.mode == "bootstrap":
        shared = [bootstrap_config(to, namespace) for namespace in sorted(set(client_namespaces))]
    return [*shared, *(service_filter(to, service) for service in steered)]


def shared_filter(to: Integration) -> KubeObject:
    """Return the EnvoyFilter that adds the cluster which leads to us."""
    patches = [
        # Without a context it would be added to inbound configurations as well.
        {
            "applyTo": "CLUSTER",
            "match": {"context": context},
            "patch": {"operation": "ADD", "value": xds_cluster(to)},
        }
        for context in _contexts(to)
    ]
    found = _envoy_filter(to, SHARED_FILTER, SHARED_PRIORITY, patches)
    found["metadata"]["finalizers"] = [FINALIZER]
    return found


def service_filter(to: Integration, service: SteeredService) -> KubeObject:
    """Return the EnvoyFilter that hands a Service's clusters, of all ports and subsets, to us."""
    everywhere = {"service": host_of(service.name, cluster_domain=to.cluster_domain)}
    # No service_name: Istio's is the cluster's own name, which is what we answer.
    value: dict[str, Any] = {"eds_cluster_config": {"eds_config": eds_source(to)}}
    named = service.least_request_clusters
    if named is None:
        value["least_request_lb_config"] = BIAS
    patches = []
    for context in _contexts(to):
        patches.append(_merge(context, everywhere, value))
        # On a cluster of another policy the configuration of LEAST_REQUEST would be an error.
        patches += [_merge(context, {"name": name}, {"least_request_lb_config": BIAS}) for name in sorted(named or ())]
    return _envoy_filter(to, service.filter_name, SERVICE_PRIORITY, patches)


def bootstrap_config(to: Integration, namespace: str) -> KubeObject:
    """Return the ConfigMap of ``sidecar.istio.io/bootstrapOverride``: our cluster as a static one."""
    custom = {"static_resources": {"clusters": [xds_cluster(to)]}}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": BOOTSTRAP_CONFIG, "namespace": namespace, "labels": dict(LABELS)},
        "data": {"custom_bootstrap.json": json.dumps(custom, sort_keys=True)},
    }


def _contexts(to: Integration) -> tuple[str, ...]:
    return ("SIDECAR_OUTBOUND", "GATEWAY") if to.gateways == "steer" else ("SIDECAR_OUTBOUND",)


def _merge(context: str, cluster: dict[str, str], value: dict[str, Any]) -> dict[str, Any]:
    match = {"context": context, "cluster": cluster}
    return {"applyTo": "CLUSTER", "match": match, "patch": {"operation": "MERGE", "value": value}}


def _envoy_filter(to: Integration, name: str, priority: int, patches: list[dict[str, Any]]) -> KubeObject:
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name, "namespace": to.root_namespace, "labels": dict(LABELS)},
        "spec": {"priority": priority, "configPatches": patches},
    }
