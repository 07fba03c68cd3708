"""A raw xDS client that does exactly what a rule tells it to, and nothing by itself.

A ``Peer`` is one proxy; a ``Topic`` is one resource type of it, on the aggregated stream or on a stream of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import grpc
import grpc.aio
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.rpc import status_pb2

from tests.xds.messages import CDS, EDS, LDS, RDS, Message, name_of, parse, unwrap

Transport = Literal["sotw", "delta", "rest"]
ANSWER_S = 3.0
SILENCE_S = 0.3

_ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
_SINGLE = {
    CDS: ("/envoy.service.cluster.v3.ClusterDiscoveryService/", "Clusters"),
    EDS: ("/envoy.service.endpoint.v3.EndpointDiscoveryService/", "Endpoints"),
    LDS: ("/envoy.service.listener.v3.ListenerDiscoveryService/", "Listeners"),
    RDS: ("/envoy.service.route.v3.RouteDiscoveryService/", "Routes"),
}


@dataclass(frozen=True, slots=True)
class Variant:
    """One of the four variants of the streaming protocol, or polling."""

    transport: Transport
    aggregated: bool

    def __str__(self) -> str:
        if self.transport == "rest":
            return "rest"
        return f"{'ADS' if self.aggregated else 'single'}-{self.transport}"

    def path(self, type_url: str) -> str:
        """Return the gRPC method that serves ``type_url``."""
        if self.aggregated:
            return _ADS + ("StreamAggregatedResources" if self.transport == "sotw" else "DeltaAggregatedResources")
        service, noun = _SINGLE[type_url]
        return f"{service}{'Stream' if self.transport == 'sotw' else 'Delta'}{noun}"


ADS_SOTW, ADS_DELTA = Variant("sotw", True), Variant("delta", True)
SINGLE_SOTW, SINGLE_DELTA = Variant("sotw", False), Variant("delta", False)


@dataclass(frozen=True, slots=True)
class Answer:
    """One response, of either transport."""

    type_url: str
    nonce: str
    version: str
    names: tuple[str, ...]
    resources: Mapping[str, Message] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    errors: Mapping[str, int] = field(default_factory=dict)
    ttl_s: Mapping[str, float] = field(default_factory=dict)
    heartbeats: tuple[str, ...] = ()
    size: int = 0


class Ended(AssertionError):
    """The server ended the stream."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(f"the server ended the stream with {code.name}: {details}")
        self.code = code


def read_answer(message: Any) -> Answer:
    """Return a DiscoveryResponse or DeltaDiscoveryResponse as the rules look at it."""
    errors = {one.resource_name.name: one.error_detail.code for one in message.resource_errors}
    if isinstance(message, discovery_pb2.DeltaDiscoveryResponse):
        full = [one for one in message.resources if one.HasField("resource")]
        return Answer(
            type_url=message.type_url,
            nonce=message.nonce,
            version=message.system_version_info,
            names=tuple(one.name for one in full),
            resources={one.name: parse(one.resource) for one in full},
            versions={one.name: one.version for one in message.resources},
            removed=tuple(message.removed_resources) + tuple(one.name for one in message.removed_resource_names),
            errors=errors,
            ttl_s={one.name: _seconds(one.ttl) for one in message.resources if one.HasField("ttl")},
            heartbeats=tuple(one.name for one in message.resources if not one.HasField("resource")),
            size=message.ByteSize(),
        )
    wrapped = [discovery_pb2.Resource.FromString(one.value) for one in message.resources if "discovery" in one.type_url]
    beats = tuple(one.name for one in wrapped if not one.HasField("resource"))
    bodies = [unwrap(one)[0] for one in message.resources if not ("discovery" in one.type_url and _is_beat(one))]
    return Answer(
        type_url=message.type_url,
        nonce=message.nonce,
        version=message.version_info,
        names=tuple(name_of(one) for one in bodies),
        resources={name_of(one): one for one in bodies},
        versions={one.name: one.version for one in wrapped},
        errors=errors,
        ttl_s={one.name: _seconds(one.ttl) for one in wrapped if one.HasField("ttl")},
        heartbeats=beats,
        size=message.ByteSize(),
    )


