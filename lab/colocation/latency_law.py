"""From demand to a distribution of latencies: a queue with c servers, and a backlog where they are not enough.

With ``x = ln(1 / (1 - quantile))`` (4.6 at p99), load ``a = λ·S`` and Erlang's probability ``C`` of having to wait::

    T(x) = own(x) + burstiness · S · max(0, ln C + x) / (c - a) + backlog · S / c [+ W · max(0, ln P + x)]

``own(ln 100) = S · (tail + crowd · ρ^crowd_power)`` with ρ = a/c: at p99 this is the law that was fitted to Fig. 1 and
2. (Tails that grow long before all cores are busy are those of servers whose threads have connections of their own.)
Around it ``own`` is a shifted exponential with mean S, without a shift where the tail is longer than an exponential's.
Where a ≥ c the queueing term is the backlog alone, which grows by λ - c/S. The last term is for who shares its servers
with others (``sharing.py``): a part P of the requests waits for them, W on average.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lab.colocation.applications import Application

Floats = NDArray[np.float64]
P99 = math.log(100.0)
NARROWEST = 0.02  # a tail of one service time would have no spread at all


@lru_cache(maxsize=65536)
def erlang_c(servers: int, load: float) -> float:
    """Return the probability that a request has to wait in M/M/c (Erlang 1917); 1 where the load is not less than c.

    >>> round(erlang_c(1, 0.5), 6), round(erlang_c(2, 1.0), 6)
    (0.5, 0.333333)
    """
    if load >= servers:
        return 1.0
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = load * blocked / (k + load * blocked)
    return servers * blocked / (servers - load * (1.0 - blocked))


@dataclass(frozen=True, slots=True)
class Delay:
    """A part of the requests waits so long on average, exponentially distributed."""

    part: float
    mean_s: float


@dataclass(frozen=True, slots=True)
class Law:
    """A distribution of latencies, piecewise linear in x: ``offset + own·x``, and more beyond two knees.

    ``queue·(x - from_x)`` beyond the one, ``delay·(x - delay_from_x)`` beyond the other.
    """

    offset_ms: float
    own_ms: float
    queue_ms: float
    from_x: float
    delay_ms: float = 0.0
    delay_from_x: float = 0.0

    def at(self, x: float) -> float:
        """Return the latency in ms that a part exp(-x) of the requests exceeds."""
        delayed = self.delay_ms * max(0.0, x - self.delay_from_x)
        return self.offset_ms + self.own_ms * x + self.queue_ms * max(0.0, x - self.from_x) + delayed

    def exceeding(self, limits_ms: Floats) -> Floats:
        """Return the part of requests slower than each limit, shape ``(limits,)``."""
        over = np.maximum(0.0, limits_ms - self.offset_ms)
        late: Floats = np.exp(-np.min([start + (over - met) / slope for start, met, slope in self._lines()], axis=0))
        return late

    def late_part(self, limit_ms: float) -> float:
        """Return the part of requests slower than one limit."""
        over = max(0.0, limit_ms - self.offset_ms)
        return math.exp(-min(start + (over - met) / slope for start, met, slope in self._lines()))

    def _lines(self) -> tuple[tuple[float, float, float], ...]:
        """Return (x, latency, slope) of the lines whose maximum the law is; its inverse is their inverses' minimum."""
        own, queue, start = self.own_ms, self.queue_ms, self.from_x
        alone = ((0.0, 0.0, own), (start, own * start, own + queue))
        if not self.delay_ms:
            return alone
        later, delay = self.delay_from_x, self.delay_ms
        both = (queue * start + delay * later) / (queue + delay)  # where both would begin at once
        return (*alone, (later, own * later, own + delay), (both, own * both, own + queue + delay))


def law_of(
    application: Application, *, rate_per_s: float, service_s: float, servers: int, backlog: float = 0.0,
    servers_load: float | None = None, delay: Delay | None = None,
) -> Law:  # fmt: skip
    """Return the law of one service now.

    ``servers_load`` is the load of all who share the servers (its own by default), ``delay`` what others' turns on them
    cost.
    """
    law = _own_law(application, rate_per_s, service_s, servers, backlog, servers_load)
    if delay is None or delay.part <= 0.0:
        return law
    return replace(law, delay_ms=1e3 * delay.mean_s, delay_from_x=-math.log(delay.part))


def _own_law(
    application: Application, rate_per_s: float, service_s: float, servers: int, backlog: float,
    servers_load: float | None,
) -> Law:  # fmt: skip
    if application.tail_by_load:
        return _from_table(application, rate_per_s, backlog)
    load = rate_per_s * service_s if servers_load is None else servers_load
    tail = application.tail + application.crowd * min(1.0, load / servers) ** application.crowd_power
    spread = max(NARROWEST, min((tail - 1.0) / (P99 - 1.0), tail / P99))
    own_ms = 1e3 * spread * service_s
    offset_ms = 1e3 * tail * service_s - own_ms * P99 + 1e3 * backlog * service_s / servers
    if load >= servers:
        return Law(offset_ms, own_ms, 0.0, 0.0)
    waiting = erlang_c(servers, load)
    from_x = -math.log(waiting) if waiting > 0.0 else 700.0
    return Law(offset_ms, own_ms, 1e3 * application.burstiness * service_s / (servers - load), from_x)


def _from_table(application: Application, rate_per_s: float, backlog: float) -> Law:
    loads, tails = zip(*application.tail_by_load, strict=True)
    p99_ms = float(np.interp(rate_per_s / application.most_requests_per_s, loads, tails))
    return Law(1e3 * backlog * application.service_s, p99_ms / P99, 0.0, 0.0)
