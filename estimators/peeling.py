"""Peeling: a vertex with one open link knows that link exactly; subtract it, and the next vertex may know its own.

OptTraffic (ICPP 2023), Algorithm 1, the loop, in the form that treats the two directions of a link apart: in the
bipartite double cover of the service graph, service ``v`` is the two nodes ``2v`` (what it sends) and ``2v + 1``
(what it receives), and a directed link ``u → v`` joins ``2u`` with ``2v + 1``::

      frontend ──► cart ──► redis           sends:     frontend   cart        redis
               ◄──      ◄──                                │  ╲  ╱ │ ╲       ╱ │
                                            receives:  cart    frontend  redis    cart

So one measured direction already helps, and a tree peels to the end in both directions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from estimators.service_graph import ServiceGraph


@dataclass(frozen=True, eq=False)
class Peeled:
    """What peeling found.

    Attributes
    ----------
    link_bytes:
        Directed edge → its bytes, or None where it stays open (the core).
    rest_bytes:
        Node of the double cover → its counter minus its known links; may be negative where counters disagree.
    mass_bytes:
        Directed edge → bytes of all counters and measurements that its value is a difference of; its error is the
        counters' relative error times this.
    open_edges:
        The directed edges of the core, ascending.
    """

    link_bytes: tuple[float | None, ...]
    rest_bytes: tuple[float, ...]
    mass_bytes: tuple[float, ...]
    open_edges: tuple[int, ...]


def edge_nodes(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the two double-cover nodes of each directed edge, ``2k`` and ``2k + 1`` per pair ``k``.

    >>> edge_nodes([(0, 1)])
    [(0, 3), (2, 1)]
    """
    return [nodes for client, server in pairs for nodes in ((2 * client, 2 * server + 1), (2 * server, 2 * client + 1))]


def peel(graph: ServiceGraph, measured_bytes: Mapping[int, float]) -> Peeled:
    """Find every link that subtraction alone can reach.

    Parameters
    ----------
    graph:
        Services with what they sent and received.
    measured_bytes:
        Directed edge → bytes in the window, for edges that were measured.

    Returns
    -------
    Peeled
        O(V + E): each edge is settled once. Integer counters stay integers, so nothing is lost to rounding.

    Examples
    --------
    >>> graph = ServiceGraph(("a", "b", "c"), ((0, 1), (1, 2)), (), (10, 35, 7), (30, 17, 5), (1.0,) * 3, 1.0)
    >>> peel(graph, {}).link_bytes
    (10, 30, 5, 7)
    """
    nodes = edge_nodes(graph.pairs)
    rest = [amount for both in zip(graph.transmit_bytes, graph.receive_bytes, strict=True) for amount in both]
    mass = list(rest)
    degree, open_xor = [0] * len(rest), [0] * len(rest)
    for edge, ends in enumerate(nodes):
        for node in ends:
            degree[node] += 1
            open_xor[node] ^= edge  # with one open edge left, the XOR of the open edges is that edge
    found: list[float | None] = [None] * len(nodes)
    edge_mass: list[float] = [0] * len(nodes)

    def settle(edge: int, amount: float, weight: float) -> None:
        found[edge], edge_mass[edge] = amount, weight
        for end in nodes[edge]:
            rest[end] -= amount
            mass[end] += weight
            degree[end] -= 1
            open_xor[end] ^= edge
            if degree[end] == 1:
                queue.append(end)

    queue: deque[int] = deque()
    for edge, amount in measured_bytes.items():
        settle(edge, amount, amount)
    queue.extend(node for node, count in enumerate(degree) if count == 1)
    while queue:
        node = queue.popleft()
        if degree[node] != 1 or not graph.observed(node // 2):
            continue
        edge = open_xor[node]
        first, second = nodes[edge]
        other = second if node == first else first
        if degree[other] == 1 and graph.observed(other // 2) and mass[other] < mass[node]:
            node = other  # the last link of a tree is known from both ends: trust the one with less behind it
        settle(edge, max(0, rest[node]), mass[node])
    open_edges = tuple(edge for edge, amount in enumerate(found) if amount is None)
    return Peeled(tuple(found), tuple(rest), tuple(edge_mass), open_edges)
