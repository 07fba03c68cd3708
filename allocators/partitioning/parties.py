"""PARTIES as its paper has it (Chen, Delimitrou, Martínez, ASPLOS'19, Algorithms 1-4, Fig. 4).

Every 500 ms: who is below a slack of 0.05 gets one unit more of the resource that its wheel points at; else who is
above 0.2 gives one away. A move is judged by the next 500 ms.

::

    up:    harmful or useless (slower than before) → the wheel turns, the unit stays
    down:  slack < 0.05 afterwards → the unit comes back, the wheel turns, nothing is taken for 30 s
    60 s without all targets met → ask for a migration

What the paper leaves open is settled so: the window that judges the last move also decides the next one; a window is
extended until it holds enough requests, and while one container waits the others may be given more, but nothing is
taken: "all applications comfortably satisfy their target" is not known then. Without a request there is no
slack, neither good nor bad; the timer is reset by two good windows in a row; free units are taken before best-effort
jobs' ones, those before a latency-critical one's; frequency is not taken from anybody; who is banned from giving is
passed over.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from allocators.partitioning.ledger import (
    Held,
    added,
    best_effort,
    can_give,
    can_take,
    equal_shares,
    grants,
    idle,
    in_force,
    latency_critical,
)
from allocators.partitioning.network import adjust_network
from allocators.partitioning.node_view import NodeView, Tenant
from allocators.partitioning.step import Migration, Step
from allocators.partitioning.tail import Tail
from allocators.partitioning.wheels import (
    SCARCE_MEMORY_BYTES,
    Direction,
    Turn,
    first_turn,
    memory_slack_bytes,
    next_turn,
)
from allocators.partitioning.windows import Open, closed_tails
from mesh.topology import ContainerName

GOOD_WINDOWS = 2


@dataclass(frozen=True, slots=True)
class PartiesSettings:
    """The paper's constants; each can be changed for an ablation.

    ``up_below`` and ``down_above`` are slacks; ``ban_s`` is how long nothing is taken after a harmful downsize;
    ``migrate_after_s`` how long targets may be missed; ``undo_useless`` takes a useless unit back (the paper: no).
    ``fewest_requests`` is how many a window must hold to be read (the paper does not say; 1 is what it seems to do).
    """

    tick_s: float = 0.5
    up_below: float = 0.05
    down_above: float = 0.20
    ban_s: float = 30.0
    migrate_after_s: float = 60.0
    undo_useless: bool = False
    fewest_requests: int = 20


@dataclass(frozen=True, slots=True)
class Trial:
    """A move that waits for its judgement: what was moved, who gave it or got it (None: the pool), the tail before."""

    turn: Turn
    other: ContainerName | None
    before_ms: float


@dataclass(frozen=True, slots=True)
class PartiesMemory:
    """What PARTIES remembers: wheels, moves on trial, bans, open windows, last slacks, its timer."""

    seed: int
    turns: Mapping[ContainerName, Turn] = field(default_factory=dict)
    trials: Mapping[ContainerName, Trial] = field(default_factory=dict)
    open_windows: Open = field(default_factory=dict)
    last_slack: Mapping[ContainerName, float] = field(default_factory=dict)
    banned_until_s: Mapping[ContainerName, float] = field(default_factory=dict)
    missed_since_s: float | None = None
    good_windows: int = 0


@dataclass(frozen=True, slots=True)
class _Now:
    """One step's working values: what is decided so far and why."""

    view: NodeView
    tails: Mapping[ContainerName, Tail]
    memory: PartiesMemory
    held: Held
    reasons: tuple[str, ...] = ()

    def because(self, reason: str) -> _Now:
        return replace(self, reasons=(*self.reasons, reason))


@dataclass(frozen=True, slots=True)
class Parties:
    """The named strategy ``parties``."""

    settings: PartiesSettings = PartiesSettings()
    name: str = "parties"

    @property
    def tick_s(self) -> float:
        return self.settings.tick_s

    def start(self, view: NodeView, *, seed: int) -> Step[PartiesMemory]:
        """Return equal shares of everything."""
        return Step(PartiesMemory(seed=seed), grants(equal_shares(view)), ("Equal shares of every resource.",))

    def step(self, memory: PartiesMemory, view: NodeView) -> Step[PartiesMemory]:
        """Judge the last moves, then move at most one unit (besides network bandwidth). O(tenants · resources)."""
        tails, still_open = closed_tails(view, memory.open_windows, fewest=self.settings.fewest_requests)
        slacks = {**memory.last_slack, **{name: tail.slack for name, tail in tails.items()}}
        before = in_force(view)
        held, reasons = adjust_network(view, before)
        now = _Now(view, tails, replace(memory, open_windows=still_open, last_slack=slacks), held, reasons)
        now, reverted = _all_judged(now, self.settings)
        if not reverted:  # after a revert the window tells of a partition that is no more
            now = _moved(now, self.settings)
        now, migrations = _timed(now, self.settings)
        return Step(_with_new_windows(now, before), grants(now.held), now.reasons, migrations)


