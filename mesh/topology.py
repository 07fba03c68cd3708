"""Nodes, services, containers, calls: what stands where and who may call whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cached_property
from typing import Literal, NewType

from mesh.istio_facts import NO_FACTS, IstioFacts
from mesh.policy import UNMANAGED, Policy

NodeName = NewType("NodeName", str)
ContainerName = NewType("ContainerName", str)
ServiceName = NewType("ServiceName", str)  # full: "reviews.default"
Protocol = Literal["http", "grpc", "tcp"]
PROTOCOLS: tuple[Protocol, ...] = ("http", "grpc", "tcp")


class Distance(IntEnum):
    """How far two nodes are apart; compares as a number."""

    NODE = 0
    ZONE = 1
    REGION = 2
    FAR = 3


@dataclass(frozen=True, slots=True)
class Node:
    """A machine. Empty zone or region means: the same as every other node that names none."""

    name: NodeName
    zone: str = ""
    region: str = ""
    agent: str = ""  # HOST:PORT of its enforcer, or empty
    subzone: str = ""


@dataclass(frozen=True, slots=True)
class Port:
    """A port of a service. ``outbound_port`` is where a client's sidecar listens for it (TCP only, else 0)."""

    number: int
    protocol: Protocol = "http"
    name: str = ""
    outbound_port: int = 0


@dataclass(frozen=True, slots=True)
class ServicePort:
    """The unit of a plan: one port of one service. Prints as ``reviews.default:9080``."""

    service: ServiceName
    port: int

    def __str__(self) -> str:
        return f"{self.service}:{self.port}"


@dataclass(frozen=True, slots=True)
class Container:
    """One replica of a service.

    ``ports`` maps a service port's number to the port on ``address`` where clients reach this container (its sidecar's
    inbound listener, or the app). ``app_ports`` maps the same numbers to the app behind the sidecar, where they differ.
    ``capacity`` is relative to the service's other containers. ``is_client`` is False where its requests do not follow
    us (no sidecar stands before it), and for the second and later appearances of a container that serves several
    services: it then counts among the endpoints only. ``proxy`` is its sidecar's ``<container>.<namespace>`` where
    that is not made of its name (in Kubernetes names are unique in a namespace only, so that the mesh adds it).
    ``service_account`` is whose certificate its sidecar must show; empty: any of its namespace's.
    ``on_host_network``: it shares its node's network, so that its counters of bytes are the node's.
    """

    name: ContainerName
    service: ServiceName
    node: NodeName
    address: str
    ports: Mapping[int, int] = field(default_factory=dict)
    app_ports: Mapping[int, int] = field(default_factory=dict)
    capacity: float = 1.0
    outbound_port: int = 15001
    is_client: bool = True
    best_effort: bool = False
    proxy: str = ""
    outbound_address: str = ""
    service_account: str = ""
    on_host_network: bool = False

    @property
    def listens_on(self) -> str:
        """Where its sidecar listens for what its app sends: ``address``, or loopback where the app shares that."""
        return self.outbound_address or self.address

    @property
    def namespace(self) -> str:
        return namespace_of(self.service)

    @property
    def proxy_id(self) -> str:
        """The ``node.id`` of this container's sidecar: ``<container>.<namespace>``."""
        return self.proxy or f"{self.name}.{self.namespace}"


@dataclass(frozen=True, slots=True)
class Service:
    """A named set of equal containers. A service that nobody calls may have no port."""

    name: ServiceName
    ports: tuple[Port, ...] = ()
    policy: Policy = UNMANAGED
    containers: tuple[Container, ...] = ()

    @property
    def short_name(self) -> str:
        return self.name.rsplit(".", 1)[0]

    @property
    def namespace(self) -> str:
        return namespace_of(self.name)

    def service_port(self, port: Port) -> ServicePort:
        return ServicePort(self.name, port.number)


@dataclass(frozen=True, slots=True)
class Call:
    """``client`` (a service) calls ``server`` (a service)."""

    client: ServiceName
    server: ServiceName


@dataclass(frozen=True, slots=True)
class ClientRate:
    """Requests per second that one client container sends to one service."""

    client: ContainerName
    service: ServiceName
    requests_per_s: float


@dataclass(frozen=True)
class Topology:
    """A whole mesh at one moment. ``calls`` is None where the source does not know them: then everyone may call all.

    ``istio`` is what is known besides where the sidecars are Istio's.
    """

    nodes: tuple[Node, ...] = ()
    services: tuple[Service, ...] = ()
    calls: tuple[Call, ...] | None = None
    rates: tuple[ClientRate, ...] = ()
    istio: IstioFacts = NO_FACTS

    @cached_property
    def node_by_name(self) -> Mapping[NodeName, Node]:
        return {node.name: node for node in self.nodes}

    @cached_property
    def service_by_name(self) -> Mapping[ServiceName, Service]:
        return {service.name: service for service in self.services}

    @cached_property
    def container_by_name(self) -> Mapping[ContainerName, Container]:
        """Each container once: where it is a client, or else where it comes first."""
        found: dict[ContainerName, Container] = {}
        for service in self.services:
            for container in service.containers:
                if container.is_client or container.name not in found:
                    found[container.name] = container
        return found

    @cached_property
    def container_by_proxy_id(self) -> Mapping[str, Container]:
        return {container.proxy_id: container for container in self.container_by_name.values()}

    @cached_property
    def servers_of(self) -> Mapping[ServiceName, tuple[ServiceName, ...]]:
        """Which services each service calls, in source order, each once; all, itself too, where ``calls`` is None."""
        if self.calls is None:
            everyone = tuple(service.name for service in self.services)
            return dict.fromkeys(everyone, everyone)
        called: dict[ServiceName, dict[ServiceName, None]] = {service.name: {} for service in self.services}
        for call in self.calls:
            called[call.client][call.server] = None
        return {client: tuple(servers) for client, servers in called.items()}

    @cached_property
    def clients_of(self) -> Mapping[ServiceName, tuple[Container, ...]]:
        """The client containers of each service, in source order."""
        by_service = {
            service.name: [container for container in service.containers if container.is_client]
            for service in self.services
        }
        if self.calls is None:  # one tuple for all: a mesh of 1,000 services has millions of pairs
            everyone = tuple(container for containers in by_service.values() for container in containers)
            return dict.fromkeys(by_service, everyone)
        clients: dict[ServiceName, list[Container]] = {service.name: [] for service in self.services}
        for service in self.services:
            for server in self.servers_of[service.name]:
                clients[server].extend(by_service[service.name])
        return {server: tuple(containers) for server, containers in clients.items()}

    def distance(self, one: NodeName, other: NodeName) -> Distance:
        """Return how far two nodes are apart. Raises KeyError for a node that is not in the mesh."""
        if one == other:
            return Distance.NODE
        a, b = self.node_by_name[one], self.node_by_name[other]
        if a.region != b.region:
            return Distance.FAR
        return Distance.ZONE if a.zone == b.zone else Distance.REGION


def namespace_of(service: str) -> str:
    """Return the namespace in a full service name.

    >>> namespace_of("reviews.default")
    'default'
    """
    return service.rsplit(".", 1)[1]


def differs_in_endpoints_only(old: Topology, new: Topology) -> bool:
    """Whether nothing but the containers of services is another: what a rollout or a failure changes.

    >>> differs_in_endpoints_only(Topology(), Topology(calls=()))
    False
    """
    return (old.nodes, old.calls, old.rates) == (new.nodes, new.calls, new.rates) and [
        replace(service, containers=()) for service in old.services
    ] == [replace(service, containers=()) for service in new.services]
