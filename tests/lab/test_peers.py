"""Envoy's own balancing policies on Askew's clusters: what changes, what does not, and that Envoy takes all of them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from google.protobuf.json_format import MessageToDict

from askew.settings import ServeSettings
from lab.peer_plane import PeerControlPlane
from lab.peers import PEERS, balanced_by
from mesh.telemetry import Telemetry
from mesh.topology import ContainerName
from xds_server.proxy import Proxy
from xds_server.resources.names import CDS
from xds_server.snapshot import Snapshot

MESH = """
apiVersion: askew.mesh/v1
nodes: [{name: n1}, {name: n2}]
services:
  - {name: load, containers: [{name: load-1, node: n1, address: 127.77.1.1}]}
  - name: shop
    port: 9080
    annotations: {askew.mesh/routing: off}
    containers:
      - {name: shop-1, node: n1, address: 127.77.1.10}
      - {name: shop-2, node: n2, address: 127.77.2.10}
calls: [{from: load, to: shop}]
"""


def plane_with(folder: Path, *, peer: str | None = None, deaf_while: Path | None = None) -> PeerControlPlane:
    file = folder / "mesh.yaml"
    file.write_text(MESH.replace("off}", '"off"}'))
    plane = PeerControlPlane(str(file), ServeSettings(), peer=peer, deaf_while=deaf_while)
    plane.source.load()
    plane._tick()
    return plane


def snapshot_in(plane: PeerControlPlane) -> Snapshot:
    container = plane.topology.container_by_name[ContainerName("load-1")]
    found = plane.snapshot_of(Proxy(container.proxy_id))
    assert found is not None
    return found


@pytest.mark.parametrize("peer", PEERS)
def test_only_outbound_clusters_change(tmp_path: Path, peer: str) -> None:
    """Endpoints, listeners and routes are what Askew sends; so a comparison is one of balancing alone."""
    ours = snapshot_in(plane_with(tmp_path))
    theirs = balanced_by(peer, ours)

    assert {one for one in theirs.all() if one.type_url != CDS} == {one for one in ours.all() if one.type_url != CDS}
    for name, one in theirs.of(CDS).items():
        assert (one == ours.of(CDS)[name]) is not name.startswith("outbound|")


@pytest.mark.parametrize("peer", PEERS)
def test_envoy_takes_the_clusters(tmp_path: Path, envoy: Path, peer: str) -> None:
    """A policy that this Envoy does not have, or does not understand, would be measured as the default otherwise."""
    clusters = [
        MessageToDict(cluster_pb2.Cluster.FromString(one.body), preserving_proto_field_name=True)
        for one in snapshot_in(plane_with(tmp_path, peer=peer)).of(CDS).values()
    ]
    for cluster in clusters:
        cluster["eds_cluster_config"]["eds_config"] = {"path_config_source": {"path": str(tmp_path / "endpoints")}}
    node = {"id": "load-1.default", "cluster": "load"}
    (tmp_path / "endpoints").write_text(json.dumps({"resources": []}))
    (tmp_path / "envoy.json").write_text(json.dumps({"node": node, "static_resources": {"clusters": clusters}}))
    command = [str(envoy), "--mode", "validate", "-c", str(tmp_path / "envoy.json"), "-l", "error"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 0, ended.stderr
    assert any("load_balancing_policy" in cluster for cluster in clusters)


def test_a_peers_snapshot_stays_the_same_object(tmp_path: Path) -> None:
    """The store asks again at every change, and takes another object for news."""
    plane = plane_with(tmp_path, peer="least-request")

    assert snapshot_in(plane) is snapshot_in(plane)


def test_a_deaf_control_plane_hears_nothing(tmp_path: Path) -> None:
    """While the file exists, what was reported is lost, and time goes on."""
    deaf = tmp_path / "deaf"
    plane = plane_with(tmp_path, deaf_while=deaf)
    deaf.touch()
    heard = plane.hear()

    assert heard == Telemetry(time_s=heard.time_s)
    assert heard.time_s > 0.0
