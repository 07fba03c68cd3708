"""Streams without a network: requests and responses wait on two queues until a test lets them through."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.rpc import status_pb2

from xds_server.ordering import Subscriptions
from xds_server.snapshot import Snapshot
from xds_server.stream import Stream
from xds_server.subscription import Transport


class Link:
    """One stream of a proxy with what is on its way, ``up`` to the server and ``down`` to the client."""

    def __init__(self, transport: Transport) -> None:
        self.stream = Stream(transport)
        self.up: deque[Any] = deque()
        self.down: deque[Any] = deque()
        self.stream.introduce(discovery_pb2.DiscoveryRequest(node=base_pb2.Node(id="model")))

    def server_writes(self, snapshot: Snapshot, all_of_proxy: Sequence[Subscriptions]) -> Any:
        """Let the server send its next response, if it has one; time stands still, so nothing held is let go."""
        message = self.stream.next_message(
            snapshot,
            all_of_proxy,
            now_s=0.0,
            hold_limit_s=5.0,
            largest_bytes=1 << 22,
            on_oversized=lambda *_: None,
        )
        if message is None:
            return None
        kind = discovery_pb2.DeltaDiscoveryResponse
        if self.stream.transport == "sotw":
            kind = discovery_pb2.DiscoveryResponse
        response = kind.FromString(message[2])
        self.down.append(response)
        return response

    def server_reads(self, snapshot: Snapshot, all_of_proxy: Sequence[Subscriptions]) -> Any:
        """Let the server take in the next request; return it."""
        request = self.up.popleft()
        self.stream.receive(request, snapshot, all_of_proxy, now_s=0.0)
        return request


def content_of(response: Any) -> dict[str, bytes]:
    """Return name to body of the resources in a response of ``small_world``."""
    if isinstance(response, discovery_pb2.DeltaDiscoveryResponse):
        return {one.name: one.resource.value for one in response.resources}
    return {one.value.split(b"=", 1)[0].decode(): one.value for one in response.resources}


def sotw_request(
    type_url: str, names: Sequence[str], *, nonce: str = "", version: str = "", error: str | None = None
) -> Any:
    """Return a state-of-the-world request."""
    return discovery_pb2.DiscoveryRequest(
        type_url=type_url,
        resource_names=names,
        response_nonce=nonce,
        version_info=version,
        error_detail=None if error is None else status_pb2.Status(code=3, message=error),
    )


def delta_request(
    type_url: str,
    *,
    more: Sequence[str] = (),
    less: Sequence[str] = (),
    nonce: str = "",
    error: str | None = None,
    has: Mapping[str, str] | None = None,
) -> Any:
    """Return an incremental request."""
    return discovery_pb2.DeltaDiscoveryRequest(
        type_url=type_url,
        resource_names_subscribe=more,
        resource_names_unsubscribe=less,
        response_nonce=nonce,
        initial_resource_versions=has or {},
        error_detail=None if error is None else status_pb2.Status(code=3, message=error),
    )
