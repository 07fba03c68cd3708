"""The second scheduler's manifests: they render, and what they say fits what Askew serves and lets in."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from askew.settings import ServeSettings

MANIFESTS = Path(__file__).resolve().parents[2] / "manifests"
OVERLAY = MANIFESTS / "overlays/scheduler"


def objects(folder: Path = OVERLAY) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the objects of a folder's files by kind and name."""
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    found = [one for file in listed for one in yaml.safe_load_all((folder / file).read_text())]
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


def configuration() -> dict[str, Any]:
    """Return the KubeSchedulerConfiguration."""
    settings = objects()["ConfigMap", "askew-scheduler-settings"]
    return dict(yaml.safe_load(settings["data"]["scheduler.yaml"]))


def test_kustomize_renders_all_of_it_where_it_stands() -> None:
    """Every object, none moved to another namespace: one binding must stay in kube-system."""
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl program")
    command = ["kubectl", "kustomize", str(OVERLAY)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    places = {
        (one["kind"], one["metadata"]["name"]): one["metadata"].get("namespace")
        for one in yaml.safe_load_all(done.stdout)
    }

    assert places == {key: one["metadata"].get("namespace") for key, one in objects().items()}
    assert places["RoleBinding", "askew-scheduler-authentication"] == "kube-system"


def test_the_extender_scores_and_can_stop_nobody() -> None:
    """Only ``prioritize``; only names of nodes are sent; pods are placed without it; and it must prove who it is."""
    (extender,) = configuration()["extenders"]

    assert {key for key in extender if key.endswith("Verb")} == {"prioritizeVerb"}
    assert (extender["nodeCacheCapable"], extender["ignorable"], extender["enableHTTPS"]) == (True, True, True)
    assert (extender["weight"], extender["httpTimeout"]) == (1, "500ms")
    assert extender["tlsConfig"]["caFile"]


def test_the_extender_is_where_askew_listens() -> None:
    """The URL is the Service's, its port the setting's, its path the page's; the control plane's certificate has it."""
    (extender,) = configuration()["extenders"]
    url = urlsplit(extender["urlPrefix"] + "/" + extender["prioritizeVerb"])
    service = objects(MANIFESTS / "base")["Service", "askew-mtls"]
    certificate = objects(MANIFESTS / "overlays/plain-envoy")["Certificate", "askew-xds"]

    assert url.hostname == "{name}.{namespace}.svc".format(**service["metadata"])
    assert url.hostname in certificate["spec"]["dnsNames"]
    assert url.port == service["spec"]["ports"][0]["port"] == ServeSettings().http.mtls_port
    assert url.path == "/scheduler/prioritize"


def test_its_certificate_is_let_in() -> None:
    """It has a name of ``scheduler.allowed_clients``, and its files are where the configuration looks for them."""
    certificate = objects()["Certificate", "askew-scheduler"]["spec"]
    pod = objects()["Deployment", "askew-scheduler"]["spec"]["template"]["spec"]
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    (extender,) = configuration()["extenders"]

    assert set(certificate["dnsNames"]) <= set(ServeSettings().scheduler.allowed_clients.split(","))
    assert {volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume} == {
        certificate["secretName"]
    }
    assert {str(Path(file).parent) for file in extender["tlsConfig"].values()} == {mounts["tls"]}


def test_it_leads_by_a_lease_of_its_own() -> None:
    """Two schedulers under one lease would take turns; its role reaches this one lease only."""
    election = configuration()["leaderElection"]
    rules = objects()["Role", "askew-scheduler"]["rules"]

    assert (election["resourceNamespace"], election["resourceName"]) == ("askew-system", "askew-scheduler")
    assert [rule["resourceNames"] for rule in rules if rule["verbs"] != ["create"]] == [["askew-scheduler"]]
    assert [one["schedulerName"] for one in configuration()["profiles"]] == ["askew-scheduler"]
