"""The gRPC service ``askew.enforcer.v1.NodeAgent``: bytes in, a typed answer or a typed refusal out.

Requests come in as bytes and are parsed here, so that what is malformed is refused by name before anything looks at it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import NoReturn, Protocol, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from enforcer.agent import NodeAgent
from enforcer.api_messages import (
    LARGEST_REQUEST_BYTES,
    action_set_of,
    message_of_measurement,
    message_of_restored,
    message_of_status,
    parse,
    response_of,
    told_list_of,
)
from enforcer.errors import (
    EnforcerError,
    PeerRefusesError,
    PeerUnavailableError,
    StaleGenerationError,
    StaleListError,
    UnknownContainerError,
    UnsupportedError,
)
from enforcer.journal import Lease
from enforcer.node_writer import boot_clock_s
from enforcer.proto import node_agent_pb2 as pb
from enforcer.settings import ApiSettings
from enforcer.tls import refusal
from mesh.actions import Action
from mesh.errors import BadInputError
from mesh.link_measurement import LinkMeasurer, Measurement, Unmeasured
from mesh.topology import Container

SERVICE = "askew.enforcer.v1.NodeAgent"
HANDSHAKE_S = 10.0
"""A connection that has not ended its TLS handshake by then is closed."""
M = TypeVar("M", bound=Message)
Context = grpc.aio.ServicerContext[bytes, bytes]
Forward = Callable[[str, bytes, float], Awaitable[bytes]]


class Observes(Protocol):
    """Reads the node's counters."""

    async def __call__(self) -> pb.ObserveResponse: ...


class MeasuredNode(Protocol):
    """Finds what to measure, and how."""

    def find(self, name: str) -> Container | None: ...

    @property
    def measurers(self) -> Sequence[LinkMeasurer]: ...


