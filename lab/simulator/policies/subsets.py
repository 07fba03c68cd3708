"""Subsetting: each client uses K servers only. Random (gRFC A68), and Google's Rocksteadier.

Rocksteadier (Ward et al., ACM Queue 2022, 10.1145/3570937), after its published description; the ring of lots is our
reading: clients and servers are cut into lots of LOT; a client lot shuffles each server lot by a seed of its own, its
i-th client takes the i-th server of it, so that one client lot loads a server lot evenly; which server lots, in what
order, follows the van der Corput sequence of the lots around a ring, from the client lot's own place.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lab.simulator.pair import Pair
from lab.simulator.policies.client_weighted import ClientWeighted
from lab.simulator.policies.edf import BIAS
from lab.simulator.policies.least_request import LeastRequest
from lab.simulator.policies.prequal import Prequal

SIZE, LOT = 8, 10


def random_subsets(rng: np.random.Generator, clients: int, servers: int, size: int) -> NDArray[np.bool_]:
    """Return a random set of ``size`` servers for each client, shape (clients, servers)."""
    order = rng.random((clients, servers)).argsort(axis=1)
    return np.asarray(order.argsort(axis=1) < size)


def van_der_corput(index: int) -> float:
    """Return the index-th number of the van der Corput sequence in base 2.

    >>> [van_der_corput(index) for index in range(4)]
    [0.0, 0.5, 0.25, 0.75]
    """
    value, scale = 0.0, 0.5
    while index:
        value += scale * (index & 1)
        index >>= 1
        scale /= 2
    return value


def rocksteadier_subsets(clients: int, servers: int, size: int, *, lot: int = LOT) -> NDArray[np.bool_]:
    """Return each client's servers, shape (clients, servers), ``size`` a row (all where there are fewer).

    Every full client lot loads every server of the lots that it uses equally.

    >>> rocksteadier_subsets(10, 40, 8).sum(axis=1).tolist()
    [8, 8, 8, 8, 8, 8, 8, 8, 8, 8]
    """
    lots = [np.arange(first, min(first + lot, servers)) for first in range(0, servers, lot)]
    places = np.array([van_der_corput(index) for index in range(len(lots))])
    result = np.zeros((clients, servers), dtype=np.bool_)
    for client in range(clients):
        group, position = divmod(client, lot)
        order = np.argsort((places - van_der_corput(group)) % 1.0, kind="stable")
        shuffled = [np.random.default_rng([group, int(index)]).permutation(lots[index]) for index in order]
        turn = 0
        while result[client].sum() < min(size, servers):
            members = shuffled[turn % len(lots)]
            result[client, members[(position + turn // len(lots)) % members.size]] = True
            turn += 1
    return result


class RandomSubsetLeastRequest(LeastRequest):
    """LEAST_REQUEST in a random subset."""

    def start(self, pair: Pair) -> None:
        """Draw the subsets."""
        pair.memory[:, BIAS] = self.bias
        pair.push(random_subsets(pair.rng, pair.clients, pair.servers, SIZE).astype(np.float64))


class RandomSubsetClientWeighted(ClientWeighted):
    """CSWRR in a random subset."""

    def connect(self, pair: Pair) -> NDArray[np.bool_]:
        """Draw the subsets."""
        return random_subsets(pair.rng, pair.clients, pair.servers, SIZE)


class RandomSubsetPrequal(Prequal):
    """Prequal in a random subset."""

    def start(self, pair: Pair) -> None:
        """Draw the subsets."""
        super().start(pair)
        pair.push(random_subsets(pair.rng, pair.clients, pair.servers, SIZE).astype(np.float64))


class Rocksteadier(LeastRequest):
    """LEAST_REQUEST in Rocksteadier's subsets."""

    def start(self, pair: Pair) -> None:
        """Deal the subsets."""
        pair.memory[:, BIAS] = self.bias
        pair.push(rocksteadier_subsets(pair.clients, pair.servers, SIZE).astype(np.float64))
