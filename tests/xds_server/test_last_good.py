"""When a service goes back to what proxies accepted before: the tally, and the whole control plane."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import grpc.aio
import pytest
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.rpc import status_pb2

from askew.control_plane import ControlPlane
from askew.settings import HttpSettings, ServeSettings
from tests.real.sidecar_mesh import until
from xds_server.last_good import NackTally
from xds_server.resources.names import CDS, EDS
from xds_server.settings import XdsSettings

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"


def test_one_refusal_condemns_nothing() -> None:
    """It is that proxy's affair."""
    tally = NackTally()
    tally.changed(["a"])
    tally.sent("p1", ["a"])
    assert tally.refused("p1", ["a"]) == []


def test_three_of_fifteen_condemn_and_only_once() -> None:
    """3 proxies and 20 %: the third refusal says so, a fourth says nothing new."""
    tally = NackTally()
    tally.changed(["a", "b"])
    for i in range(15):
        tally.sent(f"p{i}", ["a", "b"])
    assert tally.refused("p0", ["a"]) == []
    assert tally.refused("p0", ["a"]) == []
    assert tally.refused("p1", ["a"]) == []
    assert tally.refused("p2", ["a"]) == ["a"]
    assert tally.refused("p3", ["a"]) == []
    assert tally.is_clean("b")
    assert not tally.is_clean("a")


def test_three_of_sixteen_are_too_few() -> None:
    """19 % do not condemn; the fourth does."""
    tally = NackTally()
    tally.changed(["a"])
    for i in range(16):
        tally.sent(f"p{i}", ["a"])
    assert [tally.refused(f"p{i}", ["a"]) for i in range(4)] == [[], [], [], ["a"]]
    assert tally.figures("a") == (16, 4)


def test_a_new_change_starts_a_new_round() -> None:
    """Refusals of the old change do not count against the new one."""
    tally = NackTally()
    tally.changed(["a"])
    tally.refused("p0", ["a"])
    tally.refused("p1", ["a"])
    tally.changed(["a"])
    assert tally.refused("p2", ["a"]) == []


MESH = """
apiVersion: askew.mesh/v1
nodes: [{name: n1}]
services:
  - name: shop
    port: 80
    annotations: {askew.mesh/routing: local-first, askew.mesh/programming: endpoint-weights}
    containers:
      - {name: shop-0, node: n1, address: 127.5.0.1, capacity: 1.0}
      - {name: shop-1, node: n1, address: 127.5.0.2, capacity: 1.0}
  - name: web
    containers:
      - {name: web-0, node: n1, address: 127.5.1.0}
      - {name: web-1, node: n1, address: 127.5.1.1}
      - {name: web-2, node: n1, address: 127.5.1.2}
      - {name: web-3, node: n1, address: 127.5.1.3}
calls: [{from: web, to: shop}]
"""


class Picky:
    """A delta client of clusters and endpoints that refuses assignments while ``refuses`` is set."""

    def __init__(self, channel: grpc.aio.Channel, name: str) -> None:
        self.call = channel.stream_stream(
            METHOD,
            request_serializer=discovery_pb2.DeltaDiscoveryRequest.SerializeToString,
            response_deserializer=discovery_pb2.DeltaDiscoveryResponse.FromString,
        )()
        self.name, self.refuses = name, False
        self.accepted: dict[str, str] = {}
        self.refusals = 0

    async def run(self) -> None:
        node = base_pb2.Node(id=self.name)
        await self.call.write(discovery_pb2.DeltaDiscoveryRequest(node=node, type_url=CDS))
        subscribed = False
        while (response := await self.call.read()) is not grpc.aio.EOF:
            answer = discovery_pb2.DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
            if response.type_url == EDS and self.refuses:
                answer.error_detail.CopyFrom(status_pb2.Status(code=3, message="no"))
                self.refusals += 1
            elif response.type_url == EDS:
                self.accepted.update((one.name, one.version) for one in response.resources)
            await self.call.write(answer)
            if not subscribed:
                subscribed = True
                names = [one.name for one in response.resources]
                more = discovery_pb2.DeltaDiscoveryRequest(type_url=EDS, resource_names_subscribe=names)
                await self.call.write(more)


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[ControlPlane]:
    file = tmp_path / "mesh.yaml"
    file.write_text(MESH)
    running = ControlPlane(str(file), ServeSettings(xds=XdsSettings(port=0, drain_s=0.2), http=HttpSettings(port=0)))
    ready = asyncio.Event()
    task = asyncio.create_task(running.run(on_ready=ready.set))
    await asyncio.wait_for(ready.wait(), 10)
    yield running
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_service_whose_change_is_refused_returns_to_its_last_accepted_version(
    plane: ControlPlane, tmp_path: Path
) -> None:
    """Three of four clients refuse: the fourth, which had accepted, is given the old version back, and a later change
    of the service goes out again.
    """
    file = tmp_path / "mesh.yaml"
    async with AsyncExitStack() as stack:
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{plane.xds.port}"))
        clients = [Picky(channel, f"web-{i}.default") for i in range(4)]
        tasks = [asyncio.create_task(client.run()) for client in clients]
        await until(lambda: all(client.accepted for client in clients))
        first = dict(clients[3].accepted)
        for client in clients[:3]:
            client.refuses = True
        file.write_text(MESH.replace("capacity: 1.0}\n  -", "capacity: 3.0}\n  -"))
        await until(lambda: plane.last_good.pinned)
        await until(lambda: clients[3].accepted == first)
        assert [client.refusals for client in clients] == [1, 1, 1, 0]
        assert all(client.accepted == first for client in clients)
        for client in clients:
            client.refuses = False
        file.write_text(MESH.replace("capacity: 1.0}\n  -", "capacity: 2.0}\n  -"))
        await until(lambda: all(client.accepted != first for client in clients))
        assert not plane.last_good.pinned
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
