"""A cluster with Istio and Askew, without a cluster: a stand-in of the API server, one of istiod that reads our
EnvoyFilters from it, real Envoys, and Askew watching and writing as it would.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import aiohttp

from askew.beside_kubernetes import BesideKubernetes
from askew.control_plane import ControlPlane
from askew.replication.settings import ReplicationSettings
from askew.settings import HttpSettings, LoopSettings, ServeSettings
from estimators.known_calls import KnownCalls
from istio.integration import Integration
from istio.settings import KubernetesSettings
from mesh.topology import Call, ServiceName
from tests.fakes.api_server import ApiServer
from tests.fakes.istiod import Istiod
from tests.fakes.istiod_config import IstioService
from tests.istio import cluster_objects as objects
from tests.real.istio_sidecar import IstioSidecar
from tests.real.outside_process import free_port
from tests.real.sidecar_mesh import until
from tests.real.traffic import start_app
from xds_server.settings import XdsSettings

PORT = 9080
WHOLE = "outbound|9080||shop.default.svc.cluster.local"
CLIENTS = ("load-1", "load-2")
PODS = {"load-1": "n1", "load-2": "n2", "shop-1": "n1", "shop-2": "n2"}


class IstioCluster:
    """``async with IstioCluster(...) as cluster``: a Service ``shop`` on two nodes, a client on each, all up."""

    def __init__(self, folder: Path, envoy: Path) -> None:
        block = 64 + os.getpid() % 60
        self.address = {pod: f"127.{block}.{PODS[pod][1]}.{10 if pod.startswith('shop') else 1}" for pod in PODS}
        self._folder, self._envoy, self._xds_port = folder, envoy, free_port()
        self.api = ApiServer()
        # istiod gives every proxy and every endpoint the label of its node.
        on = {pod: {"kubernetes.io/hostname": node} for pod, node in PODS.items()}
        ends = [(self.address[pod], PORT) for pod in ("shop-1", "shop-2")]
        labels = {self.address[pod]: on[pod] for pod in ("shop-1", "shop-2")}
        self.istiod = Istiod([IstioService("shop.default", PORT, ends, labels=labels)])
        self.istiod.proxy_labels = dict(on)
        self.sidecars: dict[str, IstioSidecar] = {}
        self.sent = 0
        self.takes_filters = True  # istiod; False as where EnvoyFilters are switched off, or are in another namespace
        self.http: aiohttp.ClientSession
        self.askew: BesideKubernetes
        self.to = Integration(host="127.0.0.1", port=self._xds_port, transport="plaintext")
        self._askew: asyncio.Task[None] | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> IstioCluster:
        try:
            await self._stack.enter_async_context(self.api)
            self._fill()
            self.http = await self._stack.enter_async_context(
                aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=15))
            )
            for shop in ("shop-1", "shop-2"):
                await self._start_app(shop)
            await self.istiod.start()
            self._stack.push_async_callback(self.istiod.stop)
            following = asyncio.create_task(self._follow_filters(), name="istiod-watches")
            self._stack.push_async_callback(_cancelled, following)
            self._stack.push_async_callback(self.stop_askew)
            await self.start_askew()
            for pod in CLIENTS:
                await self._start_sidecar(pod)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    # -- what a person does -------------------------------------------------------------------------------------------

    def annotate(self, **annotations: str) -> None:
        """Give the Service exactly these annotations, without the prefix; none: it is as if nobody had asked."""
        self.api.put(objects.service("shop", **annotations))

    @property
    def plane(self) -> ControlPlane:
        """The running control plane."""
        assert self.askew.plane is not None
        return self.askew.plane

    def know_callers(self) -> None:
        """Let the control plane know, as from a Prometheus, that both clients call the Service."""
        calls = {Call(ServiceName(f"workload:{pod}.default"), ServiceName("shop.default")): 0.0 for pod in CLIENTS}
        self.plane.memory = replace(self.plane.memory, calls=KnownCalls(calls=calls))

    def events(self) -> set[str]:
        """Return the reasons of all Events."""
        return {one["reason"] for one in self.api.all_of("Event")}

    # -- what sidecars do ---------------------------------------------------------------------------------------------

    async def local(self) -> bool:
        """Whether each client's sidecar has the endpoint of its own node, and no other."""
        wanted = {pod: [f"{self.address[pod.replace('load', 'shop')]}:{PORT}"] for pod in self.sidecars}
        return all([list(await self.sidecars[pod].weights(WHOLE)) == wanted[pod] for pod in wanted])

    async def istios(self) -> bool:
        """Whether each client's sidecar has istiod's endpoints: both, with equal weights."""
        found = [await sidecar.weights(WHOLE) for sidecar in self.sidecars.values()]
        return all(sorted(weights.values()) == [1, 1] for weights in found)

    async def send_until(self, done: asyncio.Event) -> Counter[str]:
        """Let both clients send one request after another until ``done``; failures are ``failed: why``."""
        answers: Counter[str] = Counter()

        async def one(pod: str) -> None:
            while not done.is_set():
                answers[await self._get(pod)] += 1
                self.sent += 1
                await asyncio.sleep(0.003)

        await asyncio.gather(*(one(pod) for pod in self.sidecars))
        return answers

    async def some_more(self, count: int = 100) -> None:
        """Wait until this many requests more have been answered."""
        wanted = self.sent + count
        await until(lambda: self.sent >= wanted)

    async def _get(self, pod: str) -> str:
        headers = {"Host": "shop.default.svc.cluster.local"}
        try:
            async with self.http.get(f"http://{self.address[pod]}:{PORT}/", headers=headers) as response:
                text = await response.text()
                return text if response.status == 200 else f"failed: {response.status} {text[:160]}"
        except (aiohttp.ClientError, TimeoutError) as error:
            return f"failed: {error!r}"

    # -- parts --------------------------------------------------------------------------------------------------------

    async def start_askew(self) -> None:
        """Start one replica: watch, plan, serve, write; ready when its port is open."""
        self.askew = BesideKubernetes(self._settings("a", xds_port=self._xds_port))
        self._askew = await _started(self.askew)

    async def stop_askew(self) -> None:
        if self._askew is not None:
            await _cancelled(self._askew)
            self._askew = None

    @asynccontextmanager
    async def another(self, name: str) -> AsyncIterator[BesideKubernetes]:
        """Run one more replica, which no sidecar happens to be connected to."""
        replica = BesideKubernetes(self._settings(name, xds_port=0))
        running = await _started(replica)
        try:
            yield replica
        finally:
            await _cancelled(running)

    def _settings(self, name: str, *, xds_port: int) -> ServeSettings:
        return ServeSettings(
            xds=XdsSettings(port=xds_port, drain_s=0.2),
            http=HttpSettings(port=0),
            loop=LoopSettings(tick_s=0.5),
            kubernetes=KubernetesSettings(
                api_server=self.api.url, deadline_s=2.0, backoff_s=0.1, longest_backoff_s=0.5
            ),
            replication=ReplicationSettings(port=0, name=name, lease_s=3, renew_deadline_s=2.0, retry_s=0.2),
            istio=self.to,
        )

    async def _follow_filters(self) -> None:
        """Do as istiod: push when EnvoyFilters, DestinationRules or VirtualServices in the API are others."""
        seen = ""
        while True:
            found = self.api.all_of("EnvoyFilter") if self.takes_filters else []
            rules = [*self.api.all_of("DestinationRule"), *self.api.all_of("VirtualService")]
            versions = ",".join(f"{one['kind']} {one['metadata']['resourceVersion']}" for one in (*found, *rules))
            if versions != seen:
                seen, self.istiod.filters, self.istiod.rules = versions, found, rules
                self.istiod.push()
            await asyncio.sleep(0.01)

    def _fill(self) -> None:
        for node in ("n1", "n2"):
            self.api.put(objects.node(node, zone="z1", region="r1"))
        for pod, node in PODS.items():
            self.api.put(objects.pod(pod, on=node, ip=self.address[pod], labels={"app": pod[:4]}, sidecar=True))
        self.annotate()
        ends = [objects.endpoint(self.address[pod], pod, on=PODS[pod]) for pod in ("shop-1", "shop-2")]
        self.api.put(objects.endpoint_slice(*ends, of="shop"))

    async def _start_app(self, name: str) -> None:
        runner = await start_app(name, self.address[name], PORT)
        self._stack.push_async_callback(runner.cleanup)

    async def _start_sidecar(self, pod: str) -> None:
        sidecar = self.sidecars[pod] = IstioSidecar(
            pod, self.address[pod], istiod_port=self.istiod.port, envoy=self._envoy, folder=self._folder
        )
        await sidecar.start()
        self._stack.push_async_callback(sidecar.stop)
        await until(sidecar.is_live)


async def _started(replica: BesideKubernetes) -> asyncio.Task[None]:
    ready = asyncio.Event()
    running = asyncio.create_task(replica.run(on_ready=ready.set), name="askew")
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait((running, waiting), return_when=asyncio.FIRST_COMPLETED, timeout=20)
    waiting.cancel()
    if running.done():
        running.result()
    return running


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
