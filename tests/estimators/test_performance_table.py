"""Imbres' performance table: the paper's query with its missing term, and what the paper leaves open."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimators.errors import EstimatorError
from estimators.performance_document import from_document, to_document
from estimators.performance_table import (
    HistoryPoint,
    Interference,
    PerformanceTable,
    full_load,
    learn,
    place_of,
    read,
    read_service,
    with_full_load,
)
from mesh.errors import BadInputError

CALM = Interference()


def point(
    load: float, tail: float, *, at: Interference = CALM, time_s: float = 0.0, count: float = 100.0
) -> HistoryPoint:
    """Return a figure with a mean of half its tail."""
    return HistoryPoint(time_s, at, load, tail, tail / 2.0, count)


def tail(table: PerformanceTable, load: float, *, at: Interference = CALM, now_s: float = 0.0) -> float:
    reading = read(table, at, load, now_s=now_s)
    assert reading is not None
    return reading.tail_ms


TWO = learn(PerformanceTable(40.0), [point(5.0, 10.0), point(15.0, 30.0)])


def test_what_is_stored_is_returned() -> None:
    """``w`` present at ``I``: its value."""
    reading = read(TWO, CALM, 15.0, now_s=0.0)

    assert reading is not None
    assert (reading.tail_ms, reading.mean_ms, reading.how, reading.distance) == (30.0, 15.0, "stored", 0.0)


def test_between_two_loads_it_is_linear_with_the_papers_missing_term() -> None:
    """Equation (4) as printed would give (30 − 10)·(9 − 5)/(15 − 5) = 8, less than both ends; with φ(w_m) it is 18."""
    reading = read(TWO, CALM, 9.0, now_s=0.0)

    assert reading is not None
    assert reading.tail_ms == pytest.approx(18.0)
    assert (reading.how, reading.count) == ("interpolated", 200.0)


def test_beyond_the_last_load_the_last_slope_goes_on() -> None:
    """2 ms for each request per second more; below the first load it stays level."""
    assert tail(TWO, 40.0) == pytest.approx(80.0)
    assert tail(TWO, 0.0) == 10.0


def test_only_the_two_closest_loads_count() -> None:
    """Four buckets, one point in each: between the second and third only these matter."""
    table = learn(PerformanceTable(40.0), [point(5, 10), point(15, 20), point(25, 60), point(35, 200)])

    assert tail(table, 20.0) == pytest.approx(40.0)


def test_the_nearest_interference_answers() -> None:
    """Asked (3, 0, 0); stored (0, 0, 0) and (2, 0, 1): the second is √2 buckets away, the first 3."""
    near = Interference(cpu=0.5, network_bandwidth=0.3)
    table = learn(PerformanceTable(40.0), [point(5.0, 10.0), point(5.0, 50.0, at=near)])
    reading = read(table, Interference(cpu=0.7), 5.0, now_s=0.0)

    assert reading is not None
    assert (reading.tail_ms, reading.distance) == (50.0, pytest.approx(2.0**0.5))


@pytest.mark.parametrize(
    ("utilisation", "bucket"), [(0.0, 0), (0.19, 0), (0.2, 1), (0.4, 2), (0.6, 3), (0.79, 3), (0.8, 3), (1.0, 3)]
)
def test_four_equal_buckets_over_0_to_80_per_cent(utilisation: float, bucket: int) -> None:
    """The paper's cut; what is above 80 % is in the last."""
    assert place_of(Interference(cpu=utilisation)) == (bucket, 0, 0)


def test_at_most_256_cells() -> None:
    """4⁴, however many points."""
    levels = [0.1, 0.3, 0.5, 0.7, 0.9]
    points = [
        point(load, 10.0, at=Interference(a, b, c))
        for a in levels
        for b in levels
        for c in levels
        for load in range(60)
    ]

    assert len(learn(PerformanceTable(40.0), points).cells) == 256


@given(st.lists(st.tuples(st.floats(0, 60), st.floats(1, 1000), st.floats(1, 100)), min_size=1, max_size=20))
def test_a_reading_never_falls_with_load(points: list[tuple[float, float, float]]) -> None:
    """Whatever noise was learnt."""
    table = learn(PerformanceTable(40.0), [point(load, value, count=count) for load, value, count in points])
    readings = [tail(table, load / 2.0) for load in range(160)]

    assert all(after >= before - 1e-9 * before for before, after in pairwise(readings))


def test_a_cell_is_an_average_that_follows() -> None:
    """Gain 0.3 once there is much; the whole way from nothing."""
    table = learn(PerformanceTable(40.0), [point(5.0, 10.0, count=10000.0), point(5.0, 20.0)])

    assert tail(table, 5.0) == pytest.approx(13.0)


