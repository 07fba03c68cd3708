"""Two steps: a locality by given shares, then an endpoint in it by two choices or in turn, as in Envoy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.simulator.compiled import compiled, compiled_pick
from lab.simulator.pair import Pair
from lab.simulator.randomness import below, uniform
from lab.simulator.world import Integers

# Memory: [0] push flag, [1] number of localities Z, [2] 1 for in turn, 0 for two choices, [3] servers; then Z shares,
# Z turns, Z + 1 starts, each server's locality, and the servers sorted by locality.
LOCALITIES, IN_TURN, SERVERS, SHARES = 1, 2, 3, 4


def localities_memory(localities: int, servers: int) -> int:
    """Return how many numbers a client keeps."""
    return SHARES + 3 * localities + 1 + 2 * servers


def set_localities(memory: NDArray[np.float64], zones: Integers, *, localities: int, in_turn: int = 0) -> None:
    """Write the constants into the clients' memory, shape (clients, localities_memory(...))."""
    memory[:, 0] = 1.0
    memory[:, LOCALITIES] = localities
    memory[:, IN_TURN] = in_turn
    memory[:, SERVERS] = zones.size
    first = SHARES + 3 * localities + 1
    memory[:, first : first + zones.size] = zones


def set_shares(memory: NDArray[np.float64], shares: NDArray[np.float64], clients: Integers) -> None:
    """Write ``shares``, shape (len(clients), localities), each row summing to 1."""
    memory[clients, SHARES : SHARES + shares.shape[1]] = shares


@compiled
def _sort(links: Any, memory: Any) -> None:
    count = int(memory[LOCALITIES])
    starts = SHARES + 2 * count
    zones = starts + count + 1
    servers = int(memory[SERVERS])
    place = 0
    for zone in range(count):
        memory[starts + zone] = place
        for link in links:
            if int(memory[zones + link]) == zone:
                memory[zones + servers + place] = link
                place += 1
    memory[starts + count] = place
    memory[0] = 0.0


@compiled
def _locality(rng: Any, memory: Any) -> int:
    count = int(memory[LOCALITIES])
    left = uniform(rng)
    for zone in range(count):
        left -= memory[SHARES + zone]
        if left < 0.0:
            return zone
    return count - 1


@compiled_pick
def pick_by_locality(now_s: float, rng: Any, links: Any, active: Any, weights: Any, memory: Any, board: Any) -> int:
    """Choose a locality at random by its share, then inside it; anywhere where that locality is empty."""
    if memory[0] == 1.0:
        _sort(links, memory)
    count = int(memory[LOCALITIES])
    zone = _locality(rng, memory)
    starts = SHARES + 2 * count
    low, high = int(memory[starts + zone]), int(memory[starts + zone + 1])
    if low == high:
        return int(links[below(rng, links.size)])
    members = starts + count + 1 + int(memory[SERVERS])
    if memory[IN_TURN] == 1.0:
        turn = int(memory[SHARES + count + zone]) % (high - low)
        memory[SHARES + count + zone] = float(turn + 1)
        return int(memory[members + low + turn])
    first = int(memory[members + low + below(rng, high - low)])
    second = int(memory[members + low + below(rng, high - low)])
    return second if active[second] < active[first] else first


def zone_count(pair: Pair) -> int:
    """Return how many zones there are, as the largest number of one, plus 1."""
    return int(max(pair.client_zones.max(), pair.server_zones.max())) + 1
