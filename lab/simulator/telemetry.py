"""What a control plane is shown at a tick: counts and latencies of one closed window, nothing newer, nothing true."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lab.simulator.world import BUCKETS, GROWTH, SMALLEST_S, Integers, Reals, World


class Totals(NamedTuple):
    """Cumulative counters of the whole world at one instant; all arrays are copies."""

    at_s: float
    sent: Integers
    done: Integers
    failed: Integers
    latency_s: Reals
    client_histogram: Integers
    server_done: Integers
    server_latency_s: Reals
    server_histogram: Integers
    busy_s: Reals


def totals(world: World, at_s: float) -> Totals:
    """Copy the counters of ``world``; the caller has settled the busy times at ``at_s``."""
    cells, servers = world.cells, world.servers
    return Totals(
        at_s,
        cells.sent.copy(),
        cells.done.copy(),
        cells.failed.copy(),
        cells.latency_s.copy(),
        cells.histogram.copy(),
        servers.done.copy(),
        servers.latency_s.copy(),
        servers.histogram.copy(),
        servers.busy_s.copy(),
    )


@dataclass(frozen=True)
class Window:
    """One pair's telemetry from ``start_s`` to ``end_s``; it is handed over ``Observation.delay_s`` after ``end_s``.

    Attributes
    ----------
    sent, done, failed:
        Calls that left, came back, failed, as the clients' sidecars count them; shape (clients, servers).
    latency_sum_s:
        Of those done, as the clients see it (network included); shape (clients, servers).
    client_histogram:
        The same latencies, by server; shape (servers, buckets); ``bucket_bounds_s`` has the upper bounds.
    server_done, server_latency_sum_s, server_histogram:
        The same at the servers' sidecars (network not included); shapes (servers,), (servers,), (servers, buckets).
    utilisation:
        Busy part of each server's workers, 0..1 (what cgroup CPU counters show); shape (servers,).
    """

    start_s: float
    end_s: float
    sent: Integers
    done: Integers
    failed: Integers
    latency_sum_s: Reals
    client_histogram: Integers
    server_done: Integers
    server_latency_sum_s: Reals
    server_histogram: Integers
    utilisation: Reals

    @property
    def length_s(self) -> float:
        """Length of the window."""
        return self.end_s - self.start_s


def bucket_bounds_s() -> NDArray[np.float64]:
    """Return the upper bounds of the histogram buckets, 10 % apart; the last has none (infinite).

    >>> bucket_bounds_s()[:2].round(6).tolist()
    [0.0001, 0.00011]
    """
    bounds = SMALLEST_S * GROWTH ** np.arange(BUCKETS)
    bounds[-1] = np.inf
    return np.asarray(bounds)


def window_of(before: Totals, after: Totals, world: World, pair: int) -> Window:
    """Return what happened in ``pair`` between two copies of the counters."""
    servers, clients = int(world.pairs.servers[pair]), _clients(world, pair)
    cell_first, server_first = int(world.pairs.cell_first[pair]), int(world.pairs.server_first[pair])
    cells, mine = slice(cell_first, cell_first + clients * servers), slice(server_first, server_first + servers)
    shape = (clients, servers)
    workers = world.servers.workers[mine]
    return Window(
        start_s=before.at_s,
        end_s=after.at_s,
        sent=(after.sent[cells] - before.sent[cells]).reshape(shape),
        done=(after.done[cells] - before.done[cells]).reshape(shape),
        failed=(after.failed[cells] - before.failed[cells]).reshape(shape),
        latency_sum_s=(after.latency_s[cells] - before.latency_s[cells]).reshape(shape),
        client_histogram=after.client_histogram[mine] - before.client_histogram[mine],
        server_done=after.server_done[mine] - before.server_done[mine],
        server_latency_sum_s=after.server_latency_s[mine] - before.server_latency_s[mine],
        server_histogram=after.server_histogram[mine] - before.server_histogram[mine],
        utilisation=(after.busy_s[mine] - before.busy_s[mine]) / (workers * max(after.at_s - before.at_s, 1e-12)),
    )


def _clients(world: World, pair: int) -> int:
    rows = world.rows.degree.size
    ends = np.append(world.pairs.row_first[1:], rows)
    return int(ends[pair] - world.pairs.row_first[pair])
