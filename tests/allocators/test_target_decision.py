"""The state machine of targets: ages, steps, slow start, probes, undo. All times are injected."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from allocators.errors import ProblemError
from allocators.target_decision import decide_targets
from allocators.target_view import ServiceView, TargetDecision, TargetMemory, TargetSettings, unseen
from estimators.latency_curve import latency_ms

Floats = NDArray[np.float64]
TICK_S = 5.0
EVEN = TargetSettings(eta=1.0)


def view(
    service_ms: Floats,
    targets: Floats,
    *,
    now_s: float,
    total_per_s: float = 100.0,
    names: tuple[str, ...] | None = None,
    tail_ms: float | None = None,
) -> ServiceView:
    """Return what the sidecars of M/M/1 servers would show without noise."""
    size = len(service_ms)
    loads = np.minimum(targets * total_per_s, 0.99 * 1000.0 / service_ms)
    return ServiceView(
        endpoints=names or tuple(f"e{index}" for index in range(size)),
        nodes=tuple(f"h{index % 2}" for index in range(size)),
        capacities=np.ones(size),
        requests=loads * TICK_S,
        failures=np.zeros(size),
        mean_ms=latency_ms(loads, service_ms),
        window_s=np.full(size, TICK_S),
        newest_s=now_s,
        tail_ms=tail_ms,
    )


def run(
    service_ms: Floats,
    ticks: int,
    *,
    memory: TargetMemory | None = None,
    start_s: float = 0.0,
    total_per_s: float = 100.0,
) -> TargetDecision:
    """Return the decision after so many ticks of steady servers."""
    targets = np.full(len(service_ms), 1.0 / len(service_ms)) if memory is None else memory.targets
    for tick in range(ticks):
        now_s = start_s + tick * TICK_S
        seen = view(service_ms, targets, now_s=now_s, total_per_s=total_per_s)
        decision = decide_targets(seen, memory, now_s=now_s, interval_s=TICK_S)
        targets, memory = decision.targets, decision.memory
    return decision


SLOW_FIRST = np.array([30.0, 10.0, 10.0, 10.0])


def test_before_any_telemetry_targets_are_by_capacity() -> None:
    """Neutral, and the reason says so."""
    nothing = unseen(("a", "b"), ("h1", "h2"), np.array([1.0, 3.0]))
    decision = decide_targets(nothing, None, now_s=0.0, interval_s=TICK_S)

    assert decision.targets.tolist() == [0.25, 0.75]
    assert "No telemetry yet" in decision.reason


@pytest.mark.parametrize("intervals", [0.5, 2.0, 3.5, 11.9])
def test_without_news_targets_are_held(intervals: float) -> None:
    """Up to 12 intervals, however often a tick asks."""
    done = run(SLOW_FIRST, 10)
    old = view(SLOW_FIRST, done.targets, now_s=9 * TICK_S)
    decision = decide_targets(old, done.memory, now_s=(9 + intervals) * TICK_S, interval_s=TICK_S)

    assert np.array_equal(decision.targets, done.targets)
    assert decision.reason.startswith("Held")


def test_after_twelve_intervals_targets_relax_step_by_step_to_neutral() -> None:
    """At most a tenth of the fair share a tick, then exactly by capacity."""
    done = run(SLOW_FIRST, 10)
    old, memory, last = view(SLOW_FIRST, done.targets, now_s=9 * TICK_S), done.memory, done.targets
    for tick in range(23, 40):
        decision = decide_targets(old, memory, now_s=tick * TICK_S, interval_s=TICK_S)
        assert np.abs(decision.targets - last).max() <= 0.1 * 0.25 + 1e-12
        memory, last = decision.memory, decision.targets

    assert last == pytest.approx(np.full(4, 0.25))
    assert "capacity" in decision.reason


def test_ticks_that_a_change_of_topology_runs_do_not_relax_faster() -> None:
    """Ten ticks within one interval are one step."""
    done = run(SLOW_FIRST, 10)
    old, memory = view(SLOW_FIRST, done.targets, now_s=45.0), done.memory
    for tick in range(10):
        decision = decide_targets(old, memory, now_s=45.0 + 13 * TICK_S + 0.1 * tick, interval_s=TICK_S)
        memory = decision.memory

    assert np.abs(decision.targets - done.targets).max() <= 0.1 * 0.25 + 1e-12


def test_age_counts_in_the_sources_own_intervals() -> None:
    """A Prometheus that scrapes every 60 s is 5 intervals old after 300 s, not 60."""
    done = run(SLOW_FIRST, 10)
    old = view(SLOW_FIRST, done.targets, now_s=45.0)
    decision = decide_targets(old, done.memory, now_s=345.0, interval_s=60.0)

    assert np.array_equal(decision.targets, done.targets)
    assert "5 intervals" in decision.reason


def test_news_after_silence_is_acted_on_again() -> None:
    """Relaxed, then telemetry returns: targets lean again."""
    done = run(SLOW_FIRST, 10)
    old, memory = view(SLOW_FIRST, done.targets, now_s=45.0), done.memory
    for tick in range(23, 40):
        memory = decide_targets(old, memory, now_s=tick * TICK_S, interval_s=TICK_S).memory
    back = run(SLOW_FIRST, 8, memory=memory, start_s=40 * TICK_S)

    assert back.targets[0] == pytest.approx(done.targets[0], abs=0.02)


numbers = st.integers(0, 10**6)


@given(numbers, st.floats(1.0, 1000.0))
def test_no_step_is_longer_than_allowed_nor_below_the_floor(seed: int, total_per_s: float) -> None:
    """Whatever is measured: 30 % of the fair share a tick, 2 % of it at least, and the sum is 1."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(2, 9))
    capacities = rng.uniform(0.5, 2.0, size)
    fair = capacities / capacities.sum()
    memory, last = None, fair
    for tick in range(8):
        seen = view(rng.lognormal(2.5, 1.0, size), last, now_s=tick * TICK_S, total_per_s=total_per_s)
        unheard = rng.uniform(size=size) < 0.2
        wild = replace(
            seen,
            capacities=capacities,
            failures=seen.requests * rng.choice([0.0, 0.0, 0.5, 1.0], size),
            mean_ms=np.where(rng.uniform(size=size) < 0.1, np.nan, seen.mean_ms * rng.lognormal(0.0, 1.0, size)),
            window_s=np.where(unheard, np.nan, TICK_S),
            tail_ms=float(rng.lognormal(4.0, 1.0)),
            issued=seen.requests * rng.choice([1.0, 1.0, 3.0], size),
        )
        decision = decide_targets(wild, memory, now_s=tick * TICK_S, interval_s=TICK_S)
        assert decision.targets.sum() == pytest.approx(1.0)
        assert (np.abs(decision.targets - last) <= 0.3 * fair + 1e-9).all()
        assert (decision.targets >= 0.02 * fair - 1e-9).all()
        memory, last = decision.memory, decision.targets


