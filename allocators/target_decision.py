"""Which part of all requests each endpoint should get: the state machine that joins estimate, optimum and safety.

Every tick, in this order: who came and went (``membership.py``); is there something new, or must the plan be held or
relaxed; what do the figures say (``figures.py``, ``server_speeds.py``); did the last pushes do harm (``undo.py``);
where is the optimum within the bounds of one step (``marginal_targets.py``); how far do we go (``oscillation.py``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from allocators import undo
from allocators.figures import Figures, gather
from allocators.imbres_targets import node_latencies, shift_load
from allocators.layout import sums
from allocators.marginal_targets import Crossing, cheapest_loads, latency_cost
from allocators.membership import settled, warm_caps
from allocators.oscillation import faded, next_eta, oscillating, remembered, turned
from allocators.target_view import (
    FRESH_INTERVALS,
    OLD_INTERVALS,
    ServiceView,
    TargetDecision,
    TargetMemory,
    TargetSettings,
)
from estimators.server_speeds import expected_ms, follow

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
TargetStrategy = Literal["equal", "imbres", "askew"]
DEFAULTS = TargetSettings()
PATIENCE = 1  # tick without a figure before an endpoint's floor rises, doubling, until there is one
BLIND = 0.25  # of the fair share: how high it rises while nothing at all comes back
GREW = 1.1  # of the service's load: then what got worse is not the plan's fault
USUALLY_HELD = 10.0  # requests beyond one for each worker: M/M/1 at 91 %
STILL = 1e-6  # of the fair share: not a change
ASTRAY = 0.15  # of the fair share: what is this far off without being worth it goes back


def decide_targets(
    view: ServiceView,
    memory: TargetMemory | None,
    *,
    now_s: float,
    interval_s: float,
    strategy: TargetStrategy = "askew",
    settings: TargetSettings = DEFAULTS,
) -> TargetDecision:
    """Decide the targets of one service for one tick.

    Parameters
    ----------
    view:
        What is seen now; M endpoints.
    memory:
        ``memory`` of the last decision, None at first.
    now_s, interval_s:
        The time on the clock of ``view.newest_s``, and the longer of the tick and the source's own interval: ages count
        in these.
    strategy:
        ``equal``: by capacity. ``imbres``: Algorithm 1 on nodes, equal parts inside a node. ``askew``: equal marginal
        latency, with what crossing costs.

    Returns
    -------
    TargetDecision
        Targets, shape ``(M,)``, sum to 1. Without new telemetry they are those in force; older than 12 intervals they
        go back to capacity by a tenth of the fair share a tick. With telemetry no target moves by more than 30 % of its
        fair share, nor below 2 % of it. Cost O(M).

    Examples
    --------
    Two equal servers, the second slower: 10 ms and 20 ms alone, 20 windows of 5 s with what queueing theory says.

    >>> decision, now = None, 0.0
    >>> for tick in range(20):
    ...     loads = 60.0 * (decision.targets if decision else np.array([0.5, 0.5]))
    ...     latency = 1000.0 / (np.array([100.0, 50.0]) - loads)
    ...     seen = 5 * loads, np.zeros(2), latency, np.full(2, 5.0), now
    ...     view = ServiceView(("a", "b"), ("h1", "h2"), np.ones(2), *seen)
    ...     decision = decide_targets(view, decision and decision.memory, now_s=now, interval_s=5.0)
    ...     now += 5.0
    >>> decision.targets.round(2).tolist()
    [0.75, 0.25]
    """
    if strategy == "imbres":  # knows no capacity: balance is one share for each container
        view = replace(view, capacities=np.ones(len(view.endpoints)))
    fair = view.fair()
    memory = settled(memory, view, now_s=now_s, interval_s=interval_s, settings=settings)
    if strategy == "equal" or len(fair) < 2:
        return TargetDecision(fair, replace(memory, targets=fair, moved=False), "Targets by capacity.")
    if view.newest_s is None or (memory.newest_s is not None and view.newest_s <= memory.newest_s):
        return _without_news(memory, fair, now_s=now_s, interval_s=interval_s, settings=settings)
    figures, memory = gather(view, replace(memory, newest_s=view.newest_s), now_s=now_s, settings=settings)
    if strategy == "imbres":
        return _imbres(view, memory, figures, fair, settings)
    return _askew(view, memory, figures, fair, now_s=now_s, interval_s=interval_s, settings=settings)


def _without_news(
    memory: TargetMemory, fair: Floats, *, now_s: float, interval_s: float, settings: TargetSettings
) -> TargetDecision:
    if memory.newest_s is None:
        return TargetDecision(memory.targets, replace(memory, moved=False), "No telemetry yet: targets by capacity.")
    age = (now_s - memory.newest_s) / interval_s
    if age <= FRESH_INTERVALS:
        return _held(memory, "Held: nothing new since the last tick.")
    if age <= OLD_INTERVALS:
        return _held(memory, f"Held: telemetry is {age:.0f} intervals old.")
    if now_s - memory.relaxed_s < 0.999 * interval_s:  # ticks that a change of topology ran are not steps
        return _held(memory, f"Relaxing: telemetry is {age:.0f} intervals old.")
    bound = float((np.abs(fair - memory.targets) / fair).max()) / settings.relax_step
    targets = fair if bound <= 1.0 else memory.targets + (fair - memory.targets) / bound
    moved = bool(bound > STILL)
    memory = replace(memory, targets=targets, relaxed_s=now_s, moved=moved)
    word = "Relaxing towards" if bound > 1.0 else "Relaxed to"
    return TargetDecision(targets, memory, f"{word} capacity: telemetry is {age:.0f} intervals old.")


def _held(memory: TargetMemory, reason: str) -> TargetDecision:
    return TargetDecision(memory.targets, replace(memory, moved=False), reason, oscillating(memory.flips))


def _imbres(
    view: ServiceView, memory: TargetMemory, figures: Figures, fair: Floats, settings: TargetSettings
) -> TargetDecision:
    names, node_of = np.unique(np.array(view.nodes), return_inverse=True)
    count, node_of = len(names), node_of.astype(np.intp)
    latencies = node_latencies(figures.latencies_ms, node_of, count)
    shares, balanced = sums(node_of, memory.targets, count), sums(node_of, fair, count)
    shifted = shift_load(shares, latencies, balanced, eta=settings.imbres_eta)
    targets = shifted[node_of] * (fair / balanced[node_of])
    flip, signs = turned(targets - memory.targets, memory.signs, fair)
    flips = remembered(memory.flips, flip)
    known = int(np.isfinite(latencies).sum())
    memory = replace(memory, targets=targets, signs=signs, flips=flips, total_per_s=figures.total_per_s, moved=True)
    reason = f"Imbres: load shifted by latency, {known} of {count} nodes with enough samples."
    return TargetDecision(targets, memory, reason, oscillating(flips))


def _askew(
    view: ServiceView,
    memory: TargetMemory,
    figures: Figures,
    fair: Floats,
    *,
    now_s: float,
    interval_s: float,
    settings: TargetSettings,
) -> TargetDecision:
    first = memory.speeds.service_ms
    speeds, jumped = follow(memory.speeds, figures.loads_per_s, figures.latencies_ms, figures.counts)
    grew = figures.total_per_s > GREW * memory.total_per_s
    learnt = bool((np.isfinite(speeds.service_ms) & ~np.isfinite(first)).any())
    changed = bool(jumped.any()) or grew or learnt
    watch = undo.judged(
        memory.watch,
        targets=memory.targets,
        in_system=figures.in_system,
        tail_ms=view.tail_ms,
        moved=memory.moved,
        world_changed=changed,
        now_s=now_s,
        interval_s=interval_s,
    )
    urgent = bool(jumped.any()) and not oscillating(memory.flips)
    eta = max(memory.eta, settings.eta) if urgent else memory.eta
    memory = replace(memory, speeds=speeds, watch=watch, eta=eta, total_per_s=figures.total_per_s)
    if watch.undoing:
        return _undo(memory, fair, now_s=now_s, interval_s=interval_s, settings=settings)
    if now_s < watch.calm_until_s and not changed:
        return _held(memory, "Held: the last plan was undone a moment ago.")
    service_ms = expected_ms(speeds, fallback_ms=view.table_service_ms)
    if not np.isfinite(service_ms).all() or not figures.total_per_s > 0.0:
        return _held(memory, "Held: too few requests for any figure.")
    low, high = _bounds(view, memory, figures, fair, now_s=now_s, interval_s=interval_s, settings=settings)
    # A queue that has built up must be served too, in about one interval; what any busy server holds is no queue.
    waiting_per_s = np.maximum(figures.in_system - speeds.workers - USUALLY_HELD, 0.0) / interval_s
    return _step(view, memory, service_ms, low, high, waiting_per_s=waiting_per_s, fair=fair, settings=settings)


def _undo(
    memory: TargetMemory, fair: Floats, *, now_s: float, interval_s: float, settings: TargetSettings
) -> TargetDecision:
    change = memory.watch.before - memory.targets
    bound = float((np.abs(change) / fair).max()) / settings.step
    watch = memory.watch
    if bound <= 1.0:
        watch = undo.finished(watch, now_s=now_s, interval_s=interval_s)
    targets = memory.targets + change / max(1.0, bound)
    eta = max(settings.least_eta, memory.eta / 2.0)
    memory = replace(memory, targets=targets, watch=watch, eta=eta, moved=True)
    reason = "Undone: p99 got worse twice in a row after the targets moved."
    return TargetDecision(targets, memory, reason, oscillating(memory.flips), undone=True)


def _bounds(
    view: ServiceView,
    memory: TargetMemory,
    figures: Figures,
    fair: Floats,
    *,
    now_s: float,
    interval_s: float,
    settings: TargetSettings,
) -> tuple[Floats, Floats]:
    """Return the least and the most of each target after this step, shape ``(M,)``; some targets between sum to 1."""
    now, step = memory.targets, settings.step * fair
    floor = settings.floor * fair
    unseen_ticks = np.maximum(memory.quiet - PATIENCE, 0.0)
    ended_something = memory.pending[0] > 0.0
    highest = np.where(ended_something, 1.0, BLIND) * fair
    floor = np.minimum(highest, floor * np.exp2(np.minimum(unseen_ticks, 60.0)))
    if view.unsteered_per_s is not None:
        floor = np.maximum(floor, view.unsteered_per_s / figures.total_per_s)
    caps = warm_caps(memory, fair, now_s=now_s, slow_start_s=settings.slow_start_intervals * interval_s)
    low, high = np.maximum(floor, now - step), np.minimum(caps, now + step)
    silent_s = now_s - memory.heard_s
    lost = silent_s > OLD_INTERVALS * interval_s
    locked = ~figures.heard & ~lost
    # Unknown is never fast: who has long said nothing goes to its fair share, and not above.
    towards = np.clip(fair, now - settings.relax_step * fair, now + settings.relax_step * fair)
    low, high = np.where(lost, towards, low), np.where(lost, towards, high)
    low, high = np.where(locked, now, low), np.where(locked, now, high)
    low = np.minimum(low, now + step)
    high = np.maximum(np.maximum(high, now - step), low)
    return _admitting(low, high, now)


def _admitting(low: Floats, high: Floats, now: Floats) -> tuple[Floats, Floats]:
    """Return bounds that admit a sum of 1: those that force a rise (or fall) too large for the others force less."""
    forced_up, room_down = np.maximum(low - now, 0.0).sum(), np.maximum(now - low, 0.0).sum()
    if forced_up > room_down:
        low = np.where(low > now, now + (low - now) * (room_down / forced_up), low)
    forced_down, room_up = np.maximum(now - high, 0.0).sum(), np.maximum(high - now, 0.0).sum()
    if forced_down > room_up:
        high = np.where(high < now, now - (now - high) * (room_up / forced_down), high)
    return low, np.maximum(high, low)


def _step(
    view: ServiceView,
    memory: TargetMemory,
    service_ms: Floats,
    low: Floats,
    high: Floats,
    *,
    waiting_per_s: Floats,
    fair: Floats,
    settings: TargetSettings,
) -> TargetDecision:
    now, total, workers = memory.targets, memory.total_per_s, memory.speeds.workers
    crossing = _crossing(view)
    best = cheapest_loads(
        service_ms,
        total_per_s=total,
        workers=workers,
        low_per_s=low * total,
        high_per_s=high * total,
        waiting_per_s=waiting_per_s,
        crossing=crossing,
    )
    before = latency_cost(now * total, service_ms, workers=workers, crossing=crossing)
    after = latency_cost(best, service_ms, workers=workers, crossing=crossing)
    forced = waiting_per_s.any() or bool(((now < low - STILL * fair) | (now > high + STILL * fair)).any())
    worth = settings.worth_going_on if memory.moved else settings.worth
    if not forced and after > (1.0 - worth) * before:
        flips = remembered(memory.flips, False)
        eta = next_eta(memory.eta, flips=flips, least=settings.least_eta)
        memory = replace(memory, flips=flips, eta=eta, signs=faded(memory.signs))
        astray = float((np.abs(now - fair) / fair).max())
        back = now + (fair - now) / max(1.0, astray / settings.step)
        allowed = astray > ASTRAY and bool(((low - STILL * fair <= back) & (back <= high + STILL * fair)).all())
        if allowed and latency_cost(back * total, service_ms, workers=workers, crossing=crossing) <= before:
            reason = "Back to capacity: what targets lean on makes no difference any more."
            return TargetDecision(back, replace(memory, targets=back, moved=True), reason, oscillating(flips))
        return _held(memory, "Held: no change promises enough less latency.")
    targets = now + memory.eta * (best / best.sum() - now)
    flip, signs = turned(targets - now, memory.signs, fair)
    flips = remembered(memory.flips, flip)
    eta = next_eta(memory.eta, flips=flips, least=settings.least_eta)
    memory = replace(memory, targets=targets, signs=signs, flips=flips, eta=eta, moved=True)
    reason = f"Marginal latency equalised: mean {before / total:.1f} ms to {after / total:.1f} ms within one step."
    swings = oscillating(flips)
    if swings:
        reason += f" Targets go to and fro; steps are damped to η = {eta:.2f}."
    return TargetDecision(targets, memory, reason, swings)


def _crossing(view: ServiceView) -> Crossing | None:
    if not view.crossing_price_ms > 0.0 or not any(view.demand_per_s.values()):
        return None
    names = sorted({*view.nodes, *view.demand_per_s})
    number = {name: index for index, name in enumerate(names)}
    return Crossing(
        price_ms=view.crossing_price_ms,
        nodes=np.array([number[name] for name in view.nodes], dtype=np.intp),
        demand_per_s=np.array([view.demand_per_s.get(name, 0.0) for name in names]),
    )
