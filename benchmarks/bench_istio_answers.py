"""How soon is a sidecar of Istio answered? All Services of a large cluster asked for at once, names that are none too.

A fresh delta stream subscribes to every cluster's name, as a sidecar does whose filters have just been merged; each
name's answer is timed (limit: 100 ms), as a ratio to a round trip of gRPC's health check in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable
from contextlib import suppress

import grpc.aio
from bench_kubernetes import cluster_lists, filled
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from grpc_health.v1 import health_pb2

from askew.control_plane import ControlPlane
from askew.mesh_source import SourceStatus
from askew.settings import HttpSettings, ServeSettings
from istio.kinds import DESTINATION_RULES
from istio.service_piece import TopologySettings
from istio.topology import topology_of
from mesh.topology import Topology
from xds_server.resources.names import EDS
from xds_server.settings import XdsSettings

LIMIT_MS = 100.0
DELTA_ENDPOINTS = "/envoy.service.endpoint.v3.EndpointDiscoveryService/DeltaEndpoints"


class Still:
    """A source whose cluster does not change."""

    def __init__(self, topology: Topology) -> None:
        self.topology: Topology | None = topology
        self.on_change: Callable[[Topology], None] = lambda topology: None
        self.on_error: Callable[[], None] = lambda: None
        self.status = SourceStatus("still", "benchmark")

    async def start(self) -> None:
        """Have it already."""

    async def run(self) -> None:
        """Wait to be cancelled."""
        await asyncio.Event().wait()

    async def stop(self) -> None:
        """Hold nothing."""


async def answers_ms(channel: grpc.aio.Channel, node_id: str, names: list[str]) -> list[float]:
    """Return how long each name took to be answered, all asked for in a stream's first request."""
    call = channel.stream_stream(DELTA_ENDPOINTS)()
    request = discovery_pb2.DeltaDiscoveryRequest(node=base_pb2.Node(id=node_id), type_url=EDS)
    request.resource_names_subscribe.extend(names)
    began_s = time.perf_counter()
    await call.write(request.SerializeToString())
    waiting, took = set(names), []
    while waiting:
        answer = discovery_pb2.DeltaDiscoveryResponse.FromString(await asyncio.wait_for(call.read(), 10))
        now_s = time.perf_counter()
        for one in (*(found.name for found in answer.resources), *answer.removed_resources):
            if one in waiting:
                waiting.discard(one)
                took.append((now_s - began_s) * 1e3)
        ack = discovery_pb2.DeltaDiscoveryRequest(type_url=EDS, response_nonce=answer.nonce)
        await call.write(ack.SerializeToString())
    call.cancel()
    return took


async def round_trip_ms(channel: grpc.aio.Channel) -> float:
    """Return the median of a hundred health checks."""
    check = channel.unary_unary("/grpc.health.v1.Health/Check")
    took = []
    for _ in range(100):
        began_s = time.perf_counter()
        await check(health_pb2.HealthCheckRequest().SerializeToString())
        took.append((time.perf_counter() - began_s) * 1e3)
    return statistics.median(took)


async def measure(pods: int, services: int) -> None:
    """Serve a cluster, ask, print."""
    cluster = filled(cluster_lists(pods, services))
    cluster.set_absent(DESTINATION_RULES, absent=False)
    topology = topology_of(cluster, TopologySettings()).topology
    plane = ControlPlane(Still(topology), ServeSettings(xds=XdsSettings(port=0), http=HttpSettings(port=0)))
    ready = asyncio.Event()
    serving = asyncio.create_task(plane.run(on_ready=ready.set))
    await ready.wait()
    names = [f"outbound|80||app-{n}.team-{n % 20}.svc.cluster.local" for n in range(services)]
    names += [f"outbound|80||nobody-{n}.team-1.svc.cluster.local" for n in range(20)]
    clients = [one for service in topology.services for one in service.containers if one.is_client][:20]
    found: list[list[float]] = []
    async with grpc.aio.insecure_channel(f"127.0.0.1:{plane.xds.port}") as channel:
        trip_ms = await round_trip_ms(channel)
        for client in clients:
            node_id = f"sidecar~{client.address}~{client.proxy_id}~{client.namespace}.svc.cluster.local"
            found.append(await answers_ms(channel, node_id, names))
            found.append(await answers_ms(channel, node_id, names[:1]))
    serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving
    print(f"{pods} pods, {services} Services, {len(clients)} sidecars; a round trip is {trip_ms:.2f} ms")
    first_ms = max(found[0])
    print(f"the very first sidecar: all names after {first_ms:.1f} ms, {first_ms / LIMIT_MS:.2f} of the limit")
    for title, several in ((f"{len(names)} names at once", found[::2]), ("one name", found[1::2])):
        slowest = [max(one) for one in several]
        line = f"median {statistics.median(slowest):.1f} ms, most {max(slowest):.1f} ms"
        ratios = f"{statistics.median(slowest) / trip_ms:.0f} round trips, {max(slowest) / LIMIT_MS:.2f} of the limit"
        print(f"{title}: last answer after {line}: {ratios}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=5000)
    parser.add_argument("--services", type=int, default=1000)
    args = parser.parse_args()
    asyncio.run(measure(args.pods, args.services))


if __name__ == "__main__":
    main()
