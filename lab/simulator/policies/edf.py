"""Envoy's weighted scheduler (earliest deadline first), and its LEAST_REQUEST and ROUND_ROBIN on top of it.

Source: Envoy, ``edf_scheduler.h`` and ``load_balancer_impl.cc``. An endpoint's next deadline is the last one served
plus 1/weight; LEAST_REQUEST divides the weight by (active requests + 1)^bias when the endpoint is put back. With all
weights equal LEAST_REQUEST takes the better of two random endpoints instead, whatever the bias. A push rebuilds the
schedule and skips a random number of picks, so that proxies do not all start with the heaviest endpoint.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lab.simulator.compiled import compiled, compiled_pick
from lab.simulator.randomness import below

# Memory: [0] 1 after a push, [1] the scheduler's time, [2] bias, [3] 1 if two choices are in force, then the deadlines.
CLOCK, BIAS, TWO_CHOICES, DEADLINES = 1, 2, 3, 4


def edf_memory(servers: int) -> int:
    """Return how many numbers a client's scheduler keeps."""
    return DEADLINES + servers


@compiled
def two_choices(rng: Any, links: Any, active: Any) -> int:
    """Return the less busy of two random endpoints (drawn with replacement; the first on a tie)."""
    first = links[below(rng, links.size)]
    second = links[below(rng, links.size)]
    return int(second if active[second] < active[first] else first)


@compiled
def rebuild(rng: Any, links: Any, active: Any, weights: Any, memory: Any, equal_is_two_choices: int) -> None:
    """Build the schedule anew after a push."""
    memory[0] = 0.0
    memory[CLOCK] = 0.0
    memory[TWO_CHOICES] = float(equal_is_two_choices)
    for link in links:
        if weights[link] != weights[links[0]]:
            memory[TWO_CHOICES] = 0.0
        # Envoy breaks the ties of equal weights by the order of the hosts; the skipped picks below spread the proxies.
        memory[DEADLINES + link] = 1.0 / _effective(weights[link], active[link], memory[BIAS])
    for _ in range(below(rng, links.size)):
        _next(links, active, weights, memory)


@compiled
def _effective(weight: float, active: int, bias: float) -> float:
    if bias == 0.0:
        return weight
    if bias == 1.0:
        return weight / (active + 1.0)
    return float(weight / (active + 1.0) ** bias)


@compiled
def _next(links: Any, active: Any, weights: Any, memory: Any) -> int:
    best = links[0]
    for link in links:
        if memory[DEADLINES + link] < memory[DEADLINES + best]:
            best = link
    memory[CLOCK] = memory[DEADLINES + best]
    memory[DEADLINES + best] = memory[CLOCK] + 1.0 / _effective(weights[best], active[best], memory[BIAS])
    return int(best)


@compiled
def least_request(rng: Any, links: Any, active: Any, weights: Any, memory: Any) -> int:
    """Return LEAST_REQUEST's choice: two choices for equal weights, the schedule otherwise. O(links)."""
    if memory[0] == 1.0:
        rebuild(rng, links, active, weights, memory, 1)
    if memory[TWO_CHOICES] == 1.0:
        return two_choices(rng, links, active)
    return _next(links, active, weights, memory)


@compiled_pick
def pick_least_request(now_s: float, rng: Any, links: Any, active: Any, weights: Any, memory: Any, board: Any) -> int:
    """Choose as Envoy's LEAST_REQUEST."""
    return least_request(rng, links, active, weights, memory)


@compiled_pick
def pick_weighted(now_s: float, rng: Any, links: Any, active: Any, weights: Any, memory: Any, board: Any) -> int:
    """Choose as Envoy's weighted ROUND_ROBIN: the schedule with bias 0, equal weights included."""
    if memory[0] == 1.0:
        memory[BIAS] = 0.0
        rebuild(rng, links, active, weights, memory, 0)
    return _next(links, active, weights, memory)


def envoy_weights(
    shares: np.ndarray[Any, np.dtype[np.float64]], *, total: int = 10_000
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Round rows of shares to Envoy's integer weights, at least 1 where a share is above 0. O(size).

    >>> envoy_weights(np.array([[0.7, 0.3, 0.0], [0.99999, 0.00001, 0.0]])).tolist()
    [[7000.0, 3000.0, 0.0], [10000.0, 1.0, 0.0]]
    """
    sums = shares.sum(axis=1, keepdims=True)
    scaled = np.rint(shares * total / np.where(sums > 0, sums, 1.0))
    return np.where(shares > 0, np.maximum(scaled, 1.0), 0.0)
