"""A client of a real server, at its plainest: one delta stream, one type."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc
import grpc.aio
from envoy.service.discovery.v3 import discovery_pb2

from xds_server.resources.names import CDS

ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"


class Proxy:
    """A client's stream, on which it asks for all clusters."""

    def __init__(self, channel: grpc.aio.Channel, proxy_id: str, *, metadata: Sequence[tuple[str, str]] = ()) -> None:
        self._id = proxy_id
        call = channel.stream_stream(ADS)(metadata=grpc.aio.Metadata(*metadata))
        self._call: grpc.aio.StreamStreamCall[bytes, bytes] = call

    async def first_answer(self) -> list[str]:
        """Introduce itself, and return the names of the clusters that come; they are accepted."""
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=CDS)
        request.node.id = self._id
        await self._call.write(request.SerializeToString())
        return await self.answer()

    async def ask(self, *names: str, nonce: str) -> None:
        """Subscribe to more names, as the answer to the response with this nonce."""
        request = discovery_pb2.DeltaDiscoveryRequest(
            type_url=CDS, response_nonce=nonce, resource_names_subscribe=names
        )
        await self._call.write(request.SerializeToString())

    async def ended(self) -> grpc.StatusCode:
        """Wait until the server ends the stream, and return how."""
        code = await asyncio.wait_for(self._call.code(), 10)
        assert isinstance(code, grpc.StatusCode)
        return code

    async def answer(self) -> list[str]:
        """Return the names in the next response, and accept it."""
        data = await asyncio.wait_for(self._call.read(), 10)
        assert isinstance(data, bytes)
        response = discovery_pb2.DeltaDiscoveryResponse.FromString(data)
        ack = discovery_pb2.DeltaDiscoveryRequest(type_url=CDS, response_nonce=response.nonce)
        await self._call.write(ack.SerializeToString())
        return [one.name for one in response.resources]