def _is_beat(body: Any) -> bool:
    return not discovery_pb2.Resource.FromString(body.value).HasField("resource")


def _seconds(duration: Any) -> float:
    return float(duration.seconds) + float(duration.nanos) / 1e9


class Peer:
    """One proxy with its streams. Use as an async context manager."""

    def __init__(self, target: str, variant: Variant, node: str, *, features: Iterable[str] = ()) -> None:
        self.variant = variant
        self.node: Message | None = base_pb2.Node(
            id=node, cluster="conformance", user_agent_name="askew-conformance", client_features=list(features)
        )
        self.log: list[Answer] = []
        self._channel = grpc.aio.insecure_channel(target)
        self._calls: dict[str, _Call] = {}
        self._topics: dict[str, Topic] = {}

    async def __aenter__(self) -> Peer:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End all streams and the connection."""
        for call in self._calls.values():
            await call.close()
        await self._channel.close()

    def topic(self, type_url: str) -> Topic:
        """Return the client's side of one type."""
        if type_url not in self._topics:
            self._topics[type_url] = Topic(self, type_url)
        return self._topics[type_url]

    async def send(self, on_stream_of: str, request: Message) -> None:
        """Write a request; the first one of each stream gets the node."""
        path = self.variant.path(on_stream_of)
        call = self._calls.get(path)
        if call is None:
            call = self._calls[path] = _Call(self, path)
            if self.node is not None and not request.HasField("node"):
                request.node.CopyFrom(self.node)
        await call.write(request)

    def deliver(self, path: str, answer: Answer | Ended) -> None:
        """Take in what a stream brought."""
        if isinstance(answer, Answer):
            self.log.append(answer)
            self.topic(answer.type_url).inbox.put_nowait(answer)
            return
        for topic in self._topics.values():
            if self.variant.aggregated or self.variant.path(topic.type_url) == path:
                topic.inbox.put_nowait(answer)

    async def silence(self, seconds: float = SILENCE_S) -> None:
        """Wait; raise AssertionError if a message is there that nobody has heard, or comes."""
        await asyncio.sleep(seconds)
        for topic in self._topics.values():
            if not topic.inbox.empty():
                raise AssertionError(f"a needless message: {topic.inbox.get_nowait()}"[:600])

    async def ended(self, type_url: str) -> grpc.StatusCode:
        """Wait until the stream of ``type_url`` ends; return its status."""
        try:
            answer = await self.topic(type_url).hear()
        except Ended as end:
            return end.code
        raise AssertionError(f"an answer where the stream should end: {answer}"[:600])


class _Call:
    """One gRPC stream and the task that reads it."""

    def __init__(self, peer: Peer, path: str) -> None:
        self._peer, self._path = peer, path
        sotw = peer.variant.transport == "sotw"
        response = discovery_pb2.DiscoveryResponse if sotw else discovery_pb2.DeltaDiscoveryResponse
        method = peer._channel.stream_stream(
            path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response.FromString,
        )
        self._call = method(wait_for_ready=True)
        self._reader = asyncio.create_task(self._read(), name=f"xds-peer-{path}")

    async def write(self, request: Message) -> None:
        try:
            await self._call.write(request)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await asyncio.wait((self._reader,), timeout=ANSWER_S)  # it has ended: the reader says how

    async def _read(self) -> None:
        try:
            while (message := await self._call.read()) is not grpc.aio.EOF:
                self._peer.deliver(self._path, read_answer(message))
            self._peer.deliver(self._path, Ended(await self._call.code(), await self._call.details() or ""))
        except grpc.aio.AioRpcError as error:
            self._peer.deliver(self._path, Ended(error.code(), error.details() or ""))

    async def close(self) -> None:
        self._call.cancel()
        self._reader.cancel()
        await asyncio.wait((self._reader,))


