"""One caller service and one callee service, as a policy handles them: who is where, and the weights in force."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lab.simulator.errors import SimulatorError
from lab.simulator.world import Integers, Reals


@dataclass(frozen=True)
class Truth:
    """What only oracles get.

    ``client_rates``: requests per second, shape (clients,); ``speeds``: shape (servers,); ``work_mean_s`` and
    ``work_variation`` (coefficient of variation) of one call.
    """

    client_rates: Reals
    speeds: Reals
    work_mean_s: float
    work_variation: float


@dataclass(frozen=True)
class Pair:
    """A policy's handle.

    Attributes
    ----------
    client_nodes, client_zones, server_nodes, server_zones:
        Places, shapes (clients,) and (servers,); any control plane knows them.
    workers:
        Declared size of each server (its CPU request), shape (servers,).
    round_trip_s:
        Shape (clients, servers): how long a probe takes. Not a policy's to read otherwise.
    weights, memory:
        Views of the engine's state, shapes (clients, servers) and (clients, memory size). Write weights with ``push``.
    alive:
        Which servers policies have heard to be alive, shape (servers,).
    truth:
        None unless the policy is an oracle.
    """

    name: str
    client_nodes: Integers
    client_zones: Integers
    server_nodes: Integers
    server_zones: Integers
    workers: Integers
    round_trip_s: Reals
    weights: Reals
    memory: Reals
    links: Integers
    degree: Integers
    opened: Integers
    connections: Integers
    rng: np.random.Generator
    truth: Truth | None = None
    alive: NDArray[np.bool_] = field(default_factory=lambda: np.ones(0, dtype=np.bool_))

    @property
    def clients(self) -> int:
        """Number of clients."""
        return int(self.client_nodes.size)

    @property
    def servers(self) -> int:
        """Number of servers."""
        return int(self.server_nodes.size)

    def push(self, weights: NDArray[np.float64], *, clients: Integers | None = None) -> None:
        """Put ``weights``, shape (clients, servers) or (len(clients), servers), in force at once.

        A weight of 0 means no connection; a server known to be dead gets none. Raises SimulatorError for a negative or
        non-finite weight. Marks the clients' memory, so that their schedulers are built anew.
        """
        rows = np.arange(self.clients) if clients is None else clients
        if not np.isfinite(weights).all() or (weights < 0).any():
            raise SimulatorError(f"{self.name}: found a negative or non-finite weight, allowed: numbers >= 0")
        fresh = np.where(self.alive, weights, 0.0)
        for row, weight in zip(rows, fresh, strict=True):
            if np.array_equal(weight, self.weights[row]):
                continue
            self.weights[row] = weight
            linked = np.flatnonzero(weight)
            self.links[row, : linked.size] = linked
            self.degree[row] = linked.size
            if self.memory.shape[1] > 0:
                self.memory[row, 0] = 1.0
            closed = (weight == 0) & (self.opened[row] == 1)
            self.opened[row, closed] = 0
            self.connections[closed] -= 1
