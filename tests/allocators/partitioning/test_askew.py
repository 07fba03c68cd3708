"""Our own strategy: certainty before action, jumps, protected victims, an end, and what jobs get."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

from allocators.partitioning.askew import Askew
from allocators.partitioning.demand import Demand, with_window, with_work
from allocators.partitioning.node_view import NodeView, Units
from allocators.partitioning.step import Step
from estimators.latency import LatencyWindow
from tests.allocators.partitioning.nodes import held, tenant, view

START: dict[str, Units] = {"a": (7, 10, 11), "b": (7, 10, 11)}


def seen_window(p99_part: float, count: int) -> LatencyWindow:
    """Return requests spread evenly below a tail of this part of a 10 ms target."""
    bounds = tuple(10.0 * p99_part * k / 100.0 for k in range(1, 101))
    each = max(1, count // 100)
    return LatencyWindow(0.0, 0.5, bounds, (*([each] * 100), 0), 0.0)


def run(
    asks: dict[str, float], *, jobs: int = 0, seconds: float = 20.0, count: int = 20000
) -> tuple[Step[Any], NodeView, list[dict[str, Units]]]:
    """Close the loop with services that meet their target exactly if they hold as many cores as they ask for."""
    strategy = Askew()
    names = [*asks, *(f"job{at}" for at in range(jobs))]
    seen = view(*(tenant(name, kind="latency-critical" if name in asks else "best-effort") for name in names))
    step = strategy.start(seen, seed=1)
    history = [held(step)]
    for at in range(1, round(seconds / 0.5) + 1):
        tenants = []
        for one in seen.tenants:
            units = held(step)[str(one.container)]
            need = asks.get(str(one.container))
            if need is None:
                tenants.append(replace(one, units=units))
                continue
            window = seen_window(0.5 if units[0] >= need else 3.0, count)
            busy = min(0.8 * need, 0.95 * units[0])
            tenants.append(replace(one, units=units, window=window, requests_per_s=2.0 * count, cpu_cores=busy))
        seen = replace(seen, tenants=tuple(tenants), time_s=0.5 * at)
        step = strategy.step(step.memory, seen)
        history.append(held(step))
    return step, seen, history


def test_it_jumps_many_units_at_once() -> None:
    """One plan moves what PARTIES moves in several steps of half a second."""
    _, _, history = run({"a": 11.0, "b": 3.0})
    moves = [pair for pair in itertools.pairwise(history) if pair[0] != pair[1]]

    assert history[-1]["a"][0] >= 11
    assert history[-1]["b"][0] >= 3
    assert len(moves) <= 3


def test_nobody_gives_what_he_needs() -> None:
    """A victim keeps enough in every partition on the way."""
    _, _, history = run({"a": 9.0, "b": 5.0})

    assert min(units["b"][0] for units in history) >= 5


def test_the_part_in_which_a_backlog_ends_is_not_read() -> None:
    """All cores busy, then the last late ones of the queue, then what the place is really like."""
    late, good = seen_window(3.0, 1000), seen_window(0.5, 1000)
    demand = Demand()
    seen = []
    for busy_cores, window in ((4.0, late), (4.0, late), (3.0, late), (2.0, good)):
        demand = with_work(demand, ways=5, cores=4.0, busy_cores=busy_cores, requests=1000, seconds=0.5)
        demand = with_window(demand, window)
        seen.append(demand.window)

    assert seen == [None, None, None, good]


def test_a_few_late_requests_are_no_reason() -> None:
    """Seven requests, none late enough to be certain: nothing moves."""
    seen = view(*(tenant(name, units, slack=0.02, count=7) for name, units in START.items()))
    strategy = Askew()
    step = strategy.step(strategy.start(seen, seed=1).memory, seen)

    assert held(step) == START


def test_no_move_is_made_twice_at_one_load() -> None:
    """So it comes to rest, also where no split is enough."""
    _, _, history = run({"a": 9.0, "b": 9.0}, seconds=60.0)
    moves = [(before, now) for before, now in itertools.pairwise(history) if before != now]

    assert len({repr(move) for move in moves}) == len(moves)
    assert history[-20:] == [history[-1]] * 20


def test_what_cannot_be_met_ends_in_a_wish_to_migrate() -> None:
    """Two services that need nine of fourteen cores each: said as certain, long before PARTIES' 60 s."""
    strategy, migrations = Askew(), []
    seen = view(tenant("a"), tenant("b", stateless=True))
    step = strategy.start(seen, seed=1)
    for at in range(1, 60):
        tenants = tuple(
            replace(
                one,
                units=held(step)[str(one.container)],
                window=seen_window(3.0, 20000),
                requests_per_s=40000.0,
                cpu_cores=float(held(step)[str(one.container)][0]),
            )
            for one in seen.tenants
        )
        seen = replace(seen, tenants=tenants, time_s=0.5 * at)
        step = strategy.step(step.memory, seen)
        migrations += [(seen.time_s, one) for one in step.migrations]

    assert [(one.container, one.certain) for _, one in migrations] == [("b", True)]
    assert migrations[0][0] < 20.0


def test_jobs_get_what_nobody_needs() -> None:
    """With all surely met for three seconds, cores and ways are the job's that no service needs to be nearly sure."""
    _, _, history = run({"a": 4.0, "b": 3.0}, jobs=1)

    assert history[-1]["job0"][0] >= 4  # at 4 cores `a` would have 80 % busy: that may be late
    assert history[-1]["job0"][1] >= 15
    assert history[-1]["a"][0] >= 4
    assert history[-1]["b"][0] >= 3


def test_jobs_give_at_once_when_somebody_is_late() -> None:
    """What a job holds is the first to go."""
    _, _, history = run({"a": 12.0, "b": 1.0}, jobs=1)

    assert history[-1]["a"][0] >= 12


def test_without_cpu_time_it_still_helps() -> None:
    """Where CPU time cannot be measured there is no model: one unit at a time, and no more."""
    strategy = Askew()
    seen = view(
        tenant("a", START["a"], slack=-1.0, count=2000),
        tenant("b", START["b"], slack=0.5, count=2000),
        tenant("job", (1, 1, 10), kind="best-effort"),
    )
    seen = replace(seen, tenants=tuple(replace(t, units=u) for t, u in zip(
        seen.tenants, [(5, 8, 11), (4, 6, 11), (5, 6, 10)], strict=True)))  # fmt: skip
    memory = strategy.start(seen, seed=1).memory
    first = strategy.step(memory, seen)
    second = strategy.step(first.memory, replace(seen, time_s=0.5))

    assert held(second)["a"][0] > 5
    assert held(second)["b"][0] >= 4
