"""M/M/1 servers without noise, as their sidecars would show them, and decisions about them tick by tick."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from allocators.target_decision import decide_targets
from allocators.target_view import ServiceView, TargetDecision, TargetMemory
from estimators.latency_curve import latency_ms

Floats = NDArray[np.float64]
TICK_S = 5.0
SLOW_FIRST = np.array([30.0, 10.0, 10.0, 10.0])


def view(
    service_ms: Floats,
    targets: Floats,
    *,
    now_s: float,
    total_per_s: float = 100.0,
    names: tuple[str, ...] | None = None,
    tail_ms: float | None = None,
) -> ServiceView:
    """Return what the sidecars of M/M/1 servers would show without noise."""
    size = len(service_ms)
    loads = np.minimum(targets * total_per_s, 0.99 * 1000.0 / service_ms)
    return ServiceView(
        endpoints=names or tuple(f"e{index}" for index in range(size)),
        nodes=tuple(f"h{index % 2}" for index in range(size)),
        capacities=np.ones(size),
        requests=loads * TICK_S,
        failures=np.zeros(size),
        mean_ms=latency_ms(loads, service_ms),
        window_s=np.full(size, TICK_S),
        newest_s=now_s,
        tail_ms=tail_ms,
    )


def run(
    service_ms: Floats,
    ticks: int,
    *,
    memory: TargetMemory | None = None,
    start_s: float = 0.0,
    total_per_s: float = 100.0,
) -> TargetDecision:
    """Return the decision after so many ticks of steady servers."""
    targets = np.full(len(service_ms), 1.0 / len(service_ms)) if memory is None else memory.targets
    for tick in range(ticks):
        now_s = start_s + tick * TICK_S
        seen = view(service_ms, targets, now_s=now_s, total_per_s=total_per_s)
        decision = decide_targets(seen, memory, now_s=now_s, interval_s=TICK_S)
        targets, memory = decision.targets, decision.memory
    return decision
