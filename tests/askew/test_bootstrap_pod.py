"""``askew bootstrap --pod``: a pod that knows itself by the downward API, without a mesh file."""

from __future__ import annotations

import pytest
import yaml
from envoy.config.core.v3 import base_pb2
from google.protobuf import json_format

from askew.__main__ import main

POD = {"POD_NAME": "web-7f9-abcde", "POD_NAMESPACE": "shop", "POD_IP": "10.1.2.3", "NODE_NAME": "node-a"}
pytestmark = pytest.mark.usefixtures("logging_as_before")


@pytest.fixture
def pod(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The four variables, as the kubelet sets them."""
    for name, value in POD.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.mark.usefixtures("pod")
def test_the_pod_is_who_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    """``node.id`` is ``<pod>.<namespace>``, as its certificate's DNS name; its node is in the metadata."""
    assert main(["bootstrap", "--pod", "--xds", "askew-xds.askew-system.svc:18000"]) == 0

    printed = yaml.safe_load(capsys.readouterr().out)
    node = json_format.ParseDict(printed["node"], base_pb2.Node())
    assert node.id == "web-7f9-abcde.shop"
    assert node.metadata["NODE_NAME"] == "node-a"
    assert "upstream_bind_config" not in printed["cluster_manager"]


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("POD_NAME", "", "the pod's field of the downward API"),
        ("NODE_NAME", "a\nb", "the pod's field of the downward API"),
        ("POD_IP", "web", "an IP address"),
    ],
)
def test_what_is_missing_is_named(
    pod: pytest.MonkeyPatch, name: str, value: str, allowed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line: which variable, what it held, what is allowed."""
    pod.setenv(name, value)

    assert main(["bootstrap", "--pod"]) == 2
    assert capsys.readouterr().err == f"{name}: found {value!a}, allowed: {allowed}\n"


def test_a_pod_or_a_mesh_file(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither is a guess: one of both has to be named."""
    with pytest.raises(SystemExit) as ended:
        main(["bootstrap"])
    assert ended.value.code == 2
    assert "--mesh --pod" in capsys.readouterr().err
