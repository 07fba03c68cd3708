"""Envoy 1.40's ``load_aware_locality``: all local until the own zone is busier than the others, then by headroom.

Source: Envoy's documentation and source of 1.40.0. Each second, each client by itself: the mean ORCA utilisation of a
zone's hosts, smoothed over 5 s; base weight = hosts · (1 − utilisation); where the local zone's utilisation is at most
the others' mean + 0.1, all goes local; at least 3 % always goes abroad, to keep seeing it. Inside the zone the child
policy chooses: LEAST_REQUEST or ROUND_ROBIN.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.simulator.compiled import compiled_done
from lab.simulator.pair import Pair
from lab.simulator.policies.localities import (
    localities_memory,
    pick_by_locality,
    set_localities,
    set_shares,
    zone_count,
)
from lab.simulator.policy import Clocks, Policy
from lab.simulator.world import Integers

PERIOD_S, SMOOTHING_S, EXPIRATION_S = 1.0, 5.0, 180.0
THRESHOLD, PROBE_SHARE = 0.1, 0.03


@compiled_done
def note_utilisation(
    now_s: float,
    endpoint: int,
    latency_s: float,
    failed: int,
    utilisation: float,
    rate: float,
    active: Any,
    memory: Any,
) -> None:
    """Keep utilisation and time of a response's load report, in the last two numbers a server."""
    if failed == 0 and utilisation >= 0.0:
        memory[memory.size - 2 * active.size + endpoint] = utilisation
        memory[memory.size - active.size + endpoint] = now_s


def headroom(hosts: Integers, utilisation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the base shares of localities by free capacity, shape (localities,).

    Examples
    --------
    The documentation's: utilisations .7, .3, .4 and 10 hosts each give 19, 44 and 37 %.

    >>> (headroom(np.array([10, 10, 10]), np.array([0.7, 0.3, 0.4])) * 100).round(2).tolist()
    [18.75, 43.75, 37.5]
    """
    free = hosts * np.clip(1.0 - utilisation, 0.0, 1.0)
    if free.sum() <= 0:
        free = hosts.astype(np.float64)
    return np.asarray(free / free.sum())


def locality_shares(mine: int, hosts: Integers, utilisation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where a client in locality ``mine`` sends.

    >>> locality_shares(0, np.array([4, 4]), np.array([0.45, 0.4])).round(3).tolist()
    [0.97, 0.03]
    >>> locality_shares(0, np.array([4, 4]), np.array([0.9, 0.4])).round(3).tolist()
    [0.143, 0.857]
    """
    shares = headroom(hosts, utilisation)
    remote = np.arange(hosts.size) != mine
    if hosts[mine] == 0 or hosts[remote].sum() == 0:
        return shares
    if utilisation[mine] <= np.average(utilisation[remote], weights=hosts[remote]) + THRESHOLD:
        shares = np.where(remote, 0.0, 1.0)
    if shares[remote].sum() < PROBE_SHARE:
        abroad = headroom(np.where(remote, hosts, 0), utilisation)
        shares = np.where(remote, PROBE_SHARE * abroad, 1.0 - PROBE_SHARE)
    return np.asarray(shares)


class LoadAwareLocality(Policy):
    """``load_aware_locality`` with a LEAST_REQUEST child."""

    pick = staticmethod(pick_by_locality)
    done = staticmethod(note_utilisation)
    clocks = Clocks(client_s=PERIOD_S)
    in_turn = 0

    def __init__(self) -> None:
        self._smoothed = np.zeros((0, 0))

    def memory_size(self, pair: Pair) -> int:
        """The two steps, and two numbers a server, after the sorted members."""
        return localities_memory(zone_count(pair), pair.servers) + 2 * pair.servers

    def start(self, pair: Pair) -> None:
        """Begin as if all were idle."""
        zones = zone_count(pair)
        set_localities(pair.memory, pair.server_zones, localities=zones, in_turn=self.in_turn)
        pair.memory[:, -2 * pair.servers : -pair.servers] = 0.0
        pair.memory[:, -pair.servers :] = -np.inf
        self._smoothed = np.full((pair.clients, zones), np.nan)
        pair.push(np.ones((pair.clients, pair.servers)))
        self.client_tick(pair, 0.0, np.arange(pair.clients))

    def client_tick(self, pair: Pair, now_s: float, clients: Integers) -> None:
        """Renew the zones' utilisations and shares of ``clients``."""
        utilisation = pair.memory[clients, -2 * pair.servers : -pair.servers]
        fresh = (now_s - pair.memory[clients, -pair.servers :] <= EXPIRATION_S) & pair.alive
        zones = self._smoothed.shape[1]
        in_zone = (pair.server_zones[:, None] == np.arange(zones)[None, :]).astype(np.float64)
        seen = fresh.astype(np.float64) @ in_zone
        with np.errstate(invalid="ignore"):
            mean = np.where(seen > 0, np.where(fresh, utilisation, 0.0) @ in_zone / seen, np.nan)
        gain = 1.0 - math.exp(-PERIOD_S / SMOOTHING_S)
        old = self._smoothed[clients]
        smoothed = np.where(np.isnan(old), mean, np.where(np.isnan(mean), old, old + gain * (mean - old)))
        self._smoothed[clients] = smoothed
        hosts = np.bincount(pair.server_zones[pair.alive], minlength=zones)
        known = np.nan_to_num(smoothed, nan=0.0)
        homes = pair.client_zones[clients]
        shares = [locality_shares(int(home), hosts, row) for home, row in zip(homes, known, strict=True)]
        set_shares(pair.memory, np.array(shares), clients)


class LoadAwareLocalityInTurn(LoadAwareLocality):
    """``load_aware_locality`` with a ROUND_ROBIN child."""

    in_turn = 1
