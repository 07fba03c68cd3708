"""Oracles that see every server's requests in flight at this instant: the shortest queue of all, and of two."""

from __future__ import annotations

from typing import Any

from lab.simulator.compiled import compiled, compiled_pick
from lab.simulator.policy import Policy
from lab.simulator.randomness import below
from lab.simulator.sight import Sight
from lab.simulator.world import IN_FLIGHT, SPEED


@compiled_pick
def pick_shortest(now_s: float, rng: Any, links: Any, active: Any, weights: Any, memory: Any, board: Any) -> int:
    """Choose the server with the least (requests in flight + 1) / speed; ties at random."""
    best, least, ties = links[0], 1e300, 0
    for link in links:
        wait = (board[link, IN_FLIGHT] + 1.0) / board[link, SPEED]
        if wait < least:
            best, least, ties = link, wait, 1
        elif wait == least:
            ties += 1
            if below(rng, ties) == 0:
                best = link
    return int(best)


@compiled_pick
def pick_shorter_of_two(
    now_s: float, rng: Any, links: Any, active: Any, weights: Any, memory: Any, board: Any
) -> int:
    """Choose the one with fewer requests in flight, of two random servers."""
    first = links[below(rng, links.size)]
    second = links[below(rng, links.size)]
    return int(second if board[second, IN_FLIGHT] < board[first, IN_FLIGHT] else first)


class JoinShortestQueue(Policy):
    """Shortest expected wait over all servers, by true counts and speeds."""

    pick = pick_shortest
    sight = Sight.ORACLE


class SharedTwoChoices(Policy):
    """Two random choices by true counts (as if all proxies shared theirs at once)."""

    pick = pick_shorter_of_two
    sight = Sight.ORACLE
