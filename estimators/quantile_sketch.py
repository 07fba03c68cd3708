"""A quantile sketch that forgets: latencies one by one into buckets of equal ratio, older ones counting less.

For sources without a histogram (access records, spans). Buckets as in DDSketch (Masson, Rim, Lee, VLDB 2019, §2):
any quantile within a relative error that is chosen beforehand. Weights decay exponentially with time; since all decay
alike, only new ones are scaled up against a landmark (forward decay: Cormode et al., ICDE 2009).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from estimators.errors import EstimatorError

SMALLEST_MS = 1e-3  # all that is faster shares one bucket
MOST_HALF_LIVES = 50  # between landmarks: 2^50 is still exact enough beside 1
FAINT = 1e-12  # of the total: buckets below are dropped when the landmark moves


@dataclass(frozen=True, slots=True)
class QuantileSketch:
    """Weights by bucket: bucket ``k`` holds ``(γ^(k−1), γ^k]`` ms with ``γ = (1 + α)/(1 − α)``, α the relative error.

    Weights are as of ``landmark_s``: a sample of weight 1 at time ``t`` is stored as ``2^((t − landmark)/half_life)``.
    """

    relative_error: float = 0.02
    half_life_s: float = 60.0
    landmark_s: float = 0.0
    weights: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0.0 < self.relative_error < 1.0 or not self.half_life_s > 0.0:
            found = f"{self.relative_error}, {self.half_life_s} s"
            raise EstimatorError(f"sketch: found {found}, allowed: an error in (0, 1) and a half-life above 0")


def add(sketch: QuantileSketch, latencies_ms: Iterable[float], *, time_s: float) -> QuantileSketch:
    """Return the sketch with samples of one moment added; NaN, infinite and negative ones are left out. O(samples).

    Examples
    --------
    >>> sketch = add(QuantileSketch(), range(1, 101), time_s=0.0)
    >>> abs(quantile(sketch, 95.0) - 95.0) <= 0.02 * 95.0
    True
    """
    moved = _at_landmark(sketch, time_s)
    ratio = math.log1p(2.0 * sketch.relative_error / (1.0 - sketch.relative_error))
    weight = 2.0 ** ((time_s - moved.landmark_s) / sketch.half_life_s)
    weights = dict(moved.weights)
    for latency_ms in latencies_ms:
        if 0.0 <= latency_ms < math.inf:
            bucket = math.ceil(math.log(max(latency_ms, SMALLEST_MS)) / ratio)
            weights[bucket] = weights.get(bucket, 0.0) + weight
    return replace(moved, weights=weights)


def merged(one: QuantileSketch, other: QuantileSketch) -> QuantileSketch:
    """Return both sketches as one; they must have the same error and half-life. O(buckets)."""
    if (one.relative_error, one.half_life_s) != (other.relative_error, other.half_life_s):
        raise EstimatorError("sketches: found different errors or half-lives, allowed: the same")
    landmark_s = max(one.landmark_s, other.landmark_s)
    left, right = _moved(one, landmark_s), _moved(other, landmark_s)
    weights = dict(left.weights)
    for bucket, weight in right.weights.items():
        weights[bucket] = weights.get(bucket, 0.0) + weight
    return replace(left, weights=weights)


def quantile(sketch: QuantileSketch, percentile: float) -> float | None:
    """Return the percentile (0..100) in ms, within the sketch's relative error; None where it is empty. O(b log b)."""
    total = math.fsum(sketch.weights.values())
    if not total > 0.0:
        return None
    rank, below, bucket = percentile / 100.0 * total, 0.0, 0
    for bucket in sorted(sketch.weights):
        below += sketch.weights[bucket]
        if below >= rank * (1.0 - 1e-12):
            break
    gamma = (1.0 + sketch.relative_error) / (1.0 - sketch.relative_error)
    return 2.0 * gamma**bucket / (gamma + 1.0)


def weight_at(sketch: QuantileSketch, now_s: float) -> float:
    """Return how many samples the sketch still counts for at ``now_s``."""
    return math.fsum(sketch.weights.values()) * float(2.0 ** ((sketch.landmark_s - now_s) / sketch.half_life_s))


def _at_landmark(sketch: QuantileSketch, time_s: float) -> QuantileSketch:
    if not sketch.weights or time_s - sketch.landmark_s > MOST_HALF_LIVES * sketch.half_life_s:
        return _moved(sketch, time_s)
    return sketch


def _moved(sketch: QuantileSketch, landmark_s: float) -> QuantileSketch:
    """Return the same sketch with weights as of another landmark, without buckets that no longer count."""
    scale = 2.0 ** max(-1000.0, (sketch.landmark_s - landmark_s) / sketch.half_life_s)
    faint = FAINT * math.fsum(sketch.weights.values()) * scale
    weights = {bucket: weight * scale for bucket, weight in sketch.weights.items() if weight * scale > faint}
    return replace(sketch, landmark_s=landmark_s, weights=weights)
