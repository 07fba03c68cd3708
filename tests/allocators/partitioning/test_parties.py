"""PARTIES as its paper has it: each transition of Algorithms 1 to 4."""

from __future__ import annotations

from dataclasses import replace

import pytest

from allocators.partitioning.parties import Parties, PartiesMemory, find_victim
from allocators.partitioning.wheels import Turn, next_turn
from mesh.topology import ContainerName
from tests.allocators.partitioning.nodes import (
    COMPUTE,
    CORES,
    MEMORY,
    NETWORK,
    again,
    held,
    tenant,
    view,
)

A, B = ContainerName("a"), ContainerName("b")
UP_CORES, DOWN_CORES = Turn("up", 0), Turn("down", 0)


def test_it_begins_with_equal_shares_at_the_nominal_frequency() -> None:
    """Algorithm 1: every resource in equal parts, 2.2 GHz for all."""
    step = Parties().start(view(tenant("a"), tenant("b")), seed=1)

    assert held(step) == {"a": (7, 10, 10), "b": (7, 10, 10)}


def test_the_neediest_gets_one_unit_of_what_its_wheel_points_at() -> None:
    """Algorithm 1: the smallest slack is below 0.05, so it is upsized by one unit, and nobody else."""
    memory = PartiesMemory(seed=1, turns={A: UP_CORES})
    seen = view(tenant("a", (6, 10, 10), slack=-0.5), tenant("b", (6, 10, 10), slack=-0.1))

    assert held(Parties().step(memory, seen)) == {"a": (7, 10, 10), "b": (6, 10, 10)}


def test_the_most_relaxed_gives_when_all_are_well() -> None:
    """Algorithm 1: nobody is below 0.05 and the largest slack is above 0.20."""
    memory = PartiesMemory(seed=1, turns={B: DOWN_CORES})
    seen = view(tenant("a", (7, 10, 10), slack=0.1), tenant("b", (7, 10, 10), slack=0.3))

    assert held(Parties().step(memory, seen)) == {"a": (7, 10, 10), "b": (6, 10, 10)}


def test_between_the_thresholds_nothing_moves() -> None:
    """A slack from 0.05 to 0.20 is what PARTIES aims at."""
    seen = view(tenant("a", (7, 10, 10), slack=0.1), tenant("b", (7, 10, 10), slack=0.19))

    assert held(Parties().step(PartiesMemory(seed=1), seen)) == {"a": (7, 10, 10), "b": (7, 10, 10)}


def test_nothing_is_taken_while_somebodys_first_window_fills() -> None:
    """Algorithm 1 reclaims where all applications have slack; of seven requests that is not known yet."""
    memory = PartiesMemory(seed=1, turns={B: DOWN_CORES})
    seen = view(tenant("a", (7, 10, 10), slack=0.5, count=7), tenant("b", (7, 10, 10), slack=0.5))

    assert held(Parties().step(memory, seen)) == {"a": (7, 10, 10), "b": (7, 10, 10)}


def test_a_slow_service_that_is_surely_late_does_not_wait_for_its_window() -> None:
    """Seven requests, all over the target: the decision of this 500 ms is to give it more."""
    memory = PartiesMemory(seed=1, turns={A: UP_CORES})
    seen = view(tenant("a", (6, 10, 10), slack=-0.5, count=7), tenant("b", (6, 10, 10), slack=0.1))

    assert held(Parties().step(memory, seen)) == {"a": (7, 10, 10), "b": (6, 10, 10)}


def test_best_effort_jobs_pay_first() -> None:
    """Algorithm 4: a job gives before any latency-critical container, however relaxed."""
    memory = PartiesMemory(seed=1, turns={A: UP_CORES})
    job = tenant("job", (4, 2, 10), kind="best-effort")
    seen = view(tenant("a", (5, 9, 10), slack=-0.5), tenant("b", (5, 9, 10), slack=0.9), job)

    assert held(Parties().step(memory, seen)) == {"a": (6, 9, 10), "b": (5, 9, 10), "job": (3, 2, 10)}


def test_without_jobs_the_most_relaxed_pays() -> None:
    """Algorithm 4: the latency-critical victim is the one with most slack."""
    seen = view(
        tenant("a", (4, 7, 10), slack=-0.5), tenant("b", (5, 7, 10), slack=0.1), tenant("c", (5, 6, 10), slack=0.6)
    )
    slacks = {ContainerName("a"): -0.5, ContainerName("b"): 0.1, ContainerName("c"): 0.6}
    victim = find_victim(seen, seen.holdings(), slacks, seen.tenants[0], 0)

    assert victim is not None
    assert victim.container == "c"


def test_a_job_gets_what_a_downsized_one_gives() -> None:
    """Algorithm 4, downwards: the unit goes to a best-effort job where there is one."""
    memory = PartiesMemory(seed=1, turns={A: DOWN_CORES})
    seen = view(tenant("a", (10, 9, 10), slack=0.6), tenant("job", (4, 2, 10), kind="best-effort"))

    assert held(Parties().step(memory, seen)) == {"a": (9, 9, 10), "job": (5, 2, 10)}


