"""What every partitioning strategy keeps, whatever it sees: nothing is made or lost, and bounds hold."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from allocators.errors import ProblemError
from allocators.partitioning.ledger import equal_shares, in_force
from allocators.partitioning.node_view import NodeView, Tenant
from allocators.partitioning.step import Step
from allocators.partitioning.strategies import STRATEGIES, partitioner
from mesh.topology import ContainerName
from tests.allocators.partitioning.nodes import COMPUTE, MEMORY, held, tenant, view, window

RESOURCES = (*COMPUTE, MEMORY)
PARTITIONING = ("askew", "parties", "parties-released", "static")
SLACKS = st.lists(st.one_of(st.none(), st.floats(-3.0, 0.95)), min_size=4, max_size=4)


def start_view(bounds: list[tuple[int, int]]) -> NodeView:
    """Return three services and a job, with bounds on their cores."""
    tenants = []
    for at, (low, high) in enumerate(bounds):
        kind = "best-effort" if at == 3 else "latency-critical"
        one = tenant(f"t{at}", resources=RESOURCES, kind=kind, memory_bytes=2e9)
        tenants.append(replace(one, least=(low, *one.least[1:]), most=(high, *one.most[1:])))
    return view(*tenants, resources=RESOURCES)


def after(seen: NodeView, step: Step[Any], slacks: list[float | None], at: int) -> NodeView:
    """Return the view of the next step."""
    wanted = held(step)
    tenants = tuple(
        replace(
            one,
            units=wanted[str(one.container)],
            window=None if slack is None else window(slack, count=200),
            cpu_cores=math.nan if at % 5 == 0 else 0.8 * wanted[str(one.container)][0],
        )
        for one, slack in zip(seen.tenants, slacks, strict=True)
    )
    return replace(seen, tenants=tenants, time_s=0.5 * at)


@pytest.mark.parametrize("name", PARTITIONING)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    bounds=st.lists(st.tuples(st.integers(1, 3), st.integers(3, 14)), min_size=4, max_size=4),
    rounds=st.lists(SLACKS, min_size=1, max_size=12),
)
def test_no_unit_is_made_and_all_bounds_hold(
    name: str, bounds: list[tuple[int, int]], rounds: list[list[float | None]]
) -> None:
    """Sums never exceed what there is, everybody stays within least and most, every tenant is named once."""
    strategy, seen = partitioner(name), start_view(bounds)
    step = strategy.start(seen, seed=3)
    for at, slacks in enumerate(rounds, start=1):
        seen = after(seen, step, slacks, at)
        step = strategy.step(step.memory, seen)
        wanted = held(step)
        assert sorted(wanted) == ["t0", "t1", "t2", "t3"]
        for index, divisible in enumerate(RESOURCES):
            amounts = [wanted[str(one.container)][index] for one in seen.tenants]
            assert not divisible.pooled or sum(amounts) <= divisible.total
            assert all(one.least[index] <= n <= one.most[index] for one, n in zip(seen.tenants, amounts, strict=True))


@pytest.mark.parametrize("name", ["parties", "parties-released"])
def test_without_jobs_every_unit_is_held_or_idle(name: str) -> None:
    """What a downsized container gives goes to the pool, and the next upsize takes it from there."""
    strategy = partitioner(name)
    seen = view(tenant("t0"), tenant("t1"))
    step = strategy.start(seen, seed=1)
    for at in range(1, 400):
        slack = 0.5 if at < 200 else -0.5
        wanted = held(step)
        tenants = tuple(replace(t, units=wanted[str(t.container)], window=window(slack)) for t in seen.tenants)
        step = strategy.step(step.memory, replace(seen, tenants=tenants, time_s=0.5 * at))
        if at == 199:
            lowest = sum(units[0] for units in held(step).values())

    assert lowest < 14
    assert sum(units[0] for units in held(step).values()) == 14


@pytest.mark.parametrize("name", PARTITIONING)
def test_a_newcomer_gets_its_least_part_and_a_leaver_is_forgotten(name: str) -> None:
    """Tenants may come and go between any two steps."""
    strategy = partitioner(name)
    step = strategy.start(view(tenant("a"), tenant("b")), seed=1)
    wanted = held(step)
    later = view(tenant("b", wanted["b"], slack=0.1), tenant("c"), time_s=0.5)
    step = strategy.step(step.memory, later)

    assert set(held(step)) == {"b", "c"}
    assert held(step)["c"][0] >= 1


def test_where_somebody_else_wrote_too_much_the_fullest_gives_back() -> None:
    """The view is the truth; what it holds too much of is taken from who holds most."""
    now = in_force(view(tenant("a", (9, 5, 5)), tenant("b", (8, 5, 5))))

    assert sum(units[0] for units in now.values()) == 14


def test_more_least_than_there_is_has_no_answer() -> None:
    """A node whose tenants' least parts are more than it has is an error, not a partition."""
    tenants = tuple(replace(tenant(f"t{at}"), least=(8, 1, 0)) for at in range(2))
    with pytest.raises(ProblemError, match="cpuset: found 16"):
        equal_shares(view(*tenants))


def test_an_unknown_strategy_is_named() -> None:
    """The message says which there are."""
    with pytest.raises(ProblemError, match=r"found 'best', allowed: askew, parties"):
        partitioner("best")


def test_names_are_the_strategies_own() -> None:
    """The table's keys are what the strategies call themselves."""
    assert {name: strategy.name for name, strategy in STRATEGIES.items()} == {name: name for name in STRATEGIES}


def test_units_that_do_not_fit_the_resources_are_refused() -> None:
    """A tenant with two numbers on a node with three resources is a mistake of the caller."""
    one = Tenant(ContainerName("a"), "latency-critical", (1, 1), (1, 1, 0), (9, 9, 9))
    with pytest.raises(ProblemError, match=r"a\.units: found 2 numbers, allowed: 3"):
        view(one)
