"""Build the world of one run from a scenario, a policy and a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lab.simulator.call_graph import OUTSIDE, calls_per_request, flatten
from lab.simulator.errors import SimulatorError
from lab.simulator.event_heap import push
from lab.simulator.pair import Pair, Truth
from lab.simulator.policy import Policy
from lab.simulator.scenario import Scenario
from lab.simulator.sight import Sight
from lab.simulator.speed_path import SpeedPaths, speeds_at
from lab.simulator.workload import Workload, draw
from lab.simulator.world import (
    BOARD_WIDTH,
    CONNECTION_COST,
    FREE_CALLS,
    HANDSHAKES,
    KILL,
    LARGEST_FAN_OUT,
    REPORT,
    REPORT_S,
    RETRIES,
    SHARING,
    SPEED,
    Counters,
    Integers,
    Pairs,
    Rows,
    World,
    empty_calls,
    empty_cells,
    empty_servers,
    fresh_heap,
)

T = TypeVar("T", bound=np.generic)
_POLICY, _REPORTS = 4, 5


@dataclass(frozen=True)
class Party:
    """One side of a pair: the places of its members, and the number of the first."""

    nodes: Integers
    first: int


@dataclass(frozen=True)
class Built:
    """A world with the policy's handles on it, one policy object a pair."""

    world: World
    pairs: tuple[Pair, ...]
    policies: tuple[Policy, ...]
    crosses: Integers


def build(scenario: Scenario, make_policy: Callable[[], Policy], *, seed: int) -> Built:
    """Return the world at time 0, weights not yet set.

    Raises
    ------
    SimulatorError
        for a scenario without clients or containers, or with a stage of more than LARGEST_FAN_OUT calls.
    """
    _check(scenario)
    trees, names = flatten(scenario.operations)
    if trees.children.size and np.diff(trees.child_first).max() > LARGEST_FAN_OUT:
        raise SimulatorError(f"a stage: found over {LARGEST_FAN_OUT} calls, allowed: at most {LARGEST_FAN_OUT}")
    workload = draw(scenario, trees, seed=seed)
    first = np.concatenate([[0], np.cumsum([len(s.containers) for s in scenario.services])])
    parties = {
        index: Party(np.array([c.node for c in service.containers], dtype=np.int64), int(first[index]))
        for index, service in enumerate(scenario.services)
    }
    parties[OUTSIDE] = Party(np.array([c.node for c in scenario.clients], dtype=np.int64), 0)
    policies = tuple(make_policy() for _ in names)
    sides = [(parties[caller], parties[callee]) for caller, callee in names]
    bare = [
        _bare_pair(scenario, name, side, workload.speeds, policy, seed=[seed, _POLICY, number])
        for number, (name, side, policy) in enumerate(zip(names, sides, policies, strict=True))
    ]
    memory = [policy.memory_size(pair) for policy, pair in zip(policies, bare, strict=True)]
    world = _world(scenario, workload, trees, sides, memory, policies, seed=seed)
    pairs = tuple(_with_views(pair, world, number) for number, pair in enumerate(bare))
    crosses = np.concatenate([(c.nodes[:, None] != s.nodes[None, :]).ravel() for c, s in sides]).astype(np.int64)
    _schedule(scenario, world, parties, seed=seed)
    return Built(world, pairs, policies, crosses)


def _check(scenario: Scenario) -> None:
    if not scenario.clients or scenario.rate <= 0:
        raise SimulatorError(f"{scenario.name}.clients: found no demand, allowed: a client with a rate above 0")
    for service in scenario.services:
        if not service.containers:
            raise SimulatorError(f"{scenario.name}.{service.name}: found no containers, allowed: at least one")
    if not 0 <= scenario.warmup_s < scenario.duration_s:
        raise SimulatorError(
            f"{scenario.name}.warmup_s: found {scenario.warmup_s}, allowed: from 0 to below {scenario.duration_s}"
        )


def _bare_pair(
    scenario: Scenario,
    name: tuple[int, int],
    side: tuple[Party, Party],
    speeds: SpeedPaths,
    policy: Policy,
    *,
    seed: list[int],
) -> Pair:
    clients, servers = side
    zones = np.array(scenario.zones, dtype=np.int64)
    service = scenario.services[name[1]]
    workers = np.array([container.workers for container in service.containers], dtype=np.int64)
    network = scenario.network
    same = clients.nodes[:, None] == servers.nodes[None, :]
    caller = "client" if name[0] == OUTSIDE else scenario.services[name[0]].name
    nothing = np.zeros((0, 0))
    none = np.zeros((0, 0), dtype=np.int64)
    return Pair(
        name=f"{caller}->{service.name}",
        client_nodes=clients.nodes,
        client_zones=zones[clients.nodes],
        server_nodes=servers.nodes,
        server_zones=zones[servers.nodes],
        workers=workers,
        round_trip_s=np.where(same, network.same_node_s, network.cross_node_s),
        weights=nothing,
        memory=nothing,
        links=none,
        degree=none,
        opened=none,
        connections=none,
        rng=np.random.default_rng(seed),
        truth=_truth(scenario, name, servers, speeds) if policy.sight is Sight.ORACLE else None,
        alive=np.ones(servers.nodes.size, dtype=np.bool_),
    )


