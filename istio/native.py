"""Mode ``native``: a plan as a DestinationRule and a VirtualService, without any xDS of ours. Pure.

Coarser than the other modes: a client node's requests to a server node, not a container's to a container. istiod gives
every proxy and every endpoint the label ``kubernetes.io/hostname`` of its node, so a subset is a node's endpoints, and
``sourceLabels`` a node's clients. Only one VirtualService and one DestinationRule of a host count, so a Service that
has its own is refused before.
Source: Istio, ``DestinationRule`` and ``VirtualService`` v1; weights are relative, their sum need not be 100.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from istio.integration import LABELS, host_of
from mesh.plan import Plan, ServicePlan
from mesh.topology import NodeName, Port, Service, Topology

API_VERSION = "networking.istio.io/v1"
HOSTNAME = "kubernetes.io/hostname"
PARTS = 100  # weights are hundredths: finer ones would change, and be pushed to every proxy, without being noticed
SHORTEST_INTERVAL_S = 45.0
"""Each change is a push of routes to all proxies: objects of this mode are written at most this often."""

KubeObject = dict[str, Any]


def render_native(topology: Topology, plan: Plan, service: Service, *, cluster_domain: str) -> list[KubeObject]:
    """Return the DestinationRule and the VirtualService of a Service, or nothing where no port of it has a plan.

    A node without an endpoint has no subset: a route to an empty one would answer 503. Clients on nodes that the plan
    does not know keep Istio's own balancing.
    """
    plans = {port: plan.services.get(service.service_port(port)) for port in service.ports}
    planned = {port: one for port, one in plans.items() if one is not None and one.applied}
    nodes = sorted({container.node for container in service.containers})
    if not planned or not nodes:
        return []
    host = host_of(service.name, cluster_domain=cluster_domain)
    subsets = subset_names(nodes)
    http = [
        route
        for port, one in planned.items()
        if port.protocol != "tcp"
        for route in _routes(topology, one, port, host, subsets)
    ]
    tcp = [
        route
        for port, one in planned.items()
        if port.protocol == "tcp"
        for route in _routes(topology, one, port, host, subsets)
    ]
    rule = {
        "host": host,
        "trafficPolicy": {"loadBalancer": {"simple": "ROUND_ROBIN"}},
        "subsets": [{"name": subsets[node], "labels": {HOSTNAME: node}} for node in nodes],
    }
    virtual = {"hosts": [host], **({"http": http} if http else {}), **({"tcp": tcp} if tcp else {})}
    return [_object("DestinationRule", service, rule), _object("VirtualService", service, virtual)]


def node_shares(topology: Topology, plan: ServicePlan) -> tuple[list[NodeName], list[NodeName], NDArray[np.float64]]:
    """Return client nodes, server nodes and the part of each client node's requests that goes to each server node.

    Shape ``(client nodes, server nodes)``, rows that sum to 1: the clients' shares, weighted with their rates. Clients
    without any rate count alike. Nodes are those of containers that the topology still has; rows of 0 are left out.
    """
    known = topology.container_by_name
    clients = [(i, known[name].node) for i, name in enumerate(plan.shares.clients) if name in known]
    endpoints = [(j, known[name].node) for j, name in enumerate(plan.shares.endpoints) if name in known]
    sources, targets = sorted({node for _, node in clients}), sorted({node for _, node in endpoints})
    rates = np.array([plan.client_rates.get(name, 0.0) for name in plan.shares.clients])
    found = np.zeros((len(sources), len(targets)))
    for i, source in clients:
        on_node = [k for k, node in clients if node == source]
        rate = rates[i] if rates[on_node].sum() > 0.0 else 1.0
        for j, target in endpoints:
            found[sources.index(source), targets.index(target)] += rate * plan.shares.fractions[i, j]
    sums = found.sum(axis=1)
    kept = np.flatnonzero(sums > 0.0)
    return [sources[i] for i in kept], targets, found[kept] / sums[kept, None]


def subset_names(nodes: list[NodeName]) -> dict[NodeName, str]:
    """Return a subset's name for each node: a DNS label, the node's own name where that is one.

    >>> subset_names([NodeName("n1"), NodeName("ip-10-0-0-1.ec2.internal")])["n1"]
    'n1'
    """
    return {node: _label(node) for node in nodes}


def _label(node: str) -> str:
    if re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", node):
        return node
    digest = hashlib.blake2b(node.encode(), digest_size=4).hexdigest()
    return f"{re.sub(r'[^a-z0-9-]', '-', node.lower())[:54].strip('-')}-{digest}"


def _routes(
    topology: Topology, plan: ServicePlan, port: Port, host: str, subsets: Mapping[NodeName, str]
) -> list[dict[str, Any]]:
    sources, targets, parts = node_shares(topology, plan)
    found: list[dict[str, Any]] = []
    for source, row in zip(sources, parts, strict=True):
        weights = {
            target: weight for target, weight in zip(targets, _hundredths(row), strict=True) if target in subsets
        }
        ways = [
            {"destination": _destination(host, port, subset=subsets[target]), "weight": weight}
            for target, weight in weights.items()
            if weight
        ]
        if ways:
            found.append({"match": [{"sourceLabels": {HOSTNAME: source}, "port": port.number}], "route": ways})
    found.append({"match": [{"port": port.number}], "route": [{"destination": _destination(host, port)}]})
    return found


def _hundredths(row: NDArray[np.float64]) -> list[int]:
    """Return integer parts that sum to ``PARTS``: rounded down, then the largest remainders up (Hamilton's method)."""
    exact = row * PARTS
    parts = np.floor(exact).astype(int)
    left = PARTS - int(parts.sum())
    for j in np.argsort(parts - exact, kind="stable")[:left]:
        parts[j] += 1
    return [int(part) for part in parts]


def _destination(host: str, port: Port, *, subset: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {"host": host, "port": {"number": port.number}}
    return found | ({"subset": subset} if subset else {})


def _object(kind: str, service: Service, spec: dict[str, Any]) -> KubeObject:
    metadata = {"name": f"askew.{service.short_name}", "namespace": service.namespace, "labels": dict(LABELS)}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}
