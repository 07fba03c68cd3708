"""A bounded exact search for the cheapest vertices that break all cycles of a small core."""

from __future__ import annotations

from collections.abc import Collection, Mapping

MOST_EXPANSIONS = 400  # per component: a few milliseconds

Open = dict[int, set[int]]


def cheaper_set(
    adjacency: Mapping[int, Collection[int]], weights: Mapping[int, float], best: tuple[int, ...]
) -> tuple[int, ...]:
    """Return the cheapest set found that is cheaper than ``best``, else ``best``.

    Any solution holds a vertex of any cycle, so we branch on the vertices of a short one, cheapest first; a vertex
    that was tried is kept in later branches. The search ends after 400 expansions of O(V + E) with the best set so
    far, which on cores of a dozen vertices is the minimum.

    Examples
    --------
    Two triangles that share vertex 2: once 2 is cheaper than the two cheapest others together, it does for both.

    >>> bow = {0: {1, 2}, 1: {0, 2}, 2: {0, 1, 3, 4}, 3: {2, 4}, 4: {2, 3}}
    >>> cheaper_set(bow, {0: 2.0, 1: 2.0, 2: 3.0, 3: 2.0, 4: 2.0}, (0, 3))
    (2,)
    """
    search = _Search(weights, best, budget=MOST_EXPANSIONS)
    search.expand({vertex: set(neighbours) for vertex, neighbours in adjacency.items()}, (), 0.0, frozenset())
    return tuple(sorted(search.best))


class _Search:
    """The best set so far and how many expansions are left."""

    def __init__(self, weights: Mapping[int, float], best: tuple[int, ...], *, budget: int) -> None:
        self.weights, self.best, self.budget = weights, best, budget
        self.best_cost = sum(weights[vertex] for vertex in best)

    def expand(self, links: Open, chosen: tuple[int, ...], cost: float, kept: frozenset[int]) -> None:
        """Search below ``chosen``; ``links`` is a 2-core without them, ``kept`` may not be chosen."""
        if self.budget <= 0:
            return
        self.budget -= 1
        if not links:
            if cost < self.best_cost:
                self.best, self.best_cost = chosen, cost
            return
        cycle = short_cycle(links)
        for vertex in sorted(set(cycle) - kept, key=lambda name: (self.weights[name], name)):
            if cost + self.weights[vertex] >= self.best_cost:
                return  # the others on the cycle cost more still
            self.expand(_without(links, vertex), (*chosen, vertex), cost + self.weights[vertex], kept)
            kept |= {vertex}


def _without(links: Open, vertex: int) -> Open:
    left = {name: set(neighbours) for name, neighbours in links.items()}
    pending = [vertex]
    while pending:
        gone = pending.pop()
        for neighbour in left.pop(gone, ()):
            left[neighbour].discard(gone)
            if len(left[neighbour]) <= 1:
                pending.append(neighbour)
    return left


def short_cycle(links: Mapping[int, Collection[int]]) -> list[int]:
    """Return the vertices of a short cycle of a graph in which every vertex has two neighbours or more. O(V + E).

    Breadth first from the vertex with the fewest neighbours; the first edge that closes a cycle ends it.

    >>> sorted(short_cycle({0: {1, 2}, 1: {0, 2}, 2: {0, 1, 3, 4}, 3: {2, 4}, 4: {2, 3}}))
    [0, 1, 2]
    """
    root = min(links, key=lambda vertex: (len(links[vertex]), vertex))
    parent = {root: root}
    queue = [root]
    for vertex in queue:
        for other in sorted(links[vertex]):
            if other not in parent:
                parent[other] = vertex
                queue.append(other)
            elif other != parent[vertex]:
                return _join(_path(parent, vertex), _path(parent, other))
    raise AssertionError("a graph whose vertices all have two neighbours holds a cycle")


def _path(parent: Mapping[int, int], vertex: int) -> list[int]:
    """Return the way from ``vertex`` to the root, both included."""
    path = [vertex]
    while parent[path[-1]] != path[-1]:
        path.append(parent[path[-1]])
    return path


def _join(one: list[int], other: list[int]) -> list[int]:
    """Return both ways up to and with the vertex where they meet."""
    while len(one) > 1 and len(other) > 1 and one[-2] == other[-2]:
        one, other = one[:-1], other[:-1]
    return one + other[:-1]
