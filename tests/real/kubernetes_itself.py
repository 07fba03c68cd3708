"""Kubernetes' own control plane on loopback: etcd and kube-apiserver, with controllers and scheduler where they are.

The programs are those of the folder that KUBEBUILDER_ASSETS names, as controller tests have it. There is no kubelet:
``run_pods`` says of every bound Pod that it runs. Everybody but ``admin`` has the rights that RBAC gives.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import aiohttp

from istio.client import KubernetesClient, connect
from istio.kinds import Kind
from istio.settings import KubernetesSettings
from tests.fakes.authority import Authority
from tests.real.outside_process import free_ports, until

ADMIN_TOKEN = "administrator"
POD_NETWORK = "10.244.0"
ISTIO_CRDS = {
    "networking.istio.io": {
        "EnvoyFilter": ("v1alpha3",),
        "DestinationRule": ("v1", "v1beta1", "v1alpha3"),
        "VirtualService": ("v1", "v1beta1", "v1alpha3"),
        "Sidecar": ("v1", "v1beta1", "v1alpha3"),
    },
    "security.istio.io": {"PeerAuthentication": ("v1", "v1beta1")},
}
CLUSTER_WIDE = ("Node", "Namespace", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding")
PLURALS = {"NetworkPolicy": "networkpolicies"}
Object = dict[str, Any]


def missing(*programs: str) -> str:
    """Return what this machine lacks of ``programs``, or an empty string."""
    folder = os.environ.get("KUBEBUILDER_ASSETS", "")
    absent = [program for program in programs if not folder or shutil.which(Path(folder, program)) is None]
    return f"no {', '.join(absent)} in the folder KUBEBUILDER_ASSETS={folder}" if absent else ""


class KubernetesItself:
    """``async with KubernetesItself(folder) as cluster``; ``controllers`` are the further programs to run.

    ``flags`` are further ones of the API server.
    """

    def __init__(self, folder: Path, *, controllers: tuple[str, ...] = (), flags: tuple[str, ...] = ()) -> None:
        self.folder, self._controllers, self._flags = folder, controllers, flags
        self._assets = Path(os.environ["KUBEBUILDER_ASSETS"])
        self._stack = AsyncExitStack()
        self._pods_run: set[str] = set()
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._started: dict[str, tuple[tuple[str, ...], Mapping[str, str] | None]] = {}
        self.url = ""
        self.http: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    # -- who asks -----------------------------------------------------------------------------------------------------

    def kubeconfig(self, token: str = ADMIN_TOKEN, *, name: str = "admin") -> Path:
        """Return a kubeconfig of whoever has this token."""
        path = self.folder / f"{name}.kubeconfig"
        cluster = {"server": self.url, "certificate-authority": str(self._authority.certificate)}
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "it", "cluster": cluster}],
                    "users": [{"name": name, "user": {"token": token}}],
                    "contexts": [{"name": "it", "context": {"cluster": "it", "user": name}}],
                    "current-context": "it",
                }
            )
        )
        return path

    async def token(self, account: str, *, namespace: str, audiences: tuple[str, ...] = ()) -> str:
        """Return a token of a service account, as the kubelet gets it for a pod."""
        spec: Object = {"expirationSeconds": 3600} | ({"audiences": list(audiences)} if audiences else {})
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        made = await self.ask("POST", path, {"apiVersion": "authentication.k8s.io/v1", "spec": spec})
        return str(made["status"]["token"])

    async def client(self, token: str = ADMIN_TOKEN, *, name: str = "admin", **settings: Any) -> KubernetesClient:
        """Return our own client, to be closed by the caller."""
        return await connect(KubernetesSettings(kubeconfig=str(self.kubeconfig(token, name=name)), **settings))

    # -- what a person does -------------------------------------------------------------------------------------------

    async def ask(self, method: str, path: str, body: Any = None, *, kind: str = "application/json") -> Any:
        """Ask as the administrator. Raises ValueError for a refusal, with what the server said."""
        data = None if body is None else json.dumps(body)
        async with self.http.request(method, self.url + path, data=data, headers={"Content-Type": kind}) as answer:
            text = await answer.text()
            if answer.status >= 400:
                raise ValueError(f"{method} {path}: {answer.status} {text}")
            return json.loads(text)

    async def apply(self, *bodies: Object, strict: bool = False) -> None:
        """Apply objects, each as the whole of what the test wants of it."""
        for body in bodies:
            group, _, version = body["apiVersion"].rpartition("/")
            metadata = body["metadata"]
            plural = PLURALS.get(body["kind"], f"{body['kind'].lower()}s")
            kind = Kind(group, version, plural, body["kind"])
            where = "" if body["kind"] in CLUSTER_WIDE else "default"
            path = kind.path(namespace=metadata.get("namespace", where), name=metadata["name"])
            query = "?fieldManager=test&force=true" + ("&fieldValidation=Strict" if strict else "")
            await self.ask("PATCH", path + query, body, kind="application/apply-patch+yaml")

    async def patch(self, path: str, body: Object) -> None:
        """Merge into an object; null takes a key away."""
        await self.ask("PATCH", path, body, kind="application/merge-patch+json")

    async def install_istio(self) -> None:
        """Create the custom resources that Askew and istiod know, with any content, and Istio's namespace."""
        for group, kinds in ISTIO_CRDS.items():
            for kind, versions in kinds.items():
                await self.apply(_custom_resource(group, kind, versions))
        await self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "istio-system"}})

        async def served() -> bool:
            kinds = ("networking.istio.io/v1/virtualservices", "security.istio.io/v1/peerauthentications")
            return all([await self._answers(f"/apis/{kind}") for kind in kinds])

        await until(served)

    async def add_node(self, name: str, *, zone: str) -> None:
        """Add a Node that is ready and large."""
        labels = {
            "kubernetes.io/hostname": name,
            "topology.kubernetes.io/zone": zone,
            "topology.kubernetes.io/region": "r1",
        }
        await self.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}})
        room = {"cpu": "64", "memory": "64Gi", "pods": "110"}
        now = "2026-01-01T00:00:00Z"
        ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": now, "lastTransitionTime": now}
        status = {"capacity": room, "allocatable": room, "conditions": [ready]}
        await self.patch(f"/api/v1/nodes/{name}/status", {"status": status})

    async def run_pods(self) -> list[Object]:
        """Say, as a kubelet would, of each Pod with a node that it runs; return all Pods."""
        pods: list[Object] = (await self.ask("GET", "/api/v1/pods"))["items"]
        for pod in pods:
            metadata = pod["metadata"]
            if not pod["spec"].get("nodeName") or metadata["uid"] in self._pods_run:
                continue
            self._pods_run.add(metadata["uid"])
            ip = f"{POD_NETWORK}.{len(self._pods_run) + 10}"
            path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status"
            pod["status"] = _running(ip)
            await self.patch(path, {"status": pod["status"]})
        return pods

    async def run_scheduler(self, config: Path) -> None:
        """Run kube-scheduler as a configuration says; it is ready when it serves its own health page."""
        [port] = free_ports(1)
        own = ("--bind-address=127.0.0.1", f"--cert-dir={self.folder}", f"--secure-port={port}")
        await self._run("kube-scheduler", f"--config={config}", *own)
        await until(lambda: self._answers("/healthz", at=f"https://127.0.0.1:{port}"))

    # -- programs -----------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        self._stack.push_async_callback(self._end_all)
        self._authority = Authority(self.folder, "cluster-ca")
        served = self._authority.issue("apiserver", "IP:127.0.0.1,DNS:localhost")
        key = self.folder / "accounts.key"
        await asyncio.to_thread(_make_key, key)
        tokens = self.folder / "tokens.csv"
        tokens.write_text(f"{ADMIN_TOKEN},admin,admin,system:masters\n")
        etcd, peer, secure = free_ports(3)
        self.url, etcd_url = f"https://127.0.0.1:{secure}", f"http://127.0.0.1:{etcd}"
        self.http = await self._stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=False), headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}
            )
        )
        await self._run(
            "etcd", f"--data-dir={self.folder / 'etcd'}", f"--listen-client-urls={etcd_url}",
            f"--advertise-client-urls={etcd_url}", f"--listen-peer-urls=http://127.0.0.1:{peer}", "--unsafe-no-fsync",
        )  # fmt: skip
        await self._run(
            "kube-apiserver", f"--etcd-servers={etcd_url}", f"--secure-port={secure}", "--bind-address=127.0.0.1",
            f"--tls-cert-file={served.certificate}", f"--tls-private-key-file={served.key}",
            f"--cert-dir={self.folder}", "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}",
            "--authorization-mode=RBAC", f"--token-auth-file={tokens}", "--service-cluster-ip-range=10.96.0.0/16",
            "--allow-privileged", "--disable-admission-plugins=ServiceAccount", "--advertise-address=192.0.2.1",
            *self._flags,
        )  # fmt: skip
        await until(lambda: self._answers("/readyz"), deadline_s=60)
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        await self.apply(account)
        config = f"--kubeconfig={self.kubeconfig()}"
        own = (config, "--leader-elect=false", "--bind-address=127.0.0.1", f"--cert-dir={self.folder}")
        for program in self._controllers:
            [port] = free_ports(1)
            signing = (f"--service-account-private-key-file={key}",) if program == "kube-controller-manager" else ()
            await self._run(program, *own, *signing, f"--secure-port={port}")

    async def kill(self, program: str) -> None:
        """End a program at once; ``start_again`` runs it as it was."""
        process = self._processes.pop(program)
        if process.returncode is None:
            process.kill()
        await process.wait()

    async def start_again(self, program: str) -> None:
        """Run a program again that was killed, with what it had; an API server is waited for."""
        arguments, environment = self._started[program]
        await self._run(program, *arguments, environment=environment)
        if program == "kube-apiserver":
            await until(lambda: self._answers("/readyz"), deadline_s=60)

    async def _run(self, program: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self._started[program] = arguments, environment
        with (self.folder / f"{program}.log").open("ab") as log:
            self._processes[program] = await asyncio.create_subprocess_exec(
                str(self._assets / program), *arguments,
                stdout=log, stderr=log, cwd=self.folder, env={**os.environ, **(environment or {})},
            )  # fmt: skip

    async def _end_all(self) -> None:
        for program in reversed(list(self._processes)):
            await self.kill(program)

    async def _answers(self, path: str, *, at: str = "") -> bool:
        try:
            async with self.http.get((at or self.url) + path) as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False


def _make_key(path: Path) -> None:
    subprocess.run(("openssl", "genrsa", "-out", path, "2048"), check=True, capture_output=True)


def _running(ip: str) -> Object:
    now = "2026-01-01T00:00:00Z"
    kinds = ("Ready", "ContainersReady", "Initialized", "PodScheduled")
    conditions = [{"type": kind, "status": "True", "lastTransitionTime": now} for kind in kinds]
    return {
        "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "hostIP": "127.0.0.1",
        "hostIPs": [{"ip": "127.0.0.1"}], "startTime": now, "conditions": conditions,
    }  # fmt: skip


def _custom_resource(group: str, kind: str, versions: tuple[str, ...]) -> Object:
    plural = f"{kind.lower()}s"
    anything = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": version == versions[0],
                    "schema": anything,
                    "subresources": {"status": {}},
                }
                for version in versions
            ],
        },
    }
