"""Closed forms against known values, and the optimum against its own condition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.simulator.errors import SimulatorError
from lab.simulator.queueing import best_split, in_system, waiting_probability


@pytest.mark.parametrize(("load", "mean_ms"), [(0.5, 13.3), (0.7, 19.6), (0.85, 36.0), (0.95, 102.6)])
def test_two_workers_at_known_loads(load: float, mean_ms: float) -> None:
    """M/M/2 with 10 ms of work: the textbook's mean times in the system."""
    rate = np.array([load * 200.0])

    inside = in_system(rate, np.array([100.0]), np.array([2]))

    assert inside[0] / rate[0] * 1000 == pytest.approx(mean_ms, abs=0.06)


def test_one_worker_waits_with_the_probability_of_its_load() -> None:
    """Erlang's C of one worker is the load."""
    assert waiting_probability(np.array([0.3]), np.array([1]))[0] == pytest.approx(0.3)


def test_the_square_root_rule() -> None:
    """For M/M/1 the optimum is w = μ − √(μ/θ): (μ − w)²/μ is the same for all that are used."""
    speeds = np.array([200.0, 150.0, 100.0])

    split = best_split(300.0, speeds, np.ones(3, dtype=np.int64))

    assert np.ptp((speeds - split) ** 2 / speeds) < 1e-2
    assert split.sum() == pytest.approx(300.0)


@settings(max_examples=25)
@given(load=st.floats(0.05, 0.95), slow=st.floats(0.2, 1.0))
def test_no_other_split_is_better(load: float, slow: float) -> None:
    """Moving a little from one server to another never lowers the number in the system."""
    rates, workers = np.array([100.0, 100.0 * slow]), np.array([2, 2])
    total = load * float((rates * workers).sum())
    split = best_split(total, rates, workers)
    best = in_system(split, rates, workers).sum()

    for move in (0.01 * split.min(), -0.01 * split.min()):
        other = np.minimum(split + np.array([move, -move]), rates * workers * 0.9999)
        if other.sum() == pytest.approx(total):
            assert in_system(other, rates, workers).sum() >= best - 1e-6


def test_too_much_load_is_refused() -> None:
    """There is no split of more than the servers can do."""
    with pytest.raises(SimulatorError, match="below 200"):
        best_split(200.0, np.array([100.0]), np.array([2]))
