"""Oracle: the best static split (KKT) by true speeds and rates, the same for every client, weighted round robin.

The bound for all that only shifts shares and looks at no single request.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lab.simulator.errors import SimulatorError
from lab.simulator.pair import Pair, Truth
from lab.simulator.policies.edf import edf_memory, envoy_weights, pick_weighted
from lab.simulator.policy import Policy
from lab.simulator.queueing import best_split
from lab.simulator.sight import Sight


def true_targets(pair: Pair) -> NDArray[np.float64]:
    """Return the optimal requests per second of each server alive, shape (servers,)."""
    truth = truth_of(pair)
    alive = pair.alive
    targets = np.zeros(pair.servers)
    targets[alive] = best_split(
        float(truth.client_rates.sum()),
        truth.speeds[alive] / truth.work_mean_s,
        pair.workers[alive],
        variation=truth.work_variation,
    )
    return targets


def truth_of(pair: Pair) -> Truth:
    """Return the pair's truth. Raises SimulatorError for a policy that is no oracle."""
    if pair.truth is None:
        raise SimulatorError(f"{pair.name}: found a policy without sight of the truth, allowed: oracles")
    return pair.truth


class StaticOptimum(Policy):
    """Full mesh, every client with the optimal shares."""

    pick = staticmethod(pick_weighted)
    sight = Sight.ORACLE

    def memory_size(self, pair: Pair) -> int:
        """Room for the scheduler."""
        return edf_memory(pair.servers)

    def start(self, pair: Pair) -> None:
        """Push the optimal shares to every client."""
        pair.push(np.tile(envoy_weights(true_targets(pair)[None, :]), (pair.clients, 1)))

    def membership(self, pair: Pair) -> None:
        """Split anew over those alive."""
        self.start(pair)
