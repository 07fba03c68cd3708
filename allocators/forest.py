"""A forest: exact local-first requests on few links (the north-west corner of the transport problem).

Clients and endpoints of each group stand in two rows, each as wide as its requests, and are joined where they overlap.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from allocators.layout import Floats, Ints, Layout
from allocators.local_first import level_flows
from allocators.paired import reach
from allocators.scaling import Links, links_of
from mesh.topology import Distance

ROUNDING = 1e-13  # of all requests; the two rows differ by less
TRIES = 24


def forest(layout: Layout) -> Links:
    """Return exact requests, shape as ``layout``, on at most N+M−1 links a distance. Cost O((N+M) log(N+M))."""
    pieces = []
    for flow in level_flows(layout, compact=True):
        row = reach(flow, layout)
        senders, takers = row.clients, row.endpoints
        clients, endpoints, widths = overlaps(flow.sent[senders], flow.taken[takers])
        clients, endpoints = senders[clients], takers[endpoints]
        inside = flow.client_groups[clients] == flow.endpoint_groups[endpoints]
        pieces.append((clients[inside], endpoints[inside], widths[inside]))
    clients, endpoints, requests = (np.concatenate(column) for column in zip(*pieces, strict=True))
    return links_of(clients, endpoints, requests, width=layout.shape[1])


def narrow_forest(layout: Layout, *, most: int) -> Links:
    """Return a forest in which no client has more than ``most`` links, or nearly, if none was found.

    To find the fewest links is NP-hard (subset sum), so other orders within the nodes are tried, 24 at most, and the
    one with the fewest links too many is taken.
    """
    best = forest(layout)
    excess = _excess(best, most)
    for attempt in range(TRIES):
        if excess == 0:
            break
        client_order = _shuffled(layout.client_groups[Distance.NODE], attempt)
        endpoint_order = _shuffled(layout.endpoint_groups[Distance.NODE], attempt + 1 + attempt // 4)
        other = forest(_reordered(layout, client_order, endpoint_order))
        if _excess(other, most) < excess:
            excess = _excess(other, most)
            clients, endpoints = client_order[other.clients], endpoint_order[other.endpoints]
            best = links_of(clients, endpoints, other.requests, width=layout.shape[1])
    return best


def overlaps(sent: Floats, taken: Floats) -> tuple[Ints, Ints, Floats]:
    """Lay two rows of pieces of one total length side by side; return who overlaps whom by how much.

    This is the north-west corner rule: at most ``len(sent) + len(taken) − 1`` overlaps. Cost O(n log n).

    >>> [a.tolist() for a in overlaps(np.array([0.5, 0.5]), np.array([0.25, 0.75]))]
    [[0, 0, 1], [0, 1, 1], [0.25, 0.25, 0.5]]
    """
    sent_to, taken_to = np.cumsum(sent), np.cumsum(taken)
    cuts = np.sort(np.concatenate((sent_to, taken_to)))
    widths = np.diff(cuts, prepend=0.0)
    real = widths > ROUNDING  # rounding shifts the rows against each other by parts in 1e15: such overlaps are none
    if not len(sent) or not len(taken):
        real[:] = False
    middles = (cuts - widths / 2)[real]
    rows = np.minimum(np.searchsorted(sent_to, middles), len(sent) - 1)
    columns = np.minimum(np.searchsorted(taken_to, middles), len(taken) - 1)
    return rows, columns, widths[real]


def _excess(links: Links, most: int) -> int:
    return int(np.maximum(np.bincount(links.clients) - most, 0).sum())


def _shuffled(nodes: Ints, attempt: int) -> Ints:
    """Return an order that differs from attempt to attempt and keeps each node together."""
    places = np.arange(1, len(nodes) + 1)
    if attempt < 2:
        return np.lexsort((places if attempt == 0 else -places, nodes))
    return np.lexsort(((places * (attempt * 2.0**0.5)) % 1.0, nodes))


def _reordered(layout: Layout, client_order: Ints, endpoint_order: Ints) -> Layout:
    return replace(
        layout,
        rates=layout.rates[client_order],
        targets=layout.targets[endpoint_order],
        latency_ms=None if layout.latency_ms is None else layout.latency_ms[client_order],
    )
