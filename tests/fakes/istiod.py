"""A small istiod: delta ADS with clusters, endpoints, listeners and routes, our EnvoyFilters merged in, and SDS.

It pushes as istiod does: all types that a proxy watches, in the order CDS, EDS, LDS, RDS, without waiting for ACKs
(``flow_control`` is istiod's ``PILOT_ENABLE_FLOW_CONTROL``, off by default); after clusters have changed their
endpoints are sent again. What a test may change is ``services`` and ``filters``; ``push()`` makes every proxy see it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import Message

from istio.integration import CLUSTER
from tests.fakes.istiod_config import IstioService, assignment, clusters, listener, routes
from tests.fakes.istiod_merge import patched
from tests.fakes.istiod_rules import ruled, ways

CDS = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
EDS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
LDS = "type.googleapis.com/envoy.config.listener.v3.Listener"
RDS = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
SDS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
ORDER = (CDS, EDS, LDS, RDS)


@dataclass(slots=True)
class _Watch:
    """What one proxy wants and has of one type."""

    wildcard: bool = False
    names: set[str] = field(default_factory=set)
    has: dict[str, str] = field(default_factory=dict)
    owed: set[str] = field(default_factory=set)
    nonce: str = ""
    waiting: bool = False
    dirty: bool = True


class Istiod:
    """``await start()``, then ``port``; ``await stop()``."""

    def __init__(self, services: Iterable[IstioService] = (), filters: Sequence[Mapping[str, Any]] = ()) -> None:
        self.services, self.filters = list(services), list(filters)
        self.rules: Sequence[Mapping[str, Any]] = ()  # DestinationRules and VirtualServices
        self.proxy_labels: dict[str, Mapping[str, str]] = {}  # by pod
        self.askew_ports: dict[
            str, int
        ] = {}  # by pod, where its way to Askew leads, if elsewhere: another replica, or nobody
        self.workload_certificate: tuple[Path, Path] | None = None
        self.root_certificate: Path | None = None
        self.flow_control = False
        self.refused: list[str] = []
        self.asked: list[tuple[str, str]] = []  # (proxy, endpoints' name) of every EDS subscription that came to us
        self.port = 0
        self._server: grpc.aio.Server | None = None
        self._proxies: dict[_Connection, None] = {}
        self._version = 0

    async def start(self) -> None:
        self._server = grpc.aio.server()
        ads = {"DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(self._ads)}
        sds = {"StreamSecrets": grpc.stream_stream_rpc_method_handler(self._sds)}
        self._server.add_generic_rpc_handlers(
            [
                grpc.method_handlers_generic_handler("envoy.service.discovery.v3.AggregatedDiscoveryService", ads),
                grpc.method_handlers_generic_handler("envoy.service.secret.v3.SecretDiscoveryService", sds),
            ]
        )
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(0)

    def push(self) -> None:
        """Make every proxy look at everything again."""
        self._version += 1
        for proxy in self._proxies:
            proxy.mark_dirty()

    def resources(self, type_url: str, node: Any, names: Iterable[str]) -> dict[str, Message]:
        """Return what a proxy may have of a type; ``names`` are those that it asks for."""
        address = node.id.split("~")[1]
        services = [ruled(service, self.rules) for service in self.services]
        if type_url == CDS:
            made = [cluster for service in services for cluster in clusters(service)]
            found = {cluster.name: cluster for cluster in patched(made, self.filters)}
            port = self.askew_ports.get(_pod(node))
            if port is not None and CLUSTER in found:
                (end,) = found[CLUSTER].load_assignment.endpoints[0].lb_endpoints
                end.endpoint.address.socket_address.port_value = port
            return found
        ports = sorted({service.port for service in self.services})
        if type_url == LDS:
            return {f"{address}_{port}": listener(address, port) for port in ports}
        if type_url == RDS:
            labels = self.proxy_labels.get(_pod(node), {})
            return {str(port): routes(port, services, ways(self.rules, port, labels)) for port in ports}
        by_cluster = {name: service for service in services for name in service.cluster_names}
        return {name: assignment(name, by_cluster[name]) for name in names if name in by_cluster}

    async def _ads(self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        proxy = _Connection(self, context)
        self._proxies[proxy] = None
        try:
            async with asyncio.TaskGroup() as both:
                writer = both.create_task(proxy.write())
                async for data in requests:
                    proxy.read(discovery_pb2.DeltaDiscoveryRequest.FromString(data))
                writer.cancel()
        finally:
            del self._proxies[proxy]

    async def _sds(self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        """Answer as istio-agent does: ``default`` is the workload's certificate, ``ROOTCA`` whom to trust."""
        async for data in requests:
            request = discovery_pb2.DiscoveryRequest.FromString(data)
            if request.version_info:
                continue  # an ACK
            response = discovery_pb2.DiscoveryResponse(version_info="1", nonce="1", type_url=SDS)
            for name in request.resource_names:
                response.resources.add().Pack(self._secret(name))
            await context.write(response.SerializeToString())

    def _secret(self, name: str) -> secret_pb2.Secret:
        secret = secret_pb2.Secret(name=name)
        if name == "ROOTCA":
            assert self.root_certificate is not None
            secret.validation_context.trusted_ca.inline_bytes = self.root_certificate.read_bytes()
            return secret
        assert self.workload_certificate is not None
        certificate, key = self.workload_certificate
        secret.tls_certificate.certificate_chain.inline_bytes = certificate.read_bytes()
        secret.tls_certificate.private_key.inline_bytes = key.read_bytes()
        return secret


