"""Closed forms to check the engine by and to feed the oracles: M/M/c, and the best static split over such servers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lab.simulator.errors import SimulatorError

Reals = NDArray[np.float64]
STEPS = 42  # of a bisection: 2^-42 of the range


def waiting_probability(offered: Reals, workers: NDArray[np.int64]) -> Reals:
    """Return Erlang's C: the chance that all workers are busy. ``offered`` = rate · mean work, below ``workers``.

    O(largest number of workers). Source: Erlang (1917), by the recursion of the B formula.

    >>> round(float(waiting_probability(np.array([1.4]), np.array([2]))[0]), 4)
    0.5765
    """
    blocking = np.ones_like(offered)
    result = np.zeros_like(offered)
    for number in range(1, int(workers.max()) + 1):
        blocking = offered * blocking / (number + offered * blocking)
        delayed = number * blocking / (number - np.minimum(offered, number * (1 - 1e-12)) * (1 - blocking))
        result = np.where(workers == number, delayed, result)
    return result


def in_system(rates: Reals, service_rates: Reals, workers: NDArray[np.int64], *, variation: float = 1.0) -> Reals:
    """Return the mean number of requests inside each M/G/c server (Allen and Cunneen's approximation; exact for M/M/c).

    ``rates`` and ``service_rates`` (of one worker) in 1/s; ``variation`` is the work's coefficient of variation.

    >>> float(in_system(np.array([0.7]), np.array([1.0]), np.array([1]))[0].round(6))
    2.333333
    """
    offered = rates / service_rates
    load = offered / workers
    waiting = waiting_probability(offered, workers) * load / (1 - load)
    return offered + waiting * (1 + variation**2) / 2


def best_split(total: float, service_rates: Reals, workers: NDArray[np.int64], *, variation: float = 1.0) -> Reals:
    """Return the rates per server that minimise the mean latency of all requests: equal marginal latency.

    KKT: d(w·l(w))/dw = θ where w > 0, ≥ θ where w = 0; bisection on θ. O(servers · STEPS²).

    Raises
    ------
    SimulatorError
        where the servers together are too slow for ``total``.

    Examples
    --------
    Eight fast and two slow M/M/1 servers at half load: the slow ones work less.

    >>> speeds = np.array([200.0] * 8 + [100.0] * 2)
    >>> split = best_split(900.0, speeds, np.ones(10, dtype=np.int64))
    >>> (split / speeds)[[0, 9]].round(2).tolist()
    [0.52, 0.32]
    """
    capacity = service_rates * workers
    if not 0 < total < capacity.sum():
        raise SimulatorError(f"total: found {total}, allowed: above 0 and below {capacity.sum()}")
    low = 1 / service_rates.max()
    high = low
    while _rates_for(high, service_rates, workers, variation).sum() < total:
        high *= 2
    for _ in range(STEPS):
        middle = (low + high) / 2
        if _rates_for(middle, service_rates, workers, variation).sum() < total:
            low = middle
        else:
            high = middle
    rates = _rates_for(high, service_rates, workers, variation)
    return np.asarray(rates * total / rates.sum())


def _rates_for(price: float, service_rates: Reals, workers: NDArray[np.int64], variation: float) -> Reals:
    capacity = service_rates * workers
    low, high = np.zeros_like(capacity), capacity * (1 - 1e-9)
    for _ in range(STEPS):
        middle = (low + high) / 2
        cheap = _marginal(middle, service_rates, workers, variation) < price
        low, high = np.where(cheap, middle, low), np.where(cheap, high, middle)
    return np.where(price <= 1 / service_rates, 0.0, low)


def _marginal(rates: Reals, service_rates: Reals, workers: NDArray[np.int64], variation: float) -> Reals:
    capacity = service_rates * workers
    step = np.minimum(rates, capacity - rates) * 1e-4 + capacity * 1e-12
    more = in_system(rates + step, service_rates, workers, variation=variation)
    less = in_system(np.maximum(rates - step, 0), service_rates, workers, variation=variation)
    return (more - less) / (rates + step - np.maximum(rates - step, 0))
