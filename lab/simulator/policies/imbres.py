"""Imbres as printed (ASPLOS 2025): Algorithm 1 shifts load between hosts every 5 s, grouped connections carry it.

Algorithm 1: D_j starts at the host's share of containers and is multiplied by 1 + η·F_j·|l̄ − l_j|/l̄, then
normalised; l_j is the plain mean of the latencies of the host's containers, l̄ the mean over hosts. The paper's factor
can fall to 0 or below: it is clamped to [0.5, 1.5]. A host without samples keeps its share.
Connections: G groups of clients of like latency (K-means); each group alone serves all servers in proportion, fast
clients matched with slow servers by a greedy fill. Actuation is at random by probabilities.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lab.simulator.pair import Pair
from lab.simulator.policies.subsets import random_subsets
from lab.simulator.policies.weighted_random import pick_by_weight
from lab.simulator.policy import Clocks, Policy
from lab.simulator.telemetry import Window
from lab.simulator.world import Reals

ETA, GROUPS, INTERVAL_S = 0.2, 10, 5.0
LEAST, MOST = 0.5, 1.5
RANDOM = 10  # connections of a client where they are drawn at random
RESIDUE = 1e-9


def shift(shares: Reals, latencies: Reals, *, eta: float = ETA) -> NDArray[np.float64]:
    """Return the hosts' load shares after one tick of Algorithm 1; a NaN latency leaves that share as it was.

    >>> shift(np.array([0.5, 0.5]), np.array([0.01, 0.03])).round(3).tolist()
    [0.55, 0.45]
    """
    known = np.isfinite(latencies)
    if not known.any():
        return shares
    mean = float(latencies[known].mean())
    factor = np.where(known, 1.0 - eta * (latencies - mean) / mean, 1.0)
    moved = shares * np.clip(factor, LEAST, MOST)
    return np.asarray(moved / moved.sum())


def grouped(latencies: Reals, groups: int) -> NDArray[np.int64]:
    """Return each client's group by one-dimensional K-means (Lloyd, started at the quantiles).

    >>> grouped(np.array([1.0, 9.0, 1.1, 9.2]), 2).tolist()
    [0, 1, 0, 1]
    """
    distinct = np.unique(latencies)
    centres = np.quantile(distinct, (np.arange(min(groups, distinct.size)) + 0.5) / min(groups, distinct.size))
    for _ in range(50):
        member = np.abs(latencies[:, None] - centres[None, :]).argmin(axis=1)
        renewed = np.array(
            [
                latencies[member == index].mean() if (member == index).any() else centre
                for index, centre in enumerate(centres)
            ]
        )
        if np.array_equal(renewed, centres):
            break
        centres = renewed
    return np.unique(member, return_inverse=True)[1].astype(np.int64)


def fill(client_shares: Reals, server_shares: Reals) -> NDArray[np.float64]:
    """Return one group's flows, shape (clients, servers): rows and columns in proportion to the two arguments.

    Clients by share, largest (fast) first; servers by share, smallest (slow) first; at most rows + columns − 1 links.

    >>> fill(np.array([0.75, 0.25]), np.array([0.5, 0.5])).tolist()
    [[0.5, 0.25], [0.0, 0.25]]
    """
    rows, columns = client_shares / client_shares.sum(), server_shares / server_shares.sum()
    flows = np.zeros((rows.size, columns.size))
    client_order, server_order = np.argsort(-rows, kind="stable"), np.argsort(columns, kind="stable")
    left, need = rows.copy(), columns.copy()
    row = column = 0
    while row < rows.size and column < columns.size:
        client, server = client_order[row], server_order[column]
        flow = min(left[client], need[server])
        flows[client, server] += flow
        left[client] -= flow
        need[server] -= flow
        row += left[client] <= RESIDUE
        column += need[server] <= RESIDUE
    return flows


class Imbres(Policy):
    """Algorithm 1 and grouped connections."""

    pick = staticmethod(pick_by_weight)
    clocks = Clocks(control_s=INTERVAL_S)

    def __init__(self) -> None:
        self._shares = np.zeros(0)
        self._rates = np.zeros(0)
        self._latencies = np.zeros(0)

    def start(self, pair: Pair) -> None:
        """Begin with the hosts' shares of containers and equal clients, all of one group."""
        nodes = int(max(pair.client_nodes.max(), pair.server_nodes.max())) + 1
        counts = np.bincount(pair.server_nodes[pair.alive], minlength=nodes)
        self._shares = counts / counts.sum()
        self._rates = np.ones(pair.clients)
        self._latencies = np.ones(nodes)
        self._connect(pair)

    def control_tick(self, pair: Pair, window: Window) -> None:
        """Shift load away from slow hosts and lay the connections."""
        with np.errstate(divide="ignore", invalid="ignore"):
            of_container = window.server_latency_sum_s / window.server_done
        for node in range(self._latencies.size):
            here = of_container[(pair.server_nodes == node) & pair.alive & (window.server_done > 0)]
            self._latencies[node] = here.mean() if here.size else np.nan
        self._shares = shift(self._shares, self._latencies)
        self._rates = np.maximum(window.sent.sum(axis=1), 1.0)
        self._connect(pair)

    def membership(self, pair: Pair) -> None:
        """Hosts that lost all containers lose their share; the others keep theirs in proportion."""
        counts = np.bincount(pair.server_nodes[pair.alive], minlength=self._shares.size)
        self._shares = np.where(counts > 0, self._shares, 0.0)
        self._shares /= self._shares.sum()
        self._connect(pair)

    def _connect(self, pair: Pair) -> None:
        # A client's own latency, as phi would give it: that of the containers on its node; unknown ones are average.
        mean = float(np.nanmean(self._latencies)) if np.isfinite(self._latencies).any() else 1.0
        own = np.nan_to_num(self._latencies, nan=mean)[pair.client_nodes]
        counts = np.bincount(pair.server_nodes[pair.alive], minlength=self._shares.size)
        per_container = self._shares[pair.server_nodes] / np.maximum(counts[pair.server_nodes], 1)
        self._lay(pair, own, np.where(pair.alive, per_container, 0.0))

    def _lay(self, pair: Pair, own: Reals, targets: Reals) -> None:
        """Lay connections that bring ``targets`` about; ``own`` is the latency of each client's own node."""
        weights = np.zeros((pair.clients, pair.servers))
        group = grouped(own, GROUPS)
        for index in range(int(group.max()) + 1):
            members = group == index
            flows = fill(self._rates[members], targets)
            weights[members] = flows / flows.sum(axis=1, keepdims=True)
        pair.push(np.where(weights > RESIDUE, weights, 0.0))


class ImbresFullMesh(Imbres):
    """Algorithm 1 with a connection from everyone to everyone: Imbres' LS + FC."""

    def _lay(self, pair: Pair, own: Reals, targets: Reals) -> None:
        pair.push(np.tile(targets, (pair.clients, 1)))


class ImbresRandom(Imbres):
    """Algorithm 1 with RANDOM random connections a client: Imbres' LS + RC."""

    def __init__(self) -> None:
        super().__init__()
        self._links = np.zeros((0, 0), dtype=np.bool_)

    def _lay(self, pair: Pair, own: Reals, targets: Reals) -> None:
        if not self._links.size:
            self._links = random_subsets(pair.rng, pair.clients, pair.servers, RANDOM)
        pair.push(np.where(self._links, targets, 0.0))


class RandomPartial(Policy):
    """Every client picks at random among RANDOM random servers, for good: what Imbres' baselines do."""

    pick = staticmethod(pick_by_weight)

    def start(self, pair: Pair) -> None:
        """Draw the connections."""
        pair.push(random_subsets(pair.rng, pair.clients, pair.servers, RANDOM).astype(np.float64))
