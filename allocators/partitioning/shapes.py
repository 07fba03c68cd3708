"""Curves with a free height: a family of shapes, weighed by how well each explains what was seen.

Few observations leave many shapes plausible, and the strategy may then hope for the best of them; each further
observation narrows the choice. Two families are used: service time by cache ways, and tail latency by utilisation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
PLAUSIBLE = 0.05  # of the best shape's weight
SURE_Z = 1.64  # standard errors by which a height may be wrong


@dataclass(frozen=True, slots=True)
class Belief:
    """Curves over a grid: the expected one, and the lowest that is plausible, in shape and in height."""

    expected: Floats
    lowest: Floats


def weighed(shapes_seen: Floats, values: Floats, errors: Floats, shapes: Floats) -> Belief:
    """Return what a family says on a grid after some observations. O(shapes · (observations + grid)).

    Parameters
    ----------
    shapes_seen:
        float64, shape ``(shapes, observations)``, > 0: each shape at the places of the observations.
    values, errors:
        float64, shape ``(observations,)``: what was seen there, > 0, and its relative standard error.
    shapes:
        float64, shape ``(shapes, *grid)``, > 0; infinite where a shape has no value.

    Examples
    --------
    >>> shapes = np.array([[1.0, 1.0], [1.0, 2.0]])  # flat, or twice as high at the second place
    >>> belief = weighed(shapes, np.array([3.0, 6.0]), np.array([0.01, 0.01]), shapes)
    >>> belief.expected.round(3).tolist(), belief.lowest.round(2).tolist()
    ([3.0, 6.0], [2.97, 5.93])
    """
    precision = 1.0 / errors**2
    distance = np.log(values)[None, :] - np.log(shapes_seen)
    height = (distance * precision).sum(axis=1) / precision.sum()
    misfit = (((distance - height[:, None]) ** 2) * precision).sum(axis=1)
    weight = np.exp(-0.5 * (misfit - misfit.min()))
    curves = np.exp(height).reshape(-1, *([1] * (shapes.ndim - 1))) * shapes
    plausible = weight >= PLAUSIBLE
    # The log-mean: one shape that rises without bound must not outvote all others.
    parts = weight.reshape(-1, *([1] * (shapes.ndim - 1))) / weight.sum()
    with np.errstate(invalid="ignore"):
        expected = np.exp(np.where(parts > 1e-6, parts * np.log(curves), 0.0).sum(axis=0))
    too_high = math.exp(-SURE_Z / math.sqrt(float(precision.sum())))
    return Belief(expected, too_high * curves[plausible].min(axis=0))


CACHE_SHAPES = tuple((benefit, ways) for benefit in (0.0, 0.1, 0.3, 0.7, 1.5) for ways in (1.0, 4.0, 15.0))


def cache_shapes(ways: Sequence[float]) -> Floats:
    """Return service time by ways, shape ``(shapes, ways)``: 1 + benefit · exp(-(w - 1) / scale)."""
    at = np.asarray(ways, dtype=np.float64)
    return np.array([1.0 + benefit * np.exp(-(at - 1.0) / scale) for benefit, scale in CACHE_SHAPES])


QUEUE_SHAPES = tuple((wait, crowd) for wait in (0.0, 0.3, 1.0, 4.0, 15.0) for crowd in (0.0, 1.0, 4.0))


def queue_shapes(load: Floats, cores: Floats) -> Floats:
    """Return tail latency in service times, shape ``(shapes, *load.shape)``; infinite where the load fills the cores.

    1 + crowd · ρ + wait · W, with Sakasegawa's waiting time of M/M/c (1977): W = ρ^(√(2(c+1)) - 1) / (c (1 - ρ)).
    ``crowd`` stands for services whose threads have queues of their own.
    """
    rho = np.minimum(1.0, load / cores)
    with np.errstate(divide="ignore", invalid="ignore"):
        waiting = rho ** (np.sqrt(2.0 * (cores + 1.0)) - 1.0) / (cores * (1.0 - rho))
    wait, crowd = (np.array(part).reshape(-1, *([1] * rho.ndim)) for part in zip(*QUEUE_SHAPES, strict=True))
    shapes: Floats = 1.0 + crowd * rho + wait * np.minimum(waiting, 1e9)
    shapes[:, rho >= 1.0] = math.inf
    return shapes