def test_a_useless_upsize_turns_the_wheel_and_stays() -> None:
    """Algorithm 2: slower than before means the next resource; the unit is not taken back."""
    parties = Parties()
    seen = view(tenant("a", (6, 9, 10), slack=-0.5), tenant("b", (6, 10, 10), slack=0.1))
    first = parties.step(PartiesMemory(seed=1, turns={A: UP_CORES}), seen)
    second, _ = again(parties, first, seen, time_s=0.5, a=-0.6, b=0.1)

    assert held(second) == {"a": (7, 10, 10), "b": (6, 10, 10)}
    assert second.memory.turns[A].index == 1


def test_a_useful_upsize_goes_on_with_the_same_resource() -> None:
    """Algorithm 2: faster than before, so the same again."""
    parties = Parties()
    seen = view(tenant("a", (5, 9, 10), slack=-0.5), tenant("b", (6, 10, 10), slack=0.1))
    first = parties.step(PartiesMemory(seed=1, turns={A: UP_CORES}), seen)
    second, _ = again(parties, first, seen, time_s=0.5, a=-0.3, b=0.1)

    assert held(second)["a"] == (7, 9, 10)


def test_a_harmful_downsize_comes_back_and_bans_for_30_s() -> None:
    """Algorithm 3: slack below 0.05 afterwards reverts the move; nothing is taken from it for 30 s."""
    parties = Parties()
    seen = view(tenant("a", (7, 10, 10), slack=0.4), tenant("b", (7, 10, 10), slack=0.1))
    first = parties.step(PartiesMemory(seed=1, turns={A: DOWN_CORES}), seen)
    second, now = again(parties, first, seen, time_s=0.5, a=-0.2, b=0.1)
    third, now = again(parties, second, now, time_s=30.0, a=0.4, b=0.1)
    fourth, _ = again(parties, third, now, time_s=30.6, a=0.4, b=0.1)

    assert [held(step)["a"] for step in (first, second, third)] == [(6, 10, 10), (7, 10, 10), (7, 10, 10)]
    assert held(fourth)["a"] != (7, 10, 10)


def test_a_victim_that_wants_the_same_turns_its_wheel() -> None:
    """Algorithm 4: else both would take the same unit from each other for ever."""
    memory = PartiesMemory(seed=1, turns={A: UP_CORES, B: UP_CORES})
    seen = view(tenant("a", (7, 10, 10), slack=-0.5), tenant("b", (7, 10, 10), slack=-0.1))
    step = Parties().step(memory, seen)

    assert held(step) == {"a": (8, 10, 10), "b": (6, 10, 10)}
    assert step.memory.turns[B].index == 1


def test_after_60_s_of_missing_it_asks_for_a_migration() -> None:
    """Algorithm 1: the stateless one first; two good windows in a row set the timer back."""
    parties = Parties()
    seen = view(tenant("a", (7, 10, 10), slack=-0.5), tenant("b", (7, 10, 10), slack=0.1, stateless=True))
    step = parties.step(PartiesMemory(seed=1), seen)
    asked = []
    for at in range(1, 122):
        step, seen = again(parties, step, seen, time_s=0.5 * at, a=-0.5, b=0.1)
        asked += [(seen.time_s, one.container, one.certain) for one in step.migrations]

    assert asked == [(60.0, "b", False)]


@pytest.mark.parametrize(("good", "asks"), [(1, True), (2, False)])
def test_one_good_window_does_not_set_the_timer_back(good: int, *, asks: bool) -> None:
    """A single lucky sample is no recovery; two in a row are."""
    parties = Parties()
    seen = view(tenant("a", (7, 10, 10), slack=-0.5), tenant("b", (7, 10, 10), slack=0.1))
    step = parties.step(PartiesMemory(seed=1), seen)
    migrations = 0
    for at in range(1, 122):
        slack = 0.1 if 60 <= at < 60 + good else -0.5
        step, seen = again(parties, step, seen, time_s=0.5 * at, a=slack, b=0.1)
        migrations += len(step.migrations)

    assert bool(migrations) == asks


def test_the_compute_wheel_goes_round() -> None:
    """Fig. 4: core, cache, frequency, core."""
    seen = view(tenant("a", (5, 5, 5)), tenant("b", (5, 5, 5)))
    turn, places = UP_CORES, []
    for _ in range(3):
        following, _ = next_turn(seen, seen.tenants[0], seen.holdings(), turn, seed=1)
        assert following is not None
        turn = following
        places.append(turn.index)

    assert places == [1, 2, 0]


def test_what_is_at_its_bound_is_skipped() -> None:
    """Fig. 4: no try is spent on a resource that cannot grow."""
    seen = view(tenant("a", (5, 20, 5)))
    following, _ = next_turn(seen, seen.tenants[0], seen.holdings(), UP_CORES, seed=1)

    assert following is not None
    assert following.index == 2


