"""OptTraffic's own rule for breaking cycles: search from every head, measure the idlest vertex of each cycle met.

    DFS from every head; when two different paths from the same head meet, take, among the vertices of both paths
    from the fork on, the one with least receive + transmit; measure it, delete it, and search again.

The paper leaves open what happens to cycles that no single head reaches twice (two heads over the same two services,
or a ring without a head); there the same search goes on with links taken in both directions. It also subtracts each
measurement before it compares the next; a choice made before measuring cannot, so we compare with the traffic as
counted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence


def break_cycles_by_path(
    adjacency: Mapping[int, Collection[int]],
    calls: Sequence[tuple[int, int]],
    weights: Mapping[int, float],
    *,
    most_steps: int | None = None,
) -> tuple[int, ...] | None:
    """Return the vertices that the paper's rule measures, in the order in which it finds them.

    Parameters
    ----------
    adjacency:
        Vertex → neighbours, undirected, of the graph whose cycles are to be broken.
    calls:
        Directed calls; those outside ``adjacency`` do not matter.
    weights:
        Vertex → receive + transmit bytes.
    most_steps:
        Give up after so many edge visits.

    Returns
    -------
    tuple[int, ...] | None
        None if it gave up. O(heads · V · (V + E)) at worst.

    Examples
    --------
    >>> break_cycles_by_path({0: {1, 2}, 1: {0, 2}, 2: {0, 1}}, [(0, 1), (1, 2), (0, 2)], {0: 9.0, 1: 4.0, 2: 5.0})
    (1,)
    """
    followed: dict[int, list[int]] = {vertex: [] for vertex in adjacency}
    called = set()
    for client, server in calls:
        if client in adjacency and server in adjacency[client]:
            followed[client].append(server)
            called.add(server)
    search = _PathSearch(weights, most_steps)
    heads = [vertex for vertex in adjacency if vertex not in called]
    for head in heads:
        search.start_afresh()
        if not search.run(head, followed):
            return None
    either_way = {vertex: sorted(neighbours) for vertex, neighbours in adjacency.items()}
    search.start_afresh()
    for root in adjacency:
        if not search.run(root, either_way):
            return None
    return tuple(search.chosen)


class _PathSearch:
    """A depth-first search that goes on, after a deletion, as if it had started again without the vertex.

    Everything that was visited before the deleted vertex would be visited again in the same way, so only what came
    later is forgotten: the same choices as a restart, for a fraction of the steps.
    """

    def __init__(self, weights: Mapping[int, float], most_steps: int | None) -> None:
        self._weights, self._steps_left = weights, most_steps
        self.chosen: list[int] = []
        self._deleted: set[int] = set()
        self.start_afresh()

    def start_afresh(self) -> None:
        """Forget all visits, but not the deletions."""
        self._order: list[int] = []
        self._position: dict[int, int] = {}
        self._parent: dict[int, int] = {}
        self._came_by: dict[int, int] = {}  # index of the vertex among its parent's links

    def run(self, root: int, links: Mapping[int, Sequence[int]]) -> bool:
        """Search from ``root``; return False if the steps ran out."""
        if root in self._deleted or root in self._position:
            return True
        self._visit(root, root, 0)
        stack = [(root, 0)]
        while stack:
            vertex, index = stack.pop()
            if index == len(links[vertex]):
                continue
            if not self._take_step():
                return False
            stack.append((vertex, index + 1))
            other = links[vertex][index]
            if other in self._deleted or self._parent[vertex] == other:
                continue
            if other not in self._position:
                self._visit(other, vertex, index)
                stack.append((other, 0))
            elif self._parent[other] != vertex:
                stack = self._delete(self._idlest(vertex, other))
        return True

    def _take_step(self) -> bool:
        if self._steps_left is None:
            return True
        self._steps_left -= 1
        return self._steps_left >= 0

    def _visit(self, vertex: int, parent: int, index: int) -> None:
        self._position[vertex] = len(self._order)
        self._order.append(vertex)
        self._parent[vertex], self._came_by[vertex] = parent, index

    def _idlest(self, one: int, other: int) -> int:
        """Return the vertex with least traffic on the ways from ``one`` and ``other`` up to their fork, included."""
        ways = []
        while one != other:
            if self._position[one] < self._position[other]:
                one, other = other, one
            ways.append(one)
            one = self._parent[one]
        return min([*ways, one], key=lambda vertex: (self._weights[vertex], vertex))

    def _delete(self, vertex: int) -> list[tuple[int, int]]:
        """Delete ``vertex``, forget what was visited from it on, and return the stack as it stood just before it."""
        self.chosen.append(vertex)
        self._deleted.add(vertex)
        stack = []
        child = vertex
        while self._parent[child] != child:
            stack.append((self._parent[child], self._came_by[child] + 1))
            child = self._parent[child]
        start = self._position[vertex]
        for later in self._order[start:]:
            del self._position[later], self._parent[later], self._came_by[later]
        del self._order[start:]
        return stack[::-1]
