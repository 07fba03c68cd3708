"""Targets: which part of all requests each endpoint should get."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from allocators.problem import TrafficProblem, parts


def equal(capacities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``c_j / Σc``, shape ``(M,)``: every endpoint equally busy for its capacity.

    >>> equal(np.array([1.0, 3.0])).tolist()
    [0.25, 0.75]
    """
    return parts(capacities)


def target_parts(problem: TrafficProblem, *, order: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the problem's own targets scaled to sum to 1, or ``equal`` where it names none; endpoints in ``order``."""
    if problem.targets is None:
        return equal(problem.capacities[order])
    return parts(problem.targets[order])