def test_upwards_storage_leads_to_compute() -> None:
    """Fig. 4: more memory did not help, so it is not memory."""
    resources = (CORES, MEMORY)
    seen = view(tenant("a", (5, 9), resources=resources, memory_bytes=2e9), resources=resources)
    following, _ = next_turn(seen, seen.tenants[0], seen.holdings(), Turn("up", 1), seed=1)

    assert following is not None
    assert following.index == 0


@pytest.mark.parametrize(("used_gb", "place"), [(8.5, 1), (2.0, 0)])
def test_a_whole_turn_without_benefit_leads_to_storage_only_if_memory_is_short(used_gb: float, place: int) -> None:
    """Fig. 4: after a full turn of the compute wheel, with less than 1 GB of memory unused."""
    resources = (CORES, MEMORY)
    seen = view(tenant("a", (5, 9), resources=resources, memory_bytes=used_gb * 1e9), resources=resources)
    following, _ = next_turn(seen, seen.tenants[0], seen.holdings(), UP_CORES, seed=1)

    assert following is not None
    assert following.index == place


def test_downwards_one_wheel_leads_to_the_other() -> None:
    """Fig. 4: less of this one hurt, so the other wheel is tried, without looking at memory."""
    resources = (CORES, MEMORY)
    seen = view(tenant("a", (5, 9), resources=resources, memory_bytes=2e9), resources=resources)
    following, _ = next_turn(seen, seen.tenants[0], seen.holdings(), DOWN_CORES, seed=1)

    assert following == Turn("down", 1)


def test_no_memory_is_taken_from_an_in_memory_service_that_needs_it() -> None:
    """Section 4.2: with less than 1 GB unused, memory is passed over."""
    resources = (CORES, MEMORY)
    one = tenant("a", (5, 9), resources=resources, memory_bytes=8.5e9, in_memory=True)
    seen = view(one, resources=resources)
    following, _ = next_turn(seen, one, seen.holdings(), DOWN_CORES, seed=1)

    assert following is not None
    assert following.index == 0


def test_memory_is_given_by_who_has_most_unused() -> None:
    """Algorithm 4: memory slack decides, latency slack only where nobody has more than 1 GB unused."""
    resources = (CORES, MEMORY)
    tenants = (
        tenant("a", (4, 20), resources=resources, memory_bytes=19.5e9),
        tenant("b", (5, 20), resources=resources, memory_bytes=19.5e9),
        tenant("c", (5, 20), resources=resources, memory_bytes=5e9),
    )
    slacks = {ContainerName("a"): -0.5, ContainerName("b"): 0.8, ContainerName("c"): 0.1}
    seen = view(*tenants, resources=resources)
    short = view(*tenants[:2], replace(tenants[2], memory_bytes=19.5e9), resources=resources)
    victims = [find_victim(one, one.holdings(), slacks, one.tenants[0], 1) for one in (seen, short)]

    assert [victim and victim.container for victim in victims] == ["c", "b"]


@pytest.mark.parametrize(("used", "units"), [(3.8e9, 9), (3.2e9, 8), (2.5e9, 7)])
def test_half_a_gigabit_to_a_gigabit_of_network_stays_unused(used: float, units: int) -> None:
    """Section 4.2: below 0.5 Gbit/s unused one unit more, above 1 Gbit/s one less."""
    resources = (CORES, NETWORK)
    seen = view(tenant("a", (5, 8), resources=resources, slack=0.1, network_bits_per_s=used), resources=resources)

    assert held(Parties().step(PartiesMemory(seed=1), seen)) == {"a": (5, units)}


def test_a_window_stays_open_until_it_holds_enough_requests() -> None:
    """Seven requests have no p99: nothing is done to a service near its target before twenty were seen."""
    parties = Parties()
    seen = view(tenant("a", (5, 9, 10), slack=0.02, count=7), tenant("b", (5, 9, 10), slack=0.1))
    step, sizes = parties.start(seen, seed=1), []
    for at in range(3):
        tenants = (replace(seen.tenants[0], units=(5, 9, 10)), replace(seen.tenants[1], units=(5, 9, 10)))
        step = parties.step(step.memory, replace(seen, tenants=tenants, time_s=0.5 * at))
        sizes.append(sum(held(step)["a"]))

    assert sizes == [24, 24, 25]


def test_no_request_is_neither_good_nor_bad() -> None:
    """A container without a window is not downsized for looking idle, and not upsized."""
    seen = view(tenant("a", (7, 10, 10)), tenant("b", (7, 10, 10)))

    assert held(Parties().step(PartiesMemory(seed=1), seen)) == {"a": (7, 10, 10), "b": (7, 10, 10)}


def test_the_same_seed_makes_the_same_moves() -> None:
    """Chance is a value in the memory: a run can be repeated."""
    seen = view(tenant("a", (6, 9, 10), slack=-0.5), tenant("b", (6, 10, 10), slack=0.1), resources=COMPUTE)

    assert Parties().step(PartiesMemory(seed=5), seen) == Parties().step(PartiesMemory(seed=5), seen)
