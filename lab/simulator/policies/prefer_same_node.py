"""Kubernetes ``trafficDistribution: PreferSameNode``: the servers of one's own node if there are any, else all.

Source: KEP-3015. Inside the chosen set LEAST_REQUEST, as Istio does it (failover priority by label).
"""

from __future__ import annotations

import numpy as np

from lab.simulator.pair import Pair
from lab.simulator.policies.edf import BIAS
from lab.simulator.policies.least_request import LeastRequest


class PreferSameNode(LeastRequest):
    """Own node or everywhere."""

    def start(self, pair: Pair) -> None:
        """Connect every client to its own node's servers."""
        pair.memory[:, BIAS] = self.bias
        same = (pair.client_nodes[:, None] == pair.server_nodes[None, :]) & pair.alive
        alone = ~same.any(axis=1)
        same[alone] = pair.alive
        pair.push(same.astype(np.float64))

    def membership(self, pair: Pair) -> None:
        """Choose again among those alive."""
        self.start(pair)
