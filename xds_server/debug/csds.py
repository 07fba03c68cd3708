"""CSDS: each proxy's resources and how far they have got, as the control plane sees it.

    SYNCED    the proxy has accepted the present version
    STALE     it was sent, or its removal is due, and the proxy has not answered yet
    ERROR     the proxy refused the present version (``error_state`` says why)
    NOT_SENT  it was not sent: the proxy has not asked for it, or it waits for its turn, or it does not exist

``version_info`` is the version that the proxy has accepted; for STALE the one on its way.
Source: envoy/service/status/v3/csds.proto.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import grpc
import grpc.aio
from envoy.admin.v3 import config_dump_shared_pb2
from envoy.config.core.v3 import base_pb2
from envoy.service.status.v3 import csds_pb2
from google.protobuf import any_pb2, timestamp_pb2
from google.protobuf.message import DecodeError

from xds_server.admission import Admission
from xds_server.debug.node_matching import UnsupportedMatcherError, checked, matches_any
from xds_server.proxy import Proxy
from xds_server.snapshot import NOTHING, Resource
from xds_server.store import Client, Store
from xds_server.stream import Sent
from xds_server.subscription import Subscription

SERVICE: Final = "envoy.service.status.v3.ClientStatusDiscoveryService"
Context = grpc.aio.ServicerContext[bytes, bytes]
SYNCED: int = csds_pb2.SYNCED
NOT_SENT: int = csds_pb2.NOT_SENT
STALE: int = csds_pb2.STALE
ERROR: int = csds_pb2.ERROR


class ClientStatus:
    """Serves CSDS from a store; with ``admission`` a client sees the proxies alone that its certificate may be."""

    def __init__(self, store: Store, admission: Admission | None = None) -> None:
        self._store, self._admission = store, admission

    def handler(self) -> grpc.GenericRpcHandler[bytes, bytes]:
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "StreamClientStatus": grpc.stream_stream_rpc_method_handler(self._stream),
                "FetchClientStatus": grpc.unary_unary_rpc_method_handler(self._fetch),
            },
        )

    async def _stream(self, _: object, context: Context) -> None:
        while (data := await context.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
            await context.write(await self._fetch(data, context))

    async def _fetch(self, data: bytes, context: Context) -> bytes:
        try:
            request = csds_pb2.ClientStatusRequest.FromString(data)
        except DecodeError:
            await _refuse(context, f"{len(data)} bytes that are no ClientStatusRequest")
        response = csds_pb2.ClientStatusResponse()
        try:
            matchers = checked(request.node_matchers)
            for client in list(self._store.clients.values()):
                if self._may_see(client, context) and matches_any(matchers, client.proxy):
                    self._store.refresh(client)
                    response.config.append(client_config(client, contents=not request.exclude_resource_contents))
                await asyncio.sleep(0)  # others are served between two proxies
        except UnsupportedMatcherError as error:
            await _refuse(context, str(error))
        answer: bytes = response.SerializeToString()
        return answer

    def _may_see(self, client: Client, context: Context) -> bool:
        return self._admission is None or self._admission.may_see(client.proxy.id, context)


def client_config(client: Client, *, contents: bool) -> csds_pb2.ClientConfig:
    """Return one proxy's resources with their status; with their bodies if ``contents``. O(resources)."""
    config = csds_pb2.ClientConfig(node=_node(client.proxy))
    for one in _views(client):
        config.generic_xds_configs.append(_generic(one, contents=contents))
    return config


@dataclass(frozen=True, slots=True)
class _View:
    type_url: str
    name: str
    resource: Resource | None
    subscription: Subscription | None
    sent: Sent | None

    @property
    def status(self) -> int:
        subscription, name = self.subscription, self.name
        if subscription is None:
            return NOT_SENT
        version = self.resource.version if self.resource else None
        if name in subscription.rejected and version in (None, subscription.rejected[name]):
            return ERROR
        if self.version_on_its_way or (version is None and name in subscription.known):
            return STALE
        return SYNCED if version is not None and subscription.known.get(name) == version else NOT_SENT

    @property
    def version_on_its_way(self) -> str:
        pending = self.subscription.pending if self.subscription else None
        return next((one.version for one in pending.news if one.name == self.name), "") if pending else ""


def _views(client: Client) -> Iterator[_View]:
    snapshot = client.snapshot
    types = dict.fromkeys(snapshot.resources if snapshot else ())
    types.update(dict.fromkeys(type_url for stream in client.streams for type_url in stream.subscriptions))
    for type_url in types:
        resources = snapshot.of(type_url) if snapshot else NOTHING
        seen: set[str] = set()
        for stream in client.streams:
            subscription = stream.subscriptions.get(type_url)
            if subscription is None:
                continue
            asked = {name for name in resources if subscription.wants(name)}
            for name in sorted((asked | subscription.names | subscription.known.keys()) - seen):
                seen.add(name)
                yield _View(type_url, name, resources.get(name), subscription, stream.sent[type_url])
        for name in sorted(resources.keys() - seen):
            yield _View(type_url, name, resources[name], None, None)


def _generic(one: _View, *, contents: bool) -> csds_pb2.ClientConfig.GenericXdsConfig:
    status, known = one.status, one.subscription.known if one.subscription else {}
    config = csds_pb2.ClientConfig.GenericXdsConfig(
        type_url=one.type_url,
        name=one.name,
        config_status=status,
        version_info=one.version_on_its_way if status == STALE and one.version_on_its_way else known.get(one.name, ""),
    )
    if one.sent is not None and status in (SYNCED, STALE):
        _set(config.last_updated, one.sent.settled_at_s if status == SYNCED else one.sent.sent_at_s)
    if status == ERROR and one.subscription is not None:
        config.error_state.CopyFrom(_failure(one, one.subscription))
    if contents and one.resource is not None:
        config.xds_config.CopyFrom(any_pb2.Any(type_url=one.type_url, value=one.resource.body))
    return config


def _failure(one: _View, subscription: Subscription) -> config_dump_shared_pb2.UpdateFailureState:
    failure = config_dump_shared_pb2.UpdateFailureState(
        details=subscription.last_error, version_info=subscription.rejected[one.name]
    )
    if one.sent is not None:
        _set(failure.last_update_attempt, one.sent.sent_at_s)
    return failure


def _set(timestamp: timestamp_pb2.Timestamp, seconds: float) -> None:
    if seconds:
        timestamp.FromNanoseconds(int(seconds * 1e9))


def _node(proxy: Proxy) -> base_pb2.Node:
    node = base_pb2.Node(id=proxy.id, cluster=proxy.cluster, user_agent_name=proxy.user_agent)
    node.metadata.update(dict(proxy.metadata))
    node.client_features.extend(sorted(proxy.features))
    return node


async def _refuse(context: Any, why: str) -> NoReturn:
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, why)
    raise AssertionError("abort raises")
