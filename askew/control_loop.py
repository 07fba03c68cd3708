"""One tick, written down once: telemetry to picture to plan. It lists the steps and decides nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

from allocators.mesh_plan import PlanMemory, Planner, plan_mesh
from estimators.client_rates import KnownRates, client_rates
from estimators.endpoint_loads import EndpointCounts, endpoint_loads
from estimators.live_links import live_links
from estimators.load_reports import Requests, read_load_reports
from estimators.sidecar_counters import Sidecars, read_sidecar_counters
from mesh.picture import Picture
from mesh.plan import Plan
from mesh.telemetry import Telemetry
from mesh.topology import Topology

TICK_S = 5.0


@dataclass(frozen=True)
class Memory:
    """All that survives from tick to tick; estimators and allocators keep no state of their own."""

    plan: PlanMemory = field(default_factory=PlanMemory)
    requests: Requests = field(default_factory=dict)
    sidecars: Sidecars = field(default_factory=dict)
    endpoints: EndpointCounts = field(default_factory=dict)
    rates: KnownRates = field(default_factory=KnownRates)


def tick(
    memory: Memory, topology: Topology, telemetry: Telemetry, *, tick_s: float = TICK_S, planner: Planner = plan_mesh
) -> tuple[Memory, Picture, Plan]:
    """Return what to remember, what is, and what should be. ``tick_s`` is the loop's interval; ages count in it."""
    containers, now_s = topology.container_by_name, telemetry.time_s
    requests, issued = read_load_reports(memory.requests, telemetry.loads, clients=containers, tick_s=tick_s)
    sidecars, served = read_sidecar_counters(memory.sidecars, telemetry.counters, containers=containers, tick_s=tick_s)
    rates, known_rates = client_rates(topology, requests, memory.rates, now_s=now_s)
    links = live_links(topology, sidecars, requests, now_s=now_s)
    loads, endpoints = endpoint_loads(
        topology,
        memory.endpoints,
        sidecars=sidecars,
        requests=requests,
        served=served,
        issued=issued,
        now_s=now_s,
    )
    picture = Picture(
        client_rates=rates,
        links=links.links,
        to_measure=links.to_measure,
        endpoint_loads=loads.loads,
        unsteered=loads.unsteered,
    )
    plan, plan_memory = planner(topology, picture, memory.plan)
    return Memory(plan_memory, requests, sidecars, endpoints, known_rates), picture, plan
