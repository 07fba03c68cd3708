"""The queues inside a server: c workers first come first served, or c workers shared by all that is inside."""

from __future__ import annotations

from lab.simulator.compiled import compiled
from lab.simulator.event_heap import push
from lab.simulator.speed_path import finish_time, work_between
from lab.simulator.world import GOAL_S, LEFT, RIGHT, SHARE_DONE, VERSION, WORK_DONE, Calls, Servers, World


@compiled
def settle(world: World, server: int, now_s: float) -> None:
    """Bring the busy time (and, for sharing, the attained service) of ``server`` up to ``now_s``.

    A worker is busy while something is inside for it: min(inside, workers) of them.
    """
    servers = world.servers
    inside = servers.inside[server]
    past_s = servers.settled_s[server]
    if inside > 0 and now_s > past_s:
        workers = servers.workers[server]
        servers.busy_s[server] += min(inside, workers) * (now_s - past_s)
        share = min(1.0, workers / inside)
        servers.attained_s[server] += work_between(world.paths, server, past_s, now_s) * share
    servers.settled_s[server] = now_s


@compiled
def enter_fifo(world: World, server: int, call: int, now_s: float, work_s: float) -> None:
    """Queue ``call``. First come first served fixes its start and end: the worker that is free first takes it."""
    servers = world.servers
    best = 0
    for worker in range(1, servers.workers[server]):
        if servers.worker_free_s[server, worker] < servers.worker_free_s[server, best]:
            best = worker
    start_s = max(now_s, servers.worker_free_s[server, best])
    end_s = finish_time(world.paths, server, start_s, work_s)
    servers.worker_free_s[server, best] = end_s
    push(world.heap, end_s, WORK_DONE, call, world.calls.ints[call, VERSION])


@compiled
def enter_sharing(world: World, server: int, call: int, work_s: float) -> None:
    """Let ``call`` share the server. Its goal: the attained service at which it is done. Settle before, plan after."""
    servers, calls = world.servers, world.calls
    calls.reals[call, GOAL_S] = servers.attained_s[server] + work_s
    calls.ints[call, LEFT] = -1
    calls.ints[call, RIGHT] = -1
    servers.heap_root[server] = _merged(calls, servers.heap_root[server], call)


@compiled
def leave_sharing(servers: Servers, calls: Calls, server: int) -> int:
    """Remove and return the call with the nearest goal."""
    call = servers.heap_root[server]
    servers.heap_root[server] = _merged(calls, calls.ints[call, LEFT], calls.ints[call, RIGHT])
    return int(call)


@compiled
def plan_sharing(world: World, server: int, now_s: float) -> None:
    """Announce the next end at ``server``; what was announced before is void (its revision is old)."""
    servers = world.servers
    servers.revision[server] += 1
    call = servers.heap_root[server]
    if call >= 0:
        share = min(1.0, servers.workers[server] / servers.inside[server])
        left_s = max(0.0, world.calls.reals[call, GOAL_S] - servers.attained_s[server]) / share
        push(world.heap, finish_time(world.paths, server, now_s, left_s), SHARE_DONE, server, servers.revision[server])


@compiled
def _merged(calls: Calls, one: int, other: int) -> int:
    # A skew heap (Sleator and Tarjan, 1986) threaded through the calls: no room to run out of.
    if one < 0:
        return other
    if other < 0:
        return one
    if calls.reals[other, GOAL_S] < calls.reals[one, GOAL_S]:
        one, other = other, one
    root = one
    while True:
        right = calls.ints[one, RIGHT]
        calls.ints[one, RIGHT] = calls.ints[one, LEFT]
        if right < 0:
            calls.ints[one, LEFT] = other
            return root
        if calls.reals[other, GOAL_S] < calls.reals[right, GOAL_S]:
            right, other = other, right
        calls.ints[one, LEFT] = right
        one = right


@compiled
def settle_all(world: World, now_s: float) -> None:
    """Bring every server up to ``now_s``, before its counters are copied."""
    for server in range(world.servers.workers.size):
        settle(world, server, now_s)