@given(numbers)
def test_the_order_of_endpoints_does_not_matter(seed: int) -> None:
    """Permuted in, permuted out."""
    rng = np.random.default_rng(seed)
    service = rng.lognormal(2.3, 0.7, 5)
    order = rng.permutation(5)
    names = tuple("abcde")
    memory, turned, targets = None, None, np.full(5, 0.2)
    for tick in range(5):
        now_s = tick * TICK_S
        one = view(service, targets, now_s=now_s, names=names)
        two = view(service[order], targets[order], now_s=now_s, names=tuple(names[k] for k in order))
        first = decide_targets(one, memory, now_s=now_s, interval_s=TICK_S)
        second = decide_targets(two, turned, now_s=now_s, interval_s=TICK_S)
        assert second.targets == pytest.approx(first.targets[order], abs=1e-9)
        memory, turned, targets = first.memory, second.memory, first.targets


def test_the_same_in_is_the_same_out() -> None:
    """No hidden state: deciding twice from one memory changes nothing in it."""
    done = run(SLOW_FIRST, 5)
    seen = view(SLOW_FIRST, done.targets, now_s=25.0)
    first = decide_targets(seen, done.memory, now_s=25.0, interval_s=TICK_S)
    second = decide_targets(seen, done.memory, now_s=25.0, interval_s=TICK_S)

    assert np.array_equal(first.targets, second.targets)
    assert first.reason == second.reason


def test_too_few_requests_are_unknown() -> None:
    """Three requests each, some very fast: nothing moves."""
    few = replace(view(np.array([1.0, 50.0]), np.full(2, 0.5), now_s=0.0), requests=np.full(2, 3.0))
    decision = decide_targets(few, None, now_s=0.0, interval_s=TICK_S)

    assert decision.targets.tolist() == [0.5, 0.5]
    assert "too few" in decision.reason


