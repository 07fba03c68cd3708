"""A plan leaves out what cannot count: its answer is that of all laws at all places, and of all splits."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from allocators.partitioning.demand import Demand, Place, Sighting
from allocators.partitioning.likeliest_split import LEAST_GAIN, likeliest_split
from allocators.partitioning.node_view import Divisible, NodeView
from allocators.partitioning.plan import Places, likeliest, table_of
from tests.allocators.partitioning.nodes import tenant
from tests.allocators.partitioning.plain_odds import all_splits, plain_odds

CORES, WAYS, TARGET_MS = 5, 5, 10.0
RESOURCES = (Divisible("cpuset", "cpus", 1.0, CORES), Divisible("cache", "ways", 1.0, WAYS))


def random_demand(random: np.random.Generator) -> Demand:
    """Return what a strategy may remember of a tenant: some work, some tails, places where it was late or not."""

    def place() -> Place:
        return Place(
            int(random.integers(1, CORES)), int(random.integers(1, WAYS)), rate * float(random.choice([0.8, 1]))
        )

    rate = float(random.uniform(50.0, 900.0))
    work_s = float(random.choice([0.5, 2.0, 5.0])) * 1e-3
    seen = {(one.cores, one.ways): one for one in (place() for _ in range(int(random.integers(0, 5))))}
    return Demand(
        arrivals=4.0 * rate,
        arrivals_s=4.0,
        work={int(w): (work_s * 400.0 * (1.0 + 0.5 / w), 400.0) for w in random.integers(1, WAYS + 1, 2)},
        sightings=tuple(Sighting(one, float(random.lognormal(2.3, 0.5)), 0.1) for one in seen.values()),
        late_at=tuple(place() for _ in range(int(random.integers(0, 2)))),
        met_at=tuple(place() for _ in range(int(random.integers(0, 2)))),
    )


def node(tenants: int) -> NodeView:
    """Return a node of 5 cores and 5 ways whose tenants hold one of each, the first the rest."""
    rest = CORES - tenants + 1
    held = [(rest, rest), *([(1, 1)] * (tenants - 1))]
    return NodeView(0.0, RESOURCES, tuple(tenant(f"c{i}", pair, resources=RESOURCES) for i, pair in enumerate(held)))


@settings(max_examples=12)
@given(st.integers(2, 3), st.integers(0, 2**31))
def test_the_plan_is_that_of_all_laws_at_all_places_and_of_all_splits(tenants: int, seed: int) -> None:
    """No split is worth more by the plain odds than the one that is planned, and the cells that are left agree."""
    random, view = np.random.default_rng(seed), node(tenants)
    demands = {one.container: random_demand(random) for one in view.tenants}
    held, places = {one.container: one.units for one in view.tenants if one.units is not None}, Places.of(view)
    table = table_of(view, demands, held, places)
    plain = {name: plain_odds(demand, target_ms=TARGET_MS, cores=CORES, ways=WAYS) for name, demand in demands.items()}
    for name, odds in table.items():
        rows, columns = odds.worth.shape
        np.testing.assert_allclose(odds.worth, plain[name].worth[:rows, :columns], rtol=0.0, atol=1e-6)
        np.testing.assert_allclose(odds.expected, plain[name].expected[:rows, :columns], rtol=1e-9)

    after = likeliest(view, table, held, places)
    again = likeliest(view, table_of(view, demands, held, places), held, places)
    by_plain = likeliest(view, plain, held, places)

    assert after == again == by_plain
    worths = [odds.worth for odds in plain.values()]
    every = [(CORES, WAYS)] * tenants
    split = likeliest_split(
        [odds.worth for odds in table.values()], least=[(1, 1)] * tenants, most=every, first=CORES, second=WAYS
    )
    assert split is not None
    found = sum(float(worth[c - 1, w - 1]) for worth, (c, w) in zip(worths, split, strict=True))
    assert found >= all_splits(worths, cores=CORES, ways=WAYS) - tenants * LEAST_GAIN * (CORES + WAYS)


def test_a_place_beyond_what_a_plan_can_give_still_tells() -> None:
    """Late with more than a plan can give now (a neighbour came since): with less it is late, too."""
    view = node(3)
    names = [one.container for one in view.tenants]
    random = np.random.default_rng(3)
    demands = {name: random_demand(random) for name in names}
    late = Demand(arrivals=400.0, arrivals_s=1.0, work={5: (2.0, 400.0)}, late_at=(Place(CORES, WAYS, 400.0),))
    held = {one.container: one.units for one in view.tenants if one.units is not None}
    odds = table_of(view, {**demands, names[0]: late}, held, Places.of(view))[names[0]]

    plain = plain_odds(late, target_ms=TARGET_MS, cores=CORES, ways=WAYS)
    assert odds.chance[2, 2] < 0.2
    np.testing.assert_allclose(odds.chance, plain.chance, atol=1e-9)
