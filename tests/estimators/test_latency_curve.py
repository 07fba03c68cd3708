"""Latency curves against queueing theory, and their fit."""

from __future__ import annotations

from math import factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimators.errors import EstimatorError
from estimators.latency_curve import WORKERS, fit_curve, latency_ms, marginal_ms, queue_shape, service_ms_of

ones = st.sampled_from(WORKERS)


def erlang_ms(load: float, service_ms: float, workers: int) -> float:
    """Return the exact mean latency of M/M/c."""
    offered = load * service_ms / 1000.0
    rho = offered / workers
    last = offered**workers / factorial(workers) / (1.0 - rho)
    waiting = last / (sum(offered**k / factorial(k) for k in range(workers)) + last)
    return service_ms + waiting * service_ms / (workers * (1.0 - rho))


@pytest.mark.parametrize("rho", [0.1, 0.5, 0.8, 0.95])
def test_one_worker_is_exactly_mm1(rho: float) -> None:
    """``1/(μ − w)`` and its marginal ``μ/(μ − w)²``."""
    loads, service = np.array([100.0 * rho]), np.array([10.0])

    assert latency_ms(loads, service)[0] == pytest.approx(10.0 / (1.0 - rho), rel=1e-3)
    assert marginal_ms(loads, service)[0] == pytest.approx(10.0 / (1.0 - rho) ** 2, rel=2e-3)


@pytest.mark.parametrize("workers", [2, 4, 8, 16])
@pytest.mark.parametrize("rho", [0.2, 0.6, 0.9])
def test_many_workers_are_near_erlangs_formula(workers: int, rho: float) -> None:
    """Sakasegawa's approximation is within 5 % of M/M/c."""
    load = 100.0 * workers * rho
    found = latency_ms(np.array([load]), np.array([10.0]), workers=workers)[0]

    assert found == pytest.approx(erlang_ms(load, 10.0, workers), rel=0.05)


@given(ones, st.floats(0.01, 0.95), st.floats(0.1, 1000.0))
def test_the_service_time_comes_back(workers: int, rho: float, service_ms: float) -> None:
    """Load and latency on the curve give the service time that made it."""
    loads = np.array([rho * workers * 1000.0 / service_ms])
    latency = latency_ms(loads, np.array([service_ms]), workers=workers)

    assert service_ms_of(loads, latency, workers=workers)[0] == pytest.approx(service_ms, rel=5e-3)


@given(ones, st.floats(0.0, 0.9))
def test_the_marginal_is_the_slope_of_requests_in_the_system(workers: int, rho: float) -> None:
    """``d(w·l)/dw`` by finite difference, over a width wider than the table's steps."""
    service, step = np.array([10.0]), 2.0 * workers
    load = np.array([rho * workers * 100.0 + step])
    above = (load + step) * latency_ms(load + step, service, workers=workers)
    below = (load - step) * latency_ms(load - step, service, workers=workers)

    assert marginal_ms(load, service, workers=workers)[0] == pytest.approx(((above - below) / (2 * step))[0], rel=0.1)


@pytest.mark.parametrize("workers", WORKERS)
def test_curves_rise_even_beyond_full(workers: int) -> None:
    """A solver must find an answer for a service that is overloaded whole."""
    shape = queue_shape(workers)

    assert (np.diff(shape.log_marginal) > 0.0).all()
    assert (np.diff(shape.in_system) > 0.0).all()
    assert shape.rho[-1] == pytest.approx(4.0)


def test_an_overloaded_server_shows_its_capacity() -> None:
    """It completes 30 requests/s and its queue makes them wait 5 s: its service time is 1/30 s."""
    assert service_ms_of(np.array([30.0]), np.array([5000.0]))[0] == pytest.approx(1000.0 / 30.0, rel=0.05)


@pytest.mark.parametrize("workers", [1, 2, 4, 8])
def test_a_fit_finds_speed_and_workers_under_noise(workers: int) -> None:
    """30 points with 5 % noise and every fifth three times too slow: the service time within 5 %."""
    rng = np.random.default_rng(workers)
    loads = np.linspace(0.1, 0.92, 30) * workers * 100.0
    latencies = np.array([erlang_ms(load, 10.0, workers) for load in loads]) * rng.lognormal(0.0, 0.05, 30)
    latencies[::5] *= 3.0
    curve = fit_curve(loads, latencies, np.ones(30))

    assert curve is not None
    assert curve.workers == workers
    assert curve.service_ms == pytest.approx(10.0, rel=0.05)


def test_one_point_is_one_worker() -> None:
    """Nothing tells shapes apart, so the one that is full first is believed. No point: no curve."""
    curve = fit_curve(np.array([50.0]), np.array([20.0]), np.ones(1))

    assert curve is not None
    assert curve.workers == 1
    assert fit_curve(np.array([50.0, 1.0]), np.array([np.nan, 1.0]), np.array([1.0, 0.0])) is None


def test_no_queue_without_workers() -> None:
    """The number must be at least 1."""
    with pytest.raises(EstimatorError, match="workers"):
        queue_shape(0)
