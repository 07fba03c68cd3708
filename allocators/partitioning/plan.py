"""What a table of odds says of partitions: the likeliest for all, what jobs can have, and how good one is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from allocators.partitioning.best_split import best_split
from allocators.partitioning.demand import Demand, Place
from allocators.partitioning.ledger import Held, best_effort, latency_critical
from allocators.partitioning.likeliest_split import likeliest_split
from allocators.partitioning.node_view import NodeView, Tenant, Units
from allocators.partitioning.odds import Odds, blind_odds, odds_of
from allocators.partitioning.spread import spread_out
from mesh.topology import ContainerName

Table = Mapping[ContainerName, Odds]
RELEASED_CHANCE, RELEASED_WITHIN = 0.95, 0.85


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
        cores, ways = self.pair(units)
        return Place(cores, ways, rate_per_s)

    def pair(self, units: Units) -> tuple[int, int]:
        """Return the cores and ways of a holding; 1 stands for what is not divided."""
        return 1 if self.cores is None else units[self.cores], 1 if self.ways is None else units[self.ways]

    def totals(self, view: NodeView) -> tuple[int, int]:
        """Return the node's cores and ways."""
        return self.pair(tuple(divisible.total for divisible in view.resources))


def table_of(view: NodeView, demands: Mapping[ContainerName, Demand], held: Held, places: Places) -> Table:
    """Return the odds of every tenant that was promised a latency, as far as the others' least parts let it go."""
    table: dict[ContainerName, Odds] = {}
    for tenant in latency_critical(view):
        demand = demands[tenant.container]
        cores, ways = _reach(view, tenant, places, (places.pair(held[tenant.container]), *demand.late_at))
        odds = odds_of(demand, target_ms=tenant.target_ms or 0.0, cores=cores, ways=ways)
        if odds is None:
            odds = blind_odds(demand, places.at(held[tenant.container], 0.0), cores=cores, ways=ways)
        table[tenant.container] = odds
    return table


def likeliest(view: NodeView, table: Table, held: Held, places: Places) -> Held:
    """Return the holdings on which most likely all meet their targets; jobs keep their least parts."""
    critical = latency_critical(view)
    cores, ways = _left_by_jobs(view, places)
    split = likeliest_split(
        [table[tenant.container].worth for tenant in critical],
        least=[places.pair(tenant.least) for tenant in critical],
        most=[places.pair(tenant.most) for tenant in critical],
        first=cores if places.cores is not None else len(critical),
        second=ways if places.ways is not None else len(critical),
    )
    return held if split is None else spread_out(view, table, held, _named(critical, split), places)


def released(view: NodeView, table: Table, held: Held, places: Places) -> Held | None:
    """Return holdings that leave jobs all that no service needs to be nearly sure; None: there is no such split."""
    critical = latency_critical(view)
    cores, ways = _left_by_jobs(view, places)
    needs = [
        _bounded(table[tenant.container].fewest(chance=RELEASED_CHANCE, within=RELEASED_WITHIN), tenant, places)
        for tenant in critical
    ]
    split = best_split(needs, first=cores, second=ways if places.ways is not None else len(critical))
    return None if split is None else spread_out(view, table, held, _named(critical, split), places, to_jobs=True)


def _reach(
    view: NodeView, tenant: Tenant, places: Places, known: tuple[tuple[int, int] | Place, ...]
) -> tuple[int, int]:
    """Return the most cores and ways that a plan can give to a tenant, or that are known of it."""
    least = [places.pair(other.least) for other in view.tenants if other.container != tenant.container]
    totals, most = places.totals(view), places.pair(tenant.most)
    reached = [(p.cores, p.ways) if isinstance(p, Place) else p for p in known]
    cores, ways = (
        min(totals[i], max(min(totals[i] - sum(pair[i] for pair in least), most[i]), *(pair[i] for pair in reached)))
        for i in (0, 1)
    )
    return cores, ways


def worth_of(table: Table, held: Held, places: Places) -> float:
    """Return the sum of what the holdings are worth: about the logarithm of the chance that all meet their targets."""
    pairs = ((odds, places.pair(held[name])) for name, odds in table.items())
    return sum(float(odds.worth[cores - 1, ways - 1]) for odds, (cores, ways) in pairs)


def least_chance(table: Table, held: Held, places: Places) -> float:
    """Return the smallest of all tenants' chances."""
    pairs = ((odds, places.pair(held[name])) for name, odds in table.items())
    return min((float(odds.chance[cores - 1, ways - 1]) for odds, (cores, ways) in pairs), default=1.0)


def _left_by_jobs(view: NodeView, places: Places) -> tuple[int, int]:
    kept = [places.pair(job.least) for job in best_effort(view)]
    cores, ways = places.totals(view)
    return cores - sum(c for c, _ in kept), ways - sum(w for _, w in kept)


def _bounded(needs: tuple[int | None, ...], tenant: Tenant, places: Places) -> tuple[int | None, ...]:
    least, most = places.pair(tenant.least), places.pair(tenant.most)
    return tuple(
        None if need is None or need > most[0] or not least[1] <= ways <= most[1] else max(need, least[0])
        for ways, need in enumerate(needs, start=1)
    )


def _named(critical: tuple[Tenant, ...], split: tuple[tuple[int, int], ...]) -> dict[ContainerName, tuple[int, int]]:
    return {tenant.container: pair for tenant, pair in zip(critical, split, strict=True)}