def _truth(scenario: Scenario, name: tuple[int, int], servers: Party, speeds: SpeedPaths) -> Truth:
    caller, callee = name
    service = scenario.services[callee]
    total = scenario.rate * calls_per_request(scenario.operations, len(scenario.services))[callee]
    if caller == OUTSIDE:
        share = np.array([client.rate for client in scenario.clients])
    else:  # a caller's own share is not known before its callers chose: by speed is what balanced callers give
        share = np.array([c.speed * c.workers for c in scenario.services[caller].containers])
    window = slice(servers.first, servers.first + servers.nodes.size)
    variation = {"exponential": 1.0, "constant": 0.0, "bimodal": 1.817}.get(service.work.shape, service.work.variation)
    return Truth(total * share / share.sum(), speeds_at(speeds, 0.0)[window], service.work.mean_s, variation)


def _world(
    scenario: Scenario,
    workload: Workload,
    trees: object,
    sides: list[tuple[Party, Party]],
    memory: list[int],
    policies: tuple[Policy, ...],
    *,
    seed: int,
) -> World:
    workers = np.array([c.workers for s in scenario.services for c in s.containers], dtype=np.int64)
    clients = np.array([c.nodes.size for c, _ in sides], dtype=np.int64)
    servers = np.array([s.nodes.size for _, s in sides], dtype=np.int64)
    network = scenario.network
    one_way_s = np.concatenate(
        [
            np.where(c.nodes[:, None] == s.nodes[None, :], network.same_node_s, network.cross_node_s).ravel() / 2
            for c, s in sides
        ]
    )
    pairs = Pairs(
        row_first=_starts(clients),
        cell_first=_starts(clients * servers),
        memory_first=_starts(clients * np.array(memory)),
        memory_size=np.array(memory, dtype=np.int64),
        server_first=np.array([s.first for _, s in sides], dtype=np.int64),
        servers=servers,
        client_first=np.array([c.first for c, _ in sides], dtype=np.int64),
        shown=np.array([policy.sight is not Sight.SIDECAR for policy in policies], dtype=np.int64),
    )
    rows = int(clients.sum())
    rng = np.random.default_rng([seed, _POLICY])
    counters = Counters(np.zeros(8, dtype=np.int64), np.zeros(8))
    counters.ints[FREE_CALLS] = 8192
    counters.ints[RETRIES] = scenario.observation.retries
    counters.ints[SHARING] = int(scenario.discipline == "sharing")
    counters.reals[CONNECTION_COST] = network.connection_cost
    counters.reals[REPORT_S] = scenario.observation.window_s
    counters.reals[HANDSHAKES] = network.handshakes
    world = World(
        calls=empty_calls(8192),
        heap=fresh_heap(32768),
        servers=empty_servers(workers),
        paths=workload.speeds,
        pairs=pairs,
        rows=Rows(rng.integers(0, 2**64, size=rows, dtype=np.uint64), np.zeros(rows, dtype=np.int64)),
        cells=empty_cells(one_way_s, workers.size),
        memory=np.zeros(int((clients * np.array(memory)).sum())),
        hidden=np.full((workers.size, BOARD_WIDTH), np.nan),
        trees=trees,  # type: ignore[arg-type]
        requests=workload.requests,
        latency_s=np.full(workload.requests.at_s.size, np.nan),
        counters=counters,
    )
    world.servers.board[:, SPEED] = speeds_at(workload.speeds, 0.0)
    return world


def _starts(sizes: Integers) -> Integers:
    return np.concatenate([[0], np.cumsum(sizes)])[:-1].astype(np.int64)


def _with_views(pair: Pair, world: World, number: int) -> Pair:
    clients, servers = pair.clients, pair.servers
    first = int(world.pairs.cell_first[number])
    size, memory_first = int(world.pairs.memory_size[number]), int(world.pairs.memory_first[number])
    row, server = int(world.pairs.row_first[number]), int(world.pairs.server_first[number])

    def table(values: NDArray[T]) -> NDArray[T]:
        return values[first : first + clients * servers].reshape(clients, servers)

    return replace(
        pair,
        weights=table(world.cells.weights),
        links=table(world.cells.links),
        opened=table(world.cells.opened),
        memory=world.memory[memory_first : memory_first + clients * size].reshape(clients, size),
        degree=world.rows.degree[row : row + clients],
        connections=world.servers.connections[server : server + servers],
    )


def _schedule(scenario: Scenario, world: World, parties: dict[int, Party], *, seed: int) -> None:
    window_s = scenario.observation.window_s
    phases = np.random.default_rng([seed, _REPORTS]).uniform(0.0, window_s, world.servers.workers.size)
    for server, phase_s in enumerate(phases):
        push(world.heap, float(phase_s) + window_s, REPORT, server, 0)
    for kill in scenario.kills:
        push(world.heap, kill.at_s, KILL, parties[kill.service].first + kill.container, 0)