def test_windows_are_put_together_until_there_are_enough() -> None:
    """Seven requests a tick: the third tick has 21, and only then something may move."""
    memory, moved = None, []
    for tick in range(3):
        seen = view(np.array([30.0, 10.0]), np.full(2, 0.5), now_s=tick * TICK_S, total_per_s=2.8)
        decision = decide_targets(seen, memory, now_s=tick * TICK_S, interval_s=TICK_S)
        memory = decision.memory
        moved.append(bool((decision.targets != 0.5).any()))

    assert moved == [False, False, True]


def test_failures_count_as_slow() -> None:
    """A container that fails in a millisecond looks fast and must not draw load: it loses it."""
    memory, targets = None, np.full(4, 0.25)
    for tick in range(6):
        seen = view(np.full(4, 10.0), targets, now_s=tick * TICK_S)
        failing = np.array([True, False, False, False])
        seen = replace(
            seen, failures=np.where(failing, seen.requests, 0.0), mean_ms=np.where(failing, 1.0, seen.mean_ms)
        )
        decision = decide_targets(seen, memory, now_s=tick * TICK_S, interval_s=TICK_S)
        memory, targets = decision.memory, decision.targets

    assert targets[0] <= 0.05 * 0.25


def test_a_container_that_hangs_is_slow_not_idle() -> None:
    """It is sent 125 requests a tick and ends none: to the floor."""
    memory, targets = None, np.full(4, 0.25)
    hanging = np.array([True, False, False, False])
    for tick in range(6):
        seen = view(np.full(4, 10.0), targets, now_s=tick * TICK_S)
        seen = replace(
            seen,
            issued=seen.requests,
            requests=np.where(hanging, 0.0, seen.requests),
            mean_ms=np.where(hanging, np.nan, seen.mean_ms),
        )
        decision = decide_targets(seen, memory, now_s=tick * TICK_S, interval_s=TICK_S)
        memory, targets = decision.memory, decision.targets

    assert targets[0] <= 0.05 * 0.25


def test_an_endpoint_that_nothing_is_heard_of_holds_then_goes_to_its_fair_share() -> None:
    """Its sidecar is silent, the others report: held for 12 intervals, afterwards neutral and never above."""
    done = run(SLOW_FIRST, 10)
    memory, targets, seen_targets = done.memory, done.targets, []
    for tick in range(10, 40):
        now_s = tick * TICK_S
        seen = view(SLOW_FIRST, targets, now_s=now_s)
        silent = np.array([True, False, False, False])
        seen = replace(
            seen,
            requests=np.where(silent, 0.0, seen.requests),
            mean_ms=np.where(silent, np.nan, seen.mean_ms),
            window_s=np.where(silent, np.nan, TICK_S),
        )
        decision = decide_targets(seen, memory, now_s=now_s, interval_s=TICK_S)
        memory, targets = decision.memory, decision.targets
        seen_targets.append(targets[0])

    assert seen_targets[:11] == pytest.approx([done.targets[0]] * 11)
    assert max(seen_targets) <= 0.25 + 1e-9
    assert seen_targets[-1] == pytest.approx(0.25)


def test_a_new_container_warms_up() -> None:
    """It starts at a seventh of its fair share and has all of it after six intervals, never more before."""
    done = run(np.full(3, 10.0), 8)
    memory, targets, names = done.memory, done.targets, ("e0", "e1", "e2", "new")
    shares = []
    for tick in range(8, 18):
        now_s = tick * TICK_S
        seen_targets = targets if len(targets) == 4 else np.append(targets, 0.0)
        seen = view(np.full(4, 10.0), seen_targets, now_s=now_s, names=names)
        decision = decide_targets(seen, memory, now_s=now_s, interval_s=TICK_S)
        memory, targets = decision.memory, decision.targets
        shares.append(targets[3] / 0.25)

    assert shares[0] == pytest.approx(1 / 7, abs=0.01)
    assert all(share <= (tick + 1) / 7 + 0.15 for tick, share in enumerate(shares[:6]))
    assert shares[-1] == pytest.approx(1.0, abs=0.06)


