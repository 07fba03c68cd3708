"""Weights on given links: the most even requests that meet every rate and every target (Sinkhorn's scaling)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from allocators.layout import Floats, Ints, Layout, sums
from allocators.local_first import LevelFlow
from mesh.topology import Distance

PRECISE = 1e-10  # of a target
MOST_ROUNDS = 48
MOST_DROPS = 8  # rounds of dropping links that stand in the way
TINY = 1e-300  # instead of 0 in a division; what it divides is 0 as well


@dataclass(frozen=True, eq=False)
class Links:
    """Client-to-endpoint links, sorted by client, then endpoint, each once.

    Attributes
    ----------
    clients, endpoints:
        Positions in the layout, shape ``(L,)``.
    requests:
        On each link, parts of all requests.
    """

    clients: Ints
    endpoints: Ints
    requests: Floats


def links_of(clients: Ints, endpoints: Ints, requests: Floats, *, width: int) -> Links:
    """Return links in order; what is named twice adds up. ``width`` is the number of endpoints."""
    keys, inverse = np.unique(clients * width + endpoints, return_inverse=True)
    return Links(keys // width, keys % width, sums(inverse, requests))


def balance(links: Links, layout: Layout, flows: tuple[LevelFlow, ...], *, exact: Links | None = None) -> Links:
    """Weigh the links so that clients send their rates and endpoints get their targets, as evenly as the links allow.

    Parameters
    ----------
    links:
        Links that local-first allows; ``requests`` are their relative weights at first (multiplicities).
    flows:
        The proportional flows of the layout.
    exact:
        Requests that meet everything on a part of these links, where there are such. Then so does the result.

    Returns
    -------
    Links
        rows exact always, columns where ``exact`` is given or where the links allow it.

    Notes
    -----
    Sinkhorn's scaling alone needs hundreds of rounds, because requests seep slowly from node to node. What each node
    sends and takes at each distance is known, however: scaling these sums too (iterative proportional fitting) brings
    it to 20 to 40 rounds of O(L). What is left then is mended along a spanning tree.
    """
    links, met = _evened(replace(links, requests=_first_weights(links, layout, flows)), layout, flows)
    if met:
        return links
    if exact is None:
        return _mended(links, layout)
    return _leaning_on(exact, links, layout, flows)


def _evened(links: Links, layout: Layout, flows: tuple[LevelFlow, ...]) -> tuple[Links, bool]:
    """Return the links after at most MOST_ROUNDS rounds of scaling, and whether all targets are met."""
    margins, x = _margins(links, layout, flows), links.requests
    for round_number in range(MOST_ROUNDS):
        loads = margins[0].sums(x)
        if round_number % 4 == 0 and (np.abs(loads - layout.targets) <= PRECISE * layout.targets).all():
            return replace(links, requests=x), True
        for margin in margins:
            x = margin.scaled(x)
    return replace(links, requests=x), False


@dataclass(frozen=True, eq=False)
class _Margin:
    """Links in classes, and what each class is to sum to."""

    class_of_link: Ints
    wanted: Floats

    def sums(self, x: Floats) -> Floats:
        return sums(self.class_of_link, x, len(self.wanted))

    def scaled(self, x: Floats) -> Floats:
        factors = self.wanted / np.maximum(self.sums(x), TINY)
        return np.asarray(x * factors[self.class_of_link])


def _margins(links: Links, layout: Layout, flows: tuple[LevelFlow, ...]) -> list[_Margin]:
    """Return what is to be met: columns, nodes by distance on either side, rows last (they end exact)."""
    columns, rows = _Margin(links.endpoints, layout.targets), _Margin(links.clients, layout.rates)
    if len(flows) == 1:
        return [columns, rows]
    node_count = layout.group_counts[Distance.NODE]
    levels = levels_of(links, flows)
    margins = [columns]
    for who, nodes, amounts in (
        (links.clients, layout.client_groups[Distance.NODE], [flow.sent for flow in flows]),
        (links.endpoints, layout.endpoint_groups[Distance.NODE], [flow.taken for flow in flows]),
    ):
        wanted = np.concatenate([sums(nodes, amount, node_count) for amount in amounts])
        margins.append(_Margin(levels * node_count + nodes[who], wanted))
    return [*margins, rows]


def levels_of(links: Links, flows: tuple[LevelFlow, ...]) -> Ints:
    """Return the index in ``flows`` of each link's distance."""
    levels = np.full(len(links.clients), len(flows) - 1)
    for level in range(len(flows) - 2, -1, -1):
        flow = flows[level]
        levels[flow.client_groups[links.clients] == flow.endpoint_groups[links.endpoints]] = level
    return levels


