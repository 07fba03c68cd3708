"""Work under a speed that changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.simulator.errors import SimulatorError
from lab.simulator.scenario import Container, Service, Slowdown
from lab.simulator.speed_path import SpeedPaths, finish_time, speed_paths, speeds_at, work_between


def path(*slowdowns: Slowdown) -> SpeedPaths:
    """Return the steps of two containers."""
    return speed_paths([Service("a", (Container(0), Container(0, 0.5)))], slowdowns)


def test_work_takes_longer_while_a_neighbour_disturbs() -> None:
    """One second of work from 0.5 s on, at half speed from 1 s to 2 s, is done at 2.0 s."""
    assert finish_time(path(Slowdown(0, 0, 1.0, 2.0, 0.5)), 0, 0.5, 1.0) == pytest.approx(2.0)


def test_slowdowns_multiply() -> None:
    """Two neighbours at once disturb by the product of their factors."""
    both = path(Slowdown(0, 1, 0.0, 4.0, 0.5), Slowdown(0, 1, 1.0, 2.0, 0.5))

    assert speeds_at(both, 1.5).tolist() == [1.0, 0.125]


@given(
    start_s=st.floats(0, 5),
    work_s=st.floats(0, 5),
    edges=st.lists(st.floats(0.1, 8), min_size=2, max_size=2, unique=True),
    factor=st.floats(0.1, 1.0),
)
def test_finish_time_and_work_between_agree(start_s: float, work_s: float, edges: list[float], factor: float) -> None:
    """The work done until the finish time is the work that was asked for."""
    paths = path(Slowdown(0, 0, min(edges), max(edges), factor))

    done_s = work_between(paths, 0, start_s, finish_time(paths, 0, start_s, work_s))

    assert done_s == pytest.approx(work_s, abs=1e-9)


def test_a_speed_of_zero_is_refused() -> None:
    """A container that stands still is dead: that is a kill."""
    with pytest.raises(SimulatorError, match="above 0"):
        path(Slowdown(0, 0, 1.0, 2.0, 0.0))
