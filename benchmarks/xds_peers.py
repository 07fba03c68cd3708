"""Peers of the push benchmark, each a process: Askew's server, the raw grpc.aio fan-out of the same bytes, the clients.

Not a benchmark itself: ``bench_xds_push.py`` starts these and talks to them over pipes, one JSON line a command.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
import numpy as np
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from prometheus_client import CollectorRegistry

from mesh.plan import Plan, ServicePlan
from mesh.policy import Policy
from mesh.shares import Shares
from mesh.topology import (
    Call,
    Container,
    ContainerName,
    Node,
    NodeName,
    Port,
    Service,
    ServiceName,
    ServicePort,
    Topology,
)
from xds_server.metrics import XdsMetrics
from xds_server.proxy import Proxy
from xds_server.resources.client_config import ClientConfigs
from xds_server.resources.names import CDS, EDS
from xds_server.server import XdsServer
from xds_server.settings import XdsSettings
from xds_server.snapshot import Snapshot
from xds_server.store import Store

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
SERVICES, ENDPOINTS, NODES = 10, 20, 50
OPTIONS = [
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 200_000),
    ("grpc.so_reuseport", 0),
]


def topology(clients: int, *, services: int = SERVICES, endpoints: int = ENDPOINTS) -> Topology:
    """Return services (10 of 20 endpoints) on 50 nodes, and ``clients`` containers that call all of them."""
    rng = np.random.default_rng(1)
    nodes = tuple(Node(NodeName(f"n{i}"), f"z{i % 3}") for i in range(NODES))
    policy = Policy(routing="local-first", programming="endpoint-weights")
    servers = []
    for s in range(services):
        name = ServiceName(f"s{s}.default")
        containers = tuple(
            Container(
                ContainerName(f"s{s}-{c}"), name, nodes[rng.integers(NODES)].name, f"10.1.{s}.{c + 1}", {8080: 8080}
            )
            for c in range(endpoints)
        )
        servers.append(Service(name, (Port(8080),), policy, containers))
    load = ServiceName("load.default")
    callers = tuple(
        Container(ContainerName(f"l{i}"), load, nodes[i % NODES].name, f"10.2.{i // 250}.{i % 250 + 1}")
        for i in range(clients)
    )
    calls = tuple(Call(load, service.name) for service in servers)
    return Topology(nodes, (*servers, Service(load, containers=callers)), calls)


def service_plan(mesh: Topology, service: Service, seed: int) -> ServicePlan:
    """Return a plan in which every client has shares of its own."""
    clients = mesh.clients_of[service.name]
    fractions = np.random.default_rng(seed).random((len(clients), len(service.containers))) + 0.01
    fractions /= fractions.sum(axis=1, keepdims=True)
    shares = Shares(tuple(c.name for c in clients), tuple(e.name for e in service.containers), fractions)
    return ServicePlan(service.service_port(service.ports[0]), shares, {}, {}, 0.0, 1.0, 0.0, "endpoint-weights", "")


class AskewPeer:
    """Askew's own server, store and resources; a push is a new plan for one service."""

    def __init__(self, clients: int) -> None:
        self._mesh = topology(clients)
        services = [service for service in self._mesh.services if service.ports]
        self._service = services[0]
        self._plan = Plan(0, {s.service_port(s.ports[0]): service_plan(self._mesh, s, 0) for s in services})
        self._configs = ClientConfigs(self._mesh, self._plan)
        self.store = Store(self._snapshot_of)
        # Without the throttle of new streams: the raw peer has none either.
        settings = XdsSettings(port=0, new_streams_per_s=0.0, pushes_per_s=0.0, max_stream_age_s=0.0)
        self._server = XdsServer(self.store, settings, XdsMetrics(CollectorRegistry()))

    async def start(self) -> int:
        await self._server.start()
        return self._server.port

    def prepare(self, seed: int) -> None:
        """Make the next plan; that is the allocator's work and not the server's."""
        port = ServicePort(self._service.name, 8080)
        self._plan = Plan(seed, {**self._plan.services, port: service_plan(self._mesh, self._service, seed)})

    def push(self) -> None:
        self._configs = ClientConfigs(self._mesh, self._plan, predecessor=self._configs)
        self.store.apply(self._snapshot_of, changed=("s0.default:8080",))

    def _snapshot_of(self, proxy: Proxy) -> Snapshot | None:
        container = self._mesh.container_by_proxy_id.get(proxy.id)
        return None if container is None else self._configs.snapshot(container)


