"""The cgroup role's line to the network role: the same gRPC service, on a Unix socket that only root can open."""

from __future__ import annotations

import grpc
import grpc.aio

from enforcer.api_messages import NodeStatus, request_of, restored_of, results_of
from enforcer.api_messages import lease_of as lease_of_message
from enforcer.errors import PeerRefusesError, PeerUnavailableError, StaleGenerationError, UnknownContainerError
from enforcer.node_writer import boot_clock_s
from enforcer.proto import node_agent_pb2 as pb
from enforcer.results import ActionResult, Restored
from mesh.actions import ActionSet

SERVICE = "/askew.enforcer.v1.NodeAgent/"
DEADLINE_S = 5.0
AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class NetworkPeer:
    """A client of the network role at ``socket``. It may come later, and go: each call finds out."""

    def __init__(self, socket: str) -> None:
        options = [("grpc.initial_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 1000)]
        self._channel = grpc.aio.insecure_channel(f"unix:{socket}", options=options)

    async def apply(self, action_set: ActionSet, *, dry_run: bool) -> tuple[ActionResult, ...]:
        """Return the network role's results. Raises PeerUnavailableError, and what it refuses the set with."""
        request = request_of(action_set, dry_run=dry_run).SerializeToString()
        try:
            answer = await self._call("Apply", request)
        except grpc.aio.AioRpcError as error:
            raise _refused(error, action_set) from error
        return results_of(pb.ApplyResponse.FromString(answer))

    async def status(self) -> NodeStatus:
        """Return the network role's status. Raises PeerUnavailableError."""
        answer = pb.StatusResponse.FromString(await self._asked("Status", b""))
        now_s = boot_clock_s()
        return NodeStatus(
            node=answer.node,
            role=answer.role,
            is_dry_run=answer.dry_run,
            generation=answer.generation,
            capabilities=dict(answer.capabilities),
            leases=tuple(lease_of_message(held, now_s=now_s) for held in answer.actions),
            conflicts=tuple(answer.conflicts),
        )

    async def revert(self) -> Restored:
        """Have everything given back. Raises PeerUnavailableError."""
        return restored_of(pb.RevertResponse.FromString(await self._asked("Revert", b"")))

    async def forward(self, method: str, request: bytes, *, deadline_s: float) -> bytes:
        """Return the network role's answer to a request, as it is. Raises PeerUnavailableError, PeerRefusesError."""
        try:
            return await self._call(method, request, deadline_s=deadline_s)
        except grpc.aio.AioRpcError as error:
            said = error.details() or error.code().name
            if error.code() == grpc.StatusCode.INVALID_ARGUMENT:
                raise PeerRefusesError(said) from error
            raise PeerUnavailableError(said) from error

    async def close(self) -> None:
        """Close the line."""
        await self._channel.close(None)

    async def _asked(self, method: str, request: bytes) -> bytes:
        try:
            return await self._call(method, request)
        except grpc.aio.AioRpcError as error:
            raise PeerUnavailableError(error.details() or error.code().name) from error

    async def _call(self, method: str, request: bytes, *, deadline_s: float = DEADLINE_S) -> bytes:
        asked = self._channel.unary_unary(SERVICE + method, request_serializer=None, response_deserializer=None)
        answer: bytes = await asked(request, timeout=deadline_s)
        return answer


async def passed_on(peer: NetworkPeer, method: str, request: bytes, deadline_s: float) -> bytes:
    """Return the network role's answer, in the shape that the service asks for. Raises as ``forward`` does."""
    return await peer.forward(method, request, deadline_s=deadline_s)


def _refused(
    error: grpc.aio.AioRpcError, action_set: ActionSet
) -> PeerUnavailableError | StaleGenerationError | UnknownContainerError:
    """Return the error that the network role means by its status."""
    trailers = {str(key): str(value) for key, value in (error.trailing_metadata() or ())}  # type: ignore[misc, has-type]
    if error.code() == grpc.StatusCode.FAILED_PRECONDITION:
        return StaleGenerationError(action_set.generation, int(trailers.get("askew-newest", 0)))
    if error.code() == grpc.StatusCode.INVALID_ARGUMENT and "askew-container" in trailers:
        return UnknownContainerError("actions", trailers["askew-container"])
    return PeerUnavailableError(error.details() or error.code().name)
