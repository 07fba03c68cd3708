"""Heracles (Lo et al., ISCA'15, Algorithms 1-4): one latency-critical container, all others a best-effort pool.

As PARTIES compared with it: the container with the strictest target is the latency-critical one, the others share one
pool without partitions, whatever they were promised.

::

    top, 15 s:       slack < 0 → suspend the pool for 5 min; load > 0.85 → suspend; load < 0.80 → resume
                     slack < 0.10 → the pool may not grow; slack < 0.05 → it keeps two cores
    cores, cache 2 s: slack > 0.10 → the pool gets one more, of cores and of ways in turn (with ``takes_back``: if the
                      target is missed half a second later, it is taken back and that resource grows no more)

The printed chain tests slack < 0.10 only at loads between 0.80 and 0.85; the prose means always, and so it is here.
Left out for want of counters in the view: the memory-bandwidth model (growth of the cache is then judged by latency
alone) and the power loop (all run at the highest frequency).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from allocators.partitioning.ledger import latency_critical
from allocators.partitioning.node_view import Divisible, NodeView, Tenant, Units
from allocators.partitioning.step import Grant, Step
from allocators.partitioning.tail import extended, tail_of
from estimators.latency import LatencyWindow
from mesh.actions import Resource
from mesh.topology import ContainerName

TOP_S, GROW_S, COOL_DOWN_S = 15.0, 2.0, 300.0
HIGH_LOAD, LOW_LOAD = 0.85, 0.80
GROW_ABOVE, SHRINK_BELOW, KEPT_CORES = 0.10, 0.05, 2
FIRST_CACHE_PART = 0.10
CORES: tuple[Resource, ...] = ("cpuset", "cpu")


@dataclass(frozen=True, slots=True)
class HeraclesMemory:
    """What Heracles remembers: the pool's part, whether it runs and may grow, clocks, requests since the top loop.

    ``grown`` is what the last step gave the pool, until its effect was looked at; ``hurt`` what is not tried again.
    """

    pool: Units
    suspended: bool = False
    may_grow: bool = True
    cool_until_s: float = float("-inf")
    top_at_s: float = 0.0
    grow_at_s: float = 0.0
    cores_next: bool = True
    grown: Resource | None = None
    hurt: frozenset[Resource] = frozenset()
    since_top: LatencyWindow | None = None


@dataclass(frozen=True, slots=True)
class Heracles:
    """The named strategy ``heracles``; ``peak_requests_per_s`` is 100 % load (unknown: load never counts).

    ``takes_back``: half a second after each growth of the pool it looks whether the target is still met, and takes the
    unit back if not. The printed algorithm has no such line; its prose has ("each time checking").
    """

    peak_requests_per_s: Mapping[ContainerName, float] = field(default_factory=dict)
    name: str = "heracles"
    tick_s: float = 0.5
    takes_back: bool = False

    def start(self, view: NodeView, *, seed: int) -> Step[HeraclesMemory]:
        """Return the pool with one core and a tenth of the cache; ``seed`` is not used."""
        pool = tuple(_first(divisible) for divisible in view.resources)
        memory = HeraclesMemory(pool, top_at_s=view.time_s + TOP_S, grow_at_s=view.time_s + GROW_S)
        return Step(memory, _wanted(view, memory))

    def step(self, memory: HeraclesMemory, view: NodeView) -> Step[HeraclesMemory]:
        """Run the loops that are due."""
        chosen = strictest(view)
        if chosen is None or chosen.target_ms is None:
            return Step(memory, _wanted(view, memory))
        memory = replace(memory, since_top=extended(memory.since_top, chosen.window))
        reasons: list[str] = []
        if self.takes_back:
            memory = _checked(memory, view, chosen)
        if view.time_s >= memory.top_at_s:
            memory, reason = self._top(memory, view, chosen)
            reasons += [reason] if reason else []
        if view.time_s >= memory.grow_at_s:
            memory = _grown(memory, view, chosen)
        suspended = tuple(t.container for t in view.tenants if t is not chosen) if memory.suspended else ()
        return Step(memory, _wanted(view, memory), tuple(reasons), suspended=suspended)

    def _top(self, memory: HeraclesMemory, view: NodeView, chosen: Tenant) -> tuple[HeraclesMemory, str]:
        assert chosen.target_ms is not None
        tail = tail_of(memory.since_top, target_ms=chosen.target_ms, percentile=chosen.percentile)
        memory = replace(memory, top_at_s=view.time_s + TOP_S, since_top=None)
        if tail is None:
            return memory, ""
        load = chosen.requests_per_s / self.peak_requests_per_s.get(chosen.container, float("inf"))
        if tail.slack < 0.0:
            memory = replace(memory, suspended=True, cool_until_s=view.time_s + COOL_DOWN_S)
            return memory, f"{chosen.container} misses its target: all others are suspended for 5 min."
        if load > HIGH_LOAD:
            return replace(
                memory, suspended=True
            ), f"{chosen.container} is at load {load:.2f}: all others are suspended."
        if memory.suspended and load < LOW_LOAD and view.time_s >= memory.cool_until_s:
            first = tuple(_first(divisible) for divisible in view.resources)
            memory = replace(memory, suspended=False, pool=first, grown=None, hurt=frozenset())
        if tail.slack < SHRINK_BELOW:
            memory = replace(memory, pool=_with_fewer_cores(view, memory.pool))
        return replace(memory, may_grow=tail.slack >= GROW_ABOVE), ""


def strictest(view: NodeView) -> Tenant | None:
    """Return the latency-critical tenant with the smallest target."""
    return min(latency_critical(view), key=lambda tenant: tenant.target_ms or 0.0, default=None)


def _first(divisible: Divisible) -> int:
    if not divisible.pooled:
        return divisible.total
    if divisible.resource in CORES:
        return 1
    return max(1, int(FIRST_CACHE_PART * divisible.total)) if divisible.resource == "cache" else divisible.total // 2


def _with_fewer_cores(view: NodeView, pool: Units) -> Units:
    return tuple(
        min(units, KEPT_CORES) if divisible.resource in CORES else units
        for divisible, units in zip(view.resources, pool, strict=True)
    )


def _checked(memory: HeraclesMemory, view: NodeView, chosen: Tenant) -> HeraclesMemory:
    """Look at what the last growth did: if the target is missed since, it is taken back and not tried again.

    The paper moves cores one at a time, "each time checking" the target, and its descent must not end in the top loop
    disabling the pool; so the top loop looks at what is in force only.
    """
    tail = tail_of(chosen.window, target_ms=chosen.target_ms or 0.0, percentile=chosen.percentile)
    if memory.grown is None or memory.suspended or tail is None:
        return memory
    if tail.slack >= 0.0:
        return replace(memory, grown=None)
    index = view.index_of(memory.grown)
    pool = tuple(units - (at == index) for at, units in enumerate(memory.pool))
    return replace(memory, pool=pool, grown=None, hurt=memory.hurt | {memory.grown}, since_top=None)


def _grown(memory: HeraclesMemory, view: NodeView, chosen: Tenant) -> HeraclesMemory:
    memory = replace(memory, grow_at_s=view.time_s + GROW_S)
    assert chosen.target_ms is not None
    tail = tail_of(chosen.window, target_ms=chosen.target_ms, percentile=chosen.percentile)
    if memory.suspended or not memory.may_grow or tail is None or tail.slack <= GROW_ABOVE:
        return memory
    turn: tuple[Resource, ...] = CORES if memory.cores_next else ("cache",)
    memory = replace(memory, cores_next=not memory.cores_next)
    for index, divisible in enumerate(view.resources):
        open_ = divisible.resource in turn and divisible.resource not in memory.hurt
        if open_ and memory.pool[index] < divisible.total - chosen.least[index]:
            pool = tuple(units + (at == index) for at, units in enumerate(memory.pool))
            return replace(memory, pool=pool, grown=divisible.resource)
    return memory


def _wanted(view: NodeView, memory: HeraclesMemory) -> tuple[Grant, ...]:
    chosen = strictest(view)
    others = tuple(tenant.container for tenant in view.tenants if tenant is not chosen)
    if chosen is None:
        return (Grant(others, None),)
    if not others or memory.suspended:  # who is suspended holds nothing: all of the node is the one's
        alone = Grant((chosen.container,), tuple(divisible.total for divisible in view.resources))
        return (alone, Grant(others, memory.pool)) if others else (alone,)
    rest = tuple(
        divisible.total - (units if divisible.pooled else 0)
        for divisible, units in zip(view.resources, memory.pool, strict=True)
    )
    return Grant((chosen.container,), rest), Grant(others, memory.pool)
