"""What tests with Kubernetes itself put into it: the manifests, two nodes, a Service of four pods, two clients."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from askew.beside_kubernetes import BesideKubernetes
from askew.replication.settings import ReplicationSettings
from askew.settings import HttpSettings, LoopSettings, ServeSettings
from istio.integration import Integration
from istio.settings import KubernetesSettings
from tests.fakes.authority import Issued
from tests.real.kubernetes_itself import KubernetesItself
from tests.real.outside_process import free_ports
from tests.real.sidecar_mesh import until
from xds_server.settings import XdsSettings

MANIFESTS = Path(__file__).parents[2] / "manifests" / "overlays"
CONTROLLERS = ("kube-controller-manager",)
FILTERS = "/apis/networking.istio.io/v1alpha3/namespaces/istio-system/envoyfilters"
LOCAL_FIRST = {"askew.mesh/routing": "local-first"}
OFF = {"askew.mesh/routing": None}


def manifests(overlay: str) -> list[dict[str, Any]]:
    """Return the objects of an overlay, those whose kinds come from elsewhere left out."""
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl (Debian: kubernetes-client)")
    command = ("kubectl", "kustomize", str(MANIFESTS / overlay))
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    found = [one for one in yaml.safe_load_all(done.stdout) if one]
    return [one for one in found if "cert-manager.io" not in one["apiVersion"]]


async def fill(cluster: KubernetesItself) -> None:
    """Create all of it; no pod runs yet."""
    await cluster.install_istio()
    await cluster.apply(*manifests("istio"))
    for node, zone in (("n1", "z1"), ("n2", "z2")):
        await cluster.add_node(node, zone=zone)
    spec = {"selector": {"app": "reviews"}, "ports": [{"name": "http", "port": 9080, "targetPort": "http"}]}
    await cluster.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "reviews"}, "spec": spec})
    await cluster.apply(deployment("reviews", replicas=4), deployment("load", replicas=2, sidecar=True))


def deployment(name: str, *, replicas: int, sidecar: bool = False, scheduler: str = "") -> dict[str, Any]:
    """Return a Deployment whose pods have the port ``http``."""
    app = {"name": "app", "image": "app", "ports": [{"name": "http", "containerPort": 9080}]}
    proxy = [{"name": "istio-proxy", "image": "proxy", "restartPolicy": "Always"}] if sidecar else []
    labels = {"app": name}
    metadata = {"labels": labels, "annotations": {"sidecar.istio.io/status": "{}"} if sidecar else {}}
    pod_spec = {"initContainers": proxy, "containers": [app]} | ({"schedulerName": scheduler} if scheduler else {})
    pod = {"metadata": metadata, "spec": pod_spec}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": pod}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


async def all_run(cluster: KubernetesItself) -> bool:
    """Bind each app's pods to the two nodes in turn, run them, and say whether all six run."""
    namespace = "/api/v1/namespaces/default"
    pods = (await cluster.ask("GET", f"{namespace}/pods"))["items"]
    bound = Counter((pod["metadata"]["labels"]["app"], pod["spec"].get("nodeName")) for pod in pods)
    for pod in pods:
        if not pod["spec"].get("nodeName"):
            name, app = pod["metadata"]["name"], pod["metadata"]["labels"]["app"]
            node = min("n1", "n2", key=lambda one: bound[app, one])
            bound[app, node] += 1
            target = {"apiVersion": "v1", "kind": "Node", "name": node}
            binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
            await cluster.ask("POST", f"{namespace}/pods/{name}/binding", binding)
    await cluster.run_pods()
    pods = (await cluster.ask("GET", f"{namespace}/pods"))["items"]
    return sum(pod["status"].get("phase") == "Running" for pod in pods) == 6


async def annotate(cluster: KubernetesItself, annotations: dict[str, str] | dict[str, None]) -> None:
    """Annotate the Service; None takes an annotation away."""
    await cluster.patch("/api/v1/namespaces/default/services/reviews", {"metadata": {"annotations": annotations}})


async def filters(cluster: KubernetesItself) -> list[str]:
    """Return the names of the EnvoyFilters there are."""
    return sorted(one["metadata"]["name"] for one in (await cluster.ask("GET", FILTERS))["items"])


@asynccontextmanager
async def askew(
    cluster: KubernetesItself,
    to: Integration | None = None,
    *,
    certificate: Issued | None = None,
    ca: str = "",
    mtls_port: int = 0,
) -> AsyncIterator[BesideKubernetes]:
    """Run a replica with the rights of its own service account; ``to`` is the way to it, its port left open."""
    files = (str(certificate.certificate), str(certificate.key)) if certificate else ("", "")
    [port] = free_ports(1)
    token = await cluster.token("askew", namespace="askew-system")
    config = str(cluster.kubeconfig(token, name="askew"))
    replica = BesideKubernetes(
        ServeSettings(
            xds=XdsSettings(port=port, drain_s=0.2, certificate_file=files[0], key_file=files[1], client_ca_file=ca),
            http=HttpSettings(port=0, mtls_host="127.0.0.1" if mtls_port else "", mtls_port=mtls_port),
            loop=LoopSettings(tick_s=0.5),
            kubernetes=KubernetesSettings(kubeconfig=config, backoff_s=0.1, longest_backoff_s=0.5),
            replication=ReplicationSettings(port=0, name="a", retry_s=0.5),
            istio=replace(to or Integration(), port=port),
        )
    )
    ready = asyncio.Event()
    running = asyncio.create_task(replica.run(on_ready=ready.set), name="askew")
    try:
        await until(lambda: ready.is_set() or running.done())
        yield replica
    finally:
        running.cancel()
        await asyncio.wait((running,))
