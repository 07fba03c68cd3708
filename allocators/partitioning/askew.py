"""Our own strategy: PARTIES' aim with confidence bounds, a fitted model, protected victims and an end.

::

    seen       arrivals, core seconds a request by cache ways, tails at the places held so far
    judged     LATE only when it is certain; then this place is never given again at this load
    planned    when somebody is late or about to drown: the split on which all meet their targets, by what is expected
               of each; else by what may be hoped for; all units move at once
    comfort    with nobody surely late but somebody thought to be, once a place and load: the same plan
infeasible when not even hope finds a split: the most even misery, and a migration is asked for
    released   with all surely met and best-effort jobs about: what nobody needs, to them

Nobody gives what he needs himself: a victim is whoever the plan still finds within the target afterwards. A place that
was late is excluded (with all smaller ones) while the load does not fall, and no split is entered twice at one load:
the number of moves is finite. Memory, disk and network follow PARTIES' rules for spare room;
memory bandwidth goes from jobs to who is late.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from allocators.partitioning.best_split import Needs, best_split
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
from allocators.partitioning.needs import Reach, needs_of, reach_of
from allocators.partitioning.network import adjust_network
from allocators.partitioning.node_view import NodeView, Tenant, Units
from allocators.partitioning.parties import who_leaves
from allocators.partitioning.spread import spread_out
from allocators.partitioning.step import Migration, Step
from allocators.partitioning.storage import adjust_storage
from allocators.partitioning.tail import Verdict, tail_of, verdict_of
from mesh.topology import ContainerName

TIERS = (("expected", 0.85), ("expected", 0.97), ("hoped", 1.0))
RELEASED_WITHIN = 0.75
HOPELESS_S, PLANNED_EVERY_S = 10.0, 2.0
CHANGED_S = 0.6
COMFORT_ABOVE, COMFORT_GAIN, COMFORT_EVERY_S = 1.0, 0.95, 5.0


Split = tuple[tuple[ContainerName, Units], ...]


@dataclass(frozen=True, slots=True)
class AskewMemory:
    """What is remembered: each tenant's demand, since when it is hopeless, when all was last not well.

    ``entered`` are the splits of this load: none is entered again.
    """

    demands: Mapping[ContainerName, Demand] = field(default_factory=dict)
    hopeless_since_s: float | None = None
    unwell_at_s: float = float("-inf")
    asked_at_s: float = float("-inf")
    moved_at_s: float = float("-inf")
    planned_at_s: float = float("-inf")
    entered: frozenset[Split] = frozenset()
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
            memory = replace(memory, entered=frozenset(), hopeless_since_s=None)
        memory = replace(memory, entered=memory.entered | {_split_of(held)})
        if needy:
            return _rescued(replace(memory, unwell_at_s=view.time_s), view, held, places, needy)
        memory = replace(memory, hopeless_since_s=None)
        if _all_well(view, memory.demands):
            jobs, calm = best_effort(view), view.time_s - memory.unwell_at_s >= self.calm_s
            return _released(memory, view, held, places) if jobs and calm else (memory, held, ())
        memory = replace(memory, unwell_at_s=view.time_s)
        last_s = max(memory.moved_at_s + COMFORT_EVERY_S, memory.planned_at_s + PLANNED_EVERY_S)
        if view.time_s < last_s:
            return memory, held, ()
        return _comforted(replace(memory, planned_at_s=view.time_s), view, held, places)


def _rescued(
    memory: AskewMemory, view: NodeView, held: Held, places: Places, needy: tuple[ContainerName, ...]
) -> tuple[AskewMemory, Held, tuple[str, ...]]:
    if memory.hopeless_since_s is not None and view.time_s - memory.planned_at_s < PLANNED_EVERY_S:
        return memory, held, ()
    if not any(demand.sightings for demand in memory.demands.values()) and not memory.waited:
        return replace(memory, waited=True), held, ()  # the first windows are not read: the next step knows all
    memory = replace(memory, planned_at_s=view.time_s)
    planned, how = plan(view, _reaches(view, memory.demands, held, places), memory.demands, held, places)
    if how != "infeasible":
        memory = replace(memory, hopeless_since_s=None)
    elif memory.hopeless_since_s is not None:
        return memory, held, ()  # as good as it gets: waits for the load, or for something learnt
    else:
        memory = replace(memory, hopeless_since_s=view.time_s)
    return _entered(memory, view, held, planned, f"{', '.join(needy)} too slow: the {how} split.")


def _released(
    memory: AskewMemory, view: NodeView, held: Held, places: Places
) -> tuple[AskewMemory, Held, tuple[str, ...]]:
    released = release(view, _reaches(view, memory.demands, held, places), memory.demands, held, places)
    return _entered(memory, view, held, released or held, "All are well: jobs get what nobody needs.")


def _comforted(
    memory: AskewMemory, view: NodeView, held: Held, places: Places
) -> tuple[AskewMemory, Held, tuple[str, ...]]:
    """Move units to who is expected to be late, although too few requests were seen to be sure."""
    table = _reaches(view, memory.demands, held, places)
    planned, how = plan(view, table, memory.demands, held, places)
    worst, better = _worst(table, held, places), _worst(table, planned, places)
    if how != "expected" or worst < COMFORT_ABOVE or better > COMFORT_GAIN * worst:
        return memory, held, ()
    return _entered(memory, view, held, planned, "Somebody is expected to be late: the expected split.")


def _entered(
    memory: AskewMemory, view: NodeView, held: Held, planned: Held, reason: str
) -> tuple[AskewMemory, Held, tuple[str, ...]]:
    if _split_of(planned) in memory.entered:
        return memory, held, ()
    entered = memory.entered | {_split_of(planned)}
    return replace(memory, entered=entered, moved_at_s=view.time_s), planned, (reason,)


def _split_of(held: Held) -> Split:
    return tuple(sorted(held.items()))


def _load_changed(memory: AskewMemory) -> bool:
    """Whether some tenant's arrivals are counted anew."""
    return any(demand.arrivals_s <= CHANGED_S for demand in memory.demands.values())


