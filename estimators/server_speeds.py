"""How fast each endpoint of a service is now: a filter over what its latencies say of its service time.

One scalar Kalman filter for each endpoint, on the logarithm of its service time, so that twice and half as slow are
equally far. A figure of n samples is as uncertain as a queue makes it, ``(1 + 5ρ)/n`` in log service time; speed
wanders by 2 % a tick. A step (an antagonist comes or goes) shows as one error of over 4 standard deviations, or two of
the same sign of over 2: then the new figure counts and the past does not.

All shapes of ``latency_curve.WORKERS`` are followed side by side: only under the true one does the service time stay
the same while the load changes. Of those whose predictions of latency err least, the one with fewest workers is used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from estimators.latency_curve import WORKERS, latency_ms, service_ms_of, utilisation, weighted_median

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
WANDER = 0.02**2  # variance of log service time per tick
UNKNOWN = 1.0  # variance of what nobody measured
LEAST_NOISE = 0.02**2
STEP, HALF_STEP = 4.0, 2.0  # standard deviations
SHRUNK = 2.0  # variances of difference from the median that count as noise
CLIPPED = 0.5  # an error of log latency counts at most so much against a shape
MEMORY = 0.98  # of the shapes' errors, per tick
AS_GOOD = 1.2  # of the least error: among these, fewest workers, because they are believed full first
BUSY = 0.9  # ρ: beyond, queues grow and drain, and fit no curve
ENOUGH = 30.0  # figures before a shape is chosen


@dataclass(frozen=True, eq=False)
class ServerSpeeds:
    """What is known of the endpoints of one service, in the order of ``endpoints``.

    Attributes
    ----------
    log_service_ms:
        Shape ``(shapes, M)``: log of the service time under each shape; NaN where nothing is known.
    variance:
        Of it, shape ``(M,)``.
    surprise:
        Last prediction error in standard deviations, shape ``(M,)``.
    misfit, figures:
        Sum of squared errors of each shape, shape ``(shapes,)``, and how many figures are in it; both fade.
    shape:
        Index of the shape in use.
    """

    endpoints: tuple[str, ...]
    log_service_ms: Floats
    variance: Floats
    surprise: Floats
    misfit: Floats
    figures: float = 0.0
    shape: int = 0

    @property
    def workers(self) -> int:
        return WORKERS[self.shape]

    @property
    def service_ms(self) -> Floats:
        """Service times under the shape in use, shape ``(M,)``; NaN where unknown."""
        return np.asarray(np.exp(self.log_service_ms[self.shape]))


def unknown_speeds(endpoints: tuple[str, ...]) -> ServerSpeeds:
    """Return speeds of which nothing is known."""
    size = len(endpoints)
    return ServerSpeeds(
        endpoints=endpoints,
        log_service_ms=np.full((len(WORKERS), size), np.nan),
        variance=np.full(size, UNKNOWN),
        surprise=np.zeros(size),
        misfit=np.zeros(len(WORKERS)),
    )


def for_endpoints(speeds: ServerSpeeds, endpoints: tuple[str, ...]) -> ServerSpeeds:
    """Return the speeds of another set of endpoints: who stays keeps what is known of it. O(M)."""
    if speeds.endpoints == endpoints:
        return speeds
    new = unknown_speeds(endpoints)
    place = {name: index for index, name in enumerate(speeds.endpoints)}
    here = [index for index, name in enumerate(endpoints) if name in place]
    there = [place[endpoints[index]] for index in here]
    new.log_service_ms[:, here] = speeds.log_service_ms[:, there]
    new.variance[here] = speeds.variance[there]
    new.surprise[here] = speeds.surprise[there]
    return replace(new, misfit=speeds.misfit, figures=speeds.figures, shape=speeds.shape)


def follow(
    speeds: ServerSpeeds, loads_per_s: Floats, latencies_ms: Floats, counts: Floats
) -> tuple[ServerSpeeds, Bools]:
    """Return the speeds after one tick's figures, and which endpoints' speeds jumped.

    Parameters
    ----------
    loads_per_s, latencies_ms, counts:
        Shape ``(M,)``: completed requests per second, their mean latency, their number; NaN latency or count 0 where
        there is no figure: such an endpoint only becomes less certain.

    Notes
    -----
    O(shapes · M · log points).

    Examples
    --------
    >>> speeds = unknown_speeds(("a", "b"))
    >>> speeds, jumped = follow(speeds, np.array([50.0, 5.0]), np.array([20.0, np.nan]), np.array([250.0, 3.0]))
    >>> speeds.service_ms.round(1).tolist(), jumped.tolist()
    ([10.0, nan], [False, False])
    """
    with np.errstate(invalid="ignore"):
        seen = np.isfinite(latencies_ms) & (latencies_ms > 0.0) & (counts > 0.0) & (loads_per_s > 0.0)
    variance = np.minimum(speeds.variance + WANDER, UNKNOWN)
    if not seen.any():
        return replace(speeds, variance=variance, surprise=np.zeros(len(seen))), np.zeros(len(seen), dtype=bool)
    loads, latencies = loads_per_s[seen], latencies_ms[seen]
    said = np.stack([np.log(service_ms_of(loads, latencies, workers=workers)) for workers in WORKERS])
    known = np.isfinite(speeds.log_service_ms[0, seen])
    old = np.where(known, speeds.log_service_ms[:, seen], said)
    before = np.where(known, variance[seen], UNKNOWN)
    rho = np.minimum(utilisation(loads, np.exp(said[speeds.shape]), workers=speeds.workers), 1.0)
    noise = np.maximum((1.0 + 5.0 * rho) / counts[seen], LEAST_NOISE)
    surprise = (said - old)[speeds.shape] / np.sqrt(before + noise)
    last = speeds.surprise[seen]
    twice = (np.minimum(surprise, last) > HALF_STEP) | (np.maximum(surprise, last) < -HALF_STEP)
    jumped = known & (twice | (np.abs(surprise) > STEP))
    gain = np.where(jumped | ~known, 1.0, before / (before + noise))
    settled = known & ~jumped & (rho < BUSY)  # a queue that grows or drains fits no curve
    misfit, figures = _judged(speeds, loads[settled], latencies[settled], old[:, settled])
    log_service_ms, all_surprises = speeds.log_service_ms.copy(), np.zeros(len(seen))
    log_service_ms[:, seen] = old + gain * (said - old)
    variance[seen] = np.where(gain == 1.0, noise, (1.0 - gain) * before)
    all_surprises[seen] = np.where(jumped, 0.0, surprise)
    everywhere = np.zeros(len(seen), dtype=bool)
    everywhere[seen] = jumped
    after = replace(
        speeds, log_service_ms=log_service_ms, variance=variance, surprise=all_surprises, misfit=misfit, figures=figures
    )
    return replace(after, shape=_best_shape(after)), everywhere


def expected_ms(speeds: ServerSpeeds, *, fallback_ms: Floats | None = None) -> Floats:
    """Return a service time for every endpoint, shape ``(M,)``: its own, else the fallback's, else the median.

    ``fallback_ms``, shape ``(M,)`` with NaN for none, is what a performance table expects there. All NaN where nothing
    is known of anyone. Own estimates are drawn towards the median by their error, so that ``1 − 2·variance/d²`` of the
    difference ``d`` stays (James and Stein 1961): among equals, noise must not look like speed.
    """
    own = _drawn_to_median(speeds)
    if fallback_ms is not None:
        own = np.where(np.isfinite(own), own, fallback_ms)
    known = np.isfinite(own)
    if known.all() or not known.any():
        return own
    return np.where(known, own, weighted_median(own[known], np.ones(int(known.sum()))))


def _drawn_to_median(speeds: ServerSpeeds) -> Floats:
    logs = speeds.log_service_ms[speeds.shape]
    known = np.isfinite(logs)
    if not known.any():
        return np.asarray(np.exp(logs))
    away = logs - np.median(logs[known])
    error = SHRUNK * speeds.variance
    kept = 1.0 - np.divide(error, away * away, out=np.ones(len(logs)), where=known & (away * away > error))
    return np.asarray(np.exp(logs - (1.0 - kept) * away))


def _judged(speeds: ServerSpeeds, loads: Floats, latencies: Floats, old: Floats) -> tuple[Floats, float]:
    expected = [latency_ms(loads, np.exp(old[index]), workers=workers) for index, workers in enumerate(WORKERS)]
    errors = np.minimum(np.abs(np.log(np.stack(expected) / latencies)), CLIPPED)
    return MEMORY * speeds.misfit + (errors * errors).sum(axis=1), MEMORY * speeds.figures + len(loads)


def _best_shape(speeds: ServerSpeeds) -> int:
    if speeds.figures < ENOUGH:
        return speeds.shape
    return int(np.argmax(speeds.misfit <= AS_GOOD * speeds.misfit.min()))
