"""Shares: which part of its requests each client container sends to each endpoint."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mesh.errors import MeshError
from mesh.topology import ContainerName

SUM_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Shares:
    """A matrix client × endpoint for one service port.

    Attributes
    ----------
    clients, endpoints:
        Names of the rows and columns, each once.
    fractions:
        float64, shape ``(clients, endpoints)``; entries >= 0; a row sums to 1, or to 0 where no endpoint is left.
        The array is taken over, not copied: it becomes read-only.

    Raises
    ------
    MeshError
        for a wrong shape, a name twice, a negative or non-finite entry, or a row that sums to neither 0 nor 1.
    """

    clients: tuple[ContainerName, ...]
    endpoints: tuple[ContainerName, ...]
    fractions: NDArray[np.float64]

    def __post_init__(self) -> None:
        shape = (len(self.clients), len(self.endpoints))
        if self.fractions.shape != shape:
            raise MeshError(f"shares have shape {self.fractions.shape}, expected {shape}")
        for names in (self.clients, self.endpoints):
            if len(set(names)) != len(names):
                raise MeshError("shares name a client or an endpoint twice")
        if not np.isfinite(self.fractions).all() or (self.fractions < 0).any():
            raise MeshError("shares hold a negative or non-finite entry")
        sums = self.fractions.sum(axis=1)
        if ((np.abs(sums - 1) > SUM_TOLERANCE) & (sums != 0)).any():
            raise MeshError("a row of shares sums to neither 0 nor 1")
        self.fractions.setflags(write=False)

    @property
    def connections(self) -> int:
        """Number of (client, endpoint) pairs that carry requests."""
        return int(np.count_nonzero(self.fractions))

    def row(self, client: ContainerName) -> dict[ContainerName, float]:
        """Return the endpoints of one client with a share above zero. Raises KeyError for a stranger."""
        row = self.fractions[self._index_of[client]]
        return {self.endpoints[j]: float(row[j]) for j in np.flatnonzero(row)}

    @cached_property
    def _index_of(self) -> dict[ContainerName, int]:
        return {client: i for i, client in enumerate(self.clients)}

    def same_as(self, other: Shares) -> bool:
        """Whether both say exactly the same."""
        return (
            self.clients == other.clients
            and self.endpoints == other.endpoints
            and bool(np.array_equal(self.fractions, other.fractions))
        )


def link_changes(before: Shares | None, now: Shares | None) -> tuple[int, int]:
    """Return how many pairs of client and endpoint ``now`` opens and closes. None stands for no plan: no pair."""
    old, new = (_pairs(shares) if shares is not None else set() for shares in (before, now))
    return len(new - old), len(old - new)


def _pairs(shares: Shares) -> set[tuple[ContainerName, ContainerName]]:
    rows, columns = np.nonzero(shares.fractions)
    return {(shares.clients[i], shares.endpoints[j]) for i, j in zip(rows.tolist(), columns.tolist(), strict=True)}
