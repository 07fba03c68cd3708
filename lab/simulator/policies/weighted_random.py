"""Each request on its own, at random by the pushed weights: what iptables ``statistic`` and Envoy ``RANDOM`` do."""

from __future__ import annotations

from typing import Any

from lab.simulator.compiled import compiled_pick
from lab.simulator.randomness import uniform


@compiled_pick
def pick_by_weight(now_s: float, rng: Any, links: Any, active: Any, weights: Any, memory: Any, board: Any) -> int:
    """Choose with probability proportional to the weight. O(links)."""
    total = 0.0
    for link in links:
        total += weights[link]
    left = uniform(rng) * total
    for link in links:
        left -= weights[link]
        if left < 0.0:
            return int(link)
    return int(links[links.size - 1])
