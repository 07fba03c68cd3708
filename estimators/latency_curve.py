"""Latency curves: mean latency of one server by its load, with its service time as the one unknown.

A container is a queue with ``c`` workers: ``l(w) = s·g(ρ)``, ``ρ = w·s/c``, ``g(ρ) = 1 + ρ^(√(2(c+1))−1) / (c·(1−ρ))``
(Sakasegawa 1977; exact for M/M/1 and M/G/1-PS at c = 1, within a few per cent for M/M/c). Interference makes ``s``
longer; ``c`` belongs to the program. By Little's law ``w·l = c·ρ·g(ρ)`` holds no ``s``, so that one look into a table
turns a measured load and latency into ``ρ`` and then ``s``; where a queue grows, load is what it completes, and ``ρ``
comes out as nearly 1: so even an overloaded server shows its capacity.

The marginal latency ``d(w·l)/dw = s·(g + ρ·g')`` is what one more request per second costs all together. Beyond
``ρ = 0.99`` all three rise exponentially, because a solver must find an answer for a service that is overloaded whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from estimators.errors import EstimatorError

Floats = NDArray[np.float64]
FULL = 0.99  # where the curve leaves queueing theory
STEEPNESS = 10.0  # beyond: e-fold for every 10 % more load
MOST_RHO = 4.0
WORKERS = (1, 2, 4, 8, 16)  # the shapes that are told apart


@dataclass(frozen=True, eq=False)
class QueueShape:
    """One shape as table over ρ, each shape ``(points,)``: log g, log of the marginal factor, and c·ρ·g."""

    workers: int
    rho: Floats
    log_latency: Floats
    log_marginal: Floats
    in_system: Floats


@lru_cache(maxsize=64)
def queue_shape(workers: int) -> QueueShape:
    """Return the table of a queue with ``workers`` (≥ 1) workers; made once for each number."""
    if workers < 1:
        raise EstimatorError(f"workers: found {workers}, allowed: an integer >= 1")
    rho = np.unique(np.concatenate((np.linspace(0.0, 0.9, 256), 1.0 - np.geomspace(0.1, 1.0 - FULL, 96))))
    power = np.sqrt(2.0 * (workers + 1.0)) - 1.0
    wait = rho**power / (workers * (1.0 - rho))
    slope = (power * rho ** (power - 1.0) * (1.0 - rho) + rho**power) / (workers * (1.0 - rho) ** 2)
    log_latency, log_marginal = np.log1p(wait), np.log(1.0 + wait + rho * slope)
    beyond = np.geomspace(rho[-1], MOST_RHO, 64)[1:]
    rise = STEEPNESS * (beyond - rho[-1])
    rho = np.concatenate((rho, beyond))
    log_latency = np.concatenate((log_latency, log_latency[-1] + rise))
    log_marginal = np.concatenate((log_marginal, log_marginal[-1] + rise))
    return QueueShape(workers, rho, log_latency, log_marginal, workers * rho * np.exp(log_latency))


def service_ms_of(loads_per_s: Floats, latencies_ms: Floats, *, workers: int = 1) -> Floats:
    """Return the service time of each server in ms, from its load and mean latency; same shapes, NaN stays NaN.

    O(n log points).

    >>> service_ms_of(np.array([50.0]), np.array([20.0])).round(3).tolist()  # M/M/1: 1/(100 - 50) s
    [10.0]
    """
    shape = queue_shape(workers)
    rho = np.interp(loads_per_s * latencies_ms / 1000.0, shape.in_system, shape.rho)
    # Both say the same; the table is exact in g where g is flat, and in ρ where it is steep.
    by_latency = latencies_ms / np.exp(np.interp(rho, shape.rho, shape.log_latency))
    by_load = 1000.0 * workers * rho / np.where(rho > 0.5, loads_per_s, 1.0)
    return np.where(rho > 0.5, by_load, by_latency)


def utilisation(loads_per_s: Floats, service_ms: Floats, *, workers: int = 1) -> Floats:
    """Return ρ of each server."""
    return np.asarray(loads_per_s * service_ms / (1000.0 * workers))


def latency_ms(loads_per_s: Floats, service_ms: Floats, *, workers: int = 1) -> Floats:
    """Return the mean latency of each server in ms.

    >>> latency_ms(np.array([0.0, 50.0]), np.array([10.0, 10.0])).round(2).tolist()
    [10.0, 20.0]
    """
    shape = queue_shape(workers)
    rho = utilisation(loads_per_s, service_ms, workers=workers)
    return np.asarray(service_ms * np.exp(np.interp(rho, shape.rho, shape.log_latency)))


def marginal_ms(loads_per_s: Floats, service_ms: Floats, *, workers: int = 1) -> Floats:
    """Return ``d(w·l)/dw`` of each server in ms: M/M/1 has ``μ/(μ − w)²``.

    >>> marginal_ms(np.array([0.0, 50.0]), np.array([10.0, 10.0])).round(2).tolist()
    [10.0, 40.0]
    """
    shape = queue_shape(workers)
    rho = utilisation(loads_per_s, service_ms, workers=workers)
    return np.asarray(service_ms * np.exp(np.interp(rho, shape.rho, shape.log_marginal)))


@dataclass(frozen=True, slots=True)
class LatencyCurve:
    """The curve of one server. ``misfit`` is the weighted root mean square error of log latency."""

    service_ms: float
    workers: int
    misfit: float


def fit_curve(loads_per_s: Floats, latencies_ms: Floats, weights: Floats) -> LatencyCurve | None:
    """Fit service time and number of workers to points of one server (or one interference of a performance table).

    For each shape the service time is the weighted median of what the points say, so that a third of them may be
    wrong; the shape with the least error wins, the one with fewer workers where it is as good. One load cannot tell
    shapes apart: then ``workers`` is 1. None without a usable point.

    Parameters
    ----------
    loads_per_s, latencies_ms, weights:
        Shape ``(points,)`` each; points that are not finite or have no weight are left out. Cost O(shapes · points).

    Examples
    --------
    >>> loads = np.array([10.0, 50.0, 80.0])
    >>> curve = fit_curve(loads, 1000.0 / (100.0 - loads), np.ones(3))
    >>> round(curve.service_ms, 2), curve.workers
    (10.0, 1)
    """
    usable = np.isfinite(loads_per_s + latencies_ms + weights) & (weights > 0.0) & (latencies_ms > 0.0)
    loads, latencies, weight = loads_per_s[usable], latencies_ms[usable], weights[usable]
    if not len(loads):
        return None
    best: LatencyCurve | None = None
    for workers in WORKERS:
        logs = np.log(service_ms_of(loads, latencies, workers=workers))
        service_ms = float(np.exp(weighted_median(logs, weight)))
        errors = np.log(latency_ms(loads, np.full(len(loads), service_ms), workers=workers) / latencies)
        misfit = float(np.sqrt(np.average(np.minimum(np.abs(errors), 1.0) ** 2, weights=weight)))
        if best is None or misfit < 0.95 * best.misfit - 1e-3:
            best = LatencyCurve(service_ms, workers, misfit)
    return best


def weighted_median(values: Floats, weights: Floats) -> float:
    """Return the value at half of the weight.

    >>> weighted_median(np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 5.0]))
    2.0
    """
    order = np.argsort(values, kind="stable")
    along = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(along, along[-1] / 2.0)])
