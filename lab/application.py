"""The nouns of a sample application: services, their operations and calls, how many replicas stand where, the load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Distribution = Literal["fixed", "exponential", "lognormal"]
DISTRIBUTIONS: tuple[Distribution, ...] = ("fixed", "exponential", "lognormal")


@dataclass(frozen=True, slots=True)
class ServiceTime:
    """How long a request keeps a worker busy at speed 1. ``cv`` is the coefficient of variation (lognormal only)."""

    distribution: Distribution = "exponential"
    mean_ms: float = 5.0
    cv: float = 1.0


@dataclass(frozen=True, slots=True)
class OperationCall:
    """One call of an operation: ``times`` in a row, each with ``probability``."""

    service: str
    operation: str
    times: int = 1
    probability: float = 1.0

    @property
    def mean_times(self) -> float:
        return self.times * self.probability


Step = tuple[OperationCall, ...]  # the calls of a step run in parallel; the steps of an operation one after the other


@dataclass(frozen=True, slots=True)
class ReplicaGroup:
    """Replicas that behave alike. A ``leaf`` answers without calling anybody, whatever the operation says."""

    per_node: Mapping[str, int]
    version: str = ""
    leaf: bool = False
    capacity: float = 1.0


@dataclass(frozen=True, slots=True)
class AppService:
    """One service of the application; ``operations`` maps an operation's name to its steps."""

    name: str
    port: int
    replicas: tuple[ReplicaGroup, ...]
    operations: Mapping[str, tuple[Step, ...]]
    workers: int = 8
    service_time: ServiceTime = ServiceTime()
    response_bytes: int = 1000


@dataclass(frozen=True, slots=True)
class Load:
    """Who asks for what: rates and mix of operations at the entry service, and on which nodes the load starts."""

    service: str
    requests_per_s: float
    mix: Mapping[str, float]  # operation of the entry service -> fraction, sums to 1
    nodes: Mapping[str, float]  # node -> fraction, sums to 1
    containers: int = 1  # that send it, on each of these nodes


@dataclass(frozen=True, slots=True)
class Replica:
    """One container of the application before it has an address."""

    name: str
    service: str
    node: str
    leaf: bool
    capacity: float


@dataclass(frozen=True)
class Application:
    """A whole sample application as its topology file describes it."""

    name: str
    nodes: tuple[str, ...]
    load: Load
    services: tuple[AppService, ...]

    @cached_property
    def service_by_name(self) -> Mapping[str, AppService]:
        return {service.name: service for service in self.services}

    @cached_property
    def replicas_of(self) -> Mapping[str, tuple[Replica, ...]]:
        """The replicas of each service, in the order of the file."""
        return {service.name: tuple(_replicas(service)) for service in self.services}

    @cached_property
    def edges(self) -> tuple[tuple[str, str], ...]:
        """Which service calls which, each pair once, in the order of the file."""
        pairs: dict[tuple[str, str], None] = {}
        for service in self.services:
            for steps in service.operations.values():
                for call in calls_of(steps):
                    pairs[(service.name, call.service)] = None
        return tuple(pairs)


def calls_of(steps: tuple[Step, ...]) -> Iterator[OperationCall]:
    """Yield all calls of an operation, step by step."""
    for step in steps:
        yield from step


def _replicas(service: AppService) -> Iterator[Replica]:
    for group in service.replicas:
        stem = f"{service.name}-{group.version}" if group.version else service.name
        nodes = [node for node, count in group.per_node.items() for _ in range(count)]
        for index, node in enumerate(nodes):
            yield Replica(f"{stem}-{index}", service.name, node, group.leaf, group.capacity)
