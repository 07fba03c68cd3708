"""Access records and spans of a real Envoy with a listener made by hand: HTTP with both, TCP with access records."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from mesh.telemetry import AccessRecord, SpanRecord
from mesh.topology import ContainerName
from tests.real.outside_process import free_port
from tests.real.sidecar_mesh import until
from xds_server.extras import Extras
from xds_server.ingest.collector import Collector
from xds_server.ingest.settings import IngestSettings
from xds_server.metrics import XdsMetrics
from xds_server.resources.bootstrap import HTTP_OPTIONS, TYPE
from xds_server.server import XdsServer
from xds_server.settings import XdsSettings
from xds_server.store import Store

pytestmark = pytest.mark.timeout(60)
CLUSTER = "outbound|9080||shop.default.svc.cluster.local"
ADDRESS = "127.82.1.10"


def _place(address: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": address, "port_value": port}}


def _cluster(name: str, address: str, port: int, *, protocol: str) -> dict[str, Any]:
    options = {"@type": TYPE + HTTP_OPTIONS, "explicit_http_config": {protocol: {}}}
    return {
        "name": name,
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _place(address, port)}}]}],
        },
        "typed_extension_protocol_options": {HTTP_OPTIONS: options},
    }


def _grpc_log(kind: str) -> dict[str, Any]:
    service = {"envoy_grpc": {"cluster_name": "askew-xds"}}
    loggers = "envoy.extensions.access_loggers.grpc.v3."
    return {
        "name": f"envoy.access_loggers.{kind}",
        "typed_config": {
            "@type": TYPE + loggers + ("HttpGrpcAccessLogConfig" if kind == "http_grpc" else "TcpGrpcAccessLogConfig"),
            "common_config": {
                "log_name": "askew",
                "transport_api_version": "V3",
                "grpc_service": service,
                "buffer_flush_interval": "0.1s",
            },
        },
    }


def _http_filter() -> dict[str, Any]:
    route = {"match": {"prefix": "/"}, "route": {"cluster": CLUSTER}}
    return {
        "name": "http",
        "typed_config": {
            "@type": TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "outbound",
            "access_log": [_grpc_log("http_grpc")],
            "tracing": {
                "provider": {
                    "name": "envoy.tracers.opentelemetry",
                    "typed_config": {
                        "@type": TYPE + "envoy.config.trace.v3.OpenTelemetryConfig",
                        "grpc_service": {"envoy_grpc": {"cluster_name": "askew-xds"}},
                        "service_name": "load.default",
                    },
                }
            },
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
            "http_filters": [
                {"name": "router", "typed_config": {"@type": TYPE + "envoy.extensions.filters.http.router.v3.Router"}}
            ],
        },
    }


def _tcp_filter() -> dict[str, Any]:
    return {
        "name": "tcp",
        "typed_config": {
            "@type": TYPE + "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "tcp",
            "cluster": CLUSTER,
            "access_log": [_grpc_log("tcp_grpc")],
        },
    }


class World:
    """An Envoy, an app behind it and Askew's xDS port with its collector."""

    def __init__(self, collector: Collector, session: aiohttp.ClientSession, http_port: int, tcp_port: int) -> None:
        self.collector, self.session, self.http_port, self.tcp_port = collector, session, http_port, tcp_port
        self.accesses: list[AccessRecord] = []
        self.spans: list[SpanRecord] = []

    def look(self) -> World:
        telemetry = self.collector.drain()
        self.accesses += telemetry.accesses
        self.spans += telemetry.spans
        return self

    async def get(self, port: int, path: str) -> int:
        async with self.session.get(f"http://{ADDRESS}:{port}{path}") as response:
            await response.read()
            return response.status


@asynccontextmanager
async def _app() -> AsyncIterator[int]:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="x" * 1000, status=503 if request.path == "/bad" else 200)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, ADDRESS, port).start()
    yield port
    await runner.cleanup()


