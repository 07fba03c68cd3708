"""Ages count in intervals of the source."""

from __future__ import annotations

import pytest

from estimators.ages import Heard, heard, relaxed_part


@pytest.mark.parametrize(
    ("age_s", "fresh", "usable"), [(0, True, True), (15, True, True), (16, False, True), (61, False, False)]
)
def test_three_intervals_are_fresh_and_twelve_usable(age_s: float, fresh: bool, usable: bool) -> None:
    """With an interval of 5 s: fresh to 15 s, usable to 60 s."""
    known = Heard(100.0, 5.0)

    assert (known.is_fresh(100.0 + age_s), known.is_usable(100.0 + age_s)) == (fresh, usable)


def test_a_slow_source_is_not_a_late_one() -> None:
    """A source that speaks every 60 s has intervals of 60 s, once that has been seen."""
    known = None
    for time_s in range(0, 601, 60):
        known = heard(known, float(time_s), tick_s=5.0)

    assert known == Heard(600.0, 60.0)


def test_an_interval_is_at_least_a_tick() -> None:
    """Reports that come faster than ticks are looked at once a tick."""
    assert heard(Heard(100.0, 5.0), 100.2, tick_s=5.0) == Heard(100.2, 5.0)


def test_knowledge_relaxes_by_steps() -> None:
    """Nothing up to 12 intervals, then a twelfth for each, and never more than all."""
    assert [relaxed_part(age) for age in (0, 12, 12.9, 13, 18, 24, 1000)] == pytest.approx([0, 0, 0, 1 / 12, 0.5, 1, 1])
