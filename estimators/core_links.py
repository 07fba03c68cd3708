"""The unpeeled core: non-negative least squares for links that counters alone cannot tell apart.

On a cycle infinitely many link values fit the same counters. Among the best fits we take the one nearest to the
gravity estimate (each link in proportion to what its two ends have left), as in tomogravity (Zhang, Roughan,
Duffield, Greenberg, SIGMETRICS 2003), because plain NNLS would rather set whole links to zero.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
DENSE_UP_TO = 120  # links in one component; beyond, the sparse solver is faster
GRAVITY_SWEEPS = 50
TOLERANCE = 1e-12


def solve_core(ends: Ints, rest: Floats) -> Floats:
    """Return the bytes of each open edge.

    Parameters
    ----------
    ends:
        Shape ``(edges, 2)``: the two double-cover nodes of each open edge.
    rest:
        Shape ``(nodes,)``: what each node has left to explain, bytes; NaN where it is unknown.

    Returns
    -------
    Floats
        Shape ``(edges,)``, bytes ≥ 0, minimising ``Σ (sum of the node's edges − rest)²`` over the known nodes; each
        connected component by itself.

    Examples
    --------
    Two clients, two servers, all four links: the marginals leave one degree of freedom, gravity settles it.

    >>> ends = np.array([[0, 2], [0, 3], [1, 2], [1, 3]])
    >>> solve_core(ends, np.array([30.0, 10.0, 20.0, 20.0])).round(6).tolist()
    [15.0, 15.0, 5.0, 5.0]
    """
    result = np.zeros(len(ends))
    if len(ends) == 0:
        return result
    names, local = np.unique(ends, return_inverse=True)
    local = local.reshape(ends.shape)
    links = csr_array((np.ones(len(ends)), (local[:, 0], local[:, 1])), shape=(len(names), len(names)))
    count, label = connected_components(links, directed=False)
    edge_label = label[local[:, 0]]
    order = np.argsort(edge_label, kind="stable")
    starts = np.searchsorted(edge_label[order], np.arange(count + 1))
    for begin, end in pairwise(starts.tolist()):
        edges = order[begin:end]
        own_names, own = np.unique(ends[edges], return_inverse=True)
        result[edges] = _solve_component(own.reshape(-1, 2), rest[own_names])
    return result


def _solve_component(ends: Ints, rest: Floats) -> Floats:
    known = np.isfinite(rest)
    scale = float(np.abs(rest[known]).max(initial=0.0))
    if scale == 0:
        return np.zeros(len(ends))
    target = rest / scale
    start = _gravity(ends, target)
    rows = ends.T.ravel()
    columns = np.tile(np.arange(len(ends)), 2)
    matrix = csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(rest), len(ends)))[known]
    misfit = target[known] - matrix @ start
    if float(np.abs(misfit).max()) <= TOLERANCE:
        return start * scale
    return np.maximum(start + _correction(matrix, misfit, start), 0.0) * scale


def _correction(matrix: csr_array, misfit: Floats, start: Floats) -> Floats:
    """Return the step ≥ −start that fits best; the shortest one where it need not touch the bound."""
    bounds = (-start - TOLERANCE, np.full(len(start), np.inf))
    if len(start) <= DENSE_UP_TO:
        solution = lsq_linear(matrix.toarray(), misfit, bounds=bounds, method="bvls", tol=TOLERANCE)
    else:
        solution = lsq_linear(
            matrix, misfit, bounds=bounds, method="trf", lsq_solver="lsmr", lsmr_tol=TOLERANCE, tol=TOLERANCE
        )
    step: Floats = solution.x
    return step


def _gravity(ends: Ints, target: Floats) -> Floats:
    """Scale all links, side by side, until they meet the known sums (iterative proportional fitting)."""
    known = np.isfinite(target)
    wanted = np.where(known, np.maximum(target, 0.0), 0.0)
    links: Floats = (known[ends[:, 0]] | known[ends[:, 1]]).astype(np.float64)
    for _ in range(GRAVITY_SWEEPS):
        before = links.copy()
        for side in (0, 1):
            sums = np.bincount(ends[:, side], weights=links, minlength=len(target))
            factor: Floats = np.ones(len(target))
            np.divide(wanted, sums, out=factor, where=known & (sums > 0))
            links *= factor[ends[:, side]]
        if float(np.abs(links - before).max()) <= TOLERANCE:
            break
    return links


def pinned_part(ends: Ints, rest: Floats) -> Floats:
    """Return, per open edge, how far its counters pin it: (least possible) / (most possible), 0..1.

    An edge carries at most what either end has left, and at least what the end's other edges cannot carry. O(edges).

    Examples
    --------
    >>> ends = np.array([[0, 2], [0, 3], [1, 2], [1, 3]])
    >>> pinned_part(ends, np.array([30.0, 10.0, 20.0, 20.0])).tolist()
    [0.5, 0.5, 0.0, 0.0]
    """
    left = np.where(np.isfinite(rest), np.maximum(rest, 0.0), np.inf)
    most = left[ends].min(axis=1)
    least = np.zeros(len(ends))
    for side in (0, 1):
        nodes = ends[:, side]
        with np.errstate(invalid="ignore"):  # inf − inf: nothing is known, and nan_to_num says so
            others = np.bincount(nodes, weights=most, minlength=len(rest))[nodes] - most
            least = np.maximum(least, np.nan_to_num(left[nodes] - others, nan=0.0, posinf=0.0, neginf=0.0))
    parts = np.divide(least, most, out=np.where(most > 0, 0.0, 1.0), where=(most > 0) & np.isfinite(most))
    clipped: Floats = np.clip(parts, 0.0, 1.0)
    return clipped
