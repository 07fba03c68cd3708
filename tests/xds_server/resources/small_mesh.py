"""A mesh of three nodes with all kinds of ports, plans made by hand, and resources read back with protobuf."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2

from mesh.mesh_file import parse_mesh_file
from mesh.plan import Plan, ServicePlan
from mesh.policy import Programming
from mesh.shares import Shares
from mesh.topology import ContainerName, ServiceName, ServicePort, Topology
from xds_server.resources.names import CDS, EDS, LDS, RDS
from xds_server.snapshot import Resource, Snapshot

_MESH: dict[str, Any] = {
    "apiVersion": "askew.mesh/v1",
    "nodes": [
        {"name": "n1", "zone": "z1", "region": "r1"},
        {"name": "n2", "zone": "z1", "region": "r1"},
        {"name": "n3", "zone": "z2", "region": "r1"},
    ],
    "services": [
        {
            "name": "page",
            "port": 8080,
            "containers": [{"name": "page-0", "node": "n1", "address": "127.0.1.1", "app_port": 8081}],
        },
        {
            "name": "reviews",
            "port": 9080,
            "annotations": {"askew.mesh/routing": "local-first"},
            "containers": [
                {"name": "reviews-0", "node": "n1", "address": "127.0.1.10"},
                {"name": "reviews-1", "node": "n2", "address": "127.0.2.10", "port": 9090},
                {"name": "reviews-2", "node": "n3", "address": "127.0.3.10"},
                {"name": "reviews-3", "node": "n3", "address": "127.0.3.11"},
            ],
        },
        {
            "name": "store",
            "namespace": "data",
            "ports": [
                {"name": "grpc", "port": 7000, "protocol": "grpc"},
                {"name": "http", "port": 7001},
                {"name": "redis", "port": 6379, "protocol": "tcp", "outbound_port": 16379},
            ],
            "containers": [
                {"name": "store-0", "node": "n2", "address": "127.0.2.20"},
                {"name": "store-1", "node": "n3", "address": "127.0.3.20"},
            ],
        },
        {"name": "empty", "port": 80, "containers": []},
    ],
    "calls": [
        {"from": "page", "to": "reviews"},
        {"from": "page", "to": "store.data"},
        {"from": "page", "to": "empty"},
    ],
}
PAGE = "page-0"
REVIEWS = ServicePort(ServiceName("reviews.default"), 9080)
REDIS = ServicePort(ServiceName("store.data"), 6379)


def small_mesh(**annotations: str) -> Topology:
    """Return the mesh; ``annotations`` (routing="uniform", ...) replace those of reviews."""
    document = json.loads(json.dumps(_MESH))
    if annotations:
        prefixed = {f"askew.mesh/{key.replace('_', '-')}": value for key, value in annotations.items()}
        document["services"][1]["annotations"] = prefixed
    return parse_mesh_file(json.dumps(document))


def plan_for(
    service_port: ServicePort,
    row: Mapping[str, float],
    *,
    programming: Programming = "weighted-clusters",
    applied: bool = True,
    client: str = PAGE,
) -> Plan:
    """Return a plan in which one client has these shares of one service port."""
    shares = Shares((ContainerName(client),), tuple(map(ContainerName, row)), np.array([list(row.values())]))
    one = ServicePlan(
        service_port=service_port,
        shares=shares,
        client_rates={},
        targets={},
        local_share=0.0,
        cross_node_share=1.0,
        lower_bound_cross_node_share=0.0,
        programming=programming,
        reason="by hand",
        applied=applied,
    )
    return Plan(generation=1, services={service_port: one})


def message_of(one: Resource) -> Any:
    """Return a resource as protobuf reads it."""
    kinds = {
        CDS: cluster_pb2.Cluster,
        EDS: endpoint_pb2.ClusterLoadAssignment,
        LDS: listener_pb2.Listener,
        RDS: route_pb2.RouteConfiguration,
    }
    return kinds[one.type_url].FromString(one.body)


def weights_of(snapshot: Snapshot, cluster: str) -> dict[str, tuple[int, int]]:
    """Return address:port to (priority, weight) of a cluster's endpoints."""
    found = {}
    for locality in message_of(snapshot.of(EDS)[cluster]).endpoints:
        for one in locality.lb_endpoints:
            socket = one.endpoint.address.socket_address
            weight = one.load_balancing_weight.value
            found[f"{socket.address}:{socket.port_value}"] = (locality.priority, weight)
    return found
