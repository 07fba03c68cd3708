"""The targets of a whole mesh: a decision for each imbalance-aware service port, and why each endpoint gets its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from allocators.service_view import view_of
from allocators.target_decision import DEFAULTS, TargetStrategy, decide_targets
from allocators.target_view import OLD_INTERVALS, ServiceView, TargetDecision, TargetMemory
from estimators.endpoint_windows import EndpointWindow
from estimators.expected_service import CALM, Tables, expected_service_ms
from estimators.performance_table import Interference
from mesh.picture import EndpointFigure, Picture
from mesh.plan import ChosenTargets, EndpointTarget
from mesh.policy import Strategy
from mesh.topology import ContainerName, NodeName, Service, ServiceName, ServicePort, Topology

# OptTraffic knows no latency: its targets are by capacity, which is what a plan without a choice has.
STRATEGY_OF: Mapping[Strategy, TargetStrategy] = {"askew": "askew", "imbres": "imbres"}
ALIKE = 0.1  # of the median service time: no difference worth a word
IntervalOf = Callable[[ServiceName], float]


@dataclass(frozen=True)
class Learnt:
    """What is known beyond this tick's windows: φ of each service port, and the interference on each node."""

    tables: Tables = field(default_factory=dict)
    interference: Mapping[NodeName, Interference] = field(default_factory=dict)


@dataclass(frozen=True)
class MeshTargets:
    """The choices, and what the next tick must know of them."""

    chosen: Mapping[ServicePort, ChosenTargets]
    memory: Mapping[ServicePort, TargetMemory]


def decide_mesh_targets(
    topology: Topology,
    picture: Picture,
    windows: Mapping[ServicePort, Mapping[ContainerName, EndpointWindow]],
    memory: Mapping[ServicePort, TargetMemory],
    *,
    learnt: Learnt,
    now_s: float,
    interval_of: IntervalOf,
) -> MeshTargets:
    """Return the targets of every service port that is imbalance-aware and has endpoints and clients.

    ``windows`` are this tick's; ``interval_of`` says in which intervals the ages of a service's containers count. In
    mode ``observe`` targets are decided but not judged by p99, because it is another plan that p99 speaks of. O(M) for
    each service port.
    """
    chosen: dict[ServicePort, ChosenTargets] = {}
    kept: dict[ServicePort, TargetMemory] = {}
    for service in topology.services:
        strategy = STRATEGY_OF.get(service.policy.strategy)
        if strategy is None or not leans(topology, service):
            continue
        interval_s = interval_of(service.name)
        for port in service.ports:
            key = service.service_port(port)
            before = memory.get(key)
            view = _view(topology, service, key, picture, windows.get(key, {}), before, learnt=learnt, now_s=now_s)
            decision = decide_targets(view, before, now_s=now_s, interval_s=interval_s, strategy=strategy)
            kept[key] = decision.memory
            figures = picture.endpoint_figures.get(key, {})
            chosen[key] = _chosen(view, decision, figures, now_s=now_s, interval_s=interval_s)
    return MeshTargets(chosen, kept)


def leans(topology: Topology, service: Service) -> bool:
    """Whether latency decides a service's targets: imbalance-aware, not switched off, with endpoints and clients."""
    wanted = service.policy.routing == "imbalance-aware" and service.policy.mode != "off"
    return wanted and bool(service.containers) and bool(topology.clients_of[service.name])


def _view(
    topology: Topology,
    service: Service,
    key: ServicePort,
    picture: Picture,
    windows: Mapping[ContainerName, EndpointWindow],
    memory: TargetMemory | None,
    *,
    learnt: Learnt,
    now_s: float,
) -> ServiceView:
    view = view_of(
        topology,
        key,
        windows,
        rates=picture.client_rates[key].requests_per_s,
        now_s=now_s,
        crossing_price_ms=picture.crossing_price_ms.get(key, 0.0),
        unsteered_per_s=picture.unsteered.get(key),
        table_service_ms=_expected(service, key, learnt, workers=memory.speeds.workers if memory else 1, now_s=now_s),
    )
    return view if service.policy.mode == "apply" else replace(view, tail_ms=None)


def _expected(
    service: Service, key: ServicePort, learnt: Learnt, *, workers: int, now_s: float
) -> Mapping[ContainerName, float] | None:
    table = learnt.tables.get(key)
    if table is None:
        return None
    by_node: dict[NodeName, float | None] = {}
    for node in {container.node for container in service.containers}:
        felt = learnt.interference.get(node, CALM)
        by_node[node] = expected_service_ms(table, felt, workers=workers, now_s=now_s)
    found = {one.name: by_node[one.node] for one in service.containers}
    return {name: value for name, value in found.items() if value is not None} or None


def _chosen(
    view: ServiceView,
    decision: TargetDecision,
    figures: Mapping[ContainerName, EndpointFigure],
    *,
    now_s: float,
    interval_s: float,
) -> ChosenTargets:
    fair, own_ms = view.fair(), decision.memory.speeds.service_ms
    known = own_ms[np.isfinite(own_ms)]
    median_ms = float(np.median(known)) if len(known) else np.nan
    endpoints = {}
    for index, name in enumerate(view.endpoints):
        container = ContainerName(name)
        why = _why(
            decision.memory, index, figures.get(container), median_ms=median_ms, now_s=now_s, interval_s=interval_s
        )
        service_ms = float(own_ms[index]) if np.isfinite(own_ms[index]) else None
        endpoints[container] = EndpointTarget(float(decision.targets[index]), float(fair[index]), service_ms, why)
    return ChosenTargets(endpoints, decision.reason, decision.oscillating, decision.undone)


def _why(
    memory: TargetMemory,
    index: int,
    figure: EndpointFigure | None,
    *,
    median_ms: float,
    now_s: float,
    interval_s: float,
) -> str:
    """Return why an endpoint gets what it gets; the first that holds of what the decision looks at."""
    silent_s, age_s = now_s - memory.heard_s[index], now_s - memory.joined_s[index]
    if figure is None or not np.isfinite(silent_s):
        return "nothing was heard of it yet"
    if silent_s > OLD_INTERVALS * interval_s:
        return f"silent for {silent_s:.0f} s: back to its fair share"
    if age_s < DEFAULTS.slow_start_intervals * interval_s:
        return f"new for {age_s:.0f} s: it warms up"
    if figure.failures:
        return f"{figure.failures} of its last {figure.requests} requests failed, which counts as slow"
    own_ms = float(memory.speeds.service_ms[index])
    if not np.isfinite(own_ms):
        few = figure.mean_ms is None
        return "too few requests to tell how fast it is" if few else f"mean latency {figure.mean_ms:.1f} ms"
    ratio = own_ms / median_ms
    if abs(ratio - 1.0) <= ALIKE:
        return f"as fast as the median, {own_ms:.1f} ms of work a request"
    return f"{own_ms:.1f} ms of work a request, {ratio:.2g} times the median"