def test_a_rolling_update_does_not_overload_who_stays() -> None:
    """Half of the containers replaced at once: the others carry at most 1.15 times what they did."""
    done = run(np.full(4, 10.0), 8)
    names = ("e0", "e1", "new0", "new1")
    seen = view(np.full(4, 10.0), np.full(4, 0.25), now_s=40.0, names=names)
    decision = decide_targets(replace(seen, newest_s=35.0), done.memory, now_s=40.0, interval_s=TICK_S)

    assert decision.targets[:2].sum() <= 1.15 * done.targets[:2].sum() + 1e-9
    assert decision.targets.sum() == pytest.approx(1.0)


def test_who_leaves_gives_its_part_to_the_others() -> None:
    """In proportion: balance is not restarted."""
    done = run(SLOW_FIRST, 10)
    left = view(SLOW_FIRST[:3], done.targets[:3], now_s=45.0, names=("e0", "e1", "e2"))
    decision = decide_targets(left, done.memory, now_s=46.0, interval_s=TICK_S)

    assert decision.targets == pytest.approx(done.targets[:3] / done.targets[:3].sum())


def test_all_new_is_neutral() -> None:
    """Nobody stayed, so nobody can carry the load meanwhile: no slow start."""
    done = run(SLOW_FIRST, 10)
    other = view(SLOW_FIRST, np.full(4, 0.25), now_s=50.0, names=("w", "x", "y", "z"))
    decision = decide_targets(replace(other, newest_s=None), done.memory, now_s=50.0, interval_s=TICK_S)

    assert decision.targets.tolist() == [0.25] * 4


def leaning() -> TargetMemory:
    """Return the memory of even targets where one server is known to be slow: the next ticks push, and no speed jumps."""
    done = run(SLOW_FIRST, 10, total_per_s=110.0)
    even = np.full(4, 0.25)
    watch = replace(done.memory.watch, before=even, last=even, tail_ms=None)
    return replace(done.memory, targets=even, watch=watch, moved=False)


def pushed(tails_ms: list[float]) -> list[TargetDecision]:
    """Return the decisions after ``leaning`` while the service's p99 goes like this."""
    memory, decisions = leaning(), []
    for tick, tail_ms in enumerate(tails_ms, start=20):
        now_s = tick * TICK_S
        seen = view(SLOW_FIRST, memory.targets, now_s=now_s, total_per_s=110.0, tail_ms=tail_ms)
        decisions.append(decide_targets(seen, memory, now_s=now_s, interval_s=TICK_S))
        memory = decisions[-1].memory
    return decisions


def test_a_plan_that_makes_p99_worse_twice_in_a_row_is_undone() -> None:
    """Two pushes, each followed by a p99 30 % higher: back to what stood before them, and left alone for a while."""
    decisions = pushed([50.0, 65.0, 85.0, 85.0, 50.0, 50.0, 50.0])

    assert [decision.undone for decision in decisions] == [False, False, True, True, False, False, False]
    assert decisions[3].targets == pytest.approx(np.full(4, 0.25))
    assert all(np.array_equal(later.targets, decisions[3].targets) for later in decisions[4:])
    assert "undone" in decisions[4].reason
    assert decisions[4].memory.eta < decisions[1].memory.eta


@pytest.mark.parametrize("tails_ms", [[50.0, 65.0, 50.0, 65.0], [50.0, 65.0, 70.0, 75.0], [50.0] * 4])
def test_p99_that_got_worse_once_is_not_undone(tails_ms: list[float]) -> None:
    """Worse, then better or only a little worse: noise."""
    decisions = pushed(tails_ms)

    assert not any(decision.undone for decision in decisions)
    assert decisions[-1].targets[0] < 0.1


def test_a_world_that_changed_is_not_the_plans_fault() -> None:
    """A container becomes three times as slow while p99 grows for three ticks: the targets that help are kept."""
    done = run(np.full(4, 10.0), 8, total_per_s=200.0)
    memory, targets = done.memory, done.targets
    for tick, tail_ms in enumerate([100.0, 300.0, 600.0, 900.0, 200.0], start=8):
        now_s = tick * TICK_S
        seen = view(SLOW_FIRST, targets, now_s=now_s, total_per_s=200.0, tail_ms=tail_ms)
        decision = decide_targets(seen, memory, now_s=now_s, interval_s=TICK_S)
        assert not decision.undone
        memory, targets = decision.memory, decision.targets

    assert targets[0] < 0.5 * 0.25


