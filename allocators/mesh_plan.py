"""The plan of a whole mesh: one traffic problem for each managed service port, what stands kept where it should."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from allocators.problem import Standing, SteeredRouting, problem_for
from allocators.traffic_plan import TrafficPlan, allocate_traffic
from mesh.picture import ClientRates, Picture
from mesh.plan import ChosenTargets, Plan, ServicePlan
from mesh.policy import Programming
from mesh.shares import Shares
from mesh.topology import ContainerName, Port, Service, ServicePort, Topology

NOTHING_CHOSEN: Mapping[ServicePort, ChosenTargets] = {}


@dataclass(frozen=True)
class PlanMemory:
    """What the next plan must know of the last: the plan itself, and what each solve was solved for."""

    plan: Plan = field(default_factory=Plan)
    standing: Mapping[ServicePort, Standing] = field(default_factory=dict)


class Planner(Protocol):
    """What makes a plan of a picture: ``plan_mesh``, or a peer that it is compared with."""

    def __call__(
        self,
        topology: Topology,
        picture: Picture,
        memory: PlanMemory,
        *,
        chosen: Mapping[ServicePort, ChosenTargets] = NOTHING_CHOSEN,
    ) -> tuple[Plan, PlanMemory]:
        """Return the plan, and what to remember of it."""


def plan_mesh(
    topology: Topology,
    picture: Picture,
    memory: PlanMemory,
    *,
    chosen: Mapping[ServicePort, ChosenTargets] = NOTHING_CHOSEN,
) -> tuple[Plan, PlanMemory]:
    """Return the plan for a picture, and what to remember of it.

    A service port gets a plan where its routing is not ``off``, its mode not ``off``, and it has clients and endpoints;
    in mode ``observe`` the plan is computed and shown but not applied. A service plan that says the same as the last
    one *is* the last one. The generation grows when proxies are to be told something else.

    What comes from clients that are not steered stays where it is: all load together is spread as ``chosen`` says
    (``mesh_targets.py``), or else by capacity, and shares fill what the others leave.
    """
    services: dict[ServicePort, ServicePlan] = {}
    standing: dict[ServicePort, Standing] = {}
    for service in topology.services:
        if not _steered(topology, service):
            continue
        for port in service.ports:
            service_port = service.service_port(port)
            rates = picture.client_rates[service_port]
            unsteered = picture.unsteered.get(service_port, {})
            targets = _targets(service, rates, unsteered, chosen.get(service_port))
            solved = _solve(topology, service, rates, targets, memory.standing.get(service_port))
            standing[service_port] = solved.standing
            new = _service_plan(topology, service, port, rates, unsteered, solved, chosen=chosen.get(service_port))
            old = memory.plan.services.get(service_port)
            services[service_port] = old if old is not None and _same(old, new) else new
    generation = memory.plan.generation
    if not _all_send_the_same(services, memory.plan.services):
        generation += 1
    plan = Plan(generation=generation, services=services)
    return plan, PlanMemory(plan=plan, standing=standing)


def _steered(topology: Topology, service: Service) -> bool:
    return service.policy.planned and bool(service.containers) and bool(topology.clients_of[service.name])


def _targets(
    service: Service,
    rates: ClientRates,
    unsteered: Mapping[ContainerName, float],
    chosen: ChosenTargets | None,
) -> Mapping[ContainerName, float] | None:
    """Return ``max(0, w_j - b_j)`` of each endpoint, or None for targets by capacity."""
    others = {} if rates.method == "assumed" else unsteered
    if chosen is None and not any(others.values()):
        return None
    if chosen is None:
        capacity = sum(endpoint.capacity for endpoint in service.containers)
        parts = {endpoint.name: endpoint.capacity / capacity for endpoint in service.containers}
    else:
        parts = {endpoint.name: chosen.endpoints[endpoint.name].part for endpoint in service.containers}
    whole = sum(rates.requests_per_s.values()) + sum(others.values())
    targets = {name: max(0.0, (whole or 1.0) * part - others.get(name, 0.0)) for name, part in parts.items()}
    return targets if any(targets.values()) else None


def _solve(
    topology: Topology,
    service: Service,
    rates: ClientRates,
    targets: Mapping[ContainerName, float] | None,
    standing: Standing | None,
) -> TrafficPlan:
    policy = service.policy
    routing = policy.routing
    assert routing != "off"
    steered: SteeredRouting = routing
    problem = problem_for(topology, service.name, rates=rates.requests_per_s, targets=targets, standing=standing)
    return allocate_traffic(
        problem,
        routing=steered,
        strategy=policy.strategy,
        connections=policy.connections,
        max_overload=policy.max_overload,
    )


def _service_plan(
    topology: Topology,
    service: Service,
    port: Port,
    rates: ClientRates,
    unsteered: Mapping[ContainerName, float],
    solved: TrafficPlan,
    *,
    chosen: ChosenTargets | None,
) -> ServicePlan:
    clients = tuple(client.name for client in topology.clients_of[service.name])
    endpoints = tuple(endpoint.name for endpoint in service.containers)
    return ServicePlan(
        service_port=service.service_port(port),
        shares=Shares(clients, endpoints, solved.fractions),
        client_rates=rates.requests_per_s,
        targets=dict(zip(endpoints, solved.targets.tolist(), strict=True)),
        local_share=solved.local_share,
        cross_node_share=solved.cross_node_share,
        lower_bound_cross_node_share=solved.lower_bound_cross_node_share,
        programming=_programming(service, port),
        reason=f"{chosen.reason + ' ' if chosen else ''}{solved.reason} Client rates: {rates.method}.",
        applied=service.policy.mode == "apply",
        unsteered=unsteered,
        chosen=chosen,
    )


def _programming(service: Service, port: Port) -> Programming:
    """TCP always has endpoint weights: a weight in a TCP listener would drain its connections."""
    if port.protocol == "tcp":
        return "endpoint-weights"
    return service.policy.programming or "weighted-clusters"


def _same(old: ServicePlan, new: ServicePlan) -> bool:
    return (
        old.sends_the_same_as(new)
        and old.client_rates == new.client_rates
        and old.unsteered == new.unsteered
        and np.allclose(list(old.targets.values()), list(new.targets.values()), rtol=1e-12)
        and old.reason == new.reason
        and old.chosen == new.chosen
    )


def _all_send_the_same(new: Mapping[ServicePort, ServicePlan], old: Mapping[ServicePort, ServicePlan]) -> bool:
    return new.keys() == old.keys() and all(new[key].sends_the_same_as(old[key]) for key in new)