class NodeAgentService:
    """Answers for one agent.

    Parameters
    ----------
    observe:
        Reads the node's counters.
    measured:
        What this role can measure itself; None where ``forward`` asks the network role.
    forward:
        Sends a request on to the network role: method, bytes, deadline in seconds.
    """

    def __init__(
        self,
        agent: NodeAgent,
        settings: ApiSettings,
        *,
        observe: Observes,
        measured: MeasuredNode | None = None,
        forward: Forward | None = None,
    ) -> None:
        self._agent, self._settings = agent, settings
        self._observe, self._measured, self._forward = observe, measured, forward
        self.refused = 0

    def handlers(self) -> tuple[grpc.GenericRpcHandler[bytes, bytes], ...]:
        """Return the handlers for a server."""
        unary = {
            "Apply": self.apply,
            "Status": self.status,
            "Revert": self.revert,
            "Measure": self.measure,
            "Observe": self.observe,
            "SetContainers": self.set_containers,
        }
        methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            name: grpc.unary_unary_rpc_method_handler(method) for name, method in unary.items()
        }
        methods["Watch"] = grpc.unary_stream_rpc_method_handler(self.watch)
        return (grpc.method_handlers_generic_handler(SERVICE, methods),)

    async def apply(self, request: bytes, context: Context) -> bytes:
        """Apply an action set; nothing is written of one that is malformed, too old, or names an unknown container."""
        await self._admit(context)
        try:
            message = parse(pb.ApplyRequest, request)
            action_set = action_set_of(message)
            results = await self._agent.apply(action_set, dry_run=message.dry_run)
        except BadInputError as error:
            await self._refuse(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except StaleGenerationError as error:
            context.set_trailing_metadata((("askew-newest", str(error.newest)),))
            await self._refuse(context, grpc.StatusCode.FAILED_PRECONDITION, str(error))
        except UnknownContainerError as error:
            context.set_trailing_metadata((("askew-container", ascii(error.name)[1:-1]),))
            await self._refuse(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except EnforcerError as error:
            await self._refuse(context, grpc.StatusCode.INTERNAL, str(error))
        return response_of(action_set.generation, results).SerializeToString()

    async def status(self, request: bytes, context: Context) -> bytes:
        """Return the status."""
        await self._admit(context)
        await self._parsed(pb.StatusRequest, request, context)
        return message_of_status(await self._agent.status(), now_s=boot_clock_s()).SerializeToString()

    async def watch(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        """Yield the status now, and again each time that it has changed otherwise than by time passing."""
        await self._admit(context)
        await self._parsed(pb.StatusRequest, request, context)
        told = None
        while True:
            status = await self._agent.status()
            lists = (status.generation, status.containers_generation)
            seen = (lists, status.capabilities, status.conflicts, status.migrations, _held(status.leases))
            if seen != told:
                told = seen
                yield message_of_status(status, now_s=boot_clock_s()).SerializeToString()
            await asyncio.sleep(self._settings.watch_s)

    async def revert(self, request: bytes, context: Context) -> bytes:
        """Give everything back."""
        await self._admit(context)
        await self._parsed(pb.RevertRequest, request, context)
        try:
            restored = await self._agent.revert()
        except EnforcerError as error:
            await self._refuse(context, grpc.StatusCode.INTERNAL, str(error))
        return message_of_restored(restored).SerializeToString()

    async def observe(self, request: bytes, context: Context) -> bytes:
        """Return counters."""
        await self._admit(context)
        await self._parsed(pb.ObserveRequest, request, context)
        return (await self._observe()).SerializeToString()

    async def set_containers(self, request: bytes, context: Context) -> bytes:
        """Put a list of containers in force; nothing changes by one that is malformed, too old or another node's."""
        await self._admit(context)
        try:
            taken = await self._agent.set_containers(told_list_of(parse(pb.SetContainersRequest, request)))
        except BadInputError as error:
            await self._refuse(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except StaleListError as error:
            await self._refuse(context, grpc.StatusCode.FAILED_PRECONDITION, str(error))
        except UnsupportedError as error:
            await self._refuse(context, grpc.StatusCode.UNIMPLEMENTED, str(error))
        except EnforcerError as error:
            await self._refuse(context, grpc.StatusCode.INTERNAL, str(error))
        return pb.SetContainersResponse(containers=taken.containers, ended=taken.ended).SerializeToString()

    async def measure(self, request: bytes, context: Context) -> bytes:
        """Measure a container's links, here or by the network role."""
        await self._admit(context)
        asked = await self._parsed(pb.MeasureRequest, request, context)
        longest_s = self._settings.longest_measure_s
        if not 0.0 < asked.limit_s <= longest_s:
            allowed = f"limit_s: found {asked.limit_s}, allowed: seconds > 0 and <= {longest_s:g}"
            await self._refuse(context, grpc.StatusCode.INVALID_ARGUMENT, allowed)
        if asked.method not in ("", "sockets", "capture"):
            allowed = f"method: found {asked.method!a}, allowed: sockets, capture or nothing"
            await self._refuse(context, grpc.StatusCode.INVALID_ARGUMENT, allowed)
        if self._measured is not None:
            return await self._measure_here(self._measured, asked, context)
        if self._forward is None:
            return message_of_measurement(None, ()).SerializeToString()
        try:
            return await self._forward("Measure", request, 2 * asked.limit_s + 5.0)
        except PeerRefusesError as error:
            await self._refuse(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except PeerUnavailableError as error:
            await self._refuse(context, grpc.StatusCode.UNAVAILABLE, f"the network role: {error}")

    async def _measure_here(self, measured: MeasuredNode, asked: pb.MeasureRequest, context: Context) -> bytes:
        container = measured.find(asked.container)
        if container is None:
            unknown = f"container: found {asked.container!a}, allowed: a container of this host"
            await self._refuse(context, grpc.StatusCode.INVALID_ARGUMENT, unknown)
        passed_over: list[Unmeasured] = []
        for measurer in measured.measurers:
            if asked.method not in ("", measurer.method):
                continue
            result = await measurer.measure(container, window_s=asked.limit_s)
            if isinstance(result, Measurement):
                return message_of_measurement(result, passed_over).SerializeToString()
            passed_over.append(result)
        return message_of_measurement(None, passed_over).SerializeToString()

    async def _parsed(self, message: type[M], request: bytes, context: Context) -> M:
        try:
            return parse(message, request)
        except BadInputError as error:
            await self._refuse(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))

    async def _admit(self, context: Context) -> None:
        if self._settings.is_mtls and not context.peer().startswith("unix:"):
            said = refusal(context.auth_context(), self._settings.allowed_clients)
            if said:
                await self._refuse(context, grpc.StatusCode.PERMISSION_DENIED, said)

    async def _refuse(self, context: Context, code: grpc.StatusCode, why: str) -> NoReturn:
        self.refused += 1
        await context.abort(code, why)
        raise AssertionError("abort returned")


def _held(leases: Sequence[Lease]) -> tuple[tuple[Action, int], ...]:
    """Return what of leases changes otherwise than by being renewed."""
    return tuple((lease.action, lease.generation) for lease in leases)


def server(service: NodeAgentService) -> grpc.aio.Server:
    """Return a gRPC server of the service, with its limits; the caller adds ports and starts it."""
    made = grpc.aio.server(
        options=[
            ("grpc.server_handshake_timeout_ms", int(HANDSHAKE_S * 1000)),
            ("grpc.so_reuseport", 0),  # a port that is taken must be an error, not half of the connections
            ("grpc.max_receive_message_length", LARGEST_REQUEST_BYTES),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),  # a watch is silent, and its client asks
        ]
    )
    made.add_generic_rpc_handlers(service.handlers())
    return made