def test_targets_that_go_to_and_fro_are_damped_and_reported() -> None:
    """Two servers take turns at being slow: η backs off, the decision says so."""
    memory, targets, reports = None, np.full(2, 0.5), []
    for tick in range(24):
        now_s = tick * TICK_S
        service = np.array([10.0, 40.0])[:: 1 if tick % 2 else -1]
        decision = decide_targets(
            view(service, targets, now_s=now_s, total_per_s=30.0), memory, now_s=now_s, interval_s=TICK_S
        )
        memory, targets = decision.memory, decision.targets
        reports.append((decision.oscillating, "to and fro" in decision.reason, decision.memory.eta))

    assert any(oscillating for oscillating, _, _ in reports)
    assert any(said for _, said, _ in reports)
    assert min(eta for _, _, eta in reports) < 0.5


def test_load_that_is_not_steered_is_a_lower_bound() -> None:
    """A target cannot be below what others send there anyway."""
    memory, targets = None, np.full(4, 0.25)
    for tick in range(10):
        seen = view(SLOW_FIRST, targets, now_s=tick * TICK_S)
        seen = replace(seen, unsteered_per_s=np.array([20.0, 0.0, 0.0, 0.0]))
        decision = decide_targets(seen, memory, now_s=tick * TICK_S, interval_s=TICK_S)
        memory, targets = decision.memory, decision.targets

    assert targets[0] == pytest.approx(0.2, abs=0.005)


def test_a_price_for_crossing_leans_targets_towards_demand() -> None:
    """All clients on h0: its endpoints get more, the more a crossing costs."""
    parts = []
    for price_ms in (0.0, 5.0, 50.0):
        memory, targets = None, np.full(4, 0.25)
        for tick in range(12):
            seen = view(np.full(4, 10.0), targets, now_s=tick * TICK_S, total_per_s=160.0)
            seen = replace(seen, crossing_price_ms=price_ms, demand_per_s={"h0": 100.0})
            decision = decide_targets(seen, memory, now_s=tick * TICK_S, interval_s=TICK_S)
            memory, targets = decision.memory, decision.targets
        parts.append(targets[0] + targets[2])

    assert parts[0] == pytest.approx(0.5, abs=0.01)
    assert parts[0] + 0.02 < parts[1] < parts[2]


def test_imbres_is_algorithm_1_on_nodes() -> None:
    """Two nodes of two containers, 10 and 30 ms: D = (0.55, 0.45), equal parts inside; capacity plays no part."""
    seen = ServiceView(
        endpoints=("a", "b", "c", "d"),
        nodes=("h1", "h1", "h2", "h2"),
        capacities=np.array([1.0, 2.0, 3.0, 4.0]),
        requests=np.full(4, 100.0),
        failures=np.zeros(4),
        mean_ms=np.array([5.0, 15.0, 30.0, 30.0]),
        window_s=np.full(4, TICK_S),
        newest_s=0.0,
    )
    decision = decide_targets(seen, None, now_s=0.0, interval_s=TICK_S, strategy="imbres")

    assert decision.targets == pytest.approx([0.275, 0.275, 0.225, 0.225], rel=1e-3)


def test_equal_and_a_single_endpoint_are_by_capacity() -> None:
    """Nothing to decide."""
    seen = replace(view(SLOW_FIRST, np.full(4, 0.25), now_s=0.0), capacities=np.array([1.0, 1.0, 2.0, 4.0]))

    assert decide_targets(seen, None, now_s=0.0, interval_s=5.0, strategy="equal").targets.tolist() == [
        0.125,
        0.125,
        0.25,
        0.5,
    ]
    one = view(np.array([10.0]), np.ones(1), now_s=0.0)
    assert decide_targets(one, None, now_s=0.0, interval_s=5.0).targets.tolist() == [1.0]
    none = unseen((), (), np.zeros(0))
    assert decide_targets(none, None, now_s=0.0, interval_s=5.0).targets.tolist() == []


def test_a_view_that_does_not_fit_together_is_refused() -> None:
    """Shapes and names."""
    seen = view(SLOW_FIRST, np.full(4, 0.25), now_s=0.0)

    with pytest.raises(ProblemError, match="requests: found shape"):
        replace(seen, requests=np.zeros(3))
    with pytest.raises(ProblemError, match="a name twice"):
        replace(seen, endpoints=("a", "a", "b", "c"))
    with pytest.raises(ProblemError, match="capacities"):
        replace(seen, capacities=np.array([1.0, 0.0, 1.0, 1.0]))
