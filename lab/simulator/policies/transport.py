"""Oracle: true speeds and rates, the best targets, and the fewest crossings that meet them; few connections come free.

    minimise Σ crossing x_ij   over x ≥ 0,   Σ_j x_ij = rate of client i,   Σ_i x_ij = target of server j

A vertex of this transport problem has at most clients + servers − 1 links. What Askew's plan would be if it knew all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import coo_array

from lab.simulator.errors import SimulatorError
from lab.simulator.pair import Pair
from lab.simulator.policies.edf import BIAS, edf_memory, envoy_weights, pick_least_request, pick_weighted
from lab.simulator.policies.static_optimum import true_targets, truth_of
from lab.simulator.policy import Policy
from lab.simulator.sight import Sight
from lab.simulator.world import Reals

RESIDUE = 1e-7


def least_crossing(rates: Reals, targets: Reals, costs: Reals) -> NDArray[np.float64]:
    """Return the flows, shape (clients, servers), of least cost; rates and targets have the same sum.

    >>> costs = np.array([[0.0, 1.0], [1.0, 0.0]])
    >>> least_crossing(np.array([3.0, 1.0]), np.array([2.0, 2.0]), costs).round(6).tolist()
    [[2.0, 1.0], [0.0, 1.0]]
    """
    clients, servers = costs.shape
    cell = np.arange(clients * servers)
    rows = np.concatenate([cell // servers, clients + cell % servers])
    matrix = coo_array((np.ones(rows.size), (rows, np.concatenate([cell, cell]))), shape=(clients + servers, cell.size))
    scale = rates.sum()
    sums = np.concatenate([rates / scale, targets / targets.sum()])
    result = linprog(costs.ravel(), A_eq=matrix.tocsr(), b_eq=sums, method="highs-ds")
    if result.status != 0:
        raise SimulatorError(f"transport problem: found {result.message!r}, allowed: a feasible one")
    flows = result.x.reshape(clients, servers)
    return np.asarray(np.where(flows > RESIDUE / servers, flows, 0.0) * scale)


class TransportRoundRobin(Policy):
    """The transport plan by weighted round robin."""

    pick = staticmethod(pick_weighted)
    sight = Sight.ORACLE

    def memory_size(self, pair: Pair) -> int:
        """Room for the scheduler."""
        return edf_memory(pair.servers)

    def start(self, pair: Pair) -> None:
        """Solve and push."""
        pair.memory[:, BIAS] = 1.0
        crosses = (pair.client_nodes[:, None] != pair.server_nodes[None, :]).astype(np.float64)
        pair.push(envoy_weights(least_crossing(truth_of(pair).client_rates, true_targets(pair), crosses)))

    def membership(self, pair: Pair) -> None:
        """Solve again with those alive."""
        self.start(pair)


class TransportLeastRequest(TransportRoundRobin):
    """The transport plan by weighted LEAST_REQUEST."""

    pick = staticmethod(pick_least_request)
