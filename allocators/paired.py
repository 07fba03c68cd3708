"""Paired: of the requests that must leave their node, the slow clients' go to the fast endpoints.

So that a request which was slow once is not slow twice (Imbres, ASPLOS 2025, connection manager: slow upstreams meet
fast downstreams). The endpoints of a group stand in a row, each as wide as what it takes, fast first; the nodes of the
clients stand beside them, slow first; a node may reach what it overlaps. Without latencies all reach the whole row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocators.layout import Floats, Ints, Layout, sums
from allocators.local_first import LevelFlow
from mesh.topology import Distance


@dataclass(frozen=True, eq=False)
class Reach:
    """Which part of the row of endpoints each client may send to, at one distance.

    Attributes
    ----------
    endpoints:
        The row: endpoints that take something, group by group.
    ends:
        Where each of them ends in the row, rising.
    clients:
        Clients that send something, in the order in which they stand beside the row.
    begins, widths:
        Shapes ``(N,)``: the stretch of the row that belongs to each client's node (or to its whole group).
    """

    endpoints: Ints
    ends: Floats
    clients: Ints
    begins: Floats
    widths: Floats


def reach(flow: LevelFlow, layout: Layout) -> Reach:
    """Return who may reach what at the distance of ``flow``. Cost O((N+M) log(N+M))."""
    clients, endpoints = np.flatnonzero(flow.sent), np.flatnonzero(flow.taken)
    if layout.latency_ms is None or flow.distance is Distance.NODE:
        totals = sums(flow.endpoint_groups, flow.taken, flow.group_count)
        starts = np.cumsum(totals) - totals
        groups = flow.client_groups
        return Reach(endpoints, np.cumsum(flow.taken[endpoints]), clients, starts[groups], totals[groups])
    nodes = layout.client_groups[Distance.NODE]
    slowness = _node_latency(layout)
    fast_first = np.lexsort((-layout.targets[endpoints], flow.endpoint_groups[endpoints]))
    slow_first = np.lexsort((nodes[clients], -slowness[nodes[clients]], flow.client_groups[clients]))
    endpoints, clients = endpoints[fast_first], clients[slow_first]
    begins, widths = np.zeros(len(slowness)), sums(nodes, flow.sent, len(slowness))
    in_turn = nodes[clients][np.flatnonzero(np.diff(nodes[clients], prepend=-1))]
    begins[in_turn] = np.cumsum(widths[in_turn]) - widths[in_turn]
    return Reach(endpoints, np.cumsum(flow.taken[endpoints]), clients, begins[nodes], widths[nodes])


def paired_requests(flow: LevelFlow, layout: Layout) -> Floats:
    """Return requests ``x``, shape ``(N, M)``: each node fills its stretch, its clients in proportion. Cost O(N·M)."""
    row = reach(flow, layout)
    begins_of_endpoints = np.concatenate(([0.0], row.ends[:-1]))
    nodes = layout.client_groups[Distance.NODE]
    first = np.unique(nodes[row.clients], return_index=True)[1]
    x = np.zeros((len(layout.rates), len(layout.targets)))
    for client in row.clients[first]:  # one for each node
        begin, width = row.begins[client], row.widths[client]
        overlap = np.minimum(row.ends, begin + width) - np.maximum(begins_of_endpoints, begin)
        overlap[overlap <= 1e-13] = 0.0  # the rows differ by rounding
        inside = flow.endpoint_groups[row.endpoints] == flow.client_groups[client]
        overlap[~inside] = 0.0
        if not overlap.any():  # less than rounding: anywhere inside the group
            overlap = np.where(inside, flow.taken[row.endpoints], 0.0)
        members = np.flatnonzero(nodes == nodes[client])
        x[np.ix_(members, row.endpoints)] = flow.sent[members][:, None] * (overlap / overlap.sum())
    return x


def _node_latency(layout: Layout) -> Floats:
    """Return the mean latency of the clients on each node, weighted by their rates."""
    assert layout.latency_ms is not None
    nodes, count = layout.client_groups[Distance.NODE], layout.group_counts[Distance.NODE]
    rates = sums(nodes, layout.rates, count)
    return np.asarray(sums(nodes, layout.rates * layout.latency_ms, count) / np.where(rates > 0, rates, 1.0))
