"""A tick's windows to figures: put together until there are enough requests, failures counted as slow."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from allocators.target_view import ServiceView, TargetMemory, TargetSettings

HANGING = 1.0 / 3.0  # of what was issued: when less has ended, it hangs; a rise that only clients told yet is more
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Figures:
    """Loads, latencies (NaN where there are too few requests: unknown, never fast) and counts, shape ``(M,)`` each.

    ``heard`` says who reported in this tick, ``total_per_s`` what the whole service gets, those who are silent
    included; ``in_system`` is the mean number of requests that each held in this tick's window (load times latency).
    """

    loads_per_s: Floats
    latencies_ms: Floats
    counts: Floats
    heard: Bools
    total_per_s: float
    in_system: Floats


def gather(
    view: ServiceView, memory: TargetMemory, *, now_s: float, settings: TargetSettings
) -> tuple[Figures, TargetMemory]:
    """Return the figures of this tick and the memory with what is still too little for one. O(M).

    A failed request counts as ``settings.failure`` mean latencies of the service on top of its own: a container that
    fails at once looks fast, and would draw all load. Where less than a third of what was issued has ended, the rest
    counts as having taken the whole window: a container that hangs ends nothing, and would look idle. The load that
    speed is judged by is what was served: a request that was given up was no work done.
    """
    heard = np.isfinite(view.window_s) & (view.window_s > 0.0)
    window_s = np.where(heard, view.window_s, 0.0)
    spent_ms = np.where(view.requests > 0.0, view.requests * np.nan_to_num(view.mean_ms), 0.0)
    news = np.stack((view.requests, view.failures, spent_ms, window_s, _hanging(view)))
    pending = memory.pending + np.where(heard, news, 0.0)
    requests, failures, total_ms, seconds, hanging = pending
    begun = requests + hanging
    enough = heard & (begun >= settings.fewest)
    latencies = np.divide(total_ms + hanging * 1000.0 * window_s, begun, out=np.full(len(heard), np.nan), where=enough)
    if enough.any() and failures.any():
        usual_ms = float(np.median(latencies[enough]))
        failed = np.divide(failures, begun, out=np.zeros(len(heard)), where=enough)
        latencies = latencies + np.minimum(failed, 1.0) * settings.failure * usual_ms
    served = np.maximum(requests - failures, 1.0)  # a load of 0 would say nothing of speed
    figures = Figures(
        loads_per_s=np.divide(served, seconds, out=np.zeros(len(heard)), where=enough),
        latencies_ms=latencies,
        counts=np.where(enough, begun, 0.0),
        heard=heard,
        total_per_s=_total(view, memory, heard),
        in_system=np.divide(spent_ms, 1000.0 * view.window_s, out=np.zeros(len(heard)), where=heard),
    )
    kept = replace(
        memory,
        pending=np.where(enough, 0.0, pending),
        quiet=np.where(enough, 0.0, memory.quiet + heard),
        heard_s=np.where(heard, now_s, memory.heard_s),
    )
    return figures, kept


def _hanging(view: ServiceView) -> Floats:
    if view.issued is None:
        return np.zeros(len(view.endpoints))
    return np.where(view.requests < HANGING * view.issued, view.issued - view.requests, 0.0)


def _total(view: ServiceView, memory: TargetMemory, heard: Bools) -> float:
    if not heard.any():
        return memory.total_per_s
    seen = float((view.requests[heard] / view.window_s[heard]).sum())
    part = float(memory.targets[heard].sum())
    return seen / part if part > 0.0 else seen
