"""Plans that do harm are undone, targets that go to and fro are damped and reported."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from allocators.target_decision import decide_targets
from allocators.target_view import TargetDecision, TargetMemory, Watch
from allocators.undo import judged
from tests.allocators.noiseless import SLOW_FIRST, TICK_S, run, view


def leaning() -> TargetMemory:
    """Return a memory of even targets with one server known to be slow: the next ticks push, and no speed jumps."""
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


def seen_after_a_push(in_system: list[float], *, tail_ms: float = 200.0) -> Watch:
    """Return the watch after load went from e0 to e1, and the requests that each holds went from (5, 5) to these."""
    before, after = np.array([0.5, 0.5]), np.array([0.4, 0.6])
    watch = Watch(before=before, last=before, in_system=np.array([5.0, 5.0]), tail_ms=100.0)
    return judged(
        watch,
        targets=after,
        in_system=np.array(in_system),
        tail_ms=tail_ms,
        moved=True,
        world_changed=False,
        now_s=5.0,
        interval_s=5.0,
    )


def test_a_queue_that_still_drains_is_not_the_pushs_fault() -> None:
    """p99 doubled, but the rise lies at the endpoint that lost load: not ours. At the other one it is."""
    assert seen_after_a_push([50.0, 6.0]).worse == 0
    assert seen_after_a_push([4.0, 50.0]).worse == 1


@pytest.mark.parametrize(("before_ms", "tail_ms"), [(1e308, 5e-324), (5e-324, 1e308), (-1.0, 1.0), (1.0, 0.0)])
def test_tails_that_cannot_be_do_not_end_the_tick(before_ms: float, tail_ms: float) -> None:
    """They come from what a sidecar reports, and any sidecar can report anything."""
    ones = np.ones(1)
    watch = Watch(before=ones, last=ones, in_system=ones, tail_ms=before_ms)
    same = {"targets": ones, "in_system": ones, "world_changed": False, "now_s": 5.0, "interval_s": 5.0}

    assert 0.0 <= judged(watch, tail_ms=tail_ms, moved=True, **same).noise < 10.0


def test_what_p99_usually_varies_by_is_not_worse() -> None:
    """After ticks that swung by 40 % a rise of half is nothing; in a calm service it counts."""
    calm = Watch(before=np.ones(1), last=np.ones(1), in_system=np.ones(1), tail_ms=100.0)

    def worse(watch: Watch) -> int:
        same = {"targets": np.ones(1), "in_system": np.ones(1), "world_changed": False, "now_s": 5.0, "interval_s": 5.0}
        return judged(watch, tail_ms=150.0, moved=True, **same).worse

    assert worse(calm) == 1
    assert worse(replace(calm, noise=0.35)) == 0
