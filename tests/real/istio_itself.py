"""Istio's own istiod beside Kubernetes' own API server: real sidecars' configuration is what istiod makes of it.

istiod is the program ``pilot-discovery`` in the folder KUBEBUILDER_ASSETS. Its proxies here are Envoys without Istio's
own filters, so those are switched off. Pods have addresses of ``POD_NETWORK``, which the network namespace that the
test runs in must own; a client's Sidecar resource lets its Envoy listen there, as nothing captures traffic.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp

from tests.fakes.authority import Authority
from tests.fakes.istiod import Istiod
from tests.real.istio_sidecar import IstioSidecar
from tests.real.kubernetes_itself import POD_NETWORK, KubernetesItself, Object
from tests.real.outside_process import free_ports, until
from tests.real.traffic import start_app

PORT = 9080
HOST = "reviews.default.svc.cluster.local"
WHOLE = f"outbound|{PORT}||{HOST}"
WITHOUT_OWN_FILTERS = {
    "PILOT_ENABLE_METADATA_EXCHANGE": "false",
    "PILOT_ENABLE_ALPN_FILTER": "false",
    "PILOT_ENABLE_GATEWAY_API": "false",
    "ENABLE_CA_SERVER": "false",
    "VALIDATION_WEBHOOK_CONFIG_NAME": "",
    "INJECTION_WEBHOOK_CONFIG_NAME": "",
    "POD_NAMESPACE": "istio-system",
    "POD_NAME": "istiod-0",
    "REVISION": "default",
}


def no_pod_network() -> str:
    """Return why pods cannot have addresses here, or an empty string."""
    with socket.socket() as probe:
        try:
            probe.bind((f"{POD_NETWORK}.9", 0))
        except OSError:
            return (
                f"{POD_NETWORK}.0/24 is not this namespace's: run in `unshare -n`, after "
                f"`ip link set lo up; ip route add local {POD_NETWORK}.0/24 dev lo`"
            )
    return ""


class IstioItself(KubernetesItself):
    """``KubernetesItself`` with istiod; apps and sidecars are started for the pods that run."""

    def __init__(self, folder: Path, envoy: Path) -> None:
        super().__init__(folder, controllers=("kube-controller-manager",))
        self._envoy = envoy
        self.istiod_port = 0
        self.agent = Istiod()  # only its SDS: what Istio's agent does in each pod
        self.sidecars: dict[str, IstioSidecar] = {}
        self.address: dict[str, str] = {}
        self.node: dict[str, str] = {}
        self.sent = 0
        self.mesh_ca: Authority

    async def start_istiod(self) -> None:
        """Start istiod; it is ready when it has read the cluster. Its proxies' certificates come from an agent."""
        authority = Authority(self.folder, "mesh-ca")
        issued = authority.issue("workload", "URI:spiffe://cluster.local/ns/default/sa/default")
        self.agent.workload_certificate = (issued.certificate, issued.key)
        self.agent.root_certificate = authority.certificate
        self.mesh_ca = authority
        await self.agent.start()
        self._stack.push_async_callback(self.agent.stop)
        self.istiod_port, http, monitoring = free_ports(3)
        mesh = self.folder / "mesh.yaml"
        mesh.write_text("enablePrometheusMerge: false\n")
        await self._run(
            "pilot-discovery", "discovery", f"--kubeconfig={self.kubeconfig()}", f"--meshConfig={mesh}",
            f"--grpcAddr=127.0.0.1:{self.istiod_port}", f"--httpAddr=127.0.0.1:{http}", "--httpsAddr=",
            "--secureGRPCAddr=", f"--monitoringAddr=127.0.0.1:{monitoring}", "--registries=Kubernetes",
            "--ctrlz_port=0", environment=WITHOUT_OWN_FILTERS,
        )  # fmt: skip

        await until(lambda: self._answers("/ready", at=f"http://127.0.0.1:{http}"), deadline_s=60)

    async def start_workloads(self) -> None:
        """Start an app for each pod of ``reviews`` and a sidecar for each of ``load``."""
        for pod in await self.run_pods():
            metadata, name = pod["metadata"], pod["metadata"]["name"]
            if metadata["namespace"] != "default":
                continue
            self.address[name], self.node[name] = pod["status"]["podIP"], pod["spec"]["nodeName"]
            if metadata["labels"].get("app") == "reviews":
                await self._start_app(name)
            elif metadata["labels"].get("app") == "load":
                await self._start_sidecar(pod)

    async def weights(self) -> dict[str, dict[str, int]]:
        """Return, of each client, the nodes of its endpoints, with the sum of their weights."""
        node_of = {self.address[pod]: node for pod, node in self.node.items()}
        found: dict[str, dict[str, int]] = {}
        for client, sidecar in self.sidecars.items():
            by_node: Counter[str] = Counter()
            for place, weight in (await sidecar.weights(WHOLE)).items():
                by_node[node_of[place.split(":")[0]]] += weight
            found[client] = dict(by_node)
        return found

    async def send_until(self, done: asyncio.Event) -> Counter[str]:
        """Let every client send one request after another until ``done``; return who answered, or ``failed: why``."""
        answers: Counter[str] = Counter()

        async def one(client: str, http: aiohttp.ClientSession) -> None:
            while not done.is_set():
                answers[await self._get(client, http)] += 1
                self.sent += 1
                await asyncio.sleep(0.003)

        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as session:
            await asyncio.gather(*(one(client, session) for client in self.sidecars))
        return answers

    async def send(self, client: str, count: int) -> Counter[str]:
        """Send requests through a client's sidecar, one after another; return who answered, or ``failed: why``."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as session:
            return Counter([await self._get(client, session) for _ in range(count)])

    async def _get(self, client: str, http: aiohttp.ClientSession) -> str:
        url = f"http://{self.address[client]}:{PORT}/"
        try:
            async with http.get(url, headers={"Host": HOST}) as answer:
                text = await answer.text()
                return text if answer.status == 200 else f"failed: {answer.status} {text[:160]}"
        except (aiohttp.ClientError, TimeoutError) as error:
            return f"failed: {error!r}"

    async def _start_app(self, name: str) -> None:
        runner = await start_app(name, self.address[name], PORT)
        self._stack.push_async_callback(runner.cleanup)

    async def _start_sidecar(self, pod: Object) -> None:
        name = pod["metadata"]["name"]
        await self.apply(_sidecar_resource(name, self.address[name]))
        await self.patch(f"/api/v1/namespaces/default/pods/{name}", {"metadata": {"labels": {"pod": name}}})
        sidecar = IstioSidecar(
            name, self.address[name], istiod_port=self.istiod_port, agent_port=self.agent.port,
            envoy=self._envoy, folder=self.folder,
        )  # fmt: skip
        labels = pod["metadata"]["labels"] | {"pod": name}
        sidecar.metadata |= {"LABELS": labels, "CLUSTER_ID": "Kubernetes", "ISTIO_VERSION": "1.31.0"}
        sidecar.metadata |= {"NODE_NAME": self.node[name]}
        self.sidecars[name] = sidecar
        self._stack.push_async_callback(sidecar.stop)
        await sidecar.start()
        await until(sidecar.is_live)


def _sidecar_resource(pod: str, address: str) -> Object:
    listener: Any = {"port": {"number": PORT, "protocol": "HTTP", "name": "http"}, "bind": address}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Sidecar",
        "metadata": {"name": pod, "namespace": "default"},
        "spec": {
            "workloadSelector": {"labels": {"pod": pod}},
            "egress": [listener | {"captureMode": "NONE", "hosts": ["./*"]}],
        },
    }
