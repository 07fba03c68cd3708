"""The state of a run, in arrays that compiled code changes in place.

Numbering: clients 0..; containers ("servers") through all services; ``pair`` = a caller service with a callee service;
``row`` = one client of one pair; ``cell`` = one (client, server) of one pair. The arrays of a row lie in a row.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lab.simulator.call_graph import Trees
from lab.simulator.event_heap import Heap, empty_heap, grown
from lab.simulator.speed_path import SpeedPaths
from lab.simulator.workload import Requests

Integers = NDArray[np.int64]
Reals = NDArray[np.float64]

# Columns of Calls.ints
NODE, PARENT, ROW, SERVER, REQUEST, VERSION, PENDING, STAGE, LEFT, RIGHT, IN_FLIGHT_SEEN, TRIES, FAILED, PLACE, PAIR = (
    range(15)
)
# Columns of Calls.reals
SENT_S, TRIED_S, ARRIVED_S, GOAL_S, REPORT_UTILISATION, REPORT_RATE = range(6)
# Values of PLACE: free, on its way, in the server's queue or worker, waiting for its own calls, answered
FREE, TRAVELLING, INSIDE, WAITING, ANSWERED = range(5)

# Kinds of events
WORK_DONE, SHARE_DONE, ARRIVE, RESPONSE, REPORT, KILL = range(1, 7)

# Counters.ints and Counters.reals
NEXT, FREE_CALLS, EVENTS, RETRIES, SHARING, FINISHED, FAILED_REQUESTS = range(7)
NOW_S, CONNECTION_COST, REPORT_S, HANDSHAKES = range(4)

# Columns of the board: what a server's inside shows
IN_FLIGHT, SPEED, UTILISATION, RATE, LATENCIES = range(5)
LATENCY_ROWS, LATENCY_RING = 32, 33  # per requests-in-flight at arrival: how many latest latencies are kept
LATENCY_WIDTH = LATENCY_RING + 1  # and how many there ever were
BOARD_WIDTH = LATENCIES + LATENCY_ROWS * LATENCY_WIDTH

SMALLEST_S, GROWTH, BUCKETS = 1e-4, 1.1, 145  # histogram buckets 10 % apart, from 0.1 ms to 100 s
LARGEST_FAN_OUT = 64


class Calls(NamedTuple):
    """Calls in flight; ``free`` is a stack of unused slots."""

    ints: Integers
    reals: Reals
    free: Integers


class Servers(NamedTuple):
    """One entry a container; ``worker_free_s`` has one column a worker."""

    workers: Integers
    alive: Integers
    inside: Integers
    settled_s: Reals
    busy_s: Reals
    worker_free_s: Reals
    attained_s: Reals
    heap_root: Integers
    revision: Integers
    connections: Integers
    done: Integers
    latency_s: Reals
    reported_busy_s: Reals
    reported_done: Integers
    histogram: Integers
    board: Reals


class Pairs(NamedTuple):
    """One entry a pair: where its rows, cells and memory begin, and its sizes."""

    row_first: Integers
    cell_first: Integers
    memory_first: Integers
    memory_size: Integers
    server_first: Integers
    servers: Integers
    client_first: Integers
    shown: Integers


class Rows(NamedTuple):
    """One entry a row."""

    rng: NDArray[np.uint64]
    degree: Integers


class Cells(NamedTuple):
    """One entry a (client, server); ``links`` of a row are its first ``degree`` entries."""

    links: Integers
    active: Integers
    weights: Reals
    one_way_s: Reals
    opened: Integers
    sent: Integers
    done: Integers
    failed: Integers
    latency_s: Reals
    histogram: Integers


class Counters(NamedTuple):
    """Scalars that change."""

    ints: Integers
    reals: Reals


class World(NamedTuple):
    """All of it. ``latency_s[r]`` is NaN until request r is answered, infinite if it failed."""

    calls: Calls
    heap: Heap
    servers: Servers
    paths: SpeedPaths
    pairs: Pairs
    rows: Rows
    cells: Cells
    memory: Reals
    hidden: Reals
    trees: Trees
    requests: Requests
    latency_s: Reals
    counters: Counters


def empty_calls(capacity: int) -> Calls:
    """Return a pool of ``capacity`` unused calls."""
    return Calls(
        np.zeros((capacity, 15), dtype=np.int64),
        np.zeros((capacity, 6)),
        np.arange(capacity, dtype=np.int64)[::-1].copy(),
    )


def empty_servers(workers: Integers) -> Servers:
    """Return idle servers, ``workers[g]`` workers each."""
    count = workers.size
    board = np.zeros((count, BOARD_WIDTH))
    board[:, [UTILISATION, RATE]] = np.nan
    return Servers(
        workers=workers,
        alive=np.ones(count, dtype=np.int64),
        inside=np.zeros(count, dtype=np.int64),
        settled_s=np.zeros(count),
        busy_s=np.zeros(count),
        worker_free_s=np.zeros((count, int(workers.max()))),
        attained_s=np.zeros(count),
        heap_root=np.full(count, -1, dtype=np.int64),
        revision=np.zeros(count, dtype=np.int64),
        connections=np.zeros(count, dtype=np.int64),
        done=np.zeros(count, dtype=np.int64),
        latency_s=np.zeros(count),
        reported_busy_s=np.zeros(count),
        reported_done=np.zeros(count, dtype=np.int64),
        histogram=np.zeros((count, BUCKETS), dtype=np.int64),
        board=board,
    )


def empty_cells(one_way_s: Reals, servers: int) -> Cells:
    """Return cells without traffic; ``servers`` is how many there are in all (for the client-side histograms)."""
    count = one_way_s.size
    return Cells(
        links=np.zeros(count, dtype=np.int64),
        active=np.zeros(count, dtype=np.int64),
        weights=np.zeros(count),
        one_way_s=one_way_s,
        opened=np.zeros(count, dtype=np.int64),
        sent=np.zeros(count, dtype=np.int64),
        done=np.zeros(count, dtype=np.int64),
        failed=np.zeros(count, dtype=np.int64),
        latency_s=np.zeros(count),
        histogram=np.zeros((servers, BUCKETS), dtype=np.int64),
    )


def fresh_heap(capacity: int = 4096) -> Heap:
    """Return an empty event queue."""
    return empty_heap(capacity)


def with_more_room(world: World) -> World:
    """Return the same world with twice the room for calls and events."""
    calls = world.calls
    old = calls.ints.shape[0]
    extra = empty_calls(old)
    free = np.zeros(2 * old, dtype=np.int64)
    unused = int(world.counters.ints[FREE_CALLS])
    free[:old] = extra.free + old
    free[old : old + unused] = calls.free[:unused]
    world.counters.ints[FREE_CALLS] = old + unused
    larger = Calls(np.concatenate([calls.ints, extra.ints]), np.concatenate([calls.reals, extra.reals]), free)
    return world._replace(calls=larger, heap=grown(world.heap))
