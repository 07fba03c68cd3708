"""How the load flows through an application's call graph: requests per second of every service, operation, container.

Exact where each client spreads its requests without looking at the operation, which both ``uniform`` and weighted
routing do; with several operations of unlike onward calls, ``local-first`` may mix them unevenly between containers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from lab.application import Application, Load, Replica, calls_of
from lab.topology_file import LOAD_SERVICE


@dataclass(frozen=True, slots=True)
class ContainerRate:
    """Requests per second that one client container sends to one service."""

    client: str
    service: str
    requests_per_s: float


def operation_rates(application: Application) -> Mapping[tuple[str, str], float]:
    """Return requests per second of each (service, operation) that the load reaches, both as given by the call graph.

    A replica that is a leaf passes nothing on; the others pass on what the operation says, times the probability.
    Cost: one step per path of the call graph.
    """
    rates: dict[tuple[str, str], float] = defaultdict(float)

    def visit(service: str, operation: str, rate: float) -> None:
        rates[(service, operation)] += rate
        onward = rate * sum(
            _fraction(replica, application) for replica in application.replicas_of[service] if not replica.leaf
        )
        for call in calls_of(application.service_by_name[service].operations[operation]):
            visit(call.service, call.operation, onward * call.mean_times)

    load = application.load
    for operation, fraction in load.mix.items():
        visit(load.service, operation, load.requests_per_s * fraction)
    return dict(rates)


def service_rates(application: Application) -> Mapping[str, float]:
    """Return requests per second that each service of the application receives; 0 where the load does not reach it."""
    rates = {service.name: 0.0 for service in application.services}
    for (service, _), rate in operation_rates(application).items():
        rates[service] += rate
    return rates


def container_rates(application: Application) -> tuple[ContainerRate, ...]:
    """Return what each container sends to each service that its own service calls, the load's containers first.

    Each container gets its part of its service's requests by capacity; a leaf is listed with 0.
    """
    load = application.load
    rates = [
        ContainerRate(sender.name, load.service, load.requests_per_s * sender.part) for sender in load_senders(load)
    ]
    by_operation = operation_rates(application)
    for service in application.services:
        onward: dict[str, float] = {}
        for operation, steps in service.operations.items():
            for call in calls_of(steps):
                rate = by_operation.get((service.name, operation), 0.0) * call.mean_times
                onward[call.service] = onward.get(call.service, 0.0) + rate
        for replica in application.replicas_of[service.name]:
            part = 0.0 if replica.leaf else _fraction(replica, application)
            rates.extend(ContainerRate(replica.name, server, rate * part) for server, rate in onward.items())
    return tuple(rates)


@dataclass(frozen=True, slots=True)
class LoadSender:
    """A container that sends a part of the load."""

    name: str
    node: str
    part: float


def load_senders(load: Load) -> tuple[LoadSender, ...]:
    """Return the containers that send the load, node by node, each with its part of it.

    >>> [sender.name for sender in load_senders(Load("shop", 10.0, {"get": 1.0}, {"n1": 0.5, "n2": 0.5}))]
    ['load-n1', 'load-n2']
    """
    return tuple(
        LoadSender(f"{LOAD_SERVICE}-{node}" + (f"-{i}" if load.containers > 1 else ""), node, part / load.containers)
        for node, part in load.nodes.items()
        for i in range(load.containers)
    )


def _fraction(replica: Replica, application: Application) -> float:
    return replica.capacity / sum(other.capacity for other in application.replicas_of[replica.service])
