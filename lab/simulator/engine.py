"""The events: a request starts, reaches a server, has its work done, calls on, answers, is answered.

    start ─► pick ─► (half a round trip) ARRIVE ─► queue ─► WORK_DONE ─► its own calls ─► reply ─► (half) RESPONSE

Compiled; ``pick`` and ``done`` are the policy's data plane. Nothing here knows any policy.
"""

from __future__ import annotations

import math

import numpy as np

from lab.simulator.compiled import compiled
from lab.simulator.event_heap import pop, push
from lab.simulator.lending import lend
from lab.simulator.policy import Done, Pick
from lab.simulator.stations import (
    enter_fifo,
    enter_sharing,
    leave_sharing,
    plan_sharing,
    settle,
)
from lab.simulator.world import (
    ANSWERED,
    ARRIVE,
    ARRIVED_S,
    BUCKETS,
    CONNECTION_COST,
    EVENTS,
    FAILED,
    FAILED_REQUESTS,
    FINISHED,
    FREE,
    FREE_CALLS,
    GROWTH,
    HANDSHAKES,
    IN_FLIGHT,
    IN_FLIGHT_SEEN,
    INSIDE,
    KILL,
    LARGEST_FAN_OUT,
    LATENCIES,
    LATENCY_RING,
    LATENCY_ROWS,
    LATENCY_WIDTH,
    NEXT,
    NODE,
    NOW_S,
    PAIR,
    PARENT,
    PENDING,
    PLACE,
    RATE,
    REPORT,
    REPORT_RATE,
    REPORT_S,
    REPORT_UTILISATION,
    REQUEST,
    RESPONSE,
    RETRIES,
    ROW,
    SENT_S,
    SERVER,
    SHARE_DONE,
    SHARING,
    SMALLEST_S,
    STAGE,
    TRAVELLING,
    TRIED_S,
    TRIES,
    UTILISATION,
    VERSION,
    WAITING,
    WORK_DONE,
    World,
)

REACHED, NEEDS_ROOM = 0, 1
NOBODY = -1


@compiled
def advance(world: World, until_s: float, pick: Pick, done: Done) -> int:
    """Play all events up to ``until_s``; return REACHED, or NEEDS_ROOM when the pools must grow. O(events · log)."""
    return _play_until(lend(world), until_s, pick, done)


@compiled
def _play_until(world: World, until_s: float, pick: Pick, done: Done) -> int:
    counters, heap, requests = world.counters, world.heap, world.requests
    while True:
        in_flight = world.calls.free.size - counters.ints[FREE_CALLS]
        if counters.ints[FREE_CALLS] <= LARGEST_FAN_OUT or heap.at_s.size - heap.size[0] < in_flight + LARGEST_FAN_OUT:
            return NEEDS_ROOM
        following = counters.ints[NEXT]
        start_s = requests.at_s[following] if following < requests.at_s.size else np.inf
        event_s = heap.at_s[0] if heap.size[0] > 0 else np.inf
        if min(start_s, event_s) > until_s or min(start_s, event_s) == np.inf:
            counters.reals[NOW_S] = until_s
            return REACHED
        counters.ints[EVENTS] += 1
        if start_s <= event_s:
            counters.ints[NEXT] += 1
            counters.reals[NOW_S] = start_s
            _send(world, requests.root[following], NOBODY, following, requests.client[following], start_s, pick)
        else:
            _play(world, pick, done)