def _worst(table: Table, held: Held, places: Places) -> float:
    """Return the highest expected tail, in parts of its target."""
    worst = 0.0
    for name, reach in table.items():
        if reach is not None:
            place = places.at(held[name], 0.0)
            worst = max(worst, float(reach.expected[place.cores - 1, place.ways - 1]))
    return worst


@dataclass(frozen=True, slots=True)
class Places:
    """Where cores and ways stand among the node's resources; None: it cannot divide them."""

    cores: int | None
    ways: int | None

    @classmethod
    def of(cls, view: NodeView) -> Places:
        cores = view.index_of("cpuset")
        return cls(view.index_of("cpu") if cores is None else cores, view.index_of("cache"))

    def at(self, units: Units, rate_per_s: float) -> Place:
        """Return the cores and ways of a holding; 1 stands for what is not divided."""
        cores = 1 if self.cores is None else units[self.cores]
        return Place(cores, 1 if self.ways is None else units[self.ways], rate_per_s)


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


Table = Mapping[ContainerName, Reach | None]


def _reaches(view: NodeView, demands: Mapping[ContainerName, Demand], held: Held, places: Places) -> Table:
    cores = 1 if places.cores is None else view.resources[places.cores].total
    ways = 1 if places.ways is None else view.resources[places.ways].total
    return {
        t.container: reach_of(demands[t.container], target_ms=t.target_ms or 0.0, cores=cores, ways=ways)
        for t in latency_critical(view)
    }


def plan(
    view: NodeView, table: Table, demands: Mapping[ContainerName, Demand], held: Held, places: Places
) -> tuple[Held, str]:
    """Return the holdings to move to and how they were found: expected, hoped or infeasible."""
    for kind, within in TIERS:
        split = _split(view, table, demands, held, places, kind=kind, within=within)
        if split is not None:
            return spread_out(view, table, held, split, places), kind
    for within in (1.2, 1.5, 2.0, 3.0, 5.0, 10.0):
        split = _split(view, table, demands, held, places, kind="expected", within=within, forgiving=True)
        if split is not None:
            return spread_out(view, table, held, split, places), "infeasible"
    return held, "infeasible"


def release(
    view: NodeView, table: Table, demands: Mapping[ContainerName, Demand], held: Held, places: Places
) -> Held | None:
    """Return holdings that leave jobs all that no service needs, None where no such split is seen."""
    split = _split(view, table, demands, held, places, kind="expected", within=RELEASED_WITHIN)
    return None if split is None else spread_out(view, table, held, split, places, to_jobs=True)


def _split(
    view: NodeView, table: Table, demands: Mapping[ContainerName, Demand], held: Held, places: Places,
    *, kind: str, within: float, forgiving: bool = False,
) -> dict[ContainerName, tuple[int, int]] | None:  # fmt: skip
    rows: list[Needs] = []
    critical = latency_critical(view)
    for tenant in critical:
        reach, demand = table[tenant.container], demands[tenant.container]
        if forgiving:  # what was late stays excluded where all can be met; here it is only a matter of how much
            demand = replace(demand, late_at=())
        least, most = places.at(tenant.least, 0.0), places.at(tenant.most, 0.0)
        if reach is None or (kind == "expected" and not forgiving and _unseen(demand)):
            rows.append(_blind(demand, places.at(held[tenant.container], 0.0), most))
            continue
        tails = (reach.expected if kind == "expected" else reach.hoped).copy()
        bounds = {"least": (least.cores, least.ways), "most": (most.cores, most.ways)}
        rows.append(needs_of(tails, demand, within=within, **bounds))
    kept = [places.at(job.least, 0.0) for job in best_effort(view)]
    cores = (1 if places.cores is None else view.resources[places.cores].total) - sum(p.cores for p in kept)
    ways = len(critical) if places.ways is None else view.resources[places.ways].total - sum(p.ways for p in kept)
    split = best_split(rows, first=cores, second=ways)
    return None if split is None else {t.container: pair for t, pair in zip(critical, split, strict=True)}


def _unseen(demand: Demand) -> bool:
    """Whether nothing is known of a tenant's tail, nor that it drowns: a guess is no ground to take from it."""
    return not demand.sightings and not demand.saturated and not demand.late_at


def _blind(demand: Demand, place: Place, most: Place) -> Needs:
    """Return needs without a model: as much as now, one unit more of either where that was late."""
    late = any((old.cores, old.ways) == (place.cores, place.ways) for old in demand.late_at)
    needs: list[int | None] = []
    for ways in range(1, most.ways + 1):
        if ways < place.ways:
            needs.append(None)
        else:
            more = 1 if late and ways < place.ways + 2 else 0
            needs.append(min(place.cores + more, most.cores))
    return tuple(needs)


def _asked(memory: AskewMemory, view: NodeView) -> tuple[AskewMemory, tuple[Migration, ...]]:
    """Ask for a migration once no split was even hoped for during ten seconds."""
    since = memory.hopeless_since_s
    if since is None or view.time_s - since < HOPELESS_S or view.time_s - memory.asked_at_s < 60.0:
        return memory, ()
    leaver = who_leaves(view)
    memory = replace(memory, asked_at_s=view.time_s)
    reason = "No split meets all targets, not even with what may be hoped for."
    return memory, (() if leaver is None else (Migration(leaver.container, reason, certain=True),))
