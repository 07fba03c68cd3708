"""Targets when telemetry is missing or old, and when endpoints come and go. All times are injected."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from allocators.target_decision import decide_targets
from allocators.target_view import unseen
from tests.allocators.noiseless import SLOW_FIRST, TICK_S, run, view


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
