"""One row of figures a run, as ``askew lab simulate --json`` writes it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lab.simulator.run import Outcome

TICK_S = 5.0  # of Askew's control loop, and of what is shown over time


@dataclass(frozen=True, slots=True)
class Row:
    """What one policy did under one seed. All figures are simulated.

    Attributes
    ----------
    p50_ms, p95_ms, p99_ms, p999_ms:
        Latency of the requests that started after the warm-up; a failed request counts as infinitely slow, and is
        written as null where a percentile falls on one.
    slo_violations:
        Part of those requests that took longer than the scenario's deadline, or failed.
    cross_node_share:
        Part of all calls, of all tiers, that left their caller's node.
    connections:
        Distinct (client, server) pairs that carried a call.
    max_over_mean_utilisation:
        Over all servers; busy workers, so 1 over the mean load is the most.
    p99_over_time_ms:
        Of the requests that start in each TICK_S of the run, the warm-up too; null where it falls on a failed one.
    """

    scenario: str
    policy: str
    seed: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    p999_ms: float | None
    slo_violations: float
    cross_node_share: float
    connections: int
    max_over_mean_utilisation: float
    requests: int
    failed: int
    p99_over_time_ms: tuple[float | None, ...]


def row_of(outcome: Outcome, *, policy: str, seed: int) -> Row:
    """Sum up a run."""
    latency_s = outcome.latency_s[outcome.measured]
    p50, p95, p99, p999 = (_percentile_ms(latency_s, q) for q in (50, 95, 99, 99.9))
    sent = outcome.after.sent - outcome.before.sent
    length_s = outcome.after.at_s - outcome.before.at_s
    utilisation = (outcome.after.busy_s - outcome.before.busy_s) / (outcome.workers * length_s)
    return Row(
        scenario=outcome.scenario.name,
        policy=policy,
        seed=seed,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        p999_ms=p999,
        slo_violations=float((latency_s > outcome.scenario.slo_s).mean()) if latency_s.size else 0.0,
        cross_node_share=float((sent * outcome.crosses).sum() / max(1, sent.sum())),
        connections=int((sent > 0).sum()),
        max_over_mean_utilisation=float(utilisation.max() / max(utilisation.mean(), 1e-12)),
        requests=int(latency_s.size),
        failed=int(np.isinf(latency_s).sum()),
        p99_over_time_ms=_over_time_ms(outcome),
    )


def _percentile_ms(latency_s: NDArray[np.float64], percent: float) -> float | None:
    """Return a percentile in ms, None where it falls on a failed request (or nothing was measured)."""
    if latency_s.size == 0:
        return None
    value = float(np.percentile(latency_s, percent, method="higher"))
    return round(value * 1000, 3) if np.isfinite(value) else None


def _over_time_ms(outcome: Outcome) -> tuple[float | None, ...]:
    bins = np.arange(0.0, outcome.scenario.duration_s + TICK_S / 2, TICK_S)
    cuts = np.searchsorted(outcome.at_s, bins)
    return tuple(_percentile_ms(outcome.latency_s[low:high], 99) for low, high in pairwise(cuts))


def percentiles_over_time(outcome: Outcome, *, percent: float = 99.0, bin_s: float = 1.0) -> NDArray[np.float64]:
    """Return a percentile (s) of the requests that start in each bin of the run; NaN where none did. O(n log n)."""
    bins = np.arange(0.0, outcome.scenario.duration_s + bin_s, bin_s)
    cuts = np.searchsorted(outcome.at_s, bins)
    parts = [outcome.latency_s[low:high] for low, high in pairwise(cuts)]
    return np.array([np.percentile(part, percent, method="higher") if part.size else np.nan for part in parts])


def settling_s(
    outcome: Outcome,
    *,
    step_s: float,
    until_s: float,
    percent: float = 99.0,
    bin_s: float = 1.0,
    tolerance: float = 0.1,
) -> float | None:
    """Return how long after ``step_s`` the percentile stays within ``tolerance`` of its new steady value.

    The steady value is the median over the last third of step_s..until_s. Runs of three bins are averaged against the
    noise of a bin's own percentile. None if it never stays.
    """
    series = percentiles_over_time(outcome, percent=percent, bin_s=bin_s)[int(step_s / bin_s) : int(until_s / bin_s)]
    smooth = np.convolve(series, np.ones(3) / 3, mode="valid")
    steady = float(np.median(smooth[-(smooth.size // 3) :]))
    outside = np.flatnonzero(np.abs(smooth - steady) > tolerance * steady)
    if outside.size == 0:
        return 0.0
    if outside[-1] == smooth.size - 1:
        return None
    return float((outside[-1] + 1) * bin_s)
