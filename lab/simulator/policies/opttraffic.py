"""OptTraffic's allocator as printed (ICPP 2023, Fig. 8): local first, then padding; equal rates, equal targets.

It reads replica counts per node only. Actuation is by iptables probabilities: each request at random by its row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lab.simulator.pair import Pair
from lab.simulator.policies.weighted_random import pick_by_weight
from lab.simulator.policy import Policy
from lab.simulator.world import Integers

RESIDUE = 1e-9


def two_steps(client_nodes: Integers, server_nodes: Integers) -> NDArray[np.float64]:
    """Return the shares, shape (clients, servers), each row summing to 1. O(nodes · servers).

    Examples
    --------
    Fig. 8: clients on nodes 0 and 1, servers on nodes 0, 0 and 1. A third crosses instead of one half of all.

    >>> two_steps(np.array([1, 0]), np.array([0, 0, 1])).round(3).tolist()
    [[0.167, 0.167, 0.667], [0.5, 0.5, 0.0]]
    """
    nodes = int(max(client_nodes.max(), server_nodes.max())) + 1
    senders = np.bincount(client_nodes, minlength=nodes)
    receivers = np.bincount(server_nodes, minlength=nodes)
    need = client_nodes.size / server_nodes.size
    rows = np.zeros((nodes, server_nodes.size))  # all clients of one node share one row
    left = (senders > 0).astype(np.float64)
    got = np.zeros(server_nodes.size)
    for node in np.flatnonzero((senders > 0) & (receivers > 0)):
        share = min(need / senders[node], 1 / receivers[node])
        here = server_nodes == node
        rows[node, here] = share
        got[here] = senders[node] * share
        left[node] = 1 - receivers[node] * share
    for server in np.flatnonzero(got < need - RESIDUE):
        for node in np.flatnonzero(left > RESIDUE):
            share = min(left[node], (need - got[server]) / senders[node])
            rows[node, server] += share
            got[server] += share * senders[node]
            left[node] -= share
            if got[server] >= need - RESIDUE:
                break
    result = rows[client_nodes]
    return np.asarray(result / result.sum(axis=1, keepdims=True))


class OptTraffic(Policy):
    """The two-step rule, set once and again when a server dies."""

    pick = staticmethod(pick_by_weight)

    def start(self, pair: Pair) -> None:
        """Allocate by the placement."""
        self.membership(pair)

    def membership(self, pair: Pair) -> None:
        """Allocate over those alive."""
        weights = np.zeros((pair.clients, pair.servers))
        weights[:, pair.alive] = two_steps(pair.client_nodes, pair.server_nodes[pair.alive])
        pair.push(weights)
