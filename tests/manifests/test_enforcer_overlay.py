"""The node agent's manifests: they render, fit the schemas, and ask for no more than each role needs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from askew.node_agent import EnforceSettings
from askew.settings import NodeSettings, compose, compose_over
from istio.watchdog import WatchdogSettings

OVERLAY = Path(__file__).resolve().parents[2] / "manifests/overlays/enforcer"
ALLOWED = {"cgroup": set(), "network": {"NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE"}}


def objects() -> list[dict[str, Any]]:
    """Return the objects of the overlay's files."""
    listed = yaml.safe_load((OVERLAY / "kustomization.yaml").read_text())["resources"]
    return [one for file in listed for one in yaml.safe_load_all((OVERLAY / file).read_text())]


def pod() -> dict[str, Any]:
    """Return the DaemonSet's pod."""
    (found,) = [one for one in objects() if one["kind"] == "DaemonSet"]
    return dict(found["spec"]["template"]["spec"])


def containers() -> dict[str, dict[str, Any]]:
    return {container["name"]: container for container in pod()["containers"]}


def test_kustomize_renders_all_of_it() -> None:
    """``kubectl kustomize`` gives every object, in our namespace."""
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl program")
    command = ["kubectl", "kustomize", str(OVERLAY)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    rendered = list(yaml.safe_load_all(done.stdout))

    assert sorted(one["kind"] for one in rendered) == sorted(one["kind"] for one in objects())
    assert {one["metadata"]["namespace"] for one in rendered} == {"askew-system"}


@pytest.mark.parametrize(
    "one",
    [one for one in objects() if not one["apiVersion"].startswith("cert-manager.io/")],
    ids=lambda one: one["kind"],
)
def test_every_object_fits_its_schema(one: dict[str, Any]) -> None:
    """Unknown fields and wrong types are errors."""
    validate = pytest.importorskip("kubernetes_validate")

    validate.validate(one, "1.29", strict=True)


@pytest.mark.parametrize("role", ALLOWED)
def test_a_role_has_the_capabilities_that_it_needs_and_no_other(role: str) -> None:
    """Everything is dropped first; nothing is privileged or may become it; the root is read-only."""
    container = containers()[role]
    context = container["securityContext"]

    assert context["capabilities"]["drop"] == ["ALL"]
    assert set(context["capabilities"].get("add", ())) == ALLOWED[role]
    assert (context.get("privileged", False), context["allowPrivilegeEscalation"]) == (False, False)
    assert (context["readOnlyRootFilesystem"], context["runAsUser"]) == (True, 0)
    assert container["args"][:3] == ["enforce", "--role", role]


def test_the_pod_shares_no_namespace_and_has_no_token() -> None:
    """No host network, PID or IPC namespace; seccomp as the runtime's; nothing to say to the API server."""
    spec = pod()

    assert [key for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)] == []
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False


def test_only_what_must_be_written_is_mounted_writable() -> None:
    """The cgroup role writes below /sys and the state directory, the network role only the state directory."""
    writable = {
        name: {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
        for name, container in containers().items()
    }

    assert writable == {"cgroup": {"/host/sys", "/host/run/askew"}, "network": {"/host/run/askew"}}
    assert {volume["hostPath"]["path"] for volume in pod()["volumes"] if "hostPath" in volume} == {
        "/etc/askew", "/sys", "/proc", "/run/askew",
    }  # fmt: skip


def test_its_settings_are_settings_of_the_agent() -> None:
    """The ConfigMap is read as the agent reads it; the port speaks mTLS."""
    (found,) = [one for one in objects() if one["kind"] == "ConfigMap"]

    settings = compose_over(EnforceSettings(), file_text=found["data"]["settings.yaml"], environment={})

    assert settings.api.is_mtls


def named(kind: str, name: str) -> dict[str, Any]:
    """Return an object of the overlay."""
    (found,) = [one for one in objects() if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def base(file: str) -> list[dict[str, Any]]:
    """Return the objects of a file of the control plane's manifests."""
    return list(yaml.safe_load_all((OVERLAY.parents[1] / file).read_text()))


@pytest.mark.parametrize("folder", ["base", "overlays/istio", "overlays/istio-bootstrap", "overlays/istio-tokens"])
def test_control_plane_and_agents_know_each_other(folder: str) -> None:
    """Each side's certificate has the name that the other side's settings ask for, of one authority."""
    (settings_of,) = base(f"{folder}/settings.yaml")
    nodes = compose(file_text=settings_of["data"]["settings.yaml"], environment={}).nodes
    text = named("ConfigMap", "askew-enforcer-settings")["data"]["settings.yaml"]
    api = compose_over(EnforceSettings(), file_text=text, environment={}).api
    server, client = named("Certificate", "askew-enforcer"), named("Certificate", "askew-nodes")

    assert server["spec"]["dnsNames"] == [nodes.agent_name]
    assert client["spec"]["uris"] == [api.allowed_clients]
    assert (server["spec"]["usages"], client["spec"]["usages"]) == (["server auth"], ["client auth"])
    assert server["spec"]["issuerRef"] == client["spec"]["issuerRef"]


def test_the_control_plane_has_its_certificate_where_its_settings_look() -> None:
    """A volume of the secret, which may come later with the agents: without them nothing waits for it."""
    (deployment,) = base("base/deployment.yaml")
    spec = deployment["spec"]["template"]["spec"]
    (volume,) = [one for one in spec["volumes"] if one["name"] == "nodes-tls"]
    (mount,) = [one for one in spec["containers"][0]["volumeMounts"] if one["name"] == "nodes-tls"]
    (settings_of,) = base("base/settings.yaml")
    nodes = compose(file_text=settings_of["data"]["settings.yaml"], environment={}).nodes

    secret = named("Certificate", "askew-nodes")["spec"]["secretName"]
    assert volume["secret"] == {"secretName": secret, "optional": True}
    assert {str(Path(file).parent) for file in (nodes.certificate_file, nodes.key_file, nodes.ca_file)} == {
        mount["mountPath"]
    }


def test_the_control_plane_finds_the_agents_and_is_let_in() -> None:
    """By label and port as its settings say; the NetworkPolicy lets its pods, and nobody else, reach that port."""
    daemon_set = named("DaemonSet", "askew-enforcer")
    key, _, value = NodeSettings().agent_label.partition("=")
    policy = named("NetworkPolicy", "askew-enforcer")["spec"]
    (rule,) = [one for one in policy["ingress"] if one["ports"][0]["port"] == NodeSettings().agent_port]
    (deployment,) = base("base/deployment.yaml")

    assert daemon_set["spec"]["template"]["metadata"]["labels"][key] == value
    assert NodeSettings().agent_port in [port["containerPort"] for port in containers()["cgroup"]["ports"]]
    assert policy["podSelector"]["matchLabels"] == {key: value}
    (allowed,) = rule["from"]
    assert allowed["podSelector"]["matchLabels"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    assert daemon_set["metadata"]["namespace"] == WatchdogSettings().namespace
