"""Health and reflection through real gRPC clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from tests.xds_server.ports import Port, open_port
from tests.xds_server.small_world import world
from xds_server.extras import SERVICES
from xds_server.health import REFLECTION

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    async with open_port(world()) as opened:
        yield opened


async def health(port: Port, service: str) -> int:
    stub = health_pb2_grpc.HealthStub(port.channel)
    found: int = (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status
    return found


@pytest.mark.parametrize("service", ["", *SERVICES])
async def test_the_server_and_each_service_serve(port: Port, service: str) -> None:
    """From the start on."""
    assert await health(port, service) == SERVING


async def test_an_unknown_service_is_not_found(port: Port) -> None:
    """As the protocol says."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await health(port, "no.such.Service")
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_drain_says_so_to_those_who_watch() -> None:
    """NOT_SERVING is written before the streams end."""
    async with open_port(world()) as port:
        stub = health_pb2_grpc.HealthStub(port.channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICES[0]))
        first = await asyncio.wait_for(watch.read(), 5)
        stopping = asyncio.create_task(port.server.stop())
        second = await asyncio.wait_for(watch.read(), 5)
        await stopping
        assert (first.status, second.status) == (SERVING, NOT_SERVING)


async def reflect(port: Port, name: str, **request: Any) -> Any:
    method = port.channel.stream_stream(
        f"/{name}/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    call = method()
    await call.write(reflection_pb2.ServerReflectionRequest(**request))
    response = await asyncio.wait_for(call.read(), 5)
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    return response


@pytest.mark.parametrize("name", REFLECTION)
async def test_reflection_lists_every_service(port: Port, name: str) -> None:
    """In both versions of the protocol."""
    response = await reflect(port, name, list_services="")
    assert {one.name for one in response.list_services_response.service} == {*SERVICES, *REFLECTION}


@pytest.mark.parametrize("service", SERVICES)
async def test_reflection_describes_every_service(port: Port, service: str) -> None:
    """A client that knows no file of ours can build every method's messages from the answer alone."""
    response = await reflect(port, REFLECTION[0], file_containing_symbol=service)
    files = [
        descriptor_pb2.FileDescriptorProto.FromString(data)
        for data in response.file_descriptor_response.file_descriptor_proto
    ]
    waiting, pool = {file.name: file for file in files}, descriptor_pool.DescriptorPool()
    while waiting:
        ready = [file for file in waiting.values() if not waiting.keys() & set(file.dependency)]
        assert ready
        for file in ready:
            pool.Add(waiting.pop(file.name))
    described = pool.FindServiceByName(service)
    assert described.methods
    assert all(method.input_type.fields or method.output_type for method in described.methods)