def _pod(node: Any) -> str:
    return str(node.id.split("~")[2].split(".")[0])


class _Connection:
    """One proxy's ADS stream."""

    def __init__(self, istiod: Istiod, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        self._istiod, self._context = istiod, context
        self._node: Any = None
        self._watches: dict[str, _Watch] = {}
        self._work = asyncio.Event()
        self._sent = 0

    def mark_dirty(self) -> None:
        for watch in self._watches.values():
            watch.dirty = True
        self._work.set()

    def read(self, request: discovery_pb2.DeltaDiscoveryRequest) -> None:
        """Take a request in."""
        if request.HasField("node"):
            self._node = request.node
        first = request.type_url not in self._watches
        watch = self._watches.setdefault(request.type_url, _Watch())
        if first:
            watch.has.update(request.initial_resource_versions)
            watch.wildcard = not request.resource_names_subscribe
        if request.response_nonce and request.response_nonce == watch.nonce:
            watch.waiting = False
            if request.HasField("error_detail"):
                self._istiod.refused.append(request.error_detail.message)
        watch.names.update(request.resource_names_subscribe)
        watch.owed.update(request.resource_names_subscribe)
        watch.names.difference_update(request.resource_names_unsubscribe)
        watch.owed.difference_update(request.resource_names_unsubscribe)
        for name in request.resource_names_unsubscribe:
            watch.has.pop(name, None)
        if request.type_url == EDS:
            self._istiod.asked += [(self._node.id, name) for name in request.resource_names_subscribe]
        self._work.set()

    async def write(self) -> None:
        """Send what is new until cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            for type_url in ORDER:
                watch = self._watches.get(type_url)
                if watch is not None and not self._waits(watch) and (watch.dirty or watch.owed):
                    await self._send(type_url, watch)

    def _waits(self, watch: _Watch) -> bool:
        return watch.waiting and self._istiod.flow_control

    async def _send(self, type_url: str, watch: _Watch) -> None:
        owes_first, watch.dirty = not watch.nonce and watch.wildcard, False
        found = self._istiod.resources(type_url, self._node, watch.names)
        response = discovery_pb2.DeltaDiscoveryResponse(type_url=type_url)
        changed = []
        for name, message in found.items():
            body = message.SerializeToString(deterministic=True)
            version = f"{hash(body):x}"
            if not watch.wildcard and name not in watch.names:
                continue
            if watch.has.get(name) != version or name in watch.owed:
                one = response.resources.add(name=name, version=version)
                one.resource.Pack(message, deterministic=True)
                changed.append(name)
                watch.has[name] = version
        gone = [name for name in watch.has if name not in found]
        response.removed_resources.extend(gone)
        for name in gone:
            del watch.has[name]
        watch.owed.clear()
        if not changed and not gone and not owes_first:
            return
        self._sent += 1
        watch.nonce = response.nonce = str(self._sent)
        watch.waiting = True
        if type_url == CDS and EDS in self._watches:
            self._watches[EDS].owed.update(self._watches[EDS].names.intersection(changed))
        await self._context.write(response.SerializeToString())
