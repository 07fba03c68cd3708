"""Probes and priorities of the manifests: nothing of ours may hang unseen, nor be the first to go."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from askew.__main__ import _parse
from tests.manifests.test_manifests import WORKLOADS, containers, needs_kubectl, rendered

OVERLAYS = ("overlays/istio", "overlays/enforcer", "overlays/plain-envoy")
BY_FILE = {"watchdog", "network"}
"""The containers that listen on no port."""


def ours() -> dict[str, dict[str, Any]]:
    """Return the containers that run our program for good, by name."""
    found = [one for _, _, one in containers() if one["image"].startswith("askew:") and "livenessProbe" in one]
    return {one["name"]: one for one in found}


@needs_kubectl
def test_every_container_that_stays_is_probed() -> None:
    """All that run our program, but for init containers, which end."""
    for name in OVERLAYS:
        for one in rendered(name):
            for container in one["spec"]["template"]["spec"]["containers"] if one["kind"] in WORKLOADS else ():
                assert "livenessProbe" in container, f"{name}: {container['name']}"
    assert set(ours()) >= {"askew", "cgroup", *BY_FILE}


@needs_kubectl
def test_a_probe_by_file_asks_the_file_that_is_touched(tmp_path: Path) -> None:
    """The command is run as it stands, but for where the file is: fresh is alive, an old one is not."""
    for name in BY_FILE:
        container = ours()[name]
        options = _parse(container["args"])
        python, *command = container["livenessProbe"]["exec"]["command"]
        writable = [one["mountPath"] for one in container["volumeMounts"] if not one.get("readOnly")]
        file = tmp_path / name
        here = [str(file) if word == options.alive else word for word in command]
        codes = []
        for age_s in (0.0, 1e6):
            file.touch()
            os.utime(file, times=(time.time() - age_s,) * 2)
            codes.append(subprocess.run([sys.executable, *here], capture_output=True, check=False).returncode)

        assert (python, here.count(str(file))) == ("python", 1), name
        assert str(Path(options.alive).parent) in writable, name
        assert codes == [0, 1], name


@needs_kubectl
def test_pods_that_matter_have_a_priority_and_a_quota_that_allows_it() -> None:
    """Some clusters take system priorities outside kube-system only where a quota of the namespace names them."""
    [quota] = [one for one in rendered("base") if one["kind"] == "ResourceQuota"]
    [selected] = quota["spec"]["scopeSelector"]["matchExpressions"]
    priorities = {
        one["metadata"]["name"]: one["spec"]["template"]["spec"].get("priorityClassName")
        for name in OVERLAYS
        for one in rendered(name)
        if one["kind"] in WORKLOADS
    }

    assert priorities == {
        "askew": "system-cluster-critical",
        "askew-watchdog": "system-cluster-critical",
        "askew-enforcer": "system-node-critical",
    }
    assert (selected["scopeName"], selected["operator"]) == ("PriorityClass", "In")
    assert set(priorities.values()) <= set(selected["values"])
    assert list(quota["spec"]["hard"]) == ["pods"]


@needs_kubectl
def test_one_watchdog_is_there_while_another_moves() -> None:
    """Two, on two nodes where there are two, and a drain takes one at a time."""
    found = {(one["kind"], one["metadata"]["name"]): one.get("spec") for one in rendered("overlays/istio")}
    watchdog, budget = found["Deployment", "askew-watchdog"], found["PodDisruptionBudget", "askew-watchdog"]
    [spread] = watchdog["template"]["spec"]["topologySpreadConstraints"]

    assert watchdog["replicas"] == 2
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert spread["labelSelector"] == budget["selector"] == watchdog["selector"]
    assert budget["maxUnavailable"] == 1
