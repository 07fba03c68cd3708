"""gRPC's own services beside ours: health, which says NOT_SERVING from the start of a drain on, and reflection.

Sources: grpc/health/v1/health.proto, "GRPC Health Checking Protocol"; grpc/reflection/v1/reflection.proto, "GRPC Server
Reflection Protocol". The messages of reflection's v1 and v1alpha are the same on the wire.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import grpc
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from xds_server import described_services  # noqa: F401 - registers the descriptors that reflection shows

HEALTH: Final[str] = health.SERVICE_NAME
REFLECTION: Final = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


class Health:
    """The health of the server and of each of its services: SERVING until ``drain``."""

    def __init__(self) -> None:
        self._servicer: Any = health.aio.HealthServicer()  # type: ignore[attr-defined]

    async def serve(self, services: Iterable[str]) -> None:
        """Say SERVING for these services; the whole server (the empty name) has been so from the start."""
        for service in services:
            await self._servicer.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def drain(self) -> None:
        """Say NOT_SERVING for all, for good."""
        await self._servicer.enter_graceful_shutdown()

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        request = health_pb2.HealthCheckRequest.FromString
        response = health_pb2.HealthCheckResponse.SerializeToString
        return grpc.method_handlers_generic_handler(
            HEALTH,
            {
                "Check": grpc.unary_unary_rpc_method_handler(self._servicer.Check, request, response),
                "Watch": grpc.unary_stream_rpc_method_handler(self._servicer.Watch, request, response),
            },
        )


def reflection_handlers(services: Iterable[str]) -> list[grpc.GenericRpcHandler[Any, Any]]:
    """Return the handlers that list ``services`` and describe their messages."""
    servicer: Any = reflection.aio.ReflectionServicer((*services, *REFLECTION))  # type: ignore[attr-defined]
    method = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return [grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": method}) for name in REFLECTION]