@compiled
def _play(world: World, pick: Pick, done: Done) -> None:
    now_s, kind, subject, tag = pop(world.heap)
    world.counters.reals[NOW_S] = now_s
    if kind == ARRIVE:
        _arrive(world, subject, now_s)
    elif kind == WORK_DONE:
        if world.calls.ints[subject, VERSION] == tag and world.calls.ints[subject, PLACE] == INSIDE:
            server = _server_of(world, subject)
            settle(world, server, now_s)
            world.servers.inside[server] -= 1
            _call_on(world, subject, now_s, pick)
    elif kind == SHARE_DONE:
        if world.servers.revision[subject] == tag:
            settle(world, subject, now_s)
            call = leave_sharing(world.servers, world.calls, subject)
            world.servers.inside[subject] -= 1
            plan_sharing(world, subject, now_s)
            _call_on(world, call, now_s, pick)
    elif kind == RESPONSE:
        _respond(world, subject, now_s, pick, done)
    elif kind == REPORT:
        _report(world, subject, now_s)
    elif kind == KILL:
        _kill(world, subject, now_s)


@compiled
def _send(world: World, node: int, parent: int, request: int, caller: int, now_s: float, pick: Pick) -> None:
    counters, calls, pairs = world.counters, world.calls, world.pairs
    counters.ints[FREE_CALLS] -= 1
    call = calls.free[counters.ints[FREE_CALLS]]
    pair = world.trees.pair[node]
    calls.ints[call, NODE] = node
    calls.ints[call, PARENT] = parent
    calls.ints[call, PAIR] = pair
    calls.ints[call, ROW] = pairs.row_first[pair] + caller - pairs.client_first[pair]
    calls.ints[call, REQUEST] = request
    calls.ints[call, STAGE] = 0
    calls.ints[call, PENDING] = 0
    calls.ints[call, TRIES] = 0
    calls.ints[call, FAILED] = 0
    calls.reals[call, SENT_S] = now_s
    _dispatch(world, call, now_s, pick)


@compiled
def _dispatch(world: World, call: int, now_s: float, pick: Pick) -> None:
    """Let the client choose a server for ``call`` and put the call on its way."""
    calls, cells, pairs = world.calls, world.cells, world.pairs
    calls.ints[call, PLACE] = TRAVELLING
    calls.reals[call, TRIED_S] = now_s
    pair, row = calls.ints[call, PAIR], calls.ints[call, ROW]
    row_in_pair = row - pairs.row_first[pair]
    count = pairs.servers[pair]
    first = pairs.cell_first[pair] + row_in_pair * count
    if world.rows.degree[row] == 0:  # nowhere to go: the sidecar answers 503 by itself
        calls.ints[call, SERVER] = NOBODY
        calls.ints[call, FAILED] = 1
        calls.ints[call, TRIES] = world.counters.ints[RETRIES]
        push(world.heap, now_s, RESPONSE, call, 0)
        return
    server_first = pairs.server_first[pair]
    memory_first = pairs.memory_first[pair] + row_in_pair * pairs.memory_size[pair]
    board = world.servers.board if pairs.shown[pair] == 1 else world.hidden
    server = pick(
        now_s,
        world.rows.rng[row : row + 1],
        cells.links[first : first + world.rows.degree[row]],
        cells.active[first : first + count],
        cells.weights[first : first + count],
        world.memory[memory_first : memory_first + pairs.memory_size[pair]],
        board[server_first : server_first + count],
    )
    cell = first + server
    calls.ints[call, SERVER] = server
    cells.active[cell] += 1
    cells.sent[cell] += 1
    way_s = cells.one_way_s[cell]
    if cells.opened[cell] == 0:
        cells.opened[cell] = 1
        world.servers.connections[server_first + server] += 1
        way_s += 2.0 * way_s * world.counters.reals[HANDSHAKES]
    push(world.heap, now_s + way_s, ARRIVE, call, 0)


@compiled
def _server_of(world: World, call: int) -> int:
    return int(world.pairs.server_first[world.calls.ints[call, PAIR]] + world.calls.ints[call, SERVER])


@compiled
def _cell_of(world: World, call: int) -> int:
    pair = world.calls.ints[call, PAIR]
    row_in_pair = world.calls.ints[call, ROW] - world.pairs.row_first[pair]
    return int(world.pairs.cell_first[pair] + row_in_pair * world.pairs.servers[pair] + world.calls.ints[call, SERVER])


