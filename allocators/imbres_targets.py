"""Imbres' load shifting (ASPLOS 2025, Algorithm 1) to the letter, per node, with the clamps that it needs to be safe.

    l_mean = Σ_j l_j / N          F_j = −1 if l_j > l_mean else +1          lh_j = |l_mean − l_j| / l_mean
    D_j ← D_j·(1 + η·F_j·lh_j), then D ← D / Σ D

The mean is over hosts, not weighted by load. It leads to equal latencies, which is not the least mean latency: see
``marginal_targets.py``. The paper leaves open, and we settle: the factor is clamped to [0.5, 1.5] (it could be negative
for a host six times as slow as the mean); ``D_j`` never falls below 2 % of its balanced share (0 would be for ever);
a host without enough samples holds its share.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
ETA = 0.2
LEAST_FACTOR, MOST_FACTOR = 0.5, 1.5
FLOOR = 0.02


def shift_load(shares: Floats, latencies_ms: Floats, balanced: Floats, *, eta: float = ETA) -> Floats:
    """Return the hosts' shares after one step of Algorithm 1.

    Parameters
    ----------
    shares:
        ``D_j``, shape ``(N,)``, summing to 1.
    latencies_ms:
        Mean latency of the containers on each host, shape ``(N,)``; NaN where it is not known: such a host is not
        part of the mean and its factor is 1.
    balanced:
        ``S_j/ΣS``, shape ``(N,)``.

    Returns
    -------
    Floats
        Shape ``(N,)``, summing to 1. O(N).

    Examples
    --------
    Two hosts, 10 and 30 ms: the mean is 20, both are half of it away, so factors 1.1 and 0.9.

    >>> shift_load(np.array([0.5, 0.5]), np.array([10.0, 30.0]), np.array([0.5, 0.5])).round(3).tolist()
    [0.55, 0.45]
    """
    known = np.isfinite(latencies_ms)
    if not known.any() or not latencies_ms[known].sum() > 0.0:
        return shares
    mean_ms = float(latencies_ms[known].mean())
    away = np.where(known, (mean_ms - np.where(known, latencies_ms, mean_ms)) / mean_ms, 0.0)  # F_j · lh_j
    moved = shares * np.clip(1.0 + eta * away, LEAST_FACTOR, MOST_FACTOR)
    return with_floor(moved / moved.sum(), FLOOR * balanced)


def with_floor(shares: Floats, floor: Floats) -> Floats:
    """Return shares that sum to 1 and are nowhere below ``floor`` (which sums to less than 1); others give way.

    >>> with_floor(np.array([0.0, 1.0]), np.array([0.01, 0.01])).round(3).tolist()
    [0.01, 0.99]
    """
    raised = np.maximum(shares, floor)
    above = raised - floor
    room = float(above.sum())
    if room <= 0.0:
        return np.asarray(raised / raised.sum())
    return np.asarray(floor + above * ((1.0 - float(floor.sum())) / room))


def node_latencies(latencies_ms: Floats, node_of: NDArray[np.intp], count: int) -> Floats:
    """Return ``l_j = Σ_k l_j^k / S_j``, shape ``(count,)``: the plain mean over a node's containers that are known.

    >>> node_latencies(np.array([10.0, 20.0, np.nan]), np.array([0, 0, 1]), 2).tolist()
    [15.0, nan]
    """
    known = np.isfinite(latencies_ms)
    sums = np.bincount(node_of[known], latencies_ms[known], count)
    sizes = np.bincount(node_of[known], minlength=count)
    return np.asarray(np.divide(sums, sizes, out=np.full(count, np.nan), where=sizes > 0))
