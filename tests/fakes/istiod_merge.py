"""What istiod does to its clusters with EnvoyFilters, replayed on the real protos.

Follows Istio's ``cluster_patch.go`` (which clusters a patch matches; ADD after all), ``mergeTransportSocketCluster``
(a patch with a transport socket is "handled" by that alone) and ``pkg/proto/merge`` (protobuf's merge, but that
well-known types such as Duration are replaced whole).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.grpc_credential.v3 import file_based_metadata_pb2
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from google.protobuf import json_format
from google.protobuf.message import Message

# An Any is read by the pool of loaded types: these are the ones that our patches name.
KNOWN = (file_based_metadata_pb2, tls_pb2, http_protocol_options_pb2)
REPLACED = {"google.protobuf.Duration", "google.protobuf.Timestamp"}


def patched(
    clusters: Iterable[cluster_pb2.Cluster], filters: Sequence[Mapping[str, Any]], *, context: str = "SIDECAR_OUTBOUND"
) -> list[cluster_pb2.Cluster]:
    """Return the clusters of a proxy after the EnvoyFilters, lowest priority first, then oldest name."""
    ordered = sorted(filters, key=lambda one: (one["spec"].get("priority", 0), one["metadata"]["name"]))
    patches = [patch for one in ordered for patch in one["spec"]["configPatches"]]
    patches = [patch for patch in patches if patch["applyTo"] == "CLUSTER" and _of_context(patch, context)]
    merges = [patch for patch in patches if patch["patch"]["operation"] == "MERGE"]
    found = [_merged(cluster, merges) for cluster in clusters]
    found += [read_cluster(patch["patch"]["value"]) for patch in patches if patch["patch"]["operation"] == "ADD"]
    return found


def read_cluster(value: Mapping[str, Any]) -> cluster_pb2.Cluster:
    """Return a patch's value as a cluster; raises for a field that Envoy does not have, as istiod's webhook does."""
    return json_format.ParseDict(dict(value), cluster_pb2.Cluster())


def merge(target: Message, patch: Message) -> None:
    """Merge as istiod does: set scalars replace (zero values are not "set"), lists append, maps overwrite."""
    for descriptor, value in patch.ListFields():
        field = getattr(target, descriptor.name)
        if descriptor.is_repeated:
            field.MergeFrom(value)
        elif descriptor.message_type is None:
            setattr(target, descriptor.name, value)
        elif descriptor.message_type.full_name in REPLACED:
            field.CopyFrom(value)
        else:
            field.SetInParent()
            merge(field, value)


def _merged(cluster: cluster_pb2.Cluster, merges: Iterable[Mapping[str, Any]]) -> cluster_pb2.Cluster:
    found = cluster_pb2.Cluster()
    found.CopyFrom(cluster)
    for patch in merges:
        if not _matches(found.name, patch["match"].get("cluster", {})):
            continue
        value = read_cluster(patch["patch"]["value"])
        if value.HasField("transport_socket"):
            found.transport_socket.CopyFrom(value.transport_socket)  # and nothing else of the patch
            continue
        merge(found, value)
    return found


def _of_context(patch: Mapping[str, Any], context: str) -> bool:
    return patch.get("match", {}).get("context", "ANY") in ("ANY", context)


def _matches(name: str, wanted: Mapping[str, Any]) -> bool:
    if "name" in wanted:
        return bool(name == wanted["name"])
    direction, port, subset, host = (*name.split("|"), "", "", "", "")[:4]
    if direction != "outbound":
        return not wanted
    return (
        wanted.get("service", host) == host
        and str(wanted.get("portNumber", port)) == port
        and wanted.get("subset", subset) == subset
    )