def _first_weights(links: Links, layout: Layout, flows: tuple[LevelFlow, ...]) -> Floats:
    """Share what a client sends at each distance over its links of that distance."""
    levels = levels_of(links, flows)
    weights = np.zeros(len(levels))
    for level, flow in enumerate(flows):
        here = np.flatnonzero(levels == level)
        owners = links.clients[here]
        totals = sums(owners, links.requests[here], len(layout.rates))
        weights[here] = links.requests[here] * flow.sent[owners] / totals[owners]
    return weights


def _mended(links: Links, layout: Layout) -> Links:
    """Return requests near ``links`` that meet everything, or ``links`` where a spanning tree cannot mend them."""
    x, lacking = _corrected(links, layout)
    met = x.min() >= 0.0 and max(map(abs, lacking)) <= PRECISE * layout.targets[layout.targets > 0.0].min()
    return replace(links, requests=x) if met else links


def _corrected(links: Links, layout: Layout) -> tuple[Floats, list[float]]:
    """Return requests, some perhaps negative, that give every endpoint what it lacks, and what could not be given.

    The spanning tree takes the links with most requests, so that a small correction leaves them positive.
    """
    x, count = links.requests, len(layout.rates)
    lacking = np.concatenate((np.zeros(count), layout.targets - sums(links.endpoints, x, len(layout.targets)))).tolist()
    return x + _along_tree(links.clients.tolist(), (links.endpoints + count).tolist(), x, lacking), lacking


def _leaning_on(exact: Links, links: Links, layout: Layout, flows: tuple[LevelFlow, ...]) -> Links:
    """Return requests that meet everything, as near to ``links`` as the exact ones, which use a part of them, allow.

    Links beside the exact ones that would have to be negative are dropped, and the others scaled again: were they kept
    at 0, nothing of all the others could be kept either. As much of ``exact`` is mixed in as is needed.
    """
    width = len(layout.targets)
    exact_keys = exact.clients * width + exact.endpoints
    x, _ = _corrected(links, layout)
    for _ in range(MOST_DROPS):
        kept = (x >= 0.0) | np.isin(links.clients * width + links.endpoints, exact_keys)
        if kept.all():
            break
        fewer = Links(links.clients[kept], links.endpoints[kept], links.requests[kept])
        links, met = _evened(fewer, layout, flows)
        if met:
            return links
        x, _ = _corrected(links, layout)
    base = np.zeros(len(x))
    base[np.searchsorted(links.clients * width + links.endpoints, exact_keys)] = exact.requests
    short = x < 0.0
    part = float((base[short] / (base[short] - x[short])).min(initial=1.0))
    return replace(links, requests=np.maximum(base + part * (x - base), 0.0))


def _along_tree(tails: list[int], heads: list[int], weights: Floats, lacking: list[float]) -> Floats:
    """Return the flow on a maximum spanning forest that gives every vertex what it lacks (a leaf at a time).

    What a whole tree lacks stays in ``lacking``.
    """
    root = list(range(len(lacking)))

    def find(vertex: int) -> int:
        while root[vertex] != vertex:
            root[vertex] = vertex = root[root[vertex]]
        return vertex

    degree, edges_xor = [0] * len(lacking), [0] * len(lacking)
    for edge in np.argsort(-weights, kind="stable").tolist():
        tail, head = tails[edge], heads[edge]
        one, other = find(tail), find(head)
        if one != other:
            root[one] = other
            for vertex in (tail, head):
                degree[vertex] += 1
                edges_xor[vertex] ^= edge
    flow = np.zeros(len(tails))
    leaves = [vertex for vertex, links in enumerate(degree) if links == 1]
    while leaves:
        leaf = leaves.pop()
        if degree[leaf] != 1:
            continue
        edge = edges_xor[leaf]  # the XOR of the one edge that is left
        other = tails[edge] + heads[edge] - leaf
        flow[edge] = lacking[leaf]
        lacking[other] -= lacking[leaf]
        lacking[leaf] = 0.0
        degree[other] -= 1
        edges_xor[other] ^= edge
        if degree[other] == 1:
            leaves.append(other)
    return flow
