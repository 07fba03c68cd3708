"""What a Prometheus remembers of a service's containers: load and latency of each, step by step, from Istio's metrics.

Rates and not differences of samples, because a step of a range query is not the time of a scrape, and ``rate`` knows
both these times and restarts.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from istio.prometheus import Prometheus, Series
from istio.request_metrics import POD_LABELS, TIMES
from mesh.topology import Service

STEP_S = 60.0  # four scrapes of 15 s: a rate over fewer is wrong by a half
_POD = ", ".join(dict.fromkeys(name for pair in POD_LABELS for name in pair))


@dataclass(frozen=True, slots=True)
class PastWindow:
    """Requests that one container answered in a step: single buckets, one more than bounds, as rates times the step."""

    pod: str
    end_s: float
    window_s: float
    bounds_ms: tuple[float, ...]
    counts: tuple[float, ...]
    sum_ms: float


class RequestHistory:
    """Reads the past of services from one Prometheus."""

    def __init__(self, prometheus: Prometheus, *, step_s: float = STEP_S) -> None:
        self._prometheus, self._step_s = prometheus, step_s

    async def read(self, service: Service, *, start_s: float, end_s: float) -> tuple[PastWindow, ...]:
        """Return every step of every container of ``service`` that answered requests in it. Two range queries.

        Raises what ``Prometheus.range`` raises.
        """
        step_s = self._step_s
        host = f"{service.short_name}.{service.namespace}.svc.".replace(".", r"\\.")
        only = f'{{reporter="destination", destination_service=~"{host}.+"}}[{max(1, round(step_s))}s]'
        asked = [
            f"sum by ({_POD}, job, instance, le) (rate({TIMES}_bucket{only}))",
            f"sum by ({_POD}, job, instance) (rate({TIMES}_sum{only}))",
        ]
        buckets, sums = [
            await self._prometheus.range(query, start_s=start_s, end_s=end_s, step_s=step_s) for query in asked
        ]
        return past_windows(buckets.series, sums.series, step_s=step_s)


def past_windows(buckets: tuple[Series, ...], sums: tuple[Series, ...], *, step_s: float) -> tuple[PastWindow, ...]:
    """Join rates by bucket and of the sum into windows, oldest first. O(samples).

    Pods without a label count by where they were scraped. One that is scraped twice is there twice, with the same
    figures. Steps without requests, or that make no sense, are left out.
    """
    rates: defaultdict[tuple[str, ...], defaultdict[float, dict[float, float]]] = defaultdict(lambda: defaultdict(dict))
    for one in buckets:
        try:
            bound = float(one.labels.get("le", ""))
        except ValueError:
            continue
        for time_s, value in one.samples:
            rates[_key(one.labels)][time_s][bound] = value
    sum_of = {_key(one.labels): dict(one.samples) for one in sums}
    found = [
        window
        for key, steps in rates.items()
        for time_s, step in steps.items()
        if (window := _window(key[0], time_s, step, sum_of.get(key, {}).get(time_s), step_s)) is not None
    ]
    return tuple(sorted(found, key=lambda window: (window.end_s, window.pod)))


def _key(labels: Mapping[str, str]) -> tuple[str, ...]:
    pod = next((f"{labels[name]}.{labels[place]}" for place, name in POD_LABELS if labels.get(name)), "")
    return pod or labels.get("instance", ""), labels.get("job", ""), labels.get("instance", "")


def _window(
    pod: str, time_s: float, step: Mapping[float, float], sum_rate: float | None, step_s: float
) -> PastWindow | None:
    bounds = tuple(sorted(bound for bound in step if 0.0 < bound < math.inf))
    edges = [0.0, *(step[bound] for bound in bounds), step.get(math.inf, math.nan)]
    sane = all(before <= after + 1e-9 for before, after in pairwise(edges))
    if not bounds or not sane or sum_rate is None or not 0.0 < edges[-1] < math.inf or not 0.0 <= sum_rate < math.inf:
        return None
    counts = tuple(max(0.0, after - before) * step_s for before, after in pairwise(edges))
    return PastWindow(pod, time_s, step_s, bounds, counts, sum_rate * step_s)
