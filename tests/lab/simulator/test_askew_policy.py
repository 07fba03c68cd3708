"""Askew in the simulator: the product's own code in a closed loop with queues, sidecars and antagonists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from allocators.target_view import TargetMemory
from lab.simulator.build import build
from lab.simulator.measures import Row, percentiles_over_time, row_of
from lab.simulator.pair import Pair
from lab.simulator.policies import POLICIES
from lab.simulator.policies.askew import Askew, AskewThree, PerfectAskewThree
from lab.simulator.policies.edf import pick_least_request
from lab.simulator.policy import Policy
from lab.simulator.run import simulate
from lab.simulator.scenario import Kill, Scenario, Slowdown
from lab.simulator.scenarios import s2
from lab.simulator.sidecar_reports import SERVICE_PORT, SidecarReports, topology_of, way_ms
from lab.simulator.sight import Sight
from lab.simulator.telemetry import Window, bucket_bounds_s
from mesh.policy import Policy as MeshPolicy

SECONDS = 45.0


def short(**changes: object) -> Scenario:
    """Return S2 at load .6 over 45 s, the last 20 measured."""
    return replace(s2(0.6), **({"duration_s": SECONDS, "warmup_s": 25.0} | changes))  # type: ignore[arg-type]


@cache
def row(name: str, load: float = 0.6) -> Row:
    """Return one short run of S2."""
    scenario = s2(load).shortened(duration_s=SECONDS, warmup_s=25.0)
    return row_of(simulate(scenario, POLICIES[name], seed=1), policy=name, seed=1)


def kept_pair(scenario: Scenario, make: Callable[[], Policy]) -> Pair:
    """Return the pair as a run leaves it, with the last weights pushed."""
    pairs: list[Pair] = []

    class Kept(make):  # type: ignore[misc, valid-type]
        def start(self, pair: Pair) -> None:
            pairs.append(pair)
            super().start(pair)

    simulate(scenario, Kept, seed=1)
    return pairs[0]


def test_three_connections_are_local_and_few() -> None:
    """S2: at most K links a client at any time, a fifth of the requests cross, no server is overloaded."""
    pair = kept_pair(short(), AskewThree)
    ours = row("askew-3")

    assert int(np.count_nonzero(pair.weights, axis=1).max()) <= 3
    assert ours.connections <= 130
    assert ours.cross_node_share <= 0.25
    assert ours.max_over_mean_utilisation < 1.35
    assert ours.failed == 0


def test_it_beats_least_request_and_the_best_static_split() -> None:
    """S2 at load .7: a third of least request's p99, below the optimum that knows all speeds but no single request."""
    ours, plain, best = (row(name, 0.7).p99_ms for name in ("askew-3", "least-request", "oracle-static-optimum"))

    assert ours is not None
    assert plain is not None
    assert best is not None
    assert ours < 0.5 * plain
    assert ours < best


def test_what_it_does_not_know_costs_little() -> None:
    """The same plan with true speeds and rates has nearly the same p99."""
    ours, perfect = row("askew-3", 0.7).p99_ms, row("oracle-askew-3", 0.7).p99_ms

    assert ours is not None
    assert perfect is not None
    assert ours <= 1.1 * perfect


def test_slow_servers_get_less_and_are_still_seen() -> None:
    """A fifth runs at half speed: each gets under 60 % of a fast one's load, and some."""
    scenario = short()
    sent = simulate(scenario, AskewThree, seed=1)
    loads = (sent.after.sent - sent.before.sent).reshape(40, 40).sum(axis=0)
    slow = np.array([container.speed < 1.0 for container in scenario.services[0].containers])

    assert loads[slow].max() < 0.6 * np.median(loads[~slow])
    assert loads[slow].min() > 0


