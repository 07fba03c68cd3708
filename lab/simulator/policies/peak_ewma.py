"""Peak EWMA (Finagle, Linkerd): two choices by moving average of latency times requests in flight.

Source: Linkerd's and Finagle's documentation. A latency above the average replaces it at once (the peak); a lower one
pulls it down with a time constant of 10 s; looking at a server counts as a sample of 0, so that one that was slow is
tried again. cost = average · (in flight + 1); a server never tried costs 30 ms.
"""

from __future__ import annotations

import math
from typing import Any

from lab.simulator.compiled import compiled, compiled_done, compiled_pick
from lab.simulator.pair import Pair
from lab.simulator.policy import Policy
from lab.simulator.randomness import below

DECAY_S, FIRST_S = 10.0, 0.030


@compiled
def observe(memory: Any, servers: int, server: int, now_s: float, latency_s: float) -> float:
    """Take a sample into the average of ``server``; return the average. Memory: [0] flag, averages, times of update."""
    average, before_s = memory[1 + server], memory[1 + servers + server]
    if latency_s > average:
        average = latency_s
    else:
        keep = math.exp(-max(0.0, now_s - before_s) / DECAY_S)
        average = average * keep + latency_s * (1.0 - keep)
    memory[1 + server] = average
    memory[1 + servers + server] = now_s
    return float(average)


@compiled_pick
def pick_peak_ewma(now_s: float, rng: Any, links: Any, active: Any, weights: Any, memory: Any, board: Any) -> int:
    """Choose the cheaper of two random servers."""
    first, second = links[below(rng, links.size)], links[below(rng, links.size)]
    one = observe(memory, active.size, first, now_s, 0.0) * (active[first] + 1.0)
    two = observe(memory, active.size, second, now_s, 0.0) * (active[second] + 1.0)
    return int(second if two < one else first)


@compiled_done
def note_latency(
    now_s: float,
    endpoint: int,
    latency_s: float,
    failed: int,
    utilisation: float,
    rate: float,
    active: Any,
    memory: Any,
) -> None:
    """Take a response's latency in; a failure counts as it took, as in Linkerd: a fast failure looks fast."""
    observe(memory, active.size, endpoint, now_s, latency_s)


class PeakEwma(Policy):
    """Two choices by peak EWMA."""

    pick = staticmethod(pick_peak_ewma)
    done = staticmethod(note_latency)

    def memory_size(self, pair: Pair) -> int:
        """An average and a time per server."""
        return 1 + 2 * pair.servers

    def start(self, pair: Pair) -> None:
        """Begin with the first guess."""
        super().start(pair)
        pair.memory[:, 1 : 1 + pair.servers] = FIRST_S
