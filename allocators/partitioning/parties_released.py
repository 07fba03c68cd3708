"""PARTIES as its authors' program does it (manager/PARTIES.py of 2019), where that is not what the paper says.

::

    polls        every 100 ms; a move is judged by the sign of five polls: fewer than three better ones → no help
    two slacks   of the last poll, and the mean of the last second; both < 0.05 to grow, both > 0.2 to shrink;
                 the neediest by the mean, the richest by the last poll
    a downsize   stands only if every container keeps a slack of 0.05; else it comes back, then ten polls of rest
    ban          100 polls, nominally 10 s (the paper: 30 s)
    resources    cores, cache, frequency, in this order; no memory, disk, network, best-effort jobs or migration
    a victim     is who has most slack and two units, even if that slack is negative; nobody gives frequency

What it does wrong with lost samples (an old latency is used again, a first one of 0 looks like perfect health) is not
copied: without requests there is no slack.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from allocators.partitioning.draws import draw
from allocators.partitioning.ledger import (
    Held,
    added,
    can_give,
    can_take,
    equal_shares,
    grants,
    idle,
    in_force,
    latency_critical,
)
from allocators.partitioning.node_view import NodeView, Tenant
from allocators.partitioning.step import Step
from allocators.partitioning.wheels import Direction, Turn, on_wheel
from allocators.partitioning.windows import closed_tails
from mesh.actions import Resource
from mesh.topology import ContainerName

WHEEL: tuple[Resource, ...] = ("cpu", "cpuset", "cache", "cpu_frequency")
POLLS, REST_POLLS, MEAN_POLLS, BAN_S = 5, 10, 10, 10.0
UP_BELOW, DOWN_ABOVE = 0.05, 0.20


@dataclass(frozen=True, slots=True)
class Vote:
    """A move that is being watched: what it was, the latency before, polls so far, how many of them were better."""

    container: ContainerName
    turn: Turn
    before_ms: float
    polls: int = 0
    better: int = 0


@dataclass(frozen=True, slots=True)
class ReleasedMemory:
    """What the program keeps: slacks of the last second, latencies, wheels, the move watched, rest and bans."""

    seed: int
    slacks: Mapping[ContainerName, tuple[float, ...]] = field(default_factory=dict)
    latencies_ms: Mapping[ContainerName, float] = field(default_factory=dict)
    turns: Mapping[ContainerName, Turn] = field(default_factory=dict)
    vote: Vote | None = None
    rest: int = 0
    banned_until_s: Mapping[ContainerName, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PartiesReleased:
    """The named strategy ``parties-released``."""

    name: str = "parties-released"
    tick_s: float = 0.1

    def start(self, view: NodeView, *, seed: int) -> Step[ReleasedMemory]:
        """Return equal shares of everything."""
        return Step(ReleasedMemory(seed=seed), grants(equal_shares(view)), ("Equal shares of every resource.",))

    def step(self, memory: ReleasedMemory, view: NodeView) -> Step[ReleasedMemory]:
        """Poll; watch the last move, or rest, or move one unit. O(tenants)."""
        held = in_force(view)
        memory = _polled(memory, view)
        if memory.vote is not None:
            memory, held, reasons = _watched(memory, view, held, memory.vote)
        elif memory.rest:
            memory, reasons = replace(memory, rest=memory.rest - 1), ()
        else:
            memory, held, reasons = _moved(memory, view, held)
        return Step(memory, grants(held), reasons)


def _polled(memory: ReleasedMemory, view: NodeView) -> ReleasedMemory:
    tails, _ = closed_tails(view, {}, fewest=1)
    here = {tenant.container for tenant in latency_critical(view)}
    slacks = {name: past for name, past in memory.slacks.items() if name in here}
    latencies = {name: past for name, past in memory.latencies_ms.items() if name in here}
    for name, tail in tails.items():
        slacks[name] = (*slacks.get(name, ())[-MEAN_POLLS + 1 :], tail.slack)
        latencies[name] = tail.value_ms
    return replace(memory, slacks=slacks, latencies_ms=latencies)


def _mean(memory: ReleasedMemory, tenant: Tenant) -> float:
    past = memory.slacks[tenant.container]
    return sum(past) / len(past)


def _watched(
    memory: ReleasedMemory, view: NodeView, held: Held, vote: Vote
) -> tuple[ReleasedMemory, Held, tuple[str, ...]]:
    tenant = next((t for t in latency_critical(view) if t.container == vote.container), None)
    if tenant is None:
        return replace(memory, vote=None), held, ()
    better = memory.latencies_ms.get(vote.container, vote.before_ms) <= vote.before_ms
    vote = replace(vote, polls=vote.polls + 1, better=vote.better + better)
    if vote.polls < POLLS:
        return replace(memory, vote=vote), held, ()
    memory = replace(memory, vote=None)
    what = view.resources[vote.turn.index].resource
    if vote.turn.direction == "up":
        if 2 * vote.better > POLLS:
            return memory, held, ()
        return _turned(memory, view, tenant, vote.turn), held, (f"{vote.container}: more {what} did not help.",)
    if all(past[-1] >= UP_BELOW for past in memory.slacks.values()):
        return memory, held, ()
    until = {**memory.banned_until_s, vote.container: view.time_s + BAN_S}
    memory = _turned(replace(memory, rest=REST_POLLS, banned_until_s=until), view, tenant, vote.turn)
    back = _taken(memory, view, held, tenant, vote.turn.index)
    return memory, held if back is None else back, (f"{vote.container}: less {what} hurt somebody; it comes back.",)


def _turned(memory: ReleasedMemory, view: NodeView, tenant: Tenant, turn: Turn) -> ReleasedMemory:
    wheel = on_wheel(view, WHEEL)
    following = wheel[(wheel.index(turn.index) + 1) % len(wheel)]
    return replace(memory, turns={**memory.turns, tenant.container: Turn(turn.direction, following)})


def _pointed(
    memory: ReleasedMemory, view: NodeView, tenant: Tenant, direction: Direction
) -> tuple[ReleasedMemory, Turn | None]:
    turn, wheel = memory.turns.get(tenant.container), on_wheel(view, WHEEL)
    if not wheel:
        return memory, None
    if turn is None or turn.direction != direction:
        at, seed = draw(memory.seed, len(wheel))
        turn = Turn(direction, wheel[at])
        memory = replace(memory, seed=seed, turns={**memory.turns, tenant.container: turn})
    return memory, turn


def _moved(memory: ReleasedMemory, view: NodeView, held: Held) -> tuple[ReleasedMemory, Held, tuple[str, ...]]:
    seen = [tenant for tenant in latency_critical(view) if memory.slacks.get(tenant.container)]
    if not seen:
        return memory, held, ()
    neediest = min(seen, key=lambda tenant: (_mean(memory, tenant), tenant.container))
    if _mean(memory, neediest) < UP_BELOW and memory.slacks[neediest.container][-1] < UP_BELOW:
        return _tried(memory, view, held, neediest, "up")
    free = [t for t in seen if memory.banned_until_s.get(t.container, view.time_s) <= view.time_s]
    richest = max(free, key=lambda tenant: (memory.slacks[tenant.container][-1], tenant.container), default=None)
    if richest is None or _mean(memory, richest) <= DOWN_ABOVE or memory.slacks[richest.container][-1] <= DOWN_ABOVE:
        return memory, held, ()
    return _tried(memory, view, held, richest, "down")


def _tried(
    memory: ReleasedMemory, view: NodeView, held: Held, tenant: Tenant, direction: Direction
) -> tuple[ReleasedMemory, Held, tuple[str, ...]]:
    memory, turn = _pointed(memory, view, tenant, direction)
    for _ in range(len(on_wheel(view, WHEEL))):
        assert turn is not None
        after: Held | None = None
        if direction == "up":
            after = _taken(memory, view, held, tenant, turn.index)
        elif can_give(tenant, held, turn.index):
            after = added(held, tenant.container, turn.index, -1)
        if after is not None:
            vote = Vote(tenant.container, turn, memory.latencies_ms[tenant.container])
            sign = "+" if direction == "up" else "-"
            reason = f"{tenant.container}: {view.resources[turn.index].resource} {sign} 1."
            return replace(memory, vote=vote), after, (reason,)
        memory = _turned(memory, view, tenant, turn)
        turn = memory.turns[tenant.container]
    return memory, held, ()


def _taken(memory: ReleasedMemory, view: NodeView, held: Held, tenant: Tenant, index: int) -> Held | None:
    """Return the holdings with one unit more, from the pool, else from who has most slack and two units."""
    if not can_take(tenant, held, index):
        return None
    if idle(view, held, index) > 0 or not view.resources[index].pooled:
        return added(held, tenant.container, index, 1)
    others = [
        other
        for other in latency_critical(view)
        if other.container != tenant.container
        and held[other.container][index] >= 2
        and can_give(other, held, index)
        and memory.slacks.get(other.container)
    ]
    if not others:
        return None
    victim = max(others, key=lambda other: memory.slacks[other.container][-1])
    return added(added(held, victim.container, index, -1), tenant.container, index, 1)
