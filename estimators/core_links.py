"""The unpeeled core: non-negative least squares for links that counters alone cannot tell apart.

On a cycle infinitely many link values fit the same counters. Among the best fits we take the one nearest to the
gravity estimate (each link in proportion to what its two ends have left), as in tomogravity (Zhang, Roughan,
Duffield, Greenberg, SIGMETRICS 2003), because plain NNLS would rather set whole links to zero.

The solver is block principal pivoting (Portugal, Júdice, Vicente 1994; Kim, Park 2011) with sparse factors of the
small system ``B·Bᵀ`` over nodes: a call graph is nearly a tree, so the factors hardly fill in, and the time grows
with the core, not with its cube as in a dense NNLS.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
GRAVITY_SWEEPS = 50
DAMPING = 1e-6  # pull towards the gravity estimate; makes the best fit unique, and B·Bᵀ regular
ROUNDS = 3  # each starts from the last and divides what the pull spoiled by about its strength
MOST_PIVOTS = 200
PATIENCE = 3  # full exchanges without progress before exchanging one by one
TOLERANCE = 1e-9  # of the largest sum; rounding over DAMPING is 1e-10


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


@dataclass(frozen=True, eq=False)
class _System:
    """Least squares of one component: shapes ``(edges, 2)``, ``(nodes,)``, ``(nodes,)``."""

    ends: Ints
    known: Bools
    target: Floats

    def sums(self, links: Floats) -> Floats:
        """Return the sum of the links at each known node, 0 at the others."""
        total = np.bincount(self.ends.ravel(), weights=np.repeat(links, 2), minlength=len(self.known))
        return np.where(self.known, total, 0.0)

    def along(self, potential: Floats) -> Floats:
        """Return, per edge, the potentials of its known ends together."""
        held = np.where(self.known, potential, 0.0)
        return np.asarray(held[self.ends[:, 0]] + held[self.ends[:, 1]])

    def nearest(self, start: Floats, free: Bools) -> Floats:
        """Return the best fit with the edges that are not ``free`` at 0, as near to ``start`` as damping pulls."""
        tails, heads = self.ends[free].T
        diagonal = np.where(self.known, self.sums(free.astype(np.float64)) + DAMPING, 1.0)
        joined = self.known[tails] & self.known[heads]
        nodes, tails, heads = np.arange(len(diagonal)), tails[joined], heads[joined]
        values = np.concatenate([diagonal, np.ones(2 * len(tails))])
        rows, columns = np.concatenate([nodes, tails, heads]), np.concatenate([nodes, heads, tails])
        matrix = csc_array((values, (rows, columns)), shape=(len(nodes), len(nodes)))
        factors = splu(matrix, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}, diag_pivot_thresh=0.0)
        potential = factors.solve(np.where(self.known, self.target - self.sums(np.where(free, start, 0.0)), 0.0))
        return np.where(free, start + self.along(potential), 0.0)


def _solve_component(ends: Ints, rest: Floats) -> Floats:
    known = np.isfinite(rest)
    scale = float(np.abs(rest[known]).max(initial=0.0))
    if scale == 0:
        return np.zeros(len(ends))
    system = _System(ends, known, np.where(known, rest, 0.0) / scale)
    links = _gravity(system)
    free = np.ones(len(ends), dtype=np.bool_)
    for _ in range(ROUNDS):
        if float(np.abs(system.sums(links) - system.target).max()) <= TOLERANCE:
            break
        links, free = _pivot(system, links, free)
    return links * scale


def _pivot(system: _System, start: Floats, free: Bools) -> tuple[Floats, Bools]:
    """Exchange edges between free and zero until no free one is negative and no zero one wants to grow."""
    fewest, patience = len(free) + 1, PATIENCE
    links = start
    for _ in range(MOST_PIVOTS):
        links = system.nearest(start, free)
        pull = system.along(system.sums(links) - system.target) + DAMPING * (links - start)
        wrong = np.where(free, links < -TOLERANCE, pull < -TOLERANCE)
        count = int(np.count_nonzero(wrong))
        if count == 0:
            break
        if count < fewest:
            fewest, patience = count, PATIENCE
        else:
            patience -= 1
        if patience < 0:  # Murty's rule: slower, but it cannot cycle
            wrong[: np.flatnonzero(wrong)[-1]] = False
        free = free ^ wrong
    return np.maximum(links, 0.0), free


def _gravity(system: _System) -> Floats:
    """Scale all links, side by side, until they meet the known sums (iterative proportional fitting)."""
    ends, known = system.ends, system.known
    wanted = np.maximum(system.target, 0.0)
    links: Floats = (known[ends[:, 0]] | known[ends[:, 1]]).astype(np.float64)
    for _ in range(GRAVITY_SWEEPS):
        before = links.copy()
        for side in (0, 1):
            sums = np.bincount(ends[:, side], weights=links, minlength=len(known))
            factor: Floats = np.ones(len(known))
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
