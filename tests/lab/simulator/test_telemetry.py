"""What a control plane is shown: closed windows, late, complete; and what it pushes is obeyed."""

from __future__ import annotations

import numpy as np
import pytest

from lab.simulator.errors import SimulatorError
from lab.simulator.pair import Pair
from lab.simulator.policies.edf import edf_memory, pick_least_request
from lab.simulator.policy import Clocks, Policy
from lab.simulator.run import simulate
from lab.simulator.scenarios import SCENARIOS, s2
from lab.simulator.telemetry import Window, bucket_bounds_s
from lab.simulator.world import BUCKETS


class Recorder(Policy):
    """A control plane that keeps all windows and, at the second tick, sends everybody to servers 0 and 1 only."""

    pick = staticmethod(pick_least_request)
    clocks = Clocks(control_s=0.5)

    def __init__(self) -> None:
        self.windows: list[Window] = []

    def memory_size(self, pair: Pair) -> int:
        """Room for the scheduler."""
        return edf_memory(pair.servers)

    def control_tick(self, pair: Pair, window: Window) -> None:
        """Keep, and push once."""
        self.windows.append(window)
        if len(self.windows) == 2:
            weights = np.zeros((pair.clients, pair.servers))
            weights[:, 0], weights[:, 1] = 3.0, 1.0
            pair.push(weights)


@pytest.fixture(scope="module")
def recorded() -> Recorder:
    """Return a control plane after four seconds."""
    policy = Recorder()
    simulate(s2(0.05).shortened(duration_s=4.0, warmup_s=1.0), lambda: policy, seed=1)
    return policy


def test_windows_follow_each_other(recorded: Recorder) -> None:
    """Each window begins where the last one ended, and none reaches into the future of its tick."""
    starts = [window.start_s for window in recorded.windows]

    assert starts == pytest.approx(np.arange(7) * 0.5)
    assert [window.length_s for window in recorded.windows] == pytest.approx([0.5] * 7)


def test_a_push_is_obeyed_after_the_delay(recorded: Recorder) -> None:
    """The window of the push still has calls elsewhere, the ones after it have none; 3 : 1 holds."""
    during, after = recorded.windows[2].sent, sum(window.sent for window in recorded.windows[3:])

    assert during[:, 2:].sum() > 0
    assert after[:, 2:].sum() == 0
    assert after[:, 0].sum() / after[:, 1].sum() == pytest.approx(3.0, rel=0.15)


def test_histograms_and_sums_count_the_same_calls(recorded: Recorder) -> None:
    """Every finished call is in its server's histogram once, at the client's side and at its own."""
    for window in recorded.windows:
        assert window.client_histogram.sum(axis=1).tolist() == window.done.sum(axis=0).tolist()
        assert window.server_histogram.sum(axis=1).tolist() == window.server_done.tolist()
        assert (window.latency_sum_s.sum(axis=0) >= 0).all()
        assert ((window.utilisation >= 0) & (window.utilisation <= 1 + 1e-9)).all()


def test_bucket_bounds_bracket_the_means(recorded: Recorder) -> None:
    """The mean by bucket bounds is within the buckets' width of the mean by sums."""
    bounds = bucket_bounds_s()
    histogram = sum(window.client_histogram.sum(axis=0) for window in recorded.windows)
    total_s = sum(window.latency_sum_s.sum() for window in recorded.windows)

    assert len(bounds) == BUCKETS
    upper_s = float((histogram[:-1] * bounds[:-1]).sum())
    assert total_s <= upper_s <= 1.11 * total_s


def test_bad_weights_are_refused() -> None:
    """A control plane that pushes NaN or a negative weight is told so."""

    class Broken(Policy):
        pick = staticmethod(pick_least_request)

        def start(self, pair: Pair) -> None:
            pair.push(np.full((pair.clients, pair.servers), np.nan))

    with pytest.raises(SimulatorError, match="non-finite weight"):
        simulate(SCENARIOS["smoke"](), Broken, seed=1)
