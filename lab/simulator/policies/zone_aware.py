"""Envoy zone-aware routing: local as long as host counts allow, the rest by where hosts are in surplus.

Source: Envoy, ``load_balancer_impl.cc``. It reads host counts only: no load, no speed. Inside a zone LEAST_REQUEST.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lab.simulator.pair import Pair
from lab.simulator.policies.localities import (
    localities_memory,
    pick_by_locality,
    set_localities,
    set_shares,
    zone_count,
)
from lab.simulator.policy import Policy
from lab.simulator.world import Integers

SCALE = 10_000
MIN_CLUSTER_SIZE = 6


def zone_shares(mine: int, *, local: Integers, upstream: Integers) -> NDArray[np.float64]:
    """Return to which zones a proxy in zone ``mine`` sends, shape (zones,).

    ``local`` and ``upstream`` are the healthy hosts per zone of the proxy's own service and of the called one.

    Examples
    --------
    A zone with 2 of 3 clients but 1 of 3 servers keeps half, and sends the other half where servers are in surplus.

    >>> zone_shares(0, local=np.array([4, 2]), upstream=np.array([3, 6])).round(2).tolist()
    [0.5, 0.5]
    >>> zone_shares(1, local=np.array([4, 2]), upstream=np.array([3, 6])).tolist()
    [0.0, 1.0]
    """
    spread = upstream / max(1, upstream.sum())
    if (
        np.count_nonzero(upstream) < 2
        or np.count_nonzero(local) < 2
        or local[mine] == 0
        or upstream.sum() < MIN_CLUSTER_SIZE
    ):
        return np.asarray(spread)
    local_part = SCALE * local // local.sum()
    upstream_part = SCALE * upstream // upstream.sum()
    shares = np.zeros(local.size)
    if upstream_part[mine] >= local_part[mine]:
        shares[mine] = 1.0
        return shares
    shares[mine] = (SCALE * upstream_part[mine] // local_part[mine]) / SCALE
    surplus = np.maximum(upstream_part - local_part, 0)
    if surplus.sum() == 0:  # rounding left nothing over: a random zone
        surplus = np.ones(local.size, dtype=np.int64)
    return np.asarray(shares + (1 - shares[mine]) * surplus / surplus.sum())


class ZoneAware(Policy):
    """Zone-aware routing with LEAST_REQUEST inside the zone."""

    pick = staticmethod(pick_by_locality)

    def memory_size(self, pair: Pair) -> int:
        """Room for the two steps."""
        return localities_memory(zone_count(pair), pair.servers)

    def start(self, pair: Pair) -> None:
        """Compute every proxy's shares from the host counts."""
        zones = zone_count(pair)
        set_localities(pair.memory, pair.server_zones, localities=zones)
        pair.push(np.ones((pair.clients, pair.servers)))
        self._count(pair)

    def membership(self, pair: Pair) -> None:
        """Count again."""
        super().membership(pair)
        self._count(pair)

    def _count(self, pair: Pair) -> None:
        zones = zone_count(pair)
        local = np.bincount(pair.client_zones, minlength=zones)
        upstream = np.bincount(pair.server_zones[pair.alive], minlength=zones)
        shares = np.array([zone_shares(int(zone), local=local, upstream=upstream) for zone in pair.client_zones])
        set_shares(pair.memory, shares, np.arange(pair.clients))