@asynccontextmanager
async def _envoy(binary: Path, folder: Path, bootstrap: dict[str, Any]) -> AsyncIterator[None]:
    file = folder / "envoy.json"
    file.write_text(json.dumps(bootstrap))
    arguments = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "warning")
    with open(folder / "envoy.log", "wb") as log:  # noqa: ASYNC230 - a new local file
        process = await asyncio.create_subprocess_exec(str(binary), "-c", str(file), *arguments, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.kill()
        await process.wait()


@pytest.fixture
async def world(tmp_path: Path, envoy: Path) -> AsyncIterator[World]:
    store = Store(lambda proxy: None)
    collector = Collector(IngestSettings(), identify=lambda proxy: ContainerName("load-1"), now_s=_now_s)
    metrics = XdsMetrics(CollectorRegistry())
    server = XdsServer(store, XdsSettings(port=0, drain_s=0.2), metrics, extras=Extras(store, collector))
    await server.start()
    http_port, tcp_port = free_port(), free_port()
    async with _app() as app_port, aiohttp.ClientSession() as session:
        listeners = [
            {"name": name, "address": _place(ADDRESS, port), "filter_chains": [{"filters": [filter_]}]}
            for name, port, filter_ in (("http", http_port, _http_filter()), ("tcp", tcp_port, _tcp_filter()))
        ]
        clusters = [
            _cluster("askew-xds", "127.0.0.1", server.port, protocol="http2_protocol_options"),
            _cluster(CLUSTER, ADDRESS, app_port, protocol="http_protocol_options"),
        ]
        bootstrap = {
            "node": {"id": "load-1.default", "cluster": "load.default"},
            "static_resources": {"listeners": listeners, "clusters": clusters},
            # The spans leave in batches of five, or after this long.
            "layered_runtime": {
                "layers": [{"name": "t", "static_layer": {"tracing.opentelemetry.flush_interval_ms": 100}}]
            },
        }
        async with _envoy(envoy, tmp_path, bootstrap):
            found = World(collector, session, http_port, tcp_port)
            await until(lambda: _listens(http_port))
            yield found
    await server.stop()


def _now_s() -> float:
    return asyncio.get_running_loop().time()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(ADDRESS, port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def test_each_http_request_becomes_a_record(world: World) -> None:
    """Status, bytes, upstream and service are those of the requests that were sent."""
    statuses = [await world.get(world.http_port, path) for path in ("/", "/", "/bad")]
    await until(lambda: len(world.look().accesses) >= 3)
    assert [record.status for record in world.accesses] == statuses == [200, 200, 503]
    for record in world.accesses:
        assert (record.container, record.protocol, record.cluster) == ("load-1", "http", CLUSTER)
        assert str(record.service_port) == "shop.default:9080"
        assert record.upstream_address.startswith(ADDRESS)
        assert record.sent_bytes > 1000
        assert 0 < (record.duration_s or 0) < 10


async def test_each_tcp_connection_becomes_a_record(world: World) -> None:
    """Received and sent are the connection's payload, seen from the sidecar."""
    request = b"GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"
    reader, writer = await asyncio.open_connection(ADDRESS, world.tcp_port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    await until(lambda: world.look().accesses)
    (record,) = world.accesses
    assert (record.protocol, record.status) == ("tcp", None)
    assert (record.received_bytes, record.sent_bytes) == (len(request), len(answer))


async def test_requests_become_spans(world: World) -> None:
    """A request through the sidecar is a span of the service that its tracer names, with ids and a duration."""
    for _ in range(5):
        await world.get(world.http_port, "/bad")
    await until(lambda: len(world.look().spans) >= 5)
    for span in world.spans:
        assert (len(span.trace_id), len(span.span_id), span.service) == (32, 16, "load.default")
        assert span.upstream_cluster == CLUSTER
        assert 0 < span.duration_s < 10
    assert len({span.trace_id for span in world.spans}) == 5
