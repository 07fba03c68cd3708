"""Our own strategy: PARTIES' aim with confidence bounds, a fitted model, protected victims and an end.

::

    seen       arrivals, core seconds a request by cache ways, tails at the places held so far
    judged     LATE only when it is certain; less is then given again only if all else is worse
    planned    a mixture of queueing laws, weighed by what was seen, says for every number of cores and ways how likely
               the target is met there (odds.py); the plan is the split on which most likely all meet their targets
               (exhaustive: likeliest_split.py); all units move at once
    moved      at once when somebody is late or drowns; else every two seconds, if another split is half again as
               likely (a load that rises is acted on before anybody is late, a slow service before it is certain)
    hopeless   when even the likeliest split leaves somebody less than one chance in a hundred for ten seconds: a
               migration is asked for
    released   with all surely met and best-effort jobs about: what nobody needs to be nearly sure, to them

Nobody gives what he needs himself: that would make the split less likely. What a resource did for a tenant is
remembered as the law that explains it (ways that did not help are then worth nothing to it). No move from one split
to another is made twice at one load: the number of moves is finite. Memory, disk and network follow PARTIES' rules for
spare room; memory bandwidth goes from jobs to who is late.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from allocators.partitioning.demand import (
    Demand,
    Place,
    is_late,
    moved,
    tail_estimate,
    with_arrivals,
    with_sighting,
    with_window,
    with_work,
)
from allocators.partitioning.ledger import Held, best_effort, equal_shares, grants, in_force, latency_critical
from allocators.partitioning.memory_bandwidth import adjust_memory_bandwidth
from allocators.partitioning.network import adjust_network
from allocators.partitioning.node_view import NodeView, Tenant, Units
from allocators.partitioning.parties import who_leaves
from allocators.partitioning.plan import Places, least_chance, likeliest, released, table_of, worth_of
from allocators.partitioning.step import Migration, Step
from allocators.partitioning.storage import adjust_storage
from allocators.partitioning.tail import Verdict, tail_of, verdict_of
from mesh.topology import ContainerName

HOPELESS_S, HOPELESS_CHANCE = 10.0, 0.01
PLANNED_EVERY_S, CHANGED_S = 2.0, 0.6
GAIN, NEEDY_GAIN = 0.5, 0.05  # in logarithms of chance


Split = tuple[tuple[ContainerName, Units], ...]


@dataclass(frozen=True, slots=True)
class AskewMemory:
    """What is remembered: each tenant's demand, since when it is hopeless, when all was last not well.

    ``taken`` are the moves made at this load, each from one split to another: none is made again.
    """

    demands: Mapping[ContainerName, Demand] = field(default_factory=dict)
    hopeless_since_s: float | None = None
    unwell_at_s: float = float("-inf")
    asked_at_s: float = float("-inf")
    moved_at_s: float = float("-inf")
    planned_at_s: float = float("-inf")
    taken: frozenset[tuple[Split, Split]] = frozenset()
    waited: bool = False
    last_s: float | None = None


@dataclass(frozen=True, slots=True)
class Askew:
    """The named strategy ``askew``; ``calm_s`` is how long all must be well before jobs get what is spare."""

    name: str = "askew"
    tick_s: float = 0.5
    calm_s: float = 3.0

    def start(self, view: NodeView, *, seed: int) -> Step[AskewMemory]:
        """Return equal shares, at the highest frequency; ``seed`` is not used: nothing is left to chance."""
        held = _at_full_speed(view, equal_shares(view))
        return Step(AskewMemory(last_s=view.time_s), grants(held), ("Equal shares of every resource.",))

    def step(self, memory: AskewMemory, view: NodeView) -> Step[AskewMemory]:
        """Learn from the last step; where somebody is in need, move to the best plan. O(shapes · cores · ways)."""
        before = in_force(view)
        seconds = self.tick_s if memory.last_s is None else max(1e-3, view.time_s - memory.last_s)
        places = Places.of(view)
        demands = {t.container: _learnt(memory, t, before, places, seconds) for t in latency_critical(view)}
        needy, demands = _judged(view, demands, before, places)
        held, network = adjust_network(view, before)
        held, storage = adjust_storage(view, held, needy)
        held, bandwidth = adjust_memory_bandwidth(view, held, needy)
        memory = replace(memory, demands=demands, last_s=view.time_s)
        memory, held, reasons = self._planned(memory, view, held, places, needy)
        held = _at_full_speed(view, held)
        memory, migrations = _asked(memory, view)
        changed = {name: moved(d) if held[name] != before[name] else d for name, d in memory.demands.items()}
        return Step(
            replace(memory, demands=changed), grants(held), (*network, *storage, *bandwidth, *reasons), migrations
        )

    def _planned(
        self, memory: AskewMemory, view: NodeView, held: Held, places: Places, needy: tuple[ContainerName, ...]
    ) -> tuple[AskewMemory, Held, tuple[str, ...]]:
        if _load_changed(memory):
            memory = replace(memory, taken=frozenset(), hopeless_since_s=None, planned_at_s=-math.inf)
        well = not needy and _all_well(view, memory.demands)
        memory = memory if well else replace(memory, unwell_at_s=view.time_s)
        jobs = best_effort(view)
        if jobs and well and view.time_s - memory.unwell_at_s >= self.calm_s:
            return _released(memory, view, held, places)
        due = view.time_s - memory.planned_at_s >= PLANNED_EVERY_S
        if not due and not (needy and memory.hopeless_since_s is None):
            return memory, held, ()
        if not any(demand.sightings for demand in memory.demands.values()) and not memory.waited:
            return replace(memory, waited=True), held, ()  # the first windows are not read: the next step knows all
        return _likelier(replace(memory, planned_at_s=view.time_s), view, held, places, needy)


def _likelier(
    memory: AskewMemory, view: NodeView, held: Held, places: Places, needy: tuple[ContainerName, ...]
) -> tuple[AskewMemory, Held, tuple[str, ...]]:
    """Move to the split on which most likely all meet their targets, if that is worth a move."""
    table = table_of(view, memory.demands, held, places)
    planned = likeliest(view, table, held, places)
    chance = least_chance(table, planned, places)
    since_s = None if chance >= HOPELESS_CHANCE or not needy else memory.hopeless_since_s
    if chance < HOPELESS_CHANCE and needy and since_s is None:
        since_s = view.time_s
    memory = replace(memory, hopeless_since_s=since_s)
    gain = worth_of(table, planned, places) - worth_of(table, held, places)
    if gain < (NEEDY_GAIN if needy else GAIN):
        return memory, held, ()
    who = f"{', '.join(needy)} too slow" if needy else "Another split is likelier to do"
    return _entered(memory, view, held, planned, f"{who}: the split on which all most likely do well ({chance:.2f}).")


def _released(
    memory: AskewMemory, view: NodeView, held: Held, places: Places
) -> tuple[AskewMemory, Held, tuple[str, ...]]:
    table = table_of(view, memory.demands, held, places)
    return _entered(
        memory, view, held, released(view, table, held, places) or held, "All are well: jobs get what nobody needs."
    )


def _entered(
    memory: AskewMemory, view: NodeView, held: Held, planned: Held, reason: str
) -> tuple[AskewMemory, Held, tuple[str, ...]]:
    step = (_split_of(held), _split_of(planned))
    if step[0] == step[1] or step in memory.taken:
        return memory, held, ()
    return replace(memory, taken=memory.taken | {step}, moved_at_s=view.time_s), planned, (reason,)


def _split_of(held: Held) -> Split:
    return tuple(sorted(held.items()))


def _load_changed(memory: AskewMemory) -> bool:
    """Whether some tenant's arrivals are counted anew."""
    return any(demand.arrivals_s <= CHANGED_S for demand in memory.demands.values())