def _with_new_windows(now: _Now, before: Held) -> PartiesMemory:
    """Drop what was seen of containers whose part has changed: it tells of a partition that is no more."""
    windows = {name: window for name, window in now.memory.open_windows.items() if now.held[name] == before[name]}
    return replace(now.memory, open_windows=windows)


def _all_judged(now: _Now, settings: PartiesSettings) -> tuple[_Now, bool]:
    """Judge the moves whose windows are full; True if one was taken back."""
    reverted = False
    for tenant in latency_critical(now.view):
        trial, tail = now.memory.trials.get(tenant.container), now.tails.get(tenant.container)
        if trial is not None and tail is not None:
            rest = {name: other for name, other in now.memory.trials.items() if name != tenant.container}
            now = replace(now, memory=replace(now.memory, trials=rest))
            now, undone = _judged(now, settings, tenant, trial, tail)
            reverted = reverted or undone
    return now, reverted


def _judged(now: _Now, settings: PartiesSettings, tenant: Tenant, trial: Trial, tail: Tail) -> tuple[_Now, bool]:
    """Judge one move; True if it was taken back."""
    what = now.view.resources[trial.turn.index].resource
    if trial.turn.direction == "up":
        if tail.value_ms <= trial.before_ms:
            return _turned(now, tenant, replace(trial.turn, useless=0)), False
        now = _turned_on(now, tenant, trial.turn)
        now = now.because(f"{tenant.container}: more {what} did not help; the wheel turns.")
        if settings.undo_useless and can_give(tenant, now.held, trial.turn.index):
            return replace(now, held=_handed(now, tenant.container, trial.other, trial.turn.index)), True
        return now, False
    if tail.slack >= settings.up_below:
        return now, False
    now = _turned_on(now, tenant, trial.turn)
    until = {**now.memory.banned_until_s, tenant.container: now.view.time_s + settings.ban_s}
    now = replace(now, memory=replace(now.memory, banned_until_s=until))
    now = now.because(f"{tenant.container}: less {what} hurt; none is taken for {settings.ban_s:g} s.")
    return _restored(now, tenant, trial)


def _restored(now: _Now, tenant: Tenant, trial: Trial) -> tuple[_Now, bool]:
    """Give the unit back: from the pool, or from whom it went to, or as any other unit."""
    taken = _taken(now, tenant, trial.turn.index)
    return (now, False) if taken is None else (taken, True)


def _handed(now: _Now, giver: ContainerName, taker: ContainerName | None, index: int) -> Held:
    held = added(now.held, giver, index, -1)
    tenant = next((tenant for tenant in now.view.tenants if tenant.container == taker), None)
    if tenant is None or not can_take(tenant, held, index):
        return held
    return added(held, tenant.container, index, 1)


def _turned(now: _Now, tenant: Tenant, turn: Turn | None) -> _Now:
    turns = {name: old for name, old in now.memory.turns.items() if name != tenant.container}
    if turn is not None:
        turns[tenant.container] = turn
    return replace(now, memory=replace(now.memory, turns=turns))


def _turned_on(now: _Now, tenant: Tenant, turn: Turn) -> _Now:
    following, seed = next_turn(now.view, tenant, now.held, turn, seed=now.memory.seed)
    return _turned(replace(now, memory=replace(now.memory, seed=seed)), tenant, following)


def _moved(now: _Now, settings: PartiesSettings) -> _Now:
    by_slack = sorted(latency_critical(now.view), key=lambda t: (_slack(now, t), t.container))
    seen = [tenant for tenant in by_slack if tenant.container in now.tails]
    if not seen:
        return now
    if _slack(now, seen[0]) < settings.up_below:
        return _upsized(now, seen[0])
    if not _all_comfortable(now, settings):
        return now
    bans = now.memory.banned_until_s
    free = [tenant for tenant in seen if bans.get(tenant.container, now.view.time_s) <= now.view.time_s]
    if free and _slack(now, free[-1]) > settings.down_above:
        return _downsized(now, free[-1])
    return now


def _all_comfortable(now: _Now, settings: PartiesSettings) -> bool:
    """Whether all were last seen with slack, and no window that judges a move, or is the first, is half full."""
    memory = now.memory
    names = [tenant.container for tenant in latency_critical(now.view)]
    late = any(memory.last_slack.get(name, math.inf) < settings.up_below for name in names)
    waiting = (name for name in names if name in memory.open_windows)
    return not late and not any(name in memory.trials or name not in memory.last_slack for name in waiting)


def _slack(now: _Now, tenant: Tenant) -> float:
    tail = now.tails.get(tenant.container)
    return float("nan") if tail is None else tail.slack


def _pointed(now: _Now, tenant: Tenant, direction: Direction) -> tuple[_Now, Turn | None]:
    """Return where the wheel points for this direction; entered at random where it was going the other way."""
    turn = now.memory.turns.get(tenant.container)
    if turn is not None and turn.direction == direction:
        return now, turn
    turn, seed = first_turn(now.view, tenant, now.held, direction=direction, seed=now.memory.seed)
    return _turned(replace(now, memory=replace(now.memory, seed=seed)), tenant, turn), turn


