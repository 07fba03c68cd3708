"""The manifests: that they render, that the API server would take them, and that they grant no more than is used."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from askew.__main__ import _parse
from askew.settings import ServeSettings, compose
from askew.settings_check import check
from istio.integration import BOOTSTRAP_CONFIG

HERE = Path(__file__).parents[2]
MANIFESTS = HERE / "manifests"
RENDERED = sorted(str(one.parent.relative_to(MANIFESTS)) for one in MANIFESTS.rglob("kustomization.yaml"))
KUBERNETES = "1.31"
OWN_APIS = ("v1", "apps/v1", "policy/v1", "networking.k8s.io/v1", "rbac.authorization.k8s.io/v1")
WORKLOADS = ("Deployment", "DaemonSet")

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl (Debian: kubernetes-client)")


@functools.cache
def rendered(name: str) -> tuple[dict[str, Any], ...]:
    """Return the objects that ``kubectl kustomize`` makes of a folder; it speaks to no cluster."""
    done = subprocess.run(
        ["kubectl", "kustomize", str(MANIFESTS / name)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return tuple(one for one in yaml.safe_load_all(done.stdout) if one)


def containers(kinds: tuple[str, ...] = WORKLOADS) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yield the name, the pod's spec and the container's of every container of ours."""
    for name in RENDERED:
        for one in rendered(name):
            if one["kind"] not in kinds:
                continue
            pod = one["spec"]["template"]["spec"]
            for container in [*pod.get("initContainers", []), *pod["containers"]]:
                if container["image"] != "app:1":  # the example's app
                    yield f"{name}: {container['name']}", pod, container


@needs_kubectl
@pytest.mark.parametrize("name", RENDERED)
def test_the_api_server_would_take_them(name: str) -> None:
    """Every object of Kubernetes' own fits its schema, unknown keys included."""
    for one in rendered(name):
        if one["apiVersion"] in OWN_APIS:
            kubernetes_validate.validate(one, KUBERNETES, strict=True)


@needs_kubectl
@pytest.mark.parametrize("name", RENDERED)
def test_nothing_stands_in_two_places(name: str) -> None:
    """An object is there once, and an overlay's patch leaves no empty name behind."""
    keys = [(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in rendered(name)]
    assert len(keys) == len(set(keys))


@needs_kubectl
def test_containers_are_narrow() -> None:
    """No container is privileged, gains rights, or writes to its own image; every one starts with no capability."""
    seen = 0
    for name, _, container in containers():
        rights = container["securityContext"]
        assert not rights.get("privileged"), name
        assert rights["allowPrivilegeEscalation"] is False, name
        assert rights["readOnlyRootFilesystem"] is True, name
        assert rights["capabilities"]["drop"] == ["ALL"], name
        seen += 1
    assert seen >= 5


@needs_kubectl
def test_all_but_the_node_agents_pass_pod_security_restricted() -> None:
    """What docs/kubernetes.md says: no root, a seccomp profile, and volumes that hold nothing of the node."""
    seen = 0
    for name, pod, container in containers(("Deployment",)):
        rights = pod.get("securityContext", {}) | container["securityContext"]
        assert rights["runAsNonRoot"] is True, name
        assert rights["seccompProfile"]["type"] == "RuntimeDefault", name
        kinds = {kind for volume in pod["volumes"] for kind in volume} - {"name"}
        assert kinds <= {"configMap", "secret", "emptyDir", "projected"}, name
        assert not pod.get("hostNetwork"), name
        seen += 1
    assert seen >= 10


@needs_kubectl
def test_no_pod_of_our_namespace_gets_variables_of_services() -> None:
    """The Service ``askew-http`` would be ``ASKEW_HTTP_PORT`` there, which is a setting's name, and no port number."""
    pods = [
        one["spec"]["template"]["spec"]
        for name in RENDERED
        for one in rendered(name)
        if one["kind"] in WORKLOADS and one["metadata"].get("namespace") == "askew-system"
    ]
    assert len(pods) >= 8
    assert all(pod["enableServiceLinks"] is False for pod in pods)


@needs_kubectl
def test_askews_own_sidecar_stands_in_the_way_of_nothing() -> None:
    """Beside Istio neither probes nor scrapes go over the sidecar's port, which the NetworkPolicy does not open."""
    (pod,) = [
        one["spec"]["template"]
        for one in rendered("overlays/istio")
        if one["kind"] == "Deployment" and one["metadata"]["name"] == "askew"
    ]
    annotations = pod["metadata"]["annotations"]
    assert annotations["sidecar.istio.io/rewriteAppHTTPProbers"] == "false"
    assert annotations["prometheus.istio.io/merge-metrics"] == "false"
    assert annotations["prometheus.io/port"] == "18080"
    (policy,) = [
        one
        for one in rendered("overlays/istio")
        if (one["kind"], one["metadata"]["name"]) == ("NetworkPolicy", "askew")
    ]
    assert 15020 not in [port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]]


