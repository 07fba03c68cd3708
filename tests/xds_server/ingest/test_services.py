"""The reporting services through a real gRPC client: dialogue, reconnect, bad bytes, streams beside each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc.aio
import pytest
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.load_stats.v3 import lrs_pb2

from tests.xds_server.ingest.reports import SHOP, access_logs, load_report, metrics, spans
from tests.xds_server.ports import Port, open_port
from tests.xds_server.small_world import cds, world
from xds_server.ingest import access_logs as access_log_service
from xds_server.ingest import load_reports, metrics_service
from xds_server.ingest import spans as span_service
from xds_server.ingest.messages import ExportTraceServiceResponse, LoadStatsRequest
from xds_server.ingest.settings import IngestSettings

LRS = f"/{load_reports.SERVICE}/StreamLoadStats"
METRICS = f"/{metrics_service.SERVICE}/StreamMetrics"
ALS = f"/{access_log_service.SERVICE}/StreamAccessLogs"
EXPORT = f"/{span_service.SERVICE}/Export"


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    async with open_port(world(cds("one"), cds("two")), IngestSettings(load_report_interval_s=2.5)) as opened:
        yield opened


def introduction(*features: str) -> bytes:
    """Return the first message of a client of LRS."""
    node = base_pb2.Node(id="load-1.default", client_features=features)
    data: bytes = LoadStatsRequest(node=node.SerializeToString()).SerializeToString()
    return data


async def answer(call: Any) -> Any:
    return lrs_pb2.LoadStatsResponse.FromString(await asyncio.wait_for(call.read(), 5))


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the other end is a real connection
            await asyncio.sleep(0.005)


async def test_a_client_that_can_is_asked_for_all_clusters_once(port: Port) -> None:
    """The first request is answered with all clusters, per endpoint, at the interval; later ones are not answered."""
    call = port.stream(LRS)
    await call.write(introduction(load_reports.TAKES_ALL))
    said = await answer(call)
    assert (said.send_all_clusters, said.report_endpoint_granularity, list(said.clusters)) == (True, True, [])
    assert said.load_reporting_interval.ToMilliseconds() == 2500
    await call.write(load_report(("10.0.0.1:80", 5, 5, 0, 0)).SerializeToString())
    await call.done_writing()
    assert await asyncio.wait_for(call.read(), 5) is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK
    assert port.collector.drain().loads[0].endpoints[0].issued == 5


async def test_a_client_that_needs_names_gets_its_clusters(port: Port) -> None:
    """Those of its snapshot, and again when they are others."""
    discovery = port.stream("/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources")
    request = discovery_pb2.DeltaDiscoveryRequest(type_url=cds("x").type_url, node={"id": "load-1.default"})
    await discovery.write(request.SerializeToString())
    await asyncio.wait_for(discovery.read(), 5)
    call = port.stream(LRS)
    await call.write(introduction())
    assert sorted((await answer(call)).clusters) == ["one", "two"]
    port.apply(world(cds("one"), cds("three")))
    await until(lambda: not port.store.clients["load-1.default"].is_stale)
    await call.write(load_report().SerializeToString())
    assert sorted((await answer(call)).clusters) == ["one", "three"]
    call.cancel()
    discovery.cancel()


async def test_reports_go_on_after_a_reconnect(port: Port) -> None:
    """A new stream is answered again, and its reports are added to the old ones."""
    for _ in range(3):
        call = port.stream(LRS)
        await call.write(introduction(load_reports.TAKES_ALL))
        await answer(call)
        await call.write(load_report(("10.0.0.1:80", 5, 5, 0, 0)).SerializeToString())
        await call.done_writing()
        assert await asyncio.wait_for(call.read(), 5) is grpc.aio.EOF
    assert port.collector.drain().loads[0].endpoints[0].issued == 15
    assert port.collector.streams["load_reports"] == 0


@pytest.mark.parametrize("method", [LRS, METRICS, ALS])
async def test_bad_bytes_end_no_stream(port: Port, method: str) -> None:
    """They are counted; the stream ends with OK when the client ends it."""
    call = port.stream(method)
    for data in (b"\xff\xff", b"", b"\x0a\x02\xff\xff"):
        await call.write(data)
    await call.done_writing()
    while await asyncio.wait_for(call.read(), 5) is not grpc.aio.EOF:
        pass
    assert await call.code() is grpc.StatusCode.OK
    assert sum(port.collector.drops().values()) == 3


async def test_metrics_and_access_logs_end_with_one_empty_answer(port: Port) -> None:
    """Both are client streams: the answer comes at the end."""
    for method, message in (
        (METRICS, metrics((f"cluster.{SHOP}.upstream_rq_total", 0, 4.0))),
        (ALS, access_logs(http=2)),
    ):
        call = port.channel.stream_unary(method)()
        await call.write(message.SerializeToString())
        await call.done_writing()
        assert await asyncio.wait_for(call, 5) == b""
    telemetry = port.collector.drain()
    assert [one.requests for one in telemetry.counters] == [4]
    assert len(telemetry.accesses) == 2


async def test_a_large_message_lets_others_have_their_turn(port: Port) -> None:
    """While a message of thousands of entries is taken in, another stream is served."""
    large, small = port.stream(ALS), port.stream(ALS)
    await large.write(access_logs(http=20_000).SerializeToString())
    await small.write(access_logs(http=1, who="load-2.default").SerializeToString())
    await until(lambda: len(port.collector.reporters) == 2 and len(port.collector.reporters["load-2"].accesses))
    await until(lambda: port.collector.reporters["load-1"].accesses.dropped == 19_000)
    large.cancel()
    small.cancel()
    await until(lambda: port.collector.streams["access_logs"] == 0)


async def test_an_export_of_spans_is_answered(port: Port) -> None:
    """All kept: an empty answer. Some senseless: how many."""
    export = port.channel.unary_unary(EXPORT)
    message = spans(range(3))
    assert await export(message.SerializeToString()) == b""
    message.resource_spans[0].scope_spans[0].spans[1].trace_id = b"1"
    said = ExportTraceServiceResponse.FromString(await export(message.SerializeToString()))
    assert said.partial_success.rejected_spans == 1
    assert len(port.collector.drain().spans) == 5
    assert list(port.collector.reporters) == ["host ipv4:127.0.0.1"]


async def test_an_export_that_is_none_is_refused_for_good(port: Port) -> None:
    """INVALID_ARGUMENT tells the sender not to send it again."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await port.channel.unary_unary(EXPORT)(b"\xff\xff")
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert port.collector.drops() == {("spans", "malformed"): 1}


async def test_an_export_past_the_budget_is_to_come_later() -> None:
    """RESOURCE_EXHAUSTED tells the sender to wait."""
    async with open_port(world(), IngestSettings(bytes_per_s=1, burst_bytes=5000)) as port:
        export = port.channel.unary_unary(EXPORT)
        for _ in range(2):
            await export(spans(range(1)).SerializeToString())
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await export(spans(range(1)).SerializeToString())
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert port.collector.drops() == {("spans", "over-budget"): 1}
