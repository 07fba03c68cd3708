"""Targets where one more request costs the same everywhere: marginal latency equalised, leaving a node has a price.

    minimise  Σ_j w_j·l_j(w_j) + p·Σ_h max(0, R_h − W_h)    with Σ_j w_j = R,  low_j ≤ w_j ≤ high_j

``R_h`` is what the clients on node ``h`` send, ``W_h`` what its endpoints get: their difference must cross. The problem
is convex; its conditions (KKT) have one multiplier θ: a node that receives from others works at marginal latency θ, one
that sends away at θ + p, one in between takes exactly its own demand. So ``W_h = clip(R_h, W_h(θ), W_h(θ + p))``, which
rises with θ, and bisection finds it. Without price it is the classic ``l_j + w_j·l_j' = θ``; for M/M/1
``w_j = μ_j − √(μ_j/θ)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from allocators.errors import ProblemError
from estimators.latency_curve import latency_ms, queue_shape

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
ROUNDS = 32  # of bisection; what is left is interpolated


@dataclass(frozen=True, eq=False)
class Crossing:
    """The price of leaving a node.

    Attributes
    ----------
    price_ms:
        What a request that crosses costs, in ms of latency; ≥ 0.
    nodes:
        Number of each endpoint's node, 0 … H−1, shape ``(M,)``.
    demand_per_s:
        What the clients on each node send, shape ``(H,)``, in any unit; it is scaled to the service's total.
    """

    price_ms: float
    nodes: Ints
    demand_per_s: Floats


def cheapest_loads(
    service_ms: Floats,
    *,
    total_per_s: float,
    workers: int = 1,
    low_per_s: Floats | None = None,
    high_per_s: Floats | None = None,
    waiting_per_s: Floats | None = None,
    crossing: Crossing | None = None,
) -> Floats:
    """Return the loads, shape ``(M,)`` and summing to ``total_per_s``, with the least latency and crossing together.

    Parameters
    ----------
    service_ms:
        Of each endpoint, shape ``(M,)``, above 0; with ``workers`` it gives the latency curve.
    low_per_s, high_per_s:
        Bounds, shape ``(M,)``; by default 0 and no limit. They must admit the total.
    waiting_per_s:
        Load that each endpoint has to serve beside its new one (a queue that built up), shape ``(M,)``.
    crossing:
        The price of leaving a node, or None for no price.

    Raises
    ------
    ProblemError
        for bounds that do not admit the total, or service times that are not above 0.

    Notes
    -----
    O(M · rounds). Limits and example: two servers of 200 and 100 requests/s at 30 % load.

    Examples
    --------
    >>> cheapest_loads(np.array([5.0, 10.0]), total_per_s=90.0).round(1).tolist()
    [77.0, 13.0]
    >>> half = Crossing(price_ms=3.0, nodes=np.array([0, 1]), demand_per_s=np.array([1.0, 1.0]))
    >>> cheapest_loads(np.array([5.0, 10.0]), total_per_s=90.0, crossing=half).round(1).tolist()
    [71.4, 18.6]
    """
    size = len(service_ms)
    low = np.zeros(size) if low_per_s is None else low_per_s
    high = np.full(size, total_per_s) if high_per_s is None else np.minimum(high_per_s, max(total_per_s, 0.0))
    high = np.maximum(high, low)
    waiting = 0.0 if waiting_per_s is None else waiting_per_s
    _check(service_ms, low, high, total_per_s)
    shape, log_service, at_full = queue_shape(workers), np.log(service_ms), 1000.0 * workers / service_ms

    def loads(log_theta: Floats | float) -> Floats:
        rho = np.interp(log_theta - log_service, shape.log_marginal, shape.rho)
        return np.minimum(np.maximum(rho * at_full - waiting, low), high)

    bottom, top = float(log_service.min()) - 1e-6, float(log_service.max() + shape.log_marginal[-1])
    if crossing is None or crossing.price_ms == 0.0:
        found = _bisected(loads, bottom, top, total_per_s)
    else:
        found = _priced(loads, bottom, top, total_per_s, crossing)
    return _between(found, high, total_per_s)  # a load that no curve reaches goes where the bounds have room


def latency_cost(
    loads_per_s: Floats, service_ms: Floats, *, workers: int = 1, crossing: Crossing | None = None
) -> float:
    """Return ``Σ w·l(w)`` and, with a price, what crossing costs: requests in the system, times 1000."""
    cost = float(loads_per_s @ latency_ms(loads_per_s, service_ms, workers=workers))
    if crossing is None or crossing.price_ms == 0.0:
        return cost
    demand = _scaled(crossing, float(loads_per_s.sum()))
    taken = np.bincount(crossing.nodes, loads_per_s, len(demand))
    return cost + crossing.price_ms * float(np.maximum(demand - taken, 0.0).sum())


def _check(service_ms: Floats, low: Floats, high: Floats, total_per_s: float) -> None:
    if not len(service_ms) or not (service_ms.min() > 0.0 and service_ms.max() < np.inf):
        raise ProblemError("service_ms: found none, or not above 0, allowed: finite numbers above 0")
    slack = 1e-9 * max(1.0, total_per_s)
    if not float(low.sum()) - slack <= total_per_s <= float(high.sum()) + slack:
        raise ProblemError(
            f"total_per_s: found {total_per_s}, allowed: {low.sum()} to {high.sum()}, what the bounds admit"
        )


def _bisected(loads: Callable[[float], Floats], bottom: float, top: float, total: float) -> Floats:
    for _ in range(ROUNDS):
        middle = (bottom + top) / 2.0
        if loads(middle).sum() < total:
            bottom = middle
        else:
            top = middle
    return _between(loads(bottom), loads(top), total)


def _between(less: Floats, more: Floats, total: float) -> Floats:
    """Return the point between two nearby loads that sums to the total: exact, where bisection is only near."""
    span = float(more.sum() - less.sum())
    if span <= 0.0:
        return less
    part = min(1.0, max(0.0, (total - float(less.sum())) / span))
    return np.asarray(less + part * (more - less))


def _scaled(crossing: Crossing, total_per_s: float) -> Floats:
    sent = float(crossing.demand_per_s.sum())
    return np.asarray(crossing.demand_per_s * (total_per_s / sent)) if sent > 0.0 else crossing.demand_per_s


def _priced(
    loads: Callable[[Floats | float], Floats], bottom: float, top: float, total: float, crossing: Crossing
) -> Floats:
    demand, nodes = _scaled(crossing, total), crossing.nodes
    price, count = crossing.price_ms, len(demand)

    def by_node(log_theta: float) -> Floats:
        receiving = np.bincount(nodes, loads(log_theta), count)
        sending = np.bincount(nodes, loads(np.log(np.exp(log_theta) + price)), count)
        return np.clip(demand, receiving, sending)

    for _ in range(ROUNDS):
        middle = (bottom + top) / 2.0
        if by_node(middle).sum() < total:
            bottom = middle
        else:
            top = middle
    # Each node's own multiplier lies between θ and θ + p; all nodes are bisected at once.
    wanted = _between(by_node(bottom), by_node(top), total)
    low = np.full(count, np.exp(bottom))
    high = np.full(count, np.exp(top) + price)
    for _ in range(ROUNDS):
        middle_of = (low + high) / 2.0
        short = np.bincount(nodes, loads(np.log(middle_of)[nodes]), count) < wanted
        low, high = np.where(short, middle_of, low), np.where(short, high, middle_of)
    less, more = loads(np.log(low)[nodes]), loads(np.log(high)[nodes])
    span = np.bincount(nodes, more - less, count)
    missing = wanted - np.bincount(nodes, less, count)
    part = np.clip(np.divide(missing, span, out=np.zeros(count), where=span > 0.0), 0.0, 1.0)
    return np.asarray(less + part[nodes] * (more - less))
