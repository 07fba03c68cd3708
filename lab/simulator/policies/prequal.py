"""Prequal (Wydrowski et al., NSDI 2024): probes ahead of requests, hot-cold rule on requests in flight and latency.

Each request sends PROBES asynchronous probes to random servers; an answer shows the server's requests in flight and the
median of its latest latencies *at about that many in flight*. The client keeps a pool of POOL answers, for AGE_S at
most, each used REUSES times at most, and drops after each request the oldest and the worst in turn. A server is hot
if its requests in flight exceed the HOT quantile of those seen lately. Among cold ones the lowest latency wins; if all
are hot, the fewest in flight. A choice adds one to what the pool remembers of that server.

A probe reads the server when it is sent and its answer counts from a whole round trip later: slightly staler than real.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lab.simulator.compiled import compiled, compiled_pick
from lab.simulator.pair import Pair
from lab.simulator.policies.edf import two_choices
from lab.simulator.policy import Policy
from lab.simulator.randomness import below
from lab.simulator.sight import Sight
from lab.simulator.world import IN_FLIGHT, LATENCIES, LATENCY_RING, LATENCY_ROWS, LATENCY_WIDTH

PROBES, POOL, AGE_S, REUSES, HOT = 3, 16, 1.0, 1, 2.0**-0.25
SEEN = 128  # answers whose requests in flight make the quantile

# Memory: [0] push flag, [1] answers in the pool, [2] answers ever seen, [3] which to drop next, then the pool (columns
# below), the ring of requests in flight seen, then a round trip per server.
SIZE, EVER, TURN, FIRST = 1, 2, 3, 4
SERVER, LOAD, LATENCY, READY_S, USES, COLUMNS = 0, 1, 2, 3, 4, 5
RING = FIRST + POOL * COLUMNS
ROUND_TRIPS = RING + SEEN


@compiled
def latency_at(board: Any, server: int) -> float:
    """Return the median of the server's latest latencies at its present requests in flight, or at the nearest known."""
    present = min(int(board[server, IN_FLIGHT]), LATENCY_ROWS - 1)
    for away in range(LATENCY_ROWS):
        for row in (present - away, present + away):
            if 0 <= row < LATENCY_ROWS and board[server, LATENCIES + row * LATENCY_WIDTH] > 0:
                return _median(board[server], LATENCIES + row * LATENCY_WIDTH)
    return 0.0


