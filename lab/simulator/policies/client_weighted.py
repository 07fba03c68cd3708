"""Client-side weighted round robin by ORCA load reports (gRFC A58; Envoy ``client_side_weighted_round_robin``).

``weight = rate / (utilisation + penalty · errors / rate)`` from the report in each response; usable after a blackout of
10 s, for 3 minutes; below two hosts with a weight all are equal; a host without one gets the mean of the others. Each
client renews its weights every second, at its own phase.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.simulator.compiled import compiled_done
from lab.simulator.pair import Pair
from lab.simulator.policies.edf import DEADLINES, edf_memory, envoy_weights, pick_weighted
from lab.simulator.policy import Clocks, Policy
from lab.simulator.world import Integers, Reals

BLACKOUT_S, EXPIRATION_S, PERIOD_S = 10.0, 180.0, 1.0


@compiled_done
def note_report(
    now_s: float,
    endpoint: int,
    latency_s: float,
    failed: int,
    utilisation: float,
    rate: float,
    active: Any,
    memory: Any,
) -> None:
    """Keep the load report of a response: utilisation, rate, when the first and the last came."""
    if failed == 1 or not utilisation >= 0.0:
        return
    servers = active.size
    first = DEADLINES + servers
    memory[first + endpoint] = utilisation
    memory[first + servers + endpoint] = rate
    if memory[first + 2 * servers + endpoint] < 0.0 or now_s - memory[first + 3 * servers + endpoint] > EXPIRATION_S:
        memory[first + 2 * servers + endpoint] = now_s
    memory[first + 3 * servers + endpoint] = now_s


def report_weights(
    rate: Reals, utilisation: Reals, *, errors_per_s: Reals | None = None, penalty: float = 1.0
) -> NDArray[np.float64]:
    """Return A58's weights; 0 where a report has no rate or no utilisation.

    >>> report_weights(np.array([100.0, 100.0]), np.array([0.5, 0.25])).tolist()
    [200.0, 400.0]
    """
    errors = np.zeros_like(rate) if errors_per_s is None else errors_per_s
    with np.errstate(divide="ignore", invalid="ignore"):
        cost = utilisation + np.where(rate > 0, errors / rate, 0.0) * penalty
        return np.where((rate > 0) & (utilisation > 0), rate / cost, 0.0)


def with_mean_for_missing(weights: NDArray[np.float64], linked: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Give linked hosts without a weight the mean of the others; all equal where fewer than two have one.

    >>> with_mean_for_missing(np.array([[2.0, 4.0, 0.0]]), np.ones((1, 3), dtype=bool)).tolist()
    [[2.0, 4.0, 3.0]]
    >>> with_mean_for_missing(np.array([[2.0, 0.0, 0.0]]), np.ones((1, 3), dtype=bool)).tolist()
    [[1.0, 1.0, 1.0]]
    """
    known = (weights > 0) & linked
    counts = known.sum(axis=1, keepdims=True)
    mean = np.where(known, weights, 0.0).sum(axis=1, keepdims=True) / np.maximum(counts, 1)
    filled = np.where(known, weights, mean)
    return np.where(linked, np.where(counts >= 2, filled, 1.0), 0.0)


class ClientWeighted(Policy):
    """CSWRR over all servers, or over what ``connect`` returns."""

    pick = staticmethod(pick_weighted)
    done = staticmethod(note_report)
    clocks = Clocks(client_s=PERIOD_S)

    def memory_size(self, pair: Pair) -> int:
        """The scheduler, and four numbers a server."""
        return edf_memory(pair.servers) + 4 * pair.servers

    def connect(self, pair: Pair) -> NDArray[np.bool_]:
        """Return which servers each client may use, shape (clients, servers)."""
        return np.ones((pair.clients, pair.servers), dtype=np.bool_)

    def start(self, pair: Pair) -> None:
        """Begin with equal weights and no reports."""
        first = DEADLINES + pair.servers
        pair.memory[:, first : first + 2 * pair.servers] = 0.0
        pair.memory[:, first + 2 * pair.servers :] = -1.0
        pair.push(self.connect(pair).astype(np.float64))

    def client_tick(self, pair: Pair, now_s: float, clients: Integers) -> None:
        """Renew the weights of ``clients`` from the reports that reached them."""
        reports = pair.memory[clients, DEADLINES + pair.servers :].reshape(clients.size, 4, pair.servers)
        utilisation, rate, since_s, last_s = reports[:, 0], reports[:, 1], reports[:, 2], reports[:, 3]
        usable = (since_s >= 0) & (now_s - since_s >= BLACKOUT_S) & (now_s - last_s <= EXPIRATION_S)
        weights = np.where(usable, report_weights(rate, utilisation), 0.0)
        pair.push(envoy_weights(with_mean_for_missing(weights, pair.weights[clients] > 0)), clients=clients)
