"""Askew itself: the product's own estimators, targets, allocator and weights, fed with what sidecars report.

Every tick: telemetry ─► client rates, endpoint windows ─► ``decide_targets`` ─► ``allocate_traffic`` ─► the integer
weights that the xDS room writes ─► LEAST_REQUEST in the sidecars. Nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from allocators.layout import sums
from allocators.marginal_targets import Crossing, cheapest_loads
from allocators.problem import Standing, problem_for
from allocators.service_view import view_of
from allocators.target_decision import decide_targets
from allocators.target_view import TargetMemory
from allocators.traffic_plan import allocate_traffic
from estimators.client_rates import KnownRates, client_rates
from estimators.crossing_price import crossing_price
from estimators.endpoint_windows import EndpointMemory, EndpointWindows, read_endpoint_windows
from estimators.latency import LatencyFigure
from estimators.load_reports import Requests, read_load_reports
from lab.simulator.pair import Pair
from lab.simulator.policies.edf import BIAS, edf_memory, pick_least_request
from lab.simulator.policies.static_optimum import truth_of
from lab.simulator.policy import Clocks, Policy
from lab.simulator.sidecar_reports import (
    CALLEE,
    SERVICE_PORT,
    SidecarReports,
    client_name,
    server_name,
    topology_of,
    way_ms,
)
from lab.simulator.sight import Sight
from lab.simulator.telemetry import Window
from lab.simulator.world import Reals
from mesh.policy import Policy as MeshPolicy
from mesh.topology import ContainerName, Topology
from xds_server.resources.endpoints import integer_weights

TICK_S = 5.0
Figures = Mapping[ContainerName, float]


class Askew(Policy):
    """Askew with its defaults: ``routing: imbalance-aware``, ``connections: auto``."""

    pick = staticmethod(pick_least_request)
    clocks = Clocks(control_s=TICK_S)
    tick_s = TICK_S
    connections: int | Literal["all"] | None = None
    bias = 1.0

    def __init__(self) -> None:
        self._topology = Topology()
        self._reports: SidecarReports | None = None
        self._requests: Requests = {}
        self._known = KnownRates()
        self._endpoints = EndpointMemory()
        self._targets: TargetMemory | None = None
        self._standing: Standing | None = None
        self._price_ms = 0.0
        self._now_s = 0.0

    def memory_size(self, pair: Pair) -> int:
        """Room for the scheduler."""
        return edf_memory(pair.servers)

    def start(self, pair: Pair) -> None:
        """Begin with what is known before any telemetry: targets by capacity, equal clients, local first."""
        pair.memory[:, BIAS] = self.bias
        self._topology = topology_of(pair, policy=self._mesh_policy())
        self._reports = SidecarReports(pair)
        self._decide(pair, None)

    def control_tick(self, pair: Pair, window: Window) -> None:
        """Read what the sidecars reported, decide, and push."""
        assert self._reports is not None
        telemetry = self._reports.after(window, pair)
        self._now_s = window.end_s
        self._requests, _ = read_load_reports(
            self._requests, telemetry.loads, clients=map(client_name, range(pair.clients)), tick_s=self.tick_s
        )
        read = read_endpoint_windows(self._topology, telemetry, self._endpoints, interval_s=self.tick_s)
        self._endpoints = read.memory
        crosses = pair.client_nodes[:, None] != pair.server_nodes[None, :]
        local_ms, crossing_ms = way_ms(window, crosses)
        self._price_ms = crossing_price(
            None, local=_figure(local_ms), crossing=_figure(crossing_ms), last_ms=self._price_ms
        )
        self._decide(pair, read)

    def membership(self, pair: Pair) -> None:
        """Decide at once on the endpoints that are left, as a change of topology makes the control loop do."""
        self._topology = topology_of(pair, policy=self._mesh_policy())
        self._decide(pair, None)

    def _mesh_policy(self) -> MeshPolicy:
        return MeshPolicy(routing="imbalance-aware", connections=self.connections)

    def _decide(self, pair: Pair, read: EndpointWindows | None) -> None:
        rates, self._known = client_rates(self._topology, self._requests, self._known, now_s=self._now_s)
        mine = rates[SERVICE_PORT].requests_per_s
        view = view_of(
            self._topology,
            SERVICE_PORT,
            read.windows.get(SERVICE_PORT, {}) if read is not None else {},
            rates=mine,
            now_s=self._now_s,
            crossing_price_ms=self._price_ms,
        )
        decision = decide_targets(view, self._targets, now_s=self._now_s, interval_s=self.tick_s)
        self._targets = decision.memory
        names = map(ContainerName, view.endpoints)
        self._allocate(pair, dict(zip(names, decision.targets.tolist(), strict=True)), mine)

    def _allocate(self, pair: Pair, targets: Figures, rates: Figures) -> None:
        problem = problem_for(self._topology, CALLEE, rates=rates, targets=targets, standing=self._standing)
        plan = allocate_traffic(problem, routing="imbalance-aware", connections=self.connections)
        self._standing = plan.standing
        fractions = np.zeros((pair.clients, pair.servers))
        fractions[:, np.flatnonzero(pair.alive)] = plan.fractions
        pair.push(integer_weights(fractions).astype(np.float64))


class AskewThree(Askew):
    """Askew with ``connections: 3``."""

    connections = 3


class AskewThreeOften(AskewThree):
    """The same with ``loop.tick_s: 2``."""

    tick_s = 2.0
    clocks = Clocks(control_s=2.0)


class PerfectAskew(Askew):
    """Oracle: the same plan with true speeds, rates and round trips instead of estimates."""

    sight = Sight.ORACLE
    clocks = Clocks()

    def start(self, pair: Pair) -> None:
        """Plan by the truth; again whenever a speed changes."""
        pair.memory[:, BIAS] = self.bias
        self.membership(pair)

    def membership(self, pair: Pair) -> None:
        """Plan by the truth for the servers that are left."""
        self._topology = topology_of(pair, policy=self._mesh_policy())
        rates, alive = truth_of(pair).client_rates, np.flatnonzero(pair.alive)
        loads = dict(zip(map(server_name, alive.tolist()), _best_loads(pair)[alive].tolist(), strict=True))
        self._allocate(pair, loads, {client_name(i): float(rate) for i, rate in enumerate(rates)})


class PerfectAskewThree(PerfectAskew):
    """Oracle: the same with ``connections: 3``."""

    connections = 3


def _best_loads(pair: Pair) -> Reals:
    truth, alive = truth_of(pair), pair.alive
    crosses = pair.client_nodes[:, None] != pair.server_nodes[None, :]
    count = int(max(pair.client_nodes.max(), pair.server_nodes.max())) + 1
    same_s, across_s = pair.round_trip_s[~crosses], pair.round_trip_s[crosses]
    price_ms = 1000.0 * float(across_s.mean() - same_s.mean()) if same_s.size and across_s.size else 0.0
    crossing = Crossing(
        price_ms=max(0.0, price_ms),
        nodes=pair.server_nodes[alive].astype(np.intp),
        demand_per_s=sums(pair.client_nodes.astype(np.intp), truth.client_rates, count),
    )
    loads = np.zeros(pair.servers)
    loads[alive] = cheapest_loads(
        1000.0 * truth.work_mean_s / truth.speeds[alive],
        total_per_s=float(truth.client_rates.sum()),
        workers=int(np.median(pair.workers)),
        crossing=crossing,
    )
    return loads


def _figure(mean_ms: float | None) -> LatencyFigure | None:
    return None if mean_ms is None else LatencyFigure(mean_ms, None, 1, window_s=0.0, age_s=0.0)
