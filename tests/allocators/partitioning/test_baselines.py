"""Heracles, PARTIES as released, static and unmanaged: what makes each of them what it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from allocators.partitioning.heracles import Heracles, strictest
from allocators.partitioning.parties_released import PartiesReleased, ReleasedMemory
from allocators.partitioning.static import Static, Unmanaged
from allocators.partitioning.step import Grant, Step
from allocators.partitioning.wheels import Turn
from mesh.topology import ContainerName
from tests.allocators.partitioning.nodes import again, held, tenant, view

A, B = ContainerName("a"), ContainerName("b")


def heracles(slack: float, *, seconds: float, load: float = 0.5) -> Step[Any]:
    """Return Heracles' last step when the latency-critical one always has this slack."""
    strategy = Heracles({A: 1000.0})
    seen = view(
        tenant("a", slack=slack, target_ms=10.0, requests_per_s=1000.0 * load),
        tenant("b", slack=0.1, target_ms=500.0),
        tenant("c", slack=0.1, target_ms=900.0),
    )
    step = strategy.start(seen, seed=1)
    for at in range(1, round(seconds / 0.5) + 1):
        step = strategy.step(step.memory, replace(seen, time_s=0.5 * at))
    return step


def test_heracles_serves_the_strictest_and_pools_the_rest() -> None:
    """As in PARTIES' comparison: one partition for the smallest target, one pool for all others, one core at first."""
    step = heracles(0.0, seconds=0.0)

    assert step.wanted == (Grant((A,), (13, 18, 11)), Grant((B, ContainerName("c")), (1, 2, 11)))


def test_heracles_pool_grows_by_cores_and_ways_in_turn() -> None:
    """Every two seconds one unit more, while the slack is above 0.10."""
    step = heracles(0.5, seconds=8.0)

    assert step.wanted[1].units == (3, 4, 11)


def test_heracles_pool_keeps_two_cores_below_a_slack_of_five_parts_in_a_hundred() -> None:
    """The top loop, 15 s: be_cores.Remove(size - 2)."""
    assert heracles(0.02, seconds=16.0).wanted[1].units == (1, 2, 11)


@pytest.mark.parametrize(("slack", "load"), [(-0.1, 0.5), (0.5, 0.9)])
def test_heracles_suspends_the_others(slack: float, load: float) -> None:
    """When the one misses its target (for five minutes), or its load is above 0.85."""
    step = heracles(slack, seconds=16.0, load=load)

    assert step.suspended == (B, ContainerName("c"))
    assert step.wanted[0].units == (14, 20, 11)


def test_heracles_resumes_after_five_minutes() -> None:
    """The cool-down of Algorithm 1; the pool begins anew with one core."""
    strategy = Heracles({A: 1000.0})
    late = view(tenant("a", slack=-0.5, requests_per_s=1.0), tenant("b", target_ms=500.0))
    fine = view(tenant("a", slack=0.5, requests_per_s=1.0), tenant("b", target_ms=500.0))
    step, suspended = strategy.start(late, seed=1), []
    for at in range(1, 680):
        seen = late if at < 40 else fine
        step = strategy.step(step.memory, replace(seen, time_s=0.5 * at))
        suspended.append(bool(step.suspended))

    assert suspended.index(True) == 29
    assert next(at for at in range(29, 679) if not suspended[at]) in range(629, 660)


def test_heracles_takes_back_what_hurt_if_it_looks() -> None:
    """The printed rule suspends the pool 15 s later; the prose's check takes the last core back and goes on."""
    asks_for = 11  # cores that the strict one needs
    ends: dict[bool, Step[Any]] = {}
    for takes_back in (False, True):
        strategy = Heracles({A: 1000.0}, takes_back=takes_back)
        step = strategy.start(view(tenant("a"), tenant("b", target_ms=500.0)), seed=1)
        for at in range(1, 121):
            units = step.wanted[0].units
            assert units is not None
            one = tenant("a", slack=0.5 if units[0] >= asks_for else -0.5, requests_per_s=1.0)
            step = strategy.step(step.memory, replace(view(one, tenant("b", target_ms=500.0)), time_s=0.5 * at))
        ends[takes_back] = step

    assert ends[False].suspended == (B,)
    assert ends[True].suspended == ()
    assert ends[True].wanted[0].units is not None
    assert ends[True].wanted[0].units[0] == asks_for


def test_the_strictest_is_the_smallest_target() -> None:
    """Best-effort jobs are never the latency-critical one."""
    found = strictest(view(tenant("a", target_ms=9.0), tenant("b", target_ms=3.0), tenant("j", kind="best-effort")))

    assert found is not None
    assert found.container == "b"


def test_static_shares_equally_for_ever() -> None:
    """Whatever happens."""
    first = Static().start(view(tenant("a"), tenant("b")), seed=1)
    step, _ = again(Static(), first, view(tenant("a"), tenant("b")), time_s=0.5, a=-9.0, b=0.9)

    assert held(step) == {"a": (7, 10, 10), "b": (7, 10, 10)}


def test_unmanaged_has_no_partition() -> None:
    """One pool of everything, for everybody."""
    assert Unmanaged().start(view(tenant("a"), tenant("b")), seed=1).wanted == (Grant((A, B), None),)


def released(polls: list[float], *, turn: Turn, b: float = 0.1) -> list[tuple[int, ...]]:
    """Return what ``a`` holds after each poll of the released program."""
    strategy = PartiesReleased()
    seen = view(tenant("a", (6, 10, 5)), tenant("b", (7, 10, 5)))
    step: Step[Any] = Step(ReleasedMemory(seed=1, turns={A: turn}), (Grant((A,), (6, 10, 5)), Grant((B,), (7, 10, 5))))
    amounts = []
    for at, slack in enumerate(polls, start=1):
        step, seen = again(strategy, step, seen, time_s=0.1 * at, a=slack, b=b)
        amounts.append(held(step)["a"])
    return amounts


def test_released_takes_half_a_second_to_judge() -> None:
    """Five polls of 100 ms, then the next move: here they were better, so the same resource again."""
    cores = [units[0] for units in released([-0.5, -0.4, -0.4, -0.4, -0.4, -0.4, -0.3], turn=Turn("up", 0))]

    assert cores == [7, 7, 7, 7, 7, 7, 8]


def test_released_turns_by_majority() -> None:
    """Three of five polls worse: the next resource of the wheel."""
    units = released([-0.5, -0.6, -0.6, -0.6, -0.4, -0.4, -0.4], turn=Turn("up", 0))

    assert units[-1] == (7, 11, 5)


def test_released_takes_a_downsize_back_if_anybody_suffers() -> None:
    """The paper looks at the downsized one alone; the program at all."""
    polls = [0.5] * 7
    alone, with_others = released(polls, turn=Turn("down", 0), b=0.1), released(polls, turn=Turn("down", 0), b=0.04)

    assert alone[5][0] == 5
    assert with_others[5][0] == 6
