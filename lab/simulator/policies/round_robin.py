"""Round robin: each client goes round its endpoints, from a random first one (Envoy ``ROUND_ROBIN``, equal weights)."""

from __future__ import annotations

from typing import Any

from lab.simulator.compiled import compiled_pick
from lab.simulator.pair import Pair
from lab.simulator.policy import Policy
from lab.simulator.randomness import below


@compiled_pick
def pick_in_turn(now_s: float, rng: Any, links: Any, active: Any, weights: Any, memory: Any, board: Any) -> int:
    """Choose the next one; ``memory[1]`` counts."""
    if memory[0] == 1.0:
        memory[0] = 0.0
        memory[1] = float(below(rng, links.size))
    turn = int(memory[1]) % links.size
    memory[1] = float(turn + 1)
    return int(links[turn])


class RoundRobin(Policy):
    """All servers in turn."""

    pick = staticmethod(pick_in_turn)

    def memory_size(self, pair: Pair) -> int:
        """The flag and the counter."""
        return 2
