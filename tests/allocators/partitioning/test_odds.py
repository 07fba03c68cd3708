"""How likely a target is met with so many cores and ways, by what was seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from allocators.partitioning.demand import Demand, Place, Sighting
from allocators.partitioning.odds import blind_odds, odds_of

# 1000 requests a second of 4 ms: four cores kept busy, seen with 5 and 10 ways: ways do not help.
FLAT = Demand(arrivals=10_000.0, arrivals_s=10.0, work={5: (20.0, 5000.0), 10: (20.0, 5000.0)})


def seen(cores: int, ways: int, tail_ms: float, error: float = 0.02) -> Sighting:
    """Return a tail seen at the same rate."""
    return Sighting(Place(cores, ways, 1000.0), tail_ms, error)


def test_nothing_is_known_without_cpu_time() -> None:
    """No model, no odds."""
    assert odds_of(Demand(), target_ms=10.0, cores=14, ways=20) is None


def test_too_few_cores_have_no_chance() -> None:
    """Four cores of work hardly fit on four cores (the last per cent that ways may help is all there is)."""
    odds = odds_of(FLAT, target_ms=1000.0, cores=14, ways=20)

    assert odds is not None
    assert odds.chance[2].max() < 1e-3
    assert odds.chance[3].max() < 0.1
    assert odds.chance[13].min() > 0.9


def test_what_was_seen_counts_where_it_was_seen() -> None:
    """A tail well within the target makes a place likely, one well above it unlikely, and more cores likelier."""
    odds = odds_of(replace(FLAT, sightings=(seen(6, 10, 13.0), seen(8, 10, 8.0))), target_ms=10.0, cores=14, ways=20)

    assert odds is not None
    assert odds.chance[5, 9] < 0.05
    assert odds.chance[7, 9] > 0.9
    assert np.all(np.diff(odds.chance[7:, 9]) > -0.05)


def test_ways_that_do_not_help_are_not_tried_one_by_one() -> None:
    """Late with ten ways, where cores a request are the same with five and ten: eleven to twenty will not do either."""
    late = replace(FLAT, sightings=(seen(6, 10, 10.3, 0.05),), late_at=(Place(6, 10, 1000.0),))
    without = replace(late, late_at=())
    odds, before = (odds_of(one, target_ms=10.0, cores=14, ways=20) for one in (late, without))

    assert odds is not None
    assert before is not None
    assert odds.chance[5, 10:].max() < 0.3 * before.chance[5, 10:].max()
    assert odds.chance[8, 9] > 0.8 * before.chance[8, 9]


def test_a_place_where_the_target_was_met_stays_likely_while_the_load_does_not_rise() -> None:
    """What was shown is not argued away; at a higher load it is not known any more."""
    met = replace(FLAT, sightings=(seen(6, 10, 10.3, 0.05),), met_at=(Place(6, 10, 1000.0),))
    odds = odds_of(met, target_ms=10.0, cores=14, ways=20)
    busier = odds_of(replace(met, arrivals=12_000.0), target_ms=10.0, cores=14, ways=20)

    assert odds is not None
    assert busier is not None
    assert odds.chance[5, 9] >= 0.98
    assert busier.chance[5, 9] < 0.5


def test_without_a_model_less_is_worth_less() -> None:
    """Blind odds: what is held may do; late there, more is likelier than the same."""
    held = Place(5, 8, 0.0)
    odds = blind_odds(Demand(), held, cores=14, ways=20)
    late = blind_odds(Demand(late_at=(held,)), held, cores=14, ways=20)

    assert odds.worth[3, 7] < odds.worth[4, 7]
    assert late.worth[5, 7] > late.worth[4, 7] + 1.0
