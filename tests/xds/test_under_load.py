"""What production does to a control plane: restarts, clients that stop reading, thousands that come at once."""

from __future__ import annotations

import asyncio

import grpc.aio
import pytest
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2

from tests.xds.askew_target import StoreControl, serving
from tests.xds.messages import CDS, EDS, cluster, endpoints
from tests.xds.peer import ADS_DELTA, ADS_SOTW, Peer, Variant

NODE = "web-0.default"
WORLD = [cluster("A"), cluster("B"), endpoints("A"), endpoints("B")]


@pytest.mark.parametrize("variant", [ADS_DELTA, ADS_SOTW], ids=str)
async def test_another_server_knows_what_a_client_has(variant: Variant) -> None:
    """Versions are hashes of content: after a restart, or at another replica, nothing is sent again without need."""
    before, after = StoreControl(), StoreControl()
    for control in (before, after):
        await control.put(NODE, WORLD, {})
    async with serving(before) as target, Peer(target, variant, NODE) as peer:
        await peer.topic(CDS).ask()
        had = await peer.topic(CDS).collect("A", "B")
    async with serving(after) as target, Peer(target, variant, NODE) as peer:
        topic = peer.topic(CDS)
        if topic.is_sotw:
            await topic.request(version=had.version)
            topic.version = had.version
        else:
            await topic.ask(has=had.versions)
        await peer.silence()
        await after.put(NODE, [cluster("A", 2), *WORLD[1:]], {})

        assert (await topic.collect("A")).resources["A"] == cluster("A", 2)


async def test_a_client_that_stops_answering_costs_nothing() -> None:
    """Ten thousand changes while it is silent: others are served meanwhile, and it gets the newest and no other."""
    control = StoreControl()
    async with serving(control) as target, Peer(target, ADS_DELTA, NODE) as slow, Peer(target, ADS_DELTA, "b") as quick:
        for node in (NODE, "b"):
            await control.put(node, WORLD, {})
        await slow.topic(EDS).ask("A")
        first = await slow.topic(EDS).hear()
        await quick.topic(EDS).ask("A")
        await quick.topic(EDS).take()
        for content in range(2, 10_002):
            await control.put(NODE, [*WORLD[:2], endpoints("A", content), WORLD[3]], {})
        await control.put("b", [*WORLD[:2], endpoints("A", 7), WORLD[3]], {})
        assert (await quick.topic(EDS).take()).resources["A"] == endpoints("A", 7)
        assert slow.topic(EDS).inbox.empty()
        await slow.topic(EDS).ack(first)

        assert (await slow.topic(EDS).take()).resources["A"] == endpoints("A", 10_001)
        await slow.silence()


@pytest.mark.slow
async def test_a_storm_of_streams_is_served() -> None:
    """With grpc.aio's defaults, hundreds of 3,000 streams at once are cancelled; here every one gets its answer."""
    count, control = 3000, StoreControl()
    await control.put("n0", WORLD, {})
    for i in range(count):
        control._snapshots[f"n{i}"] = control._snapshots["n0"]
    async with serving(control) as target, grpc.aio.insecure_channel(target) as channel:
        method = channel.stream_stream(ADS_DELTA.path(CDS))

        async def one(i: int) -> int:
            call = method()
            request = discovery_pb2.DeltaDiscoveryRequest(node=base_pb2.Node(id=f"n{i}"), type_url=CDS)
            await call.write(request.SerializeToString())
            answer = discovery_pb2.DeltaDiscoveryResponse.FromString(await call.read())
            call.cancel()
            return len(answer.resources)

        async with asyncio.timeout(90):
            assert set(await asyncio.gather(*map(one, range(count)))) == {2}
