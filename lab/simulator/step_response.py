"""After a step of the world: how soon p99 is back near its new level, and whether it swings out again."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lab.simulator.measures import TICK_S, Row
from lab.simulator.scenario import Scenario

NEAR = 0.1


@dataclass(frozen=True, slots=True)
class StepResponse:
    """One step of one policy. Ticks are of TICK_S seconds.

    Attributes
    ----------
    steady_ms:
        The new level: the median of the last half of the ticks until the next step.
    ticks:
        How many passed until p99 stayed within a tenth above that level; None if it never did.
    worst_ms:
        The highest tick on the way.
    excursions:
        How often p99 rose above the objective: one is the step itself, a second one an overshoot.
    """

    at_s: float
    steady_ms: float
    ticks: int | None
    worst_ms: float
    excursions: int


def median_over_time(rows: Sequence[Row]) -> NDArray[np.float64]:
    """Return p99 (ms) of each tick, the median over the seeds; infinite where it falls on failed requests."""
    series = zip(*(row.p99_over_time_ms for row in rows), strict=True)
    return np.array([statistics.median(np.inf if value is None else value for value in tick) for tick in series])


def step_responses(scenario: Scenario, p99_ms: NDArray[np.float64]) -> list[StepResponse]:
    """Return what followed each step of the scenario. O(ticks).

    Examples
    --------
    >>> from lab.simulator.scenarios import SCENARIOS
    >>> calm, p99_ms = SCENARIOS["kill-step"](), np.full(36, 80.0)
    >>> p99_ms[12:15] = 400.0, 150.0, 95.0
    >>> step_responses(calm, p99_ms)
    [StepResponse(at_s=60.0, steady_ms=80.0, ticks=3, worst_ms=400.0, excursions=1)]
    """
    edges = [round(at_s / TICK_S) for at_s in (*scenario.steps_s, scenario.duration_s)]
    responses = []
    for at_s, (low, high) in zip(scenario.steps_s, pairwise(edges), strict=True):
        part = p99_ms[low:high]
        steady = float(np.median(part[part.size // 2 :]))
        outside = np.flatnonzero(part > (1.0 + NEAR) * steady)
        ticks = int(outside[-1]) + 1 if outside.size else 0
        above = part > 1000.0 * scenario.slo_s
        responses.append(
            StepResponse(
                at_s=at_s,
                steady_ms=steady,
                ticks=None if ticks >= part.size // 2 else ticks,
                worst_ms=float(part.max()),
                excursions=int(above[0]) + int((above[1:] & ~above[:-1]).sum()),
            )
        )
    return responses