class Topic:
    """One type: what the client has asked for, and what it has heard."""

    def __init__(self, peer: Peer, type_url: str) -> None:
        self.type_url = type_url
        self.inbox: asyncio.Queue[Answer | Ended] = asyncio.Queue()
        self.names: tuple[str, ...] = ()
        self.version = self.nonce = ""
        self._peer = peer

    @property
    def is_sotw(self) -> bool:
        return self._peer.variant.transport == "sotw"

    # -- to the server ------------------------------------------------------------------------------------------------

    async def ask(self, *names: str, has: Mapping[str, str] | None = None, nonce: str | None = None) -> None:
        """Subscribe to ``names``: in state of the world to these only, in delta to these too."""
        if self.is_sotw:
            self.names = names
            await self.request(names=names, version=self.version, nonce=self.nonce if nonce is None else nonce)
        else:
            self.names = tuple(dict.fromkeys((*self.names, *names)))
            await self.request(subscribe=names, has=has or {}, nonce=nonce or "")

    async def drop(self, *names: str) -> None:
        """Unsubscribe from ``names``."""
        self.names = tuple(name for name in self.names if name not in names)
        if self.is_sotw:
            await self.request(names=self.names, version=self.version, nonce=self.nonce)
        else:
            await self.request(unsubscribe=names)

    async def ack(self, answer: Answer) -> None:
        self.version = answer.version
        await self._reply(answer, None)

    async def nack(self, answer: Answer, error: str = "refused by the conformance suite") -> None:
        await self._reply(answer, error)

    async def _reply(self, answer: Answer, error: str | None) -> None:
        if self.is_sotw:
            await self.request(names=self.names, version=self.version, nonce=answer.nonce, error=error)
        else:
            await self.request(nonce=answer.nonce, error=error)

    async def request(
        self,
        *,
        names: Iterable[str] = (),
        version: str = "",
        subscribe: Iterable[str] = (),
        unsubscribe: Iterable[str] = (),
        has: Mapping[str, str] | None = None,
        nonce: str = "",
        error: str | None = None,
        type_url: str | None = None,
        node: Message | None = None,
    ) -> None:
        """Write a request of this topic, field by field."""
        fields: dict[str, Any] = {"type_url": self.type_url if type_url is None else type_url, "response_nonce": nonce}
        if error is not None:
            fields["error_detail"] = status_pb2.Status(code=grpc.StatusCode.INVALID_ARGUMENT.value[0], message=error)
        if node is not None:
            fields["node"] = node
        if self.is_sotw:
            request = discovery_pb2.DiscoveryRequest(resource_names=names, version_info=version, **fields)
        else:
            request = discovery_pb2.DeltaDiscoveryRequest(
                resource_names_subscribe=subscribe,
                resource_names_unsubscribe=unsubscribe,
                initial_resource_versions=has or {},
                **fields,
            )
        await self._peer.send(self.type_url, request)

    # -- from the server ----------------------------------------------------------------------------------------------

    async def hear(self, within_s: float = ANSWER_S) -> Answer:
        """Return the next response. Raises AssertionError if none comes, Ended if the stream ends."""
        try:
            answer = await asyncio.wait_for(self.inbox.get(), within_s)
        except TimeoutError:
            raise AssertionError(f"no answer within {within_s:g} s for {self.type_url}") from None
        if isinstance(answer, Ended):
            raise answer
        self.nonce = answer.nonce
        return answer

    async def take(self) -> Answer:
        """Hear a response and ACK it."""
        answer = await self.hear()
        await self.ack(answer)
        return answer

    async def collect(self, *names: str, removed: Iterable[str] = ()) -> Answer:
        """Take responses until all of ``names`` and ``removed`` have come, however they are grouped; return the sum."""
        gone = set(removed)
        total = await self.take()
        while not (set(names) <= set(total.resources) and gone <= set(total.removed)):
            total = _sum(total, await self.take())
        return total


def _sum(one: Answer, other: Answer) -> Answer:
    return Answer(
        type_url=other.type_url,
        nonce=other.nonce,
        version=other.version,
        names=one.names + other.names,
        resources={**one.resources, **other.resources},
        versions={**one.versions, **other.versions},
        removed=one.removed + other.removed,
        errors={**one.errors, **other.errors},
        ttl_s={**one.ttl_s, **other.ttl_s},
        heartbeats=one.heartbeats + other.heartbeats,
        size=max(one.size, other.size),
    )