@compiled
def _median(line: Any, column: int) -> float:
    kept = min(int(line[column]), LATENCY_RING)
    sorted_s = np.empty(LATENCY_RING)
    for index in range(kept):
        value = line[column + 1 + index]
        place = index
        while place > 0 and sorted_s[place - 1] > value:
            sorted_s[place] = sorted_s[place - 1]
            place -= 1
        sorted_s[place] = value
    return float(sorted_s[(kept - 1) // 2])


@compiled
def _probe(now_s: float, rng: Any, links: Any, memory: Any, board: Any) -> None:
    for _ in range(PROBES):
        server = links[below(rng, links.size)]
        _forget(memory, server)
        if memory[SIZE] == POOL:
            _drop(memory, _oldest(memory))
        place = FIRST + int(memory[SIZE]) * COLUMNS
        memory[place + SERVER] = server
        memory[place + LOAD] = board[server, IN_FLIGHT]
        memory[place + LATENCY] = latency_at(board, server)
        memory[place + READY_S] = now_s + memory[ROUND_TRIPS + server]
        memory[place + USES] = 0.0
        memory[SIZE] += 1.0
        memory[RING + int(memory[EVER]) % SEEN] = board[server, IN_FLIGHT]
        memory[EVER] += 1.0


@compiled
def _forget(memory: Any, server: int) -> None:
    # An older answer of the same server would win whenever it looks better only because it is old.
    for entry in range(int(memory[SIZE])):
        if int(memory[FIRST + entry * COLUMNS + SERVER]) == server:
            _drop(memory, entry)
            return


@compiled
def _drop(memory: Any, entry: int) -> None:
    memory[SIZE] -= 1.0
    last = FIRST + int(memory[SIZE]) * COLUMNS
    place = FIRST + entry * COLUMNS
    for column in range(COLUMNS):
        memory[place + column] = memory[last + column]


@compiled
def _oldest(memory: Any) -> int:
    best = 0
    for entry in range(1, int(memory[SIZE])):
        if memory[FIRST + entry * COLUMNS + READY_S] < memory[FIRST + best * COLUMNS + READY_S]:
            best = entry
    return best


@compiled
def _hot_above(memory: Any) -> float:
    """Return the HOT quantile of the requests in flight seen lately."""
    seen = min(int(memory[EVER]), SEEN)
    counts = np.zeros(64, dtype=np.int64)
    for index in range(seen):
        counts[min(63, int(memory[RING + index]))] += 1
    below_it = 0
    for load in range(64):
        below_it += counts[load]
        if below_it >= HOT * seen:
            return float(load)
    return 63.0


@compiled
def _better(memory: Any, entry: int, other: int, hot_above: float) -> bool:
    """Whether ``entry`` is to be preferred to ``other`` by the hot-cold rule."""
    one, two = FIRST + entry * COLUMNS, FIRST + other * COLUMNS
    one_hot, two_hot = memory[one + LOAD] > hot_above, memory[two + LOAD] > hot_above
    if one_hot != two_hot:
        return bool(two_hot)
    if one_hot:
        return bool(memory[one + LOAD] < memory[two + LOAD])
    return bool(memory[one + LATENCY] < memory[two + LATENCY])


@compiled
def choose_probe(now_s: float, memory: Any, hot_above: float) -> int:
    """Return the best answer in the pool that has come back, or -1; old answers go first."""
    entry = 0
    while entry < int(memory[SIZE]):
        if now_s - memory[FIRST + entry * COLUMNS + READY_S] > AGE_S:
            _drop(memory, entry)
        else:
            entry += 1
    best = -1
    for entry in range(int(memory[SIZE])):
        back = memory[FIRST + entry * COLUMNS + READY_S] <= now_s
        if back and (best < 0 or _better(memory, entry, best, hot_above)):
            best = entry
    return best


@compiled
def _used(memory: Any, best: int, server: int, hot_above: float) -> None:
    for entry in range(int(memory[SIZE])):
        if int(memory[FIRST + entry * COLUMNS + SERVER]) == server:
            memory[FIRST + entry * COLUMNS + LOAD] += 1.0
    memory[FIRST + best * COLUMNS + USES] += 1.0
    if memory[FIRST + best * COLUMNS + USES] >= REUSES:
        _drop(memory, best)
    if memory[SIZE] < POOL - PROBES:
        return
    memory[TURN] = 1.0 - memory[TURN]
    drop = _oldest(memory)
    if memory[TURN] == 1.0:
        for entry in range(int(memory[SIZE])):
            if _better(memory, drop, entry, hot_above):
                drop = entry
    _drop(memory, drop)


@compiled_pick
def pick_prequal(now_s: float, rng: Any, links: Any, active: Any, weights: Any, memory: Any, board: Any) -> int:
    """Choose from the pool of answers, then send the next probes."""
    if memory[0] == 1.0:  # other servers than before: start with an empty pool
        memory[0] = 0.0
        memory[SIZE] = 0.0
    hot_above = _hot_above(memory)
    best = choose_probe(now_s, memory, hot_above)
    if best < 0:
        server = two_choices(rng, links, active)
    else:
        server = int(memory[FIRST + best * COLUMNS + SERVER])
        _used(memory, best, server, hot_above)
    _probe(now_s, rng, links, memory, board)
    return server


class Prequal(Policy):
    """Prequal over all servers."""

    pick = staticmethod(pick_prequal)
    sight = Sight.PROBE

    def memory_size(self, pair: Pair) -> int:
        """The pool, the ring, and the round trips."""
        return ROUND_TRIPS + pair.servers

    def start(self, pair: Pair) -> None:
        """Connect to all."""
        pair.memory[:, ROUND_TRIPS:] = pair.round_trip_s
        pair.push(np.ones((pair.clients, pair.servers)))
