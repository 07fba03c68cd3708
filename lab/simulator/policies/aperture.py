"""Finagle's deterministic aperture: peers and backends on two rings, fractional edges, two choices by load per weight.

Source: Twitter's documentation of Finagle's aperture load balancers. Peer i of N starts at i/N; its arc is a whole
multiple of 1/N, the least that covers MINIMUM backends, at most the ring. A backend's weight is the part of it that the
arc covers; whole multiples make all backends' sums equal.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.simulator.compiled import compiled, compiled_pick
from lab.simulator.pair import Pair
from lab.simulator.policy import Policy
from lab.simulator.randomness import uniform

MINIMUM = 12


def coverage(clients: int, servers: int, *, minimum: int = MINIMUM) -> NDArray[np.float64]:
    """Return how much of each backend a peer's arc covers, 0..1, shape (clients, servers). O(clients · servers).

    >>> coverage(3, 4, minimum=1).round(3).tolist()
    [[1.0, 0.333, 0.0, 0.0], [0.0, 0.667, 0.667, 0.0], [0.0, 0.0, 0.333, 1.0]]
    """
    slices = min(clients, math.ceil(min(minimum, servers) * clients / servers - 1e-9))
    start = np.arange(clients)[:, None] * servers / clients  # in units of backends
    length = slices * servers / clients
    backend = np.arange(servers)[None, :]
    covered = np.zeros((clients, servers))
    for turn in (0, servers):  # an arc may pass the ring's end
        low, high = np.maximum(start, backend + turn), np.minimum(start + length, backend + turn + 1)
        covered += np.maximum(high - low, 0.0)
    covered[covered < 1e-9] = 0.0
    return covered


@compiled
def _on_arc(rng: Any, links: Any, weights: Any) -> int:
    total = 0.0
    for link in links:
        total += weights[link]
    left = uniform(rng) * total
    for link in links:
        left -= weights[link]
        if left < 0.0:
            return int(link)
    return int(links[links.size - 1])


@compiled_pick
def pick_on_arc(now_s: float, rng: Any, links: Any, active: Any, weights: Any, memory: Any, board: Any) -> int:
    """Choose the lower load per weight of two random points on the arc."""
    first, second = _on_arc(rng, links, weights), _on_arc(rng, links, weights)
    return second if active[second] / weights[second] < active[first] / weights[first] else first


class DeterministicAperture(Policy):
    """Deterministic aperture with two choices."""

    pick = staticmethod(pick_on_arc)

    def start(self, pair: Pair) -> None:
        """Lay both rings."""
        self.membership(pair)

    def membership(self, pair: Pair) -> None:
        """Lay the backends' ring anew with those alive."""
        weights = np.zeros((pair.clients, pair.servers))
        weights[:, pair.alive] = coverage(pair.clients, int(pair.alive.sum()))
        pair.push(weights)
