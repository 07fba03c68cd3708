"""What an app says of its own load."""

from __future__ import annotations

import random

import pytest

from lab.application import ServiceTime
from lab.orca import HEADER, LoadMeter
from lab.service_queue import ServiceQueue


def meter_of(*, workers: int) -> tuple[LoadMeter, ServiceQueue]:
    queue = ServiceQueue(ServiceTime(), workers=workers, speed=1.0, rng=random.Random(1))
    return LoadMeter(queue, workers=workers), queue


def report(meter: LoadMeter, now_s: float) -> dict[str, float]:
    kind, _, text = meter.headers(now_s)[HEADER].partition(" ")
    assert kind == "TEXT"
    return {name: float(value) for name, _, value in (part.partition("=") for part in text.split(", "))}


def test_utilisation_is_busy_time_over_the_workers_time() -> None:
    """2 workers that were busy for 1.2 s in all during 1 s are 60 % busy; 30 answers in 1 s are 30 a second."""
    meter, queue = meter_of(workers=2)
    meter.headers(100.0)
    queue.state.busy_s, queue.state.served = 1.2, 30

    assert report(meter, 101.0) == {"application_utilization": 0.6, "rps_fractional": 30.0}


def test_a_window_says_the_same_until_the_next_is_full() -> None:
    """Within a second nothing new is worked out, whatever has happened since."""
    meter, queue = meter_of(workers=1)
    meter.headers(100.0)
    queue.state.busy_s, queue.state.served = 0.5, 10
    first = report(meter, 101.0)
    queue.state.busy_s, queue.state.served = 1.4, 90

    assert report(meter, 101.9) == first
    assert report(meter, 102.0) == {"application_utilization": 0.9, "rps_fractional": 80.0}


@pytest.mark.parametrize("later_s", [100.2, 500.0])
def test_nothing_is_said_before_a_window_is_full_or_after_a_long_quiet(later_s: float) -> None:
    """A figure of no time, or of time in which nothing happened, would be taken for the present load."""
    meter, _ = meter_of(workers=1)
    meter.headers(100.0)

    assert meter.headers(later_s) == {}
