"""Families of curves: service time by cache ways, and tail latency by cores and utilisation.

Few observations leave many of them plausible; each further one narrows the choice (``odds.py`` weighs them). They are
general queueing laws, not those of one machine or service.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
HIGHEST_LOAD = 0.97  # of its cores: beyond, any burst is a backlog

CACHE_SHAPES = tuple((benefit, ways) for benefit in (0.0, 0.1, 0.3, 0.7, 1.5) for ways in (1.0, 4.0, 15.0))
WAITS = (0.0, 0.3, 1.0, 4.0, 15.0)
CROWDS = ((0.0, 1), (1.0, 1), (4.0, 1), (1.0, 3), (4.0, 3))  # crowd, power
QUEUE_SHAPES = tuple((wait, crowd, power) for wait in WAITS for crowd, power in CROWDS)


def cache_shapes(ways: Sequence[float]) -> Floats:
    """Return service time by ways, shape ``(shapes, ways)``: 1 + benefit · exp(-(w - 1) / scale).

    >>> cache_shapes([1.0, 2.0])[3].round(2).tolist()  # a tenth slower with one way, scale 1
    [1.1, 1.04]
    """
    benefit, scale = np.array(CACHE_SHAPES).T[:, :, None]
    shapes: Floats = 1.0 + benefit * np.exp(-(np.asarray(ways, dtype=np.float64) - 1.0) / scale)
    return shapes


def queue_shapes(load: Floats, cores: Floats) -> Floats:
    """Return tail latency in service times, shape ``(shapes, *load.shape)``; infinite where the load fills the cores.

    1 + crowd · ρ^power + wait · W, with Sakasegawa's waiting time of M/M/c (1977):
    W = ρ^(√(2(c+1)) - 1) / (c (1 - ρ)). ``crowd`` stands for services whose threads have queues of their own.

    >>> queue_shapes(np.array([0.5, 1.0]), np.array([1.0, 1.0]))[1].tolist()  # crowd 1 alone
    [1.5, inf]
    """
    crowded, waiting = queue_terms(load, cores)
    shapes: Floats = crowded + np.multiply.outer(WAITS, waiting)[:, None]
    return shapes.reshape(len(QUEUE_SHAPES), *waiting.shape)


def queue_terms(load: Floats, cores: Floats) -> tuple[Floats, Floats]:
    """Return 1 + crowd · ρ^power for every crowd, shape ``(crowds, *load.shape)``, and W, shape ``load.shape``.

    Law ``wait · len(CROWDS) + crowd`` is the crowd's term + its wait · W. The first is infinite where the load fills
    the cores.
    """
    rho = np.minimum(1.0, load / cores)
    with np.errstate(divide="ignore", invalid="ignore"):
        waiting: Floats = np.minimum(rho ** (np.sqrt(2.0 * (cores + 1.0)) - 1.0) / (cores * (1.0 - rho)), 1e9)
    powers = {1: rho, 3: rho * rho * rho}
    crowded = np.array([1.0 + crowd * powers[power] for crowd, power in CROWDS])
    crowded[:, rho >= HIGHEST_LOAD] = np.inf
    return crowded, waiting
