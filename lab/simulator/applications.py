"""The shipped applications (``lab/topologies``) as scenarios: several tiers, each caller's replicas balancing the next.

Simplified: ``times`` of a call in a row become stages where the call is alone in its step, and parallel calls where
it is not; a ``leaf`` replica calls on like the others. The load is scaled: the busiest service has the one asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from lab.application import Application, AppService, OperationCall
from lab.simulator.call_graph import Call, Operation, calls_per_request
from lab.simulator.errors import SimulatorError
from lab.simulator.scenario import Client, Container, Scenario, Service, Work, WorkShape

SHAPES: Mapping[str, WorkShape] = {"fixed": "constant", "exponential": "exponential", "lognormal": "lognormal"}
WORKERS = 2


def application_scenario(
    application: Application, *, load: float = 0.6, replicas: int = 3, slow_speed: float = 0.5
) -> Scenario:
    """Return ``application`` with ``replicas`` times its containers, those of its first node at ``slow_speed``.

    Raises
    ------
    SimulatorError
        for a call to a service that is not in the application.
    """
    index = {service.name: number for number, service in enumerate(application.services)}
    if application.load.service not in index:
        raise SimulatorError(
            f"{application.name}.load: found {application.load.service!r}, allowed: one of its services"
        )
    nodes = {name: number for number, name in enumerate(application.nodes)}
    services = tuple(_service(application, service, nodes, replicas, slow_speed) for service in application.services)
    mix = application.load.mix
    operations = tuple(
        Operation(_call(application, index, OperationCall(application.load.service, name)), share, name)
        for name, share in mix.items()
    )
    scenario = Scenario(
        name=application.name,
        zones=tuple(range(len(nodes))),
        clients=tuple(Client(nodes[name], share) for name, share in application.load.nodes.items()),
        services=services,
        operations=operations,
        duration_s=60.0,
        warmup_s=15.0,
        slo_s=0.100,
    )
    rate = load / _busiest(scenario)
    total = scenario.rate
    clients = tuple(replace(client, rate=client.rate / total * rate) for client in scenario.clients)
    return replace(scenario, clients=clients)


def _busiest(scenario: Scenario) -> float:
    # Utilisation of the busiest service at one request per second.
    calls = calls_per_request(scenario.operations, len(scenario.services))
    capacity = np.array([sum(c.speed * c.workers for c in each.containers) for each in scenario.services])
    return float((calls * np.array([each.work.mean_s for each in scenario.services]) / capacity).max())


def _service(
    application: Application, service: AppService, nodes: Mapping[str, int], replicas: int, slow_speed: float
) -> Service:
    placed = [replica.node for replica in application.replicas_of[service.name] for _ in range(replicas)]
    containers = tuple(Container(nodes[name], slow_speed if nodes[name] == 0 else 1.0, WORKERS) for name in placed)
    time = service.service_time
    return Service(service.name, containers, Work(time.mean_ms / 1000, SHAPES[time.distribution], time.cv))


def _call(application: Application, index: Mapping[str, int], asked: OperationCall) -> Call:
    service = application.service_by_name.get(asked.service)
    if service is None or asked.operation not in service.operations:
        raise SimulatorError(
            f"{application.name}: found a call to {asked.service}.{asked.operation}, which is not there"
        )
    stages: list[tuple[Call, ...]] = []
    for step in service.operations[asked.operation]:
        calls = [_call(application, index, each) for each in step]
        if len(step) == 1:
            stages.extend((calls[0],) for _ in range(step[0].times))
        else:
            stages.append(tuple(call for call, each in zip(calls, step, strict=True) for _ in range(each.times)))
    return Call(index[asked.service], tuple(stages), probability=asked.probability)
