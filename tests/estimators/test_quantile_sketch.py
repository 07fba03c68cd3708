"""The quantile sketch: within its error, forgetting, mergeable."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimators.errors import EstimatorError
from estimators.quantile_sketch import QuantileSketch, add, merged, quantile, weight_at

latencies = st.lists(st.floats(0.01, 1e5), min_size=1, max_size=100)


@given(latencies, st.floats(0.01, 0.2), st.sampled_from([1.0, 50.0, 95.0, 99.0]))
def test_any_quantile_is_within_the_relative_error(values: list[float], error: float, percentile: float) -> None:
    """DDSketch's promise, whatever the distribution."""
    found = quantile(add(QuantileSketch(relative_error=error), values, time_s=0.0), percentile)
    true = float(np.quantile(values, percentile / 100.0, method="inverted_cdf"))

    assert found == pytest.approx(true, rel=error * (1 + 1e-9))


def test_a_half_life_later_old_samples_count_half() -> None:
    """100 fast ones a half-life ago and 51 slow ones now: the median is slow."""
    sketch = add(QuantileSketch(half_life_s=60.0), [1.0] * 100, time_s=0.0)

    later = add(sketch, [100.0] * 51, time_s=60.0)

    assert quantile(later, 50.0) == pytest.approx(100.0, rel=0.02)
    assert weight_at(later, 60.0) == pytest.approx(101.0)
    assert weight_at(later, 120.0) == pytest.approx(50.5)


@given(latencies, latencies)
def test_two_sketches_together_say_what_one_would(one: list[float], other: list[float]) -> None:
    """Containers may be sketched apart and joined."""
    apart = merged(add(QuantileSketch(), one, time_s=0.0), add(QuantileSketch(), other, time_s=0.0))

    assert quantile(apart, 90.0) == quantile(add(QuantileSketch(), one + other, time_s=0.0), 90.0)


def test_years_later_it_still_works() -> None:
    """Forward decay moves its landmark before weights overflow; late samples count little."""
    sketch = add(QuantileSketch(half_life_s=1.0), [1.0] * 100, time_s=0.0)
    sketch = add(sketch, [50.0], time_s=1e9)
    sketch = add(sketch, [1.0], time_s=1e9 - 20.0)

    assert quantile(sketch, 50.0) == pytest.approx(50.0, rel=0.02)
    assert all(math.isfinite(weight) for weight in sketch.weights.values())


def test_what_is_no_latency_is_left_out() -> None:
    """NaN, infinite and negative values say nothing; an empty sketch has no quantile."""
    sketch = add(QuantileSketch(), [math.nan, math.inf, -1.0], time_s=0.0)

    assert quantile(sketch, 50.0) is None


def test_sketches_that_differ_are_not_joined() -> None:
    """Other buckets or another half-life."""
    with pytest.raises(EstimatorError, match="same"):
        merged(QuantileSketch(half_life_s=1.0), QuantileSketch(half_life_s=2.0))