@compiled
def _arrive(world: World, call: int, now_s: float) -> None:
    calls, servers = world.calls, world.servers
    server = _server_of(world, call)
    calls.reals[call, ARRIVED_S] = now_s
    if servers.alive[server] == 0:
        _answer(world, call, now_s, 1)
        return
    settle(world, server, now_s)
    calls.ints[call, PLACE] = INSIDE
    calls.ints[call, IN_FLIGHT_SEEN] = int(servers.board[server, IN_FLIGHT])
    servers.board[server, IN_FLIGHT] += 1.0
    servers.inside[server] += 1
    request, node = calls.ints[call, REQUEST], calls.ints[call, NODE]
    work_s = world.requests.work_s[world.requests.work_first[request] + node - world.requests.root[request]]
    work_s *= 1.0 + world.counters.reals[CONNECTION_COST] * servers.connections[server]
    if world.counters.ints[SHARING] == 1:
        enter_sharing(world, server, call, work_s)
        plan_sharing(world, server, now_s)
    else:
        enter_fifo(world, server, call, now_s, work_s)


@compiled
def _call_on(world: World, call: int, now_s: float, pick: Pick) -> None:
    """Run the next stage of ``call``, or reply where none is left."""
    calls, trees = world.calls, world.trees
    node = calls.ints[call, NODE]
    server, request = _server_of(world, call), calls.ints[call, REQUEST]
    healthy = calls.ints[call, FAILED] == 0 and world.servers.alive[server] == 1
    work_first = world.requests.work_first[request] - world.requests.root[request]
    while healthy and trees.stage_first[node] + calls.ints[call, STAGE] < trees.stage_first[node + 1]:
        stage = trees.stage_first[node] + calls.ints[call, STAGE]
        calls.ints[call, STAGE] += 1
        for child in trees.children[trees.child_first[stage] : trees.child_first[stage + 1]]:
            if world.requests.work_s[work_first + child] >= 0.0:  # negative: not called this time
                calls.ints[call, PENDING] += 1
                _send(world, child, call, request, server, now_s, pick)
        if calls.ints[call, PENDING] > 0:
            calls.ints[call, PLACE] = WAITING
            return
    _reply(world, call, server, now_s)


@compiled
def _reply(world: World, call: int, server: int, now_s: float) -> None:
    calls, servers = world.calls, world.servers
    board = servers.board
    board[server, IN_FLIGHT] -= 1.0
    failed = 1 if calls.ints[call, FAILED] == 1 or servers.alive[server] == 0 else 0
    latency_s = now_s - calls.reals[call, ARRIVED_S]
    if failed == 0:
        servers.done[server] += 1
        servers.latency_s[server] += latency_s
        servers.histogram[server, _bucket(latency_s)] += 1
        seen = min(calls.ints[call, IN_FLIGHT_SEEN], LATENCY_ROWS - 1)
        column = LATENCIES + seen * LATENCY_WIDTH
        board[server, column + 1 + int(board[server, column]) % LATENCY_RING] = latency_s
        board[server, column] += 1.0
    _answer(world, call, now_s, failed)


@compiled
def _answer(world: World, call: int, now_s: float, failed: int) -> None:
    calls = world.calls
    server = _server_of(world, call)
    calls.ints[call, PLACE] = ANSWERED
    calls.ints[call, VERSION] += 1
    calls.ints[call, FAILED] = failed
    calls.reals[call, REPORT_UTILISATION] = world.servers.board[server, UTILISATION]
    calls.reals[call, REPORT_RATE] = world.servers.board[server, RATE]
    push(world.heap, now_s + world.cells.one_way_s[_cell_of(world, call)], RESPONSE, call, 0)


@compiled
def _bucket(latency_s: float) -> int:
    if latency_s <= SMALLEST_S:
        return 0
    return min(BUCKETS - 1, int(math.log(latency_s / SMALLEST_S) / math.log(GROWTH)) + 1)