class RawPeer:
    """The limit: a grpc.aio server that writes bytes which it already has, one response a stream, and reads ACKs."""

    def __init__(self, clients: int) -> None:
        mesh = topology(clients)
        services = [service for service in mesh.services if service.ports]
        plan = Plan(0, {s.service_port(s.ports[0]): service_plan(mesh, s, 0) for s in services})
        configs = ClientConfigs(mesh, plan)
        self._first: dict[str, tuple[bytes, bytes]] = {}
        self._news: dict[str, bytes] = {}
        for container in mesh.clients_of[services[0].name]:
            snapshot = configs.snapshot(container)
            self._first[container.proxy_id] = (self._bytes(snapshot, CDS), self._bytes(snapshot, EDS))
            self._news[container.proxy_id] = self._bytes(snapshot, EDS, only="outbound|8080||s0.default")
        self._streams: dict[str, asyncio.Event] = {}
        self._nonce = 0

    @staticmethod
    def _bytes(snapshot: Snapshot, type_url: str, *, only: str = "") -> bytes:
        response = discovery_pb2.DeltaDiscoveryResponse(type_url=type_url, nonce="1")
        for one in snapshot.of(type_url).values():
            if one.name.startswith(only):
                wrapped = response.resources.add(name=one.name, version=one.version)
                wrapped.resource.type_url, wrapped.resource.value = type_url, one.body
        return bytes(response.SerializeToString())

    async def start(self) -> int:
        server = grpc.aio.server(options=OPTIONS)
        service, _, method = METHOD[1:].partition("/")
        handler = grpc.stream_stream_rpc_method_handler(self._serve)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        self._server = server
        return port

    async def _serve(self, _: object, context: Any) -> None:
        first = discovery_pb2.DeltaDiscoveryRequest.FromString(await context.read())
        due = self._streams[first.node.id] = asyncio.Event()
        clusters, endpoints = self._first[first.node.id]
        await context.write(clusters)
        await context.read()
        await context.read()
        await context.write(endpoints)
        writer = asyncio.create_task(self._write(first.node.id, due, context))
        try:
            while await context.read() is not grpc.aio.EOF:
                pass
        finally:
            writer.cancel()

    async def _write(self, name: str, due: asyncio.Event, context: Any) -> None:
        while True:
            await due.wait()
            due.clear()
            await context.write(self._news[name])

    def prepare(self, seed: int) -> None:
        """Nothing: the bytes are the same each time."""

    def push(self) -> None:
        for due in self._streams.values():
            due.set()


class Clients:
    """Many delta streams, each on a connection of its own, that note when a push arrives and ACK it."""

    def __init__(self, port: int, count: int, *, refusing: int = 0, stalled: int = 0) -> None:
        self._port, self._count = port, count
        self._refusing, self._stalled = refusing, stalled
        self.arrived_s: list[float] = []
        self._ready = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._expected = count - refusing - stalled

    async def connect(self) -> float:
        started_s = time.monotonic()
        self._tasks = [asyncio.create_task(self._run(i)) for i in range(self._count)]
        while self._ready < self._count:
            await asyncio.sleep(0.01)
            for task in self._tasks:
                if task.done():
                    task.result()
        return time.monotonic() - started_s

    async def _run(self, index: int) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self._port}", options=options) as channel:
            call = channel.stream_stream(METHOD)()
            node = base_pb2.Node(id=f"l{index}.default")
            await call.write(discovery_pb2.DeltaDiscoveryRequest(node=node, type_url=CDS).SerializeToString())
            response = discovery_pb2.DeltaDiscoveryResponse.FromString(await call.read())
            await call.write(_answer(CDS, response.nonce))
            names = [one.name for one in response.resources]
            wanted = discovery_pb2.DeltaDiscoveryRequest(type_url=EDS, resource_names_subscribe=names)
            await call.write(wanted.SerializeToString())
            await self._listen(index, call)

    async def _listen(self, index: int, call: Any) -> None:
        first = True
        while True:
            data = await call.read()
            if data is grpc.aio.EOF:
                raise RuntimeError(f"stream {index} ended: {await call.code()}")
            if not first and index >= self._refusing + self._stalled:
                self.arrived_s.append(time.monotonic())
            nonce = discovery_pb2.DeltaDiscoveryResponse.FromString(data).nonce
            refuses = not first and index < self._refusing
            await call.write(_answer(EDS, nonce, refuses=refuses))
            if first:
                self._ready += 1
                first = False
            if self._refusing <= index < self._refusing + self._stalled:
                await asyncio.Event().wait()  # reads no more

    async def round(self, deadline_s: float = 60.0) -> list[float]:
        """Wait until every stream has the push; return the times of arrival."""
        until_s = time.monotonic() + deadline_s
        while len(self.arrived_s) < self._expected:
            if time.monotonic() > until_s:
                raise RuntimeError(f"{len(self.arrived_s)} of {self._expected} streams have the push")
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.1)
        arrived, self.arrived_s = self.arrived_s, []
        return arrived


def _answer(type_url: str, nonce: str, *, refuses: bool = False) -> bytes:
    message = discovery_pb2.DeltaDiscoveryRequest(type_url=type_url, response_nonce=nonce)
    if refuses:
        message.error_detail.message = "no"
    return bytes(message.SerializeToString())


def memory_bytes() -> int:
    """Return this process's resident memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


async def serve(kind: str, count: int) -> None:
    """Run a server peer: commands on standard input, answers on standard output."""
    peer = AskewPeer(count) if kind == "askew" else RawPeer(count)
    port = await peer.start()
    await _commands(
        {
            "port": lambda _: port,
            "memory": lambda _: memory_bytes(),
            "cpu": lambda _: time.process_time(),
            "prepare": lambda seed: peer.prepare(int(seed)),
            "push": lambda _: (time.monotonic(), peer.push())[0],
        }
    )


async def load(port: int, count: int, refusing: int, stalled: int) -> None:
    """Run the clients."""
    clients = Clients(port, count, refusing=refusing, stalled=stalled)
    await _commands({"connect": lambda _: clients.connect(), "round": lambda _: clients.round()})


async def _commands(known: dict[str, Callable[[str], Any]]) -> None:
    gc.set_threshold(50_000, 50, 100)  # as `askew serve` has it; the same for every peer
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).decode().split():
        result = known[line[0]](line[1] if len(line) > 1 else "")
        if asyncio.iscoroutine(result):
            result = await result
        print(json.dumps(result), flush=True)


def main() -> None:
    kind, *rest = sys.argv[1:]
    if kind == "clients":
        asyncio.run(load(*(int(one) for one in rest)))  # type: ignore[arg-type]
    else:
        asyncio.run(serve(kind, int(rest[0])))
    os._exit(0)  # thousands of channels take long to take down, and nobody waits for them


if __name__ == "__main__":
    main()
