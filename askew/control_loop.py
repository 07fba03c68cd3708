"""One tick, written down once: telemetry to picture to plan. It lists the steps and decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from allocators.mesh_plan import PlanMemory, Planner, plan_mesh
from allocators.mesh_targets import Learnt, decide_mesh_targets
from allocators.target_view import TargetMemory
from estimators.client_rates import KnownRates, client_rates
from estimators.crossing_latency import CrossingMemory, crossing_prices
from estimators.endpoint_figures import endpoint_figures, source_interval_s
from estimators.endpoint_loads import EndpointCounts, endpoint_loads
from estimators.endpoint_windows import EndpointMemory, read_endpoint_windows
from estimators.expected_service import Tables, learn_windows
from estimators.known_calls import KnownCalls, as_called, learn_calls
from estimators.live_links import live_links
from estimators.load_reports import Requests, read_load_reports
from estimators.measured_links import measured_relations
from estimators.node_interference import Nodes, interference_of, read_node_counters, windows_of
from estimators.sidecar_counters import Sidecars, read_sidecar_counters
from estimators.told_links import with_told_links
from mesh.picture import Picture
from mesh.plan import Plan
from mesh.telemetry import Telemetry
from mesh.topology import ServicePort, Topology

TICK_S = 5.0


@dataclass(frozen=True)
class Memory:
    """All that survives from tick to tick; estimators and allocators keep no state of their own."""

    plan: PlanMemory = field(default_factory=PlanMemory)
    requests: Requests = field(default_factory=dict)
    sidecars: Sidecars = field(default_factory=dict)
    endpoints: EndpointCounts = field(default_factory=dict)
    calls: KnownCalls = field(default_factory=KnownCalls)
    rates: KnownRates = field(default_factory=KnownRates)
    windows: EndpointMemory = field(default_factory=EndpointMemory)
    crossing: CrossingMemory = field(default_factory=CrossingMemory)
    nodes: Nodes = field(default_factory=dict)
    tables: Tables = field(default_factory=dict)
    targets: Mapping[ServicePort, TargetMemory] = field(default_factory=dict)


def tick(
    memory: Memory, topology: Topology, telemetry: Telemetry, *, tick_s: float = TICK_S, planner: Planner = plan_mesh
) -> tuple[Memory, Picture, Plan]:
    """Return what to remember, what is, and what should be. ``tick_s`` is the loop's interval; ages count in it."""
    containers, now_s = topology.container_by_name, telemetry.time_s
    requests, issued = read_load_reports(memory.requests, telemetry.loads, clients=containers, tick_s=tick_s)
    sidecars, served = read_sidecar_counters(memory.sidecars, telemetry.counters, containers=containers, tick_s=tick_s)
    calls = learn_calls(memory.calls, topology, telemetry, requests=requests, sidecars=sidecars)
    called = as_called(topology, calls)  # who is planned for; everybody else is answered all the same
    rates, known_rates = client_rates(called, requests, memory.rates, now_s=now_s)
    on_nodes = measured_relations(topology, telemetry.link_samples, now_s=now_s)
    links = live_links(topology, sidecars, requests, now_s=now_s, told=on_nodes)
    links = with_told_links(links, telemetry.told, services=topology.service_by_name.keys(), now_s=now_s)
    loads, endpoints = endpoint_loads(
        called,
        memory.endpoints,
        sidecars=sidecars,
        requests=requests,
        served=served,
        issued=issued,
        now_s=now_s,
    )
    interval_s = source_interval_s(sidecars, containers.values(), tick_s=tick_s)
    windows = read_endpoint_windows(topology, telemetry, memory.windows, interval_s=interval_s, tick_s=tick_s)
    nodes = read_node_counters(memory.nodes, telemetry.nodes, now_s=now_s)
    busy = interference_of(windows_of(nodes))
    tables = learn_windows(memory.tables, topology, windows.windows, interference=busy)
    prices, crossing = crossing_prices(topology, telemetry, windows.memory.last, memory.crossing)
    picture = Picture(
        client_rates=rates,
        links=links.links,
        to_measure=links.to_measure,
        endpoint_loads=loads.loads,
        unsteered=loads.unsteered,
        endpoint_figures=endpoint_figures(windows.memory.last, now_s=now_s),
        crossing_price_ms=prices,
        node_interference=windows_of(nodes),
    )
    targets = decide_mesh_targets(
        called,
        picture,
        windows.windows,
        memory.targets,
        learnt=Learnt(tables, busy),
        now_s=now_s,
        interval_of=lambda name: source_interval_s(sidecars, topology.service_by_name[name].containers, tick_s=tick_s),
    )
    plan, plan_memory = planner(called, picture, memory.plan, chosen=targets.chosen)
    survives = Memory(
        plan=plan_memory,
        requests=requests,
        sidecars=sidecars,
        endpoints=endpoints,
        calls=calls,
        rates=known_rates,
        windows=windows.memory,
        crossing=crossing,
        nodes=nodes,
        tables=tables,
        targets=targets.memory,
    )
    return survives, picture, plan
