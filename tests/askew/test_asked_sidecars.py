"""Whose statistics pages are read: an agent on the node is a reason for our own sidecars, and none for Istio's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from askew.control_plane import ControlPlane
from askew.settings import ServeSettings
from mesh.mesh_file import parse_mesh_file
from xds_server.ingest.settings import IngestSettings
from xds_server.proxy import Proxy
from xds_server.store import Client

MESH = """
apiVersion: askew.mesh/v1
nodes: [{name: n1, agent: "127.0.0.1:18100"}]
services:
  - {name: a, containers: [{name: ours, node: n1, address: 127.0.0.2}, {name: istios, node: n1, address: 127.0.0.3}]}
"""


@pytest.mark.parametrize(("scrape", "asked"), [("agents", ["ours"]), ("all", ["istios", "ours"]), ("off", [])])
def test_istios_sidecars_are_asked_only_where_all_are(tmp_path: Path, scrape: str, asked: list[str]) -> None:
    """They push nothing whatever the node has, and show no clusters as installed."""
    settings = ServeSettings()
    plane = ControlPlane(
        str(tmp_path / "mesh.yaml"), replace(settings, ingest=replace(IngestSettings(), scrape=scrape))
    )
    plane.topology = parse_mesh_file(MESH)
    names = [container.proxy_id for container in plane.topology.container_by_name.values()]
    for proxy_id in (names[0], f"sidecar~127.0.0.3~{names[1]}~default.svc.cluster.local"):
        plane.store.clients[proxy_id] = Client(Proxy(proxy_id))

    assert sorted(container.name for container in plane._asked_sidecars()) == asked
