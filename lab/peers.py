"""Envoy's own balancing policies, as a cluster's settings: what a user would pick instead of Askew.

``client-side-weighted-round-robin`` and ``load-aware-locality`` read what the apps say of their load (``orca.py``);
both with Envoy's defaults, the latter with least request within a locality.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from google.protobuf import json_format
from xds.type.v3 import typed_struct_pb2

from xds_server.resources.names import CDS
from xds_server.snapshot import Resource, Snapshot, resource

_EXTENSION = "type.googleapis.com/envoy.extensions.load_balancing_policies"
_LEAST_REQUEST: dict[str, Any] = {
    "policies": [
        {
            "typed_extension_config": {
                "name": "envoy.load_balancing_policies.least_request",
                "typed_config": {"@type": f"{_EXTENSION}.least_request.v3.LeastRequest"},
            }
        }
    ]
}
# Policy -> the message of its settings (Envoy v3 API), and the settings.
PEERS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "round-robin": ("round_robin.v3.RoundRobin", {}),
    "least-request": ("least_request.v3.LeastRequest", {}),
    "client-side-weighted-round-robin": ("client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin", {}),
    "load-aware-locality": ("load_aware_locality.v3.LoadAwareLocality", {"endpoint_picking_policy": _LEAST_REQUEST}),
}


def balanced_by(peer: str, whole: Snapshot) -> Snapshot:
    """Return ``whole`` with every outbound cluster balanced by ``peer``; all else is as it was. O(clusters)."""
    clusters = {
        name: _balanced(peer, one) if name.startswith("outbound|") else one for name, one in whole.of(CDS).items()
    }
    return Snapshot({**whole.resources, CDS: clusters})


def _balanced(peer: str, one: Resource) -> Resource:
    message, settings = PEERS[peer]
    cluster = cluster_pb2.Cluster.FromString(one.body)
    cluster.ClearField("lb_policy")
    cluster.ClearField("lb_config")
    policy = cluster.load_balancing_policy.policies.add().typed_extension_config
    policy.name = "envoy.load_balancing_policies." + message.partition(".")[0]
    # As a TypedStruct, which Envoy takes for any extension: the Python messages do not have them all yet.
    struct = typed_struct_pb2.TypedStruct(type_url=f"{_EXTENSION}.{message}")
    json_format.ParseDict(settings, struct.value)
    policy.typed_config.Pack(struct, deterministic=True)
    return resource(one.type_url, one.name, cluster.SerializeToString(deterministic=True), refers=one.refers)
