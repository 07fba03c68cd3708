"""Envoy ``LEAST_REQUEST`` on all endpoints, equal weights: Istio's default. Counts are the proxy's own."""

from __future__ import annotations

import numpy as np

from lab.simulator.pair import Pair
from lab.simulator.policies.edf import BIAS, edf_memory, pick_least_request
from lab.simulator.policy import Policy


class LeastRequest(Policy):
    """LEAST_REQUEST with ``active_request_bias`` 1 (Envoy's default)."""

    pick = staticmethod(pick_least_request)
    bias = 1.0

    def memory_size(self, pair: Pair) -> int:
        """Room for the scheduler."""
        return edf_memory(pair.servers)

    def start(self, pair: Pair) -> None:
        """Connect every client to every server, equally."""
        pair.memory[:, BIAS] = self.bias
        pair.push(np.ones((pair.clients, pair.servers)))