def test_old_cells_fade_and_are_forgotten() -> None:
    """100 samples, half-life 600 s: a new figure outweighs them after an hour, and after two they are gone."""
    table = learn(PerformanceTable(40.0), [point(5.0, 10.0)])
    renewed = learn(table, [point(5.0, 20.0, time_s=3600.0)])

    assert tail(renewed, 5.0, now_s=3600.0) == pytest.approx(20.0, rel=0.02)
    assert read(table, CALM, 5.0, now_s=3600.0) is not None
    assert read(table, CALM, 5.0, now_s=7200.0) is None


def test_age_travels_with_a_reading() -> None:
    """Of the oldest cell that was used."""
    table = learn(PerformanceTable(40.0), [point(5.0, 10.0), point(15.0, 30.0, time_s=100.0)])
    reading = read(table, CALM, 10.0, now_s=160.0)

    assert reading is not None
    assert reading.age_s == 160.0


def test_history_may_come_in_any_order() -> None:
    """A back-fill sorts by time."""
    points = [point(5.0, 10.0 + k, time_s=60.0 * k) for k in range(10)]

    assert learn(PerformanceTable(40.0), points[::-1]) == learn(PerformanceTable(40.0), points)


@pytest.mark.parametrize("wrong", [{"count": 0.0}, {"tail_ms": float("nan")}, {"load_per_s": -1.0}, {"mean_ms": -1.0}])
def test_points_that_say_nothing_are_left_out(wrong: dict[str, float]) -> None:
    """No count, no number, negative."""
    assert learn(TWO, [replace(point(5.0, 99.0), **wrong)]) == TWO


def test_an_empty_table_knows_nothing() -> None:
    """None, not zero: unknown is never fast."""
    assert read(PerformanceTable(40.0), CALM, 5.0, now_s=0.0) is None
    assert read_service(TWO, [], 10.0, now_s=0.0) is None


def test_a_service_is_read_at_the_mean_interference_and_equal_load() -> None:
    """Two hosts at 0 and 40 % CPU are bucket 1; 20 requests/s on two containers are 10 each, on four 5."""
    mean = Interference(cpu=0.2)
    table = learn(PerformanceTable(40.0), [point(5.0, 10.0, at=mean), point(15.0, 30.0, at=mean)])
    hosts = [Interference(cpu=0.0), Interference(cpu=0.4)]
    now, more = read_service(table, hosts, 20.0, now_s=0.0), read_service(table, hosts, 20.0, now_s=0.0, containers=4)

    assert now is not None
    assert more is not None
    assert (now.tail_ms, now.distance, more.tail_ms) == (20.0, 0.0, 10.0)


def test_w_max_is_where_half_of_the_cpu_is_used() -> None:
    """20 requests/s at a quarter of its CPU: 40. Without load or use it is not known."""
    assert full_load(20.0, 0.25) == 40.0
    assert full_load(0.0, 0.25) is None
    with pytest.raises(EstimatorError, match="above 0"):
        PerformanceTable(0.0)


def test_another_w_max_moves_cells_to_the_buckets_of_their_loads() -> None:
    """15 requests/s is the second of four buckets up to 40, the last up to 16."""
    moved = with_full_load(TWO, 16.0)

    assert sorted(key[3] for key in moved.cells) == [1, 3]
    assert tail(moved, 10.0) == pytest.approx(20.0)


def test_a_table_survives_json() -> None:
    """What is saved is what is loaded, to the last bit."""
    table = learn(TWO, [point(7.0, 1 / 3, at=Interference(0.1, 0.5, 0.9), time_s=1.7e9)])

    assert from_document(json.loads(json.dumps(to_document(table)))) == table


def test_a_table_from_a_clock_ahead_is_as_old_as_now() -> None:
    """Otherwise its cells would not fade for as long as the clock was wrong."""
    table = learn(PerformanceTable(40.0), [point(5.0, 10.0, time_s=1e9)])

    (cell,) = from_document(to_document(table), latest_s=500.0).cells.values()

    assert cell.time_s == 500.0


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"form": 2}, "form: found 2, allowed: 1"),
        ({"full_load_per_s": 0.0}, "full_load_per_s: found 0"),
        ({"cells": [{"place": [0, 0, 0, 4]}]}, r"cells\[0\]"),
        ({"cells": 3}, "cells: found 3, allowed: a list"),
        ({"extra": 1}, "extra"),
    ],
)
def test_a_damaged_document_is_refused_in_one_line(damage: dict[str, object], message: str) -> None:
    """It says where, what was found, and what is allowed."""
    with pytest.raises(BadInputError, match=message):
        from_document(to_document(TWO) | damage)


def test_a_place_has_four_buckets() -> None:
    """Three are refused."""
    document = to_document(TWO)
    cells = document["cells"]
    assert isinstance(cells, list)
    cells[0]["place"] = [0, 0, 0]

    with pytest.raises(BadInputError, match=r"cells\[0\].place"):
        from_document(document)
