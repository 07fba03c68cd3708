"""The filter over server speeds: calm under noise, at once after a step, right about the shape."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from estimators.latency_curve import latency_ms
from estimators.server_speeds import ServerSpeeds, expected_ms, follow, for_endpoints, unknown_speeds

Floats = NDArray[np.float64]
NAMES = ("a", "b", "c", "d")
COUNTS = np.full(4, 250.0)


def fed(
    speeds: ServerSpeeds, service_ms: Floats, *, ticks: int, workers: int = 1, noise: float = 0.1, seed: int = 0
) -> tuple[ServerSpeeds, int]:
    """Return the speeds after so many noisy ticks at loads that vary, and how many jumps were seen."""
    rng = np.random.default_rng(seed)
    jumps = 0
    for _ in range(ticks):
        loads = rng.uniform(0.3, 0.8, len(service_ms)) * workers * 1000.0 / service_ms
        latencies = latency_ms(loads, service_ms, workers=workers) * rng.lognormal(0.0, noise, len(service_ms))
        speeds, jumped = follow(speeds, loads, latencies, COUNTS[: len(service_ms)])
        jumps += int(jumped.sum())
    return speeds, jumps


def test_noise_is_averaged_and_no_step() -> None:
    """10 % noise for 50 ticks: service times within 5 %, no jump."""
    service = np.array([10.0, 10.0, 20.0, 30.0])
    speeds, jumps = fed(unknown_speeds(NAMES), service, ticks=50)

    assert speeds.service_ms == pytest.approx(service, rel=0.05)
    assert jumps == 0


def test_a_step_counts_at_once() -> None:
    """Three times as slow: one tick later the estimate is there."""
    speeds, _ = fed(unknown_speeds(NAMES), np.full(4, 10.0), ticks=30)
    speeds, jumps = fed(speeds, np.array([30.0, 10.0, 10.0, 10.0]), ticks=1, seed=1)

    assert jumps == 1
    assert speeds.service_ms[0] == pytest.approx(30.0, rel=0.2)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_shape_shows_when_loads_vary(workers: int) -> None:
    """Only under the true number of workers does the service time stay the same."""
    speeds, _ = fed(unknown_speeds(NAMES), np.full(4, 10.0), ticks=60, workers=workers, noise=0.05)

    assert speeds.workers == workers


def test_without_a_figure_only_certainty_is_lost() -> None:
    """NaN: the estimate stays, its variance grows."""
    before, _ = fed(unknown_speeds(NAMES), np.full(4, 10.0), ticks=20)
    after, jumped = follow(before, np.full(4, 50.0), np.full(4, np.nan), np.zeros(4))

    assert np.array_equal(after.service_ms, before.service_ms)
    assert (after.variance > before.variance).all()
    assert not jumped.any()


def test_who_stays_keeps_what_is_known() -> None:
    """Other endpoints, another order."""
    speeds, _ = fed(unknown_speeds(NAMES), np.array([10.0, 20.0, 30.0, 40.0]), ticks=20)
    moved = for_endpoints(speeds, ("d", "new", "a"))

    assert moved.service_ms[[0, 2]] == pytest.approx(speeds.service_ms[[3, 0]])
    assert np.isnan(moved.service_ms[1])


def test_who_is_unknown_is_expected_as_the_table_says_or_as_the_others_are() -> None:
    """Own estimate, else the table's, else the median of the service: never faster than what is known."""
    speeds, _ = fed(unknown_speeds(NAMES), np.array([10.0, 10.0, 30.0, 30.0]), ticks=20)
    wider = for_endpoints(speeds, (*NAMES, "e", "f"))
    table = np.array([np.nan, np.nan, np.nan, np.nan, 25.0, np.nan])
    expected = expected_ms(wider, fallback_ms=table)

    assert expected[4] == 25.0
    assert np.nanmin(wider.service_ms) <= expected[5] <= np.nanmax(wider.service_ms)
    assert np.isnan(expected_ms(unknown_speeds(NAMES))).all()


def test_among_equals_noise_is_no_speed() -> None:
    """Differences smaller than their error are drawn to the median; a threefold one is not."""
    speeds, _ = fed(unknown_speeds(NAMES), np.array([10.0, 10.0, 10.0, 30.0]), ticks=3, noise=0.15, seed=4)
    expected = expected_ms(speeds)

    assert np.ptp(np.log(expected[:3])) < 0.5 * np.ptp(np.log(speeds.service_ms[:3]))
    assert expected[3] == pytest.approx(speeds.service_ms[3], rel=0.1)