def _at_full_speed(view: NodeView, held: Held) -> Held:
    """Give each latency-critical tenant all of what is nobody's loss."""
    free = [index for index, divisible in enumerate(view.resources) if not divisible.pooled]
    most = {tenant.container: tenant.most for tenant in latency_critical(view)}
    return {
        name: tuple(most[name][i] if i in free and name in most else amount for i, amount in enumerate(units))
        for name, units in held.items()
    }


def _learnt(memory: AskewMemory, tenant: Tenant, held: Held, places: Places, seconds: float) -> Demand:
    demand = memory.demands.get(tenant.container, Demand())
    place = places.at(held[tenant.container], 0.0)
    demand = with_arrivals(demand, tenant.requests_per_s * seconds, seconds)
    count = 0 if tenant.window is None else tenant.window.count
    demand = with_work(
        demand, ways=place.ways, cores=place.cores, busy_cores=tenant.cpu_cores, requests=count, seconds=seconds
    )
    return with_window(demand, tenant.window)


def _judged(
    view: NodeView, demands: Mapping[ContainerName, Demand], held: Held, places: Places
) -> tuple[tuple[ContainerName, ...], dict[ContainerName, Demand]]:
    """Return who is in need, and the demands with what was seen at the places held now."""
    needy: list[ContainerName] = []
    judged: dict[ContainerName, Demand] = {}
    for tenant in latency_critical(view):
        assert tenant.target_ms is not None
        demand = demands[tenant.container]
        place = places.at(held[tenant.container], demand.rate_per_s)
        tail = tail_of(demand.window, target_ms=tenant.target_ms, percentile=tenant.percentile)
        estimate = tail_estimate(demand.window, target_ms=tenant.target_ms, percentile=tenant.percentile)
        demand = with_sighting(demand, place, target_ms=tenant.target_ms, percentile=tenant.percentile)
        drowning = demand.saturated and _load(demand) >= place.cores
        if drowning or is_late(tail, estimate):
            needy.append(tenant.container)
            demand = replace(demand, late_at=_with_place(demand.late_at, place))
        elif verdict_of(tail) in (Verdict.MET, Verdict.RELAXED) and place not in demand.met_at:
            demand = replace(demand, met_at=_with_place(demand.met_at, place))
        judged[tenant.container] = demand
    return tuple(needy), judged


def _load(demand: Demand) -> float:
    """Return the cores that all arrivals need."""
    core_s = demand.core_s()
    return 0.0 if core_s is None else demand.rate_per_s * core_s


def _with_place(places: tuple[Place, ...], place: Place) -> tuple[Place, ...]:
    rest = [old for old in places if (old.cores, old.ways) != (place.cores, place.ways)]
    return (*rest[-63:], place)


def _all_well(view: NodeView, demands: Mapping[ContainerName, Demand]) -> bool:
    for tenant in latency_critical(view):
        assert tenant.target_ms is not None
        window = demands[tenant.container].window
        tail = tail_of(window, target_ms=tenant.target_ms, percentile=tenant.percentile)
        if verdict_of(tail) not in (Verdict.MET, Verdict.RELAXED):
            return False
    return True


def _asked(memory: AskewMemory, view: NodeView) -> tuple[AskewMemory, tuple[Migration, ...]]:
    """Ask for a migration once no split was even hoped for during ten seconds."""
    since = memory.hopeless_since_s
    if since is None or view.time_s - since < HOPELESS_S or view.time_s - memory.asked_at_s < 60.0:
        return memory, ()
    leaver = who_leaves(view)
    memory = replace(memory, asked_at_s=view.time_s)
    reason = "No split meets all targets, not even with what may be hoped for."
    return memory, (() if leaver is None else (Migration(leaver.container, reason, certain=True),))
