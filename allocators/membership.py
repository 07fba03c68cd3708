"""Endpoints come and go: who stays keeps its part of the whole, who is new starts low and warms up (slow start)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from allocators.target_view import ServiceView, TargetMemory, TargetSettings, fresh_memory
from estimators.server_speeds import for_endpoints

Floats = NDArray[np.float64]
STRETCH = 1.15  # what the others together may carry over what they carried, so that newcomers may start low
EXCUSE_INTERVALS = 3.0


def settled(
    memory: TargetMemory | None, view: ServiceView, *, now_s: float, interval_s: float, settings: TargetSettings
) -> TargetMemory:
    """Return the memory for the endpoints of ``view``. O(M).

    Without memory, or where nobody stayed, targets are neutral and nobody is new. Otherwise a newcomer starts at its
    fair share divided by the length of the slow start, or higher where those who stayed would have to carry more than
    1.15 times what they did: a rolling update must not overload the rest.
    """
    if memory is None:
        return fresh_memory(view.endpoints, view.fair(), settings)
    if memory.endpoints == view.endpoints:
        return memory
    place = {name: index for index, name in enumerate(memory.endpoints)}
    here = np.array([index for index, name in enumerate(view.endpoints) if name in place], dtype=np.intp)
    there = np.array([place[view.endpoints[index]] for index in here], dtype=np.intp)
    if not len(here):
        return fresh_memory(view.endpoints, view.fair(), settings)
    new = fresh_memory(view.endpoints, view.fair(), settings)
    for name in ("quiet", "heard_s", "joined_s", "signs", "warm_from"):
        getattr(new, name)[here] = getattr(memory, name)[there]
    new.pending[:, here] = memory.pending[:, there]
    targets = _targets(view.fair(), here, memory.targets[there], settings)
    newcomers = np.ones(len(view.endpoints), dtype=bool)
    newcomers[here] = False
    new.joined_s[newcomers] = now_s
    new.warm_from[newcomers] = targets[newcomers]
    excuse_s = now_s + EXCUSE_INTERVALS * interval_s
    return replace(
        new,
        targets=targets,
        speeds=for_endpoints(memory.speeds, view.endpoints),
        watch=replace(new.watch, before=targets, last=targets, noise=memory.watch.noise, excused_until_s=excuse_s),
        eta=memory.eta,
        flips=memory.flips,
        newest_s=memory.newest_s,
        relaxed_s=memory.relaxed_s,
        total_per_s=memory.total_per_s,
    )


def warm_caps(memory: TargetMemory, fair: Floats, *, now_s: float, slow_start_s: float) -> Floats:
    """Return the most that each endpoint may have, shape ``(M,)``: rising to its fair share, then without limit."""
    part = (now_s - memory.joined_s) / slow_start_s
    cap = memory.warm_from + (fair - memory.warm_from) * np.clip(part, 0.0, 1.0)
    return np.where(part < 1.0, np.maximum(cap, memory.warm_from), np.inf)


def _targets(fair: Floats, here: NDArray[np.intp], kept: Floats, settings: TargetSettings) -> Floats:
    newcomers = np.ones(len(fair), dtype=bool)
    newcomers[here] = False
    targets = np.zeros(len(fair))
    carried = float(kept.sum())
    if newcomers.any():
        low = fair[newcomers] / (settings.slow_start_intervals + 1.0)
        least = max(0.0, 1.0 - STRETCH * carried)
        start = np.maximum(low, least * fair[newcomers] / fair[newcomers].sum())
        targets[newcomers] = np.minimum(start, fair[newcomers]) if carried > 0.0 else fair[newcomers]
    rest = 1.0 - float(targets.sum())
    targets[here] = rest * (kept / carried if carried > 0.0 else fair[here] / fair[here].sum())
    return targets
