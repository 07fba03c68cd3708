"""A sidecar's bootstrap and the resources that follow it: the real Envoy accepts them (``--mode validate``)."""

from __future__ import annotations

import json
import os
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format

from askew.cli.bootstrap import QuotingDumper
from mesh.mesh_file import parse_mesh_file
from mesh.plan import Plan
from mesh.topology import ContainerName, Topology
from tests.xds_server.resources.small_mesh import PAGE, REVIEWS, message_of, plan_for, small_mesh
from xds_server.resources.bootstrap import render_bootstrap
from xds_server.resources.client_config import ClientConfigs
from xds_server.resources.config_source import TRANSPORTS, Transport
from xds_server.resources.names import CDS, LDS


def render(topology: Topology, name: str = PAGE, **how: Any) -> dict[str, Any]:
    container = topology.container_by_name[ContainerName(name)]
    return render_bootstrap(topology, container, **({"xds_address": ("127.0.0.1", 18000), "admin_port": 19000} | how))


def validate(envoy: Path, text: str, folder: Path) -> str:
    """Return what Envoy has against a bootstrap; nothing if it accepts it without a warning."""
    path = folder / "bootstrap.yaml"
    path.write_text(text, encoding="utf-8")
    base_id = str(20_000 + os.getpid() % 10_000)
    done = subprocess.run(
        [envoy, "--mode", "validate", "-c", path, "--base-id", base_id, "-l", "warning"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return "" if done.returncode == 0 and not done.stderr.strip() else done.stderr or done.stdout


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_envoy_accepts_every_transport(envoy: Path, tmp_path: Path, transport: Transport) -> None:
    """As YAML, as ``askew bootstrap`` prints it; without a warning."""
    text = yaml.dump(render(small_mesh(), transport=transport), Dumper=QuotingDumper, sort_keys=False)

    assert validate(envoy, text, tmp_path) == ""


@pytest.mark.parametrize("name", ["reviews-1", "store-0"])
def test_envoy_accepts_every_kind_of_container(envoy: Path, tmp_path: Path, name: str) -> None:
    """HTTP only, and gRPC, HTTP and TCP together."""
    assert validate(envoy, json.dumps(render(small_mesh(), name)), tmp_path) == ""


def odd_mesh(name: str, address: str) -> Topology:
    document = {
        "apiVersion": "askew.mesh/v1",
        "nodes": [{"name": name}],
        "services": [
            {"name": name, "port": 80, "containers": [{"name": f"{name}-0", "node": name, "address": address}]}
        ],
    }
    return parse_mesh_file(json.dumps(document))


@pytest.mark.parametrize("name", ["n", "no", "y", "on", "null", "1e3", "0x1", "123"])
def test_names_that_yaml_would_take_for_something_else(envoy: Path, tmp_path: Path, name: str) -> None:
    """A node called "no" is no Boolean, one called "1e3" no number."""
    bootstrap = render(odd_mesh(name, "127.0.1.1"), f"{name}-0")
    text = yaml.dump(bootstrap, Dumper=QuotingDumper, sort_keys=False)

    assert yaml.safe_load(text)["node"]["metadata"]["NODE_NAME"] == name
    assert validate(envoy, text, tmp_path) == ""


@pytest.mark.parametrize("address", ["::1", "fd00::5", "10.1.2.3"])
def test_addresses(envoy: Path, tmp_path: Path, address: str) -> None:
    """IPv6 and what is no loopback; only loopback binds its upstream sockets, so that servers see who calls."""
    bootstrap = render(odd_mesh("web", address), "web-0", xds_address=("::1", 18000))

    assert ("upstream_bind_config" in bootstrap["cluster_manager"]) == (address == "::1")
    assert validate(envoy, json.dumps(bootstrap), tmp_path) == ""


def test_a_control_plane_by_name(envoy: Path, tmp_path: Path) -> None:
    """Resolved by DNS, again and again, so that replicas may come and go."""
    bootstrap = render(small_mesh(), xds_address=("askew-xds.askew-system", 18000))

    assert bootstrap["static_resources"]["clusters"][0]["type"] == "STRICT_DNS"
    assert validate(envoy, json.dumps(bootstrap), tmp_path) == ""


def test_who_it_is() -> None:
    """The id is ``<container>.<namespace>``; metadata and locality give the node."""
    node = render(small_mesh(), "store-0")["node"]

    assert (node["id"], node["cluster"]) == ("store-0.data", "store.data")
    assert node["metadata"]["NODE_NAME"] == "n2"
    assert node["locality"] == {"region": "r1", "zone": "z1", "sub_zone": "n2"}


def test_histograms_show_a_slack_of_five_percent() -> None:
    """Bounds at most 10 % apart from 1 ms to 10 s, for request times only."""
    (settings,) = render(small_mesh())["stats_config"]["histogram_bucket_settings"]
    bounds = settings["buckets"]

    assert (bounds[0], bounds[-1] >= 10_000) == (1.0, True)
    assert max(b / a for a, b in pairwise(bounds)) <= 1.1011
    assert settings["match"] == {"suffix": "_rq_time"}


@pytest.mark.parametrize("programming", ["weighted-clusters", "endpoint-weights"])
def test_envoy_accepts_what_follows(envoy: Path, tmp_path: Path, programming: str) -> None:
    """All clusters and listeners that a client gets, as static resources beside its bootstrap."""
    topology = small_mesh()
    row = {"reviews-0": 0.6, "reviews-1": 0.3, "reviews-2": 0.1}
    plan: Plan = plan_for(REVIEWS, row, programming=programming)  # type: ignore[arg-type]
    client = topology.container_by_name[ContainerName(PAGE)]
    snapshot = ClientConfigs(topology, plan).snapshot(client)
    bootstrap = render(topology)
    for type_url, key in ((CDS, "clusters"), (LDS, "listeners")):
        messages = [message_of(one) for one in snapshot.of(type_url).values()]
        assert messages
        bootstrap["static_resources"][key] += [
            json_format.MessageToDict(message, preserving_proto_field_name=True) for message in messages
        ]

    assert validate(envoy, json.dumps(bootstrap), tmp_path) == ""