def test_one_antagonist_among_forty_is_left() -> None:
    """One server of forty at a third of its speed is 2.5 % of all: its load falls by half and more all the same."""
    antagonist = (Slowdown(0, 3, 20.0, SECONDS, 1 / 3),)
    outcome = simulate(short(slowdowns=antagonist, warmup_s=35.0), AskewThree, seed=1)
    loads = (outcome.after.sent - outcome.before.sent).reshape(40, 40).sum(axis=0)

    assert loads[3] < 0.5 * np.median(loads)


def test_the_dead_get_nothing_and_the_rest_go_on() -> None:
    """Two seconds after eight servers died nothing fails, and p99 is again what 32 servers can do."""
    dead = tuple(Kill(0, container, 25.0) for container in range(2, 40, 5))
    scenario = short(kills=dead)
    outcome = simulate(scenario, AskewThree, seed=1)
    later = outcome.latency_s[outcome.at_s > 27.0]

    assert np.isfinite(later).all()
    assert np.median(percentiles_over_time(outcome)[30:]) < 0.2


@pytest.mark.slow
def test_no_limit_cycle_at_load_85() -> None:
    """After a minute no target varies by more than 6 % of its fair share, none go to and fro, nothing is undone."""
    seen: list[TargetMemory] = []

    class Watched(AskewThree):
        def control_tick(self, pair: Pair, window: Window) -> None:
            super().control_tick(pair, window)
            assert self._targets is not None
            seen.append(self._targets)

    simulate(s2(0.85), Watched, seed=1)
    late = seen[12:]
    spread = 40.0 * np.std([memory.targets for memory in late], axis=0)

    assert spread.max() < 0.06
    assert max(sum(memory.flips) for memory in late) < 4
    assert not any(memory.watch.undoing for memory in late)


def test_it_sees_what_sidecars_see() -> None:
    """No truth, no board; the oracle of the same name has both."""
    assert Askew.sight is Sight.SIDECAR
    assert Askew.pick is pick_least_request
    assert build(short(), Askew, seed=1).pairs[0].truth is None
    assert build(short(), PerfectAskewThree, seed=1).pairs[0].truth is not None


def window_of_one(pair: Pair) -> Window:
    """Return 5 s in which the first client sent ten requests to the first server, 20 ms each there, 21 ms for it."""
    shape, buckets = (pair.clients, pair.servers), bucket_bounds_s().size
    sent, latency_s = np.zeros(shape, dtype=np.int64), np.zeros(shape)
    sent[0, 0], latency_s[0, 0] = 10, 0.21
    histogram = np.zeros((pair.servers, buckets), dtype=np.int64)
    histogram[0, int(np.searchsorted(bucket_bounds_s(), 0.02))] = 10
    done = sent.sum(axis=0)
    return Window(
        start_s=0.0,
        end_s=5.0,
        sent=sent,
        done=sent,
        failed=np.zeros(shape, dtype=np.int64),
        latency_sum_s=latency_s,
        client_histogram=histogram,
        server_done=done,
        server_latency_sum_s=0.02 * done,
        server_histogram=histogram,
        utilisation=np.zeros(pair.servers),
    )


def test_reports_are_cumulative_and_in_the_products_own_form() -> None:
    """Two windows: twice the counts, in the form that the estimators read; the way is what servers did not take."""
    pair = build(short(), Askew, seed=1).pairs[0]
    topology, reports = topology_of(pair, policy=MeshPolicy(routing="imbalance-aware")), SidecarReports(pair)
    window = window_of_one(pair)
    reports.after(window, pair)
    told = reports.after(replace(window, start_s=5.0, end_s=10.0), pair)
    crosses = pair.client_nodes[:, None] != pair.server_nodes[None, :]

    assert told.loads[0].endpoints[0].issued == 20
    assert told.loads[0].endpoints[0].service_port == SERVICE_PORT
    assert told.latencies[0].count == 20
    assert told.latencies[0].sum_ms == pytest.approx(400.0)
    assert told.loads[0].client in topology.container_by_name
    assert [value for value in way_ms(window, crosses) if value is not None] == [pytest.approx(1.0)]