@compiled
def _respond(world: World, call: int, now_s: float, pick: Pick, done: Done) -> None:
    calls = world.calls
    failed = calls.ints[call, FAILED]
    if calls.ints[call, SERVER] != NOBODY:
        _learn(world, call, now_s, failed, done)
    if failed == 1 and calls.ints[call, TRIES] < world.counters.ints[RETRIES]:
        calls.ints[call, TRIES] += 1
        calls.ints[call, FAILED] = 0
        calls.ints[call, STAGE] = 0
        _dispatch(world, call, now_s, pick)
        return
    parent, request = calls.ints[call, PARENT], calls.ints[call, REQUEST]
    sent_s = calls.reals[call, SENT_S]
    calls.ints[call, PLACE] = FREE
    calls.free[world.counters.ints[FREE_CALLS]] = call
    world.counters.ints[FREE_CALLS] += 1
    if parent == NOBODY:
        world.latency_s[request] = np.inf if failed == 1 else now_s - sent_s
        world.counters.ints[FINISHED] += 1
        world.counters.ints[FAILED_REQUESTS] += failed
        return
    if failed == 1:
        calls.ints[parent, FAILED] = 1
    calls.ints[parent, PENDING] -= 1
    if calls.ints[parent, PENDING] == 0:
        _call_on(world, parent, now_s, pick)


@compiled
def _learn(world: World, call: int, now_s: float, failed: int, done: Done) -> None:
    calls, cells, pairs = world.calls, world.cells, world.pairs
    cell, server = _cell_of(world, call), calls.ints[call, SERVER]
    latency_s = now_s - calls.reals[call, TRIED_S]  # of this try; the request's own latency counts from the first
    cells.active[cell] -= 1
    if failed == 1:
        cells.failed[cell] += 1
    else:
        cells.done[cell] += 1
        cells.latency_s[cell] += latency_s
        cells.histogram[_server_of(world, call), _bucket(latency_s)] += 1
    pair = calls.ints[call, PAIR]
    row_in_pair = calls.ints[call, ROW] - pairs.row_first[pair]
    first = pairs.cell_first[pair] + row_in_pair * pairs.servers[pair]
    memory_first = pairs.memory_first[pair] + row_in_pair * pairs.memory_size[pair]
    done(
        now_s,
        server,
        latency_s,
        failed,
        calls.reals[call, REPORT_UTILISATION],
        calls.reals[call, REPORT_RATE],
        cells.active[first : first + pairs.servers[pair]],
        world.memory[memory_first : memory_first + pairs.memory_size[pair]],
    )


@compiled
def _report(world: World, server: int, now_s: float) -> None:
    """Publish the server's ORCA load report: utilisation of its workers and answers per second in its last window."""
    servers, window_s = world.servers, world.counters.reals[REPORT_S]
    settle(world, server, now_s)
    busy_s = servers.busy_s[server] - servers.reported_busy_s[server]
    answered = servers.done[server] - servers.reported_done[server]
    servers.board[server, UTILISATION] = busy_s / (window_s * servers.workers[server])
    servers.board[server, RATE] = answered / window_s
    servers.reported_busy_s[server] = servers.busy_s[server]
    servers.reported_done[server] = servers.done[server]
    if servers.alive[server] == 1 and world.counters.ints[FINISHED] < world.requests.at_s.size:
        push(world.heap, now_s + window_s, REPORT, server, 0)


@compiled
def _kill(world: World, server: int, now_s: float) -> None:
    """Let ``server`` die: all that is inside fails now; what waits for its own calls fails when they are back."""
    servers, calls = world.servers, world.calls
    settle(world, server, now_s)
    servers.alive[server] = 0
    servers.inside[server] = 0
    servers.heap_root[server] = -1
    servers.revision[server] += 1
    for call in range(calls.ints.shape[0]):
        if calls.ints[call, PLACE] == INSIDE and _server_of(world, call) == server:
            servers.board[server, IN_FLIGHT] -= 1.0
            _answer(world, call, now_s, 1)
