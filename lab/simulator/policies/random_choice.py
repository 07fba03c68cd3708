"""Random: every endpoint with the same probability (kube-proxy's iptables, Envoy ``RANDOM``)."""

from __future__ import annotations

from typing import Any

from lab.simulator.compiled import compiled_pick
from lab.simulator.policy import Policy
from lab.simulator.randomness import below


@compiled_pick
def pick_random(now_s: float, rng: Any, links: Any, active: Any, weights: Any, memory: Any, board: Any) -> int:
    """Choose uniformly."""
    return int(links[below(rng, links.size)])


class RandomChoice(Policy):
    """Uniformly random over all servers."""

    pick = staticmethod(pick_random)