def _upsized(now: _Now, tenant: Tenant) -> _Now:
    now, turn = _pointed(now, tenant, "up")
    for _ in range(2 * len(now.view.resources)):  # resources that nobody can give are passed over
        if turn is None:
            break
        taken = _taken(now, tenant, turn.index)
        if taken is not None:
            return _on_trial(taken, tenant, turn, before=now.held)
        now = _turned_on(now, tenant, turn)
        turn = now.memory.turns.get(tenant.container)
    return now.because(f"{tenant.container}: too slow, and nobody has anything left to give.")


def _on_trial(now: _Now, tenant: Tenant, turn: Turn, *, before: Held) -> _Now:
    tail = now.tails[tenant.container]
    others = (name for name in before if name != tenant.container and before[name] != now.held[name])
    trial = Trial(turn, next(others, None), tail.value_ms)
    trials = {**now.memory.trials, tenant.container: trial}
    sign = "+" if turn.direction == "up" else "-"
    reason = f"{tenant.container}: {now.view.resources[turn.index].resource} {sign} 1, slack {tail.slack:.2f}."
    return replace(now, memory=replace(now.memory, trials=trials)).because(reason)


def _taken(now: _Now, tenant: Tenant, index: int) -> _Now | None:
    """Move one unit to the tenant: from the pool, else from a best-effort job, else from who has most slack."""
    if now.held[tenant.container][index] >= tenant.most[index]:
        return None
    if idle(now.view, now.held, index) > 0 or not now.view.resources[index].pooled:
        return replace(now, held=added(now.held, tenant.container, index, 1))
    victim = find_victim(now.view, now.held, now.memory.last_slack, tenant, index)
    if victim is None:
        return None
    held = added(added(now.held, victim.container, index, -1), tenant.container, index, 1)
    now = replace(now, held=held)
    turn = now.memory.turns.get(victim.container)
    if victim.kind == "latency-critical" and turn is not None and (turn.direction, turn.index) == ("up", index):
        now = _turned_on(now, victim, turn)  # else both would take the same unit from each other for ever
    return now.because(f"{victim.container} gives it.")


def find_victim(
    view: NodeView, held: Held, slacks: Mapping[ContainerName, float], tenant: Tenant, index: int
) -> Tenant | None:
    """Return who gives a unit (Algorithm 4): a best-effort job, else the latency-critical one with most slack.

    For memory: with most unused memory, unless nobody has more than 1 GB of that.
    """
    jobs = [job for job in best_effort(view) if can_give(job, held, index)]
    if jobs:
        return max(jobs, key=lambda job: held[job.container][index])
    others = [
        other
        for other in latency_critical(view)
        if other.container != tenant.container and can_give(other, held, index)
    ]
    if view.resources[index].resource == "memory":
        spare = {o.container: memory_slack_bytes(view, o, held) for o in others}
        rich = [other for other in others if spare[other.container] > SCARCE_MEMORY_BYTES]
        if rich:
            return max(rich, key=lambda other: spare[other.container])
    seen = [other for other in others if other.container in slacks]
    return max(seen, key=lambda other: slacks[other.container], default=None)


def _downsized(now: _Now, tenant: Tenant) -> _Now:
    now, turn = _pointed(now, tenant, "down")
    if turn is None or not can_give(tenant, now.held, turn.index):
        return now if turn is None else _turned_on(now, tenant, turn)
    held = added(now.held, tenant.container, turn.index, -1)
    jobs = [job for job in best_effort(now.view) if held[job.container][turn.index] < job.most[turn.index]]
    if jobs and now.view.resources[turn.index].pooled:
        poorest = min(jobs, key=lambda job: held[job.container][turn.index])
        held = added(held, poorest.container, turn.index, 1)
    return _on_trial(replace(now, held=held), tenant, turn, before=now.held)


def _timed(now: _Now, settings: PartiesSettings) -> tuple[_Now, tuple[Migration, ...]]:
    """Run the timer of Algorithm 1: after 60 s without all targets met, somebody shall leave."""
    memory, time_s = now.memory, now.view.time_s
    critical = {tenant.container for tenant in latency_critical(now.view)}
    if all(slack >= 0.0 for name, slack in memory.last_slack.items() if name in critical):
        good = memory.good_windows + 1
        since = memory.missed_since_s if good < GOOD_WINDOWS else None
        return replace(now, memory=replace(memory, good_windows=good, missed_since_s=since)), ()
    since = time_s if memory.missed_since_s is None else memory.missed_since_s
    if time_s - since < settings.migrate_after_s:
        return replace(now, memory=replace(memory, good_windows=0, missed_since_s=since)), ()
    leaver = who_leaves(now.view)
    now = replace(now, memory=replace(memory, good_windows=0, missed_since_s=time_s))
    reason = f"No partition met all targets for {settings.migrate_after_s:g} s."
    return now, (() if leaver is None else (Migration(leaver.container, reason),))


def who_leaves(view: NodeView) -> Tenant | None:
    """Return whom to move to another node: a stateless one, else the one with the most relaxed target."""
    critical = latency_critical(view)
    return max(critical, key=lambda tenant: (tenant.stateless, tenant.target_ms or 0.0), default=None)
