"""Oracles that see every server's requests in flight at this instant: the shortest queue of all, and of two."""

from __future__ import annotations

from typing import Any

from lab.simulator.compiled import compiled_pick
from lab.simulator.pair import Pair
from lab.simulator.policy import Policy
from lab.simulator.randomness import below
from lab.simulator.sight import Sight
from lab.simulator.world import IN_FLIGHT, SPEED


@compiled_pick
def pick_shortest(now_s: float, rng: Any, links: Any, active: Any, weights: Any, memory: Any, board: Any) -> int:
    """Choose the least expected time, max(1, (in flight + 1) / workers) / speed; ties at random. O(links)."""
    best, least, ties = links[0], 1e300, 0
    for link in links:
        time = max(1.0, (board[link, IN_FLIGHT] + 1.0) / memory[1 + link]) / board[link, SPEED]
        if time < least:
            best, least, ties = link, time, 1
        elif time == least:
            ties += 1
            if below(rng, ties) == 0:
                best = link
    return int(best)


@compiled_pick
def pick_shorter_of_two(now_s: float, rng: Any, links: Any, active: Any, weights: Any, memory: Any, board: Any) -> int:
    """Choose the one with fewer requests in flight, of two random servers."""
    first = links[below(rng, links.size)]
    second = links[below(rng, links.size)]
    return int(second if board[second, IN_FLIGHT] < board[first, IN_FLIGHT] else first)


class JoinShortestQueue(Policy):
    """Shortest expected time over all servers, by true counts and speeds."""

    pick = staticmethod(pick_shortest)
    sight = Sight.ORACLE

    def memory_size(self, pair: Pair) -> int:
        """The servers' workers."""
        return 1 + pair.servers

    def start(self, pair: Pair) -> None:
        """Connect to all."""
        pair.memory[:, 1:] = pair.workers
        super().start(pair)


class SharedTwoChoices(Policy):
    """Two random choices by true counts (as if all proxies shared theirs at once)."""

    pick = staticmethod(pick_shorter_of_two)
    sight = Sight.ORACLE