@needs_kubectl
def test_every_volume_is_there_and_used() -> None:
    """A pod mounts what it declares, and declares what it mounts."""
    for name in RENDERED:
        for one in rendered(name):
            if one["kind"] in WORKLOADS:
                pod = one["spec"]["template"]["spec"]
                every = [*pod.get("initContainers", []), *pod["containers"]]
                mounted = {mount["name"] for container in every for mount in container.get("volumeMounts", [])}
                assert mounted == {volume["name"] for volume in pod.get("volumes", [])}, one["metadata"]["name"]


@needs_kubectl
def test_rights_are_the_least() -> None:
    """No wildcard; no right on secrets; nothing but Events, conditions and our own leases and filters is written."""
    written = set()
    for name in RENDERED:
        for one in rendered(name):
            for rule in one.get("rules", []) if one["kind"] in ("Role", "ClusterRole") else []:
                assert "*" not in {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
                assert "secrets" not in rule["resources"]
                if set(rule["verbs"]) - {"get", "list", "watch"}:
                    written |= {(one["kind"], resource) for resource in rule["resources"]}
    assert written <= {
        ("ClusterRole", "services/status"),
        ("ClusterRole", "events"),
        ("Role", "leases"),
        ("Role", "events"),
        ("Role", "envoyfilters"),
        ("ClusterRole", "tokenreviews"),
        ("ClusterRole", "destinationrules"),
        ("ClusterRole", "virtualservices"),
        ("ClusterRole", "configmaps"),
    }


@needs_kubectl
def test_rights_that_few_need_are_granted_where_they_are_asked_for_alone() -> None:
    """Each in an overlay of its own; Istio's rules are bound to namespaces, never to all, ConfigMaps to one name."""
    asks = {
        "tokenreviews": ["overlays/istio-tokens"],
        "destinationrules": ["overlays/istio-native"],
        "configmaps": ["overlays/istio-bootstrap"],
    }
    for resource, overlays in asks.items():
        granted = [
            name for name in RENDERED for rule in rules_of(name) if resource in rule["resources"] and _writes(rule)
        ]
        assert granted == overlays
    bound = [
        one["kind"] for one in rendered("overlays/istio-native") if one.get("roleRef", {}).get("name") == "askew-native"
    ]
    assert bound == ["RoleBinding"]
    of_maps = [rule for rule in rules_of("overlays/istio-bootstrap") if "configmaps" in rule["resources"]]
    assert [rule["resourceNames"] for rule in of_maps] == [[BOOTSTRAP_CONFIG]]


@needs_kubectl
@pytest.mark.parametrize(("mode", "overlay"), [("googleGrpc", "istio-tokens"), ("bootstrap", "istio-bootstrap")])
def test_an_overlay_of_a_mode_loses_none_of_the_settings_below_it(mode: str, overlay: str) -> None:
    """Kustomize replaces the whole text: what is set beside Istio is set there, too, but for what the mode changes."""
    below, above = (settings_of(f"overlays/{one}") for one in ("istio", overlay))
    assert above.istio.mode == mode
    for section in ("http", "memory", "nodes", "prometheus", "kubernetes", "loop", "watchdog"):
        assert getattr(above, section) == getattr(below, section), section


def settings_of(name: str) -> ServeSettings:
    """Return the control plane's settings of a folder."""
    [text] = [one["data"]["settings.yaml"] for one in rendered(name) if one["metadata"]["name"] == "askew-settings"]
    return compose(file_text=text, environment={})


def rules_of(name: str) -> list[dict[str, Any]]:
    """Return all RBAC rules of a folder."""
    return [rule for one in rendered(name) if one["kind"] in ("Role", "ClusterRole") for rule in one.get("rules", [])]


def _writes(rule: dict[str, Any]) -> bool:
    return bool(set(rule["verbs"]) - {"get", "list", "watch"})


@needs_kubectl
def test_the_port_for_tokens_is_open_all_the_way() -> None:
    """Settings, container, Service and NetworkPolicy say the same number; sidecars are led to it."""
    found = {(one["kind"], one["metadata"]["name"]): one for one in rendered("overlays/istio-tokens")}
    settings = compose(file_text=found["ConfigMap", "askew-settings"]["data"]["settings.yaml"], environment={})
    check(settings)
    (container,) = found["Deployment", "askew"]["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    service = {port["targetPort"]: port["port"] for port in found["Service", "askew-xds"]["spec"]["ports"]}
    policy = found["NetworkPolicy", "askew-tokens"]["spec"]["ingress"][0]["ports"]

    assert settings.xds.token_port == settings.istio.token_port == ports["grpc-tokens"] == service["grpc-tokens"]
    assert [one["port"] for one in policy] == [settings.xds.token_port]
    assert service["grpc-xds"] == settings.xds.port


@needs_kubectl
def test_the_settings_are_taken() -> None:
    """What the ConfigMaps hold is what ``askew serve --config`` reads, without a key too many."""
    seen = 0
    for name in RENDERED:
        for one in rendered(name):
            if one["kind"] == "ConfigMap" and one["metadata"]["name"] == "askew-settings":
                settings = compose(file_text=one["data"]["settings.yaml"], environment={})
                assert settings.xds.is_mtls
                seen += 1
    assert seen == 6


def test_a_prometheus_is_set_in_one_place() -> None:
    """Beside Istio the marks are taken away and the address is written; nothing closes the way to it."""
    text = yaml.safe_load((MANIFESTS / "overlays/istio/settings.yaml").read_text())["data"]["settings.yaml"]
    assert compose(file_text=text, environment={}).prometheus.url == ""
    lines = text.split("# prometheus:")
    assert len(lines) == 2
    settings = compose(file_text=f"{lines[0]}prometheus:{lines[1].replace('#  ', ' ')}", environment={})
    check(settings)
    assert settings.prometheus.url.startswith("http://")
    assert settings.prometheus.interval_s > 0.0
    policy = yaml.safe_load((MANIFESTS / "base/network-policy.yaml").read_text())
    assert policy["spec"]["policyTypes"] == ["Ingress"]


@needs_kubectl
def test_commands_are_ours() -> None:
    """What a container is told to run, our own command line takes; what its environment sets, there is."""
    seen = set()
    for name, _, container in containers():
        if not container["image"].startswith("askew:") or "command" in container:
            continue
        options = _parse(container["args"])
        seen.add(options.command)
        variables = [one["name"] for one in container.get("env", []) if one["name"].startswith("ASKEW_")]
        if options.command == "serve":
            before = compose(file_text=None, environment={})
            after = compose(file_text=None, environment=dict.fromkeys(variables, "10.0.0.7"))
            assert len(variables) == 2, name
            assert before != after, name
    assert seen >= {"serve", "watchdog"}


@needs_kubectl
def test_beside_istio_the_certificate_is_istios() -> None:
    """The overlay takes the secret's volume away, and puts the agent's files where the settings look for them."""
    (deployment,) = [
        one for one in rendered("overlays/istio") if one["kind"] == "Deployment" and one["metadata"]["name"] == "askew"
    ]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert "/etc/istio-output-certs" in mounts
    assert "/etc/askew/tls" not in mounts


def metrics_used(text: str) -> set[str]:
    """Return the series of ours that an expression names, without the endings of histograms."""
    return {re.sub(r"_(bucket|sum|count)$", "", found) for found in re.findall(r"\baskew_[a-z_]+", text)}


def test_dashboard_and_alerts_show_what_there_is() -> None:
    """They name no metric that docs/interfaces.md does not list as built."""
    page = (HERE / "docs" / "interfaces.md").read_text()
    built = {
        name
        for line in page.splitlines()
        if line.startswith("| `askew_") and "| built |" in line
        for name in re.findall(r"`(askew_[a-z_]+)`", line)
    }
    board = json.loads((MANIFESTS / "monitoring" / "dashboard.json").read_text())
    rules = yaml.safe_load((MANIFESTS / "monitoring" / "alerts.yaml").read_text())
    used = {name for panel in board["panels"] for target in panel["targets"] for name in metrics_used(target["expr"])}
    used |= {name for group in rules["groups"] for rule in group["rules"] for name in metrics_used(rule["expr"])}
    assert len(used) >= 12
    assert used <= built


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool (Debian: prometheus)")
def test_alerts_fire_when_they_should() -> None:
    """Prometheus' own tool reads the rules and plays the series of alerts_test.yaml against them."""
    for command in (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]):
        done = subprocess.run(
            ["promtool", *command],
            cwd=MANIFESTS / "monitoring",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_says_where_to_read_on() -> None:
    """Each rule leads to its heading in docs/alerts.md, and no heading is left of a rule that is gone."""
    rules = yaml.safe_load((MANIFESTS / "monitoring" / "alerts.yaml").read_text())
    alerts = {rule["alert"]: rule["annotations"]["runbook"] for group in rules["groups"] for rule in group["rules"]}
    headings = re.findall(r"^## (\w+)$", (HERE / "docs" / "alerts.md").read_text(), re.MULTILINE)

    assert sorted(headings) == sorted(alerts)
    assert alerts == {name: f"docs/alerts.md#{name.lower()}" for name in alerts}
