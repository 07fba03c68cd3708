"""How many events a second does the simulator play, against a plain Python engine with ``heapq`` of the same model?

    python benchmarks/bench_simulator.py [--seconds 120]

The model: scenario S2, LEAST_REQUEST with equal weights (two random choices by the client's own counts), first come
first served. Both engines get the same requests, work and speeds; that their mean latencies agree is checked (their
random choices differ, so within some per cent). Drawing the workload and compiling are not timed.
"""

from __future__ import annotations

import argparse
import heapq
import random
import time
from typing import NamedTuple

import numpy as np

from lab.simulator.build import build
from lab.simulator.call_graph import flatten
from lab.simulator.engine import NEEDS_ROOM, advance
from lab.simulator.policies.least_request import LeastRequest
from lab.simulator.scenario import Scenario
from lab.simulator.scenarios import s2
from lab.simulator.workload import draw
from lab.simulator.world import EVENTS, with_more_room

ARRIVE, DONE, RESPONSE = range(3)
PYTHON_SECONDS = 10.0  # of simulated time; enough for a rate


class Played(NamedTuple):
    """What an engine did."""

    events: int
    seconds: float
    mean_latency_s: float


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=120.0, help="of simulated time for the compiled engine (120)")
    options = parser.parse_args()
    compiled(lasting(1.0))  # compile, or load what was compiled
    ours, same = compiled(lasting(options.seconds)), compiled(lasting(PYTHON_SECONDS))
    peer = plain(lasting(PYTHON_SECONDS))
    assert abs(same.mean_latency_s / peer.mean_latency_s - 1) < 0.15, "the engines simulate different things"
    print("scenario s2, least request; CPU time on one core")
    print(f"{'engine':<16} {'requests':>9} {'events':>9} {'CPU s':>7} {'events/s':>10} {'mean ms':>8}")
    for name, played in (("simulator", ours), ("python + heapq", peer)):
        rate = played.events / played.seconds
        print(
            f"{name:<16} {played.events // 4:>9} {played.events:>9} {played.seconds:>7.2f} {rate:>10.0f} "
            f"{played.mean_latency_s * 1000:>8.2f}"
        )
    print(f"ratio: {ours.events / ours.seconds / (peer.events / peer.seconds):.0f}x the events per second")
    print(f"a million requests (4 million events): {4e6 / (ours.events / ours.seconds):.1f} s")


def lasting(duration_s: float) -> Scenario:
    """Return S2 over this time, measured from the start."""
    return s2().shortened(duration_s=duration_s, warmup_s=0.0)


def compiled(scenario: Scenario) -> Played:
    """Play with the simulator's engine."""
    built = build(scenario, LeastRequest, seed=1)
    world, policy = built.world, built.policies[0]
    policy.start(built.pairs[0])
    start = time.process_time()
    while advance(world, np.inf, policy.pick, policy.done) == NEEDS_ROOM:
        world = with_more_room(world)
    seconds = time.process_time() - start
    return Played(int(world.counters.ints[EVENTS]), seconds, float(world.latency_s.mean()))


def plain(scenario: Scenario) -> Played:
    """Play with lists, dictionaries' speed and ``heapq``: what one would write in an afternoon."""
    trees, _ = flatten(scenario.operations)
    requests = draw(scenario, trees, seed=1).requests
    arrivals = list(zip(requests.at_s.tolist(), requests.client.tolist(), requests.work_s.tolist(), strict=True))
    containers = scenario.services[0].containers
    nodes = [client.node for client in scenario.clients]
    free_s = [[0.0] * container.workers for container in containers]
    active = [[0] * len(containers) for _ in nodes]
    rng, network = random.Random(1), scenario.network
    events: list[tuple[float, int, int, int, int, float, float]] = []
    latencies, count, start = [], 0, time.process_time()
    following = 0
    while following < len(arrivals) or events:
        count += 1
        if not events or (following < len(arrivals) and arrivals[following][0] <= events[0][0]):
            now_s, client, work_s = arrivals[following]
            one, two = rng.randrange(len(containers)), rng.randrange(len(containers))
            server = two if active[client][two] < active[client][one] else one
            active[client][server] += 1
            same = nodes[client] == containers[server].node
            way_s = (network.same_node_s if same else network.cross_node_s) / 2
            heapq.heappush(events, (now_s + way_s, following, ARRIVE, client, server, work_s, now_s))
            following += 1
            continue
        now_s, number, kind, client, server, work_s, sent_s = heapq.heappop(events)
        if kind == ARRIVE:
            workers = free_s[server]
            worker = workers.index(min(workers))
            workers[worker] = max(now_s, workers[worker]) + work_s / containers[server].speed
            heapq.heappush(events, (workers[worker], number, DONE, client, server, work_s, sent_s))
        elif kind == DONE:
            same = nodes[client] == containers[server].node
            way_s = (network.same_node_s if same else network.cross_node_s) / 2
            heapq.heappush(events, (now_s + way_s, number, RESPONSE, client, server, work_s, sent_s))
        else:
            active[client][server] -= 1
            latencies.append(now_s - sent_s)
    seconds = time.process_time() - start
    return Played(count, seconds, sum(latencies) / len(latencies))


if __name__ == "__main__":
    main()
