"""kube-scheduler itself asks Askew, with the overlay's configuration and rights, over mTLS.

Runs where KUBEBUILDER_ASSETS names a folder with etcd, kube-apiserver, kube-controller-manager and kube-scheduler.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from istio.integration import Integration
from tests.fakes.authority import Authority
from tests.fakes.sidecars import FakeSidecars
from tests.real.kubernetes_itself import KubernetesItself, missing
from tests.real.outside_process import free_ports
from tests.real.reviews_cluster import CONTROLLERS, askew, deployment, manifests
from tests.real.sidecar_mesh import until

LACKS = missing("etcd", "kube-apiserver", *CONTROLLERS, "kube-scheduler")
PODS = "/api/v1/namespaces/default/pods"
NODES = [f"n{number}" for number in range(1, 7)]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.skipif(bool(LACKS), reason=LACKS)]


async def test_a_new_pod_goes_where_those_are_that_it_talks_to(tmp_path: Path, rng: np.random.Generator) -> None:
    """One client stands on n1 and all servers on n6: of five nodes that are otherwise equal, its sibling goes to n6."""
    authority, to = Authority(tmp_path), Integration(host="127.0.0.1")
    own = authority.issue("askew", f"URI:{to.identity},IP:127.0.0.1")
    [port] = free_ports(1)
    async with KubernetesItself(tmp_path, controllers=CONTROLLERS) as cluster:
        await set_up(cluster)
        ca = str(authority.certificate)
        async with askew(cluster, to, certificate=own, ca=ca, mtls_port=port) as replica:
            plane = replica.plane
            assert plane is not None
            await until(lambda: len(plane.topology.service_by_name) > 1)
            [client] = [pod for pod in await running(cluster) if pod["metadata"]["labels"]["app"] == "load"]
            pair = (f"{client['metadata']['name']}.default", "reviews.default")
            sidecars = FakeSidecars(plane.topology, {pair: 90.0}, rng)
            plane.collector.drain = lambda: sidecars.advance(5.0)  # type: ignore[method-assign]
            await until(lambda: plane.picture.links)
            await cluster.run_scheduler(await configuration(cluster, authority, f"https://127.0.0.1:{port}/scheduler"))
            await cluster.apply(deployment("load", replicas=2, sidecar=True, scheduler="askew-scheduler"))
            await until(lambda: has_siblings(cluster))
            scored = plane.registry.get_sample_value("askew_scheduler_requests_total", {"result": "scored"})

        assert sorted([one["spec"]["nodeName"] for one in await running(cluster, app="load")]) == ["n1", "n6"]
        assert scored == 1.0


async def set_up(cluster: KubernetesItself) -> None:
    """Six nodes, the manifests beside Istio and of the scheduler, servers on n6, a client on n1."""
    await cluster.install_istio()
    await cluster.apply(*manifests("istio"), *manifests("scheduler"))
    for node in NODES:
        await cluster.add_node(node, zone="z1")
    spec = {"selector": {"app": "reviews"}, "ports": [{"name": "http", "port": 9080, "targetPort": "http"}]}
    await cluster.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "reviews"}, "spec": spec})
    await cluster.apply(deployment("reviews", replicas=3))
    await cluster.apply(deployment("load", replicas=1, sidecar=True, scheduler="askew-scheduler"))

    async def placed() -> bool:
        for pod in (await cluster.ask("GET", PODS))["items"]:
            if not pod["spec"].get("nodeName"):
                name, node = pod["metadata"]["name"], "n6" if pod["metadata"]["labels"]["app"] == "reviews" else "n1"
                target = {"apiVersion": "v1", "kind": "Node", "name": node}
                binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
                await cluster.ask("POST", f"{PODS}/{name}/binding", binding)
        await cluster.run_pods()
        return len(await running(cluster)) == 4

    await until(placed)


async def running(cluster: KubernetesItself, *, app: str = "") -> list[dict[str, Any]]:
    """Return the pods, of an app or all, that a node has."""
    query = f"?labelSelector=app%3D{app}" if app else ""
    return [one for one in (await cluster.ask("GET", PODS + query))["items"] if one["spec"].get("nodeName")]


async def has_siblings(cluster: KubernetesItself) -> bool:
    return len(await running(cluster, app="load")) == 2


async def configuration(cluster: KubernetesItself, authority: Authority, url: str) -> Path:
    """Return the overlay's configuration, with this machine's address and files in place of the cluster's."""
    client = authority.issue("scheduler", "URI:spiffe://cluster.local/ns/askew-system/sa/askew-scheduler")
    [found] = [one for one in manifests("scheduler") if one["metadata"]["name"] == "askew-scheduler-settings"]
    config = yaml.safe_load(found["data"]["scheduler.yaml"])
    files = {"certFile": client.certificate, "keyFile": client.key, "caFile": authority.certificate}
    config["extenders"][0] |= {"urlPrefix": url, "tlsConfig": {key: str(path) for key, path in files.items()}}
    token = await cluster.token("askew-scheduler", namespace="askew-system")
    config["clientConnection"] = {"kubeconfig": str(cluster.kubeconfig(token, name="scheduler"))}
    path = cluster.folder / "scheduler.yaml"
    path.write_text(yaml.safe_dump(config))
    return path
