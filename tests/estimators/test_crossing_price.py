"""The price of leaving a node: given, measured, or as it was."""

from __future__ import annotations

import pytest

from estimators.crossing_price import crossing_price
from estimators.latency import LatencyFigure


def figure(mean_ms: float) -> LatencyFigure:
    """Return a figure with this mean."""
    return LatencyFigure(mean_ms, None, 100, 5.0, 0.0)


def test_the_operators_price_stands() -> None:
    """Whatever is measured, 0 included."""
    assert crossing_price(0.0, local=figure(1.0), crossing=figure(9.0), last_ms=4.0) == 0.0


def test_auto_follows_the_difference() -> None:
    """Half of the way a tick, to 0.8 ms."""
    price = 0.0
    for _ in range(20):
        price = crossing_price(None, local=figure(0.2), crossing=figure(1.0), last_ms=price)

    assert price == pytest.approx(0.8, rel=1e-3)


def test_what_is_unknown_leaves_the_price() -> None:
    """One side without enough requests says nothing about the difference."""
    assert crossing_price(None, local=None, crossing=figure(9.0), last_ms=0.7) == 0.7


def test_a_crossing_that_is_faster_is_free_not_a_gain() -> None:
    """And a slow service is not taken for a slow network."""
    assert crossing_price(None, local=figure(5.0), crossing=figure(1.0)) == 0.0
    assert crossing_price(None, local=figure(0.0), crossing=figure(9000.0)) == 25.0
