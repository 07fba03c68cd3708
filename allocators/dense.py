"""All links: everyone sends to everyone that local-first lets it reach, so that errors average out best."""

from __future__ import annotations

import numpy as np

from allocators.layout import Floats, Layout, sums
from allocators.local_first import LevelFlow
from allocators.paired import paired_requests
from mesh.topology import Distance


def fits(flows: tuple[LevelFlow, ...], *, clients: int, most: int) -> bool:
    """Whether ``dense`` surely needs at most ``most`` links for each of N clients. Cost O(N+M)."""
    links = np.zeros(clients, dtype=np.intp)
    for flow in flows:
        takers = np.bincount(flow.endpoint_groups[flow.taken > 0.0], minlength=flow.group_count)
        links += np.where(flow.sent > 0.0, takers[flow.client_groups], 0)
    return bool(links.max(initial=0) <= most)


def dense(flows: tuple[LevelFlow, ...], layout: Layout) -> Floats:
    """Return requests ``x``, shape ``(N, M)``, that meet every rate and target at the least distance. Cost O(N·M).

    In each group of a distance everyone sends to everyone in proportion; with latencies, what leaves a node is paired.
    """
    x = np.zeros((len(layout.rates), len(layout.targets)))
    for flow in flows:
        if layout.latency_ms is not None and flow.distance is not Distance.NODE:
            x += paired_requests(flow, layout)
            continue
        totals = sums(flow.endpoint_groups, flow.taken, flow.group_count)
        portions = flow.taken / np.where(totals > 0, totals, 1.0)[flow.endpoint_groups]
        if flow.group_count == 1:
            x += flow.sent[:, None] * portions
        else:
            x += flow.sent[:, None] * (flow.client_groups[:, None] == flow.endpoint_groups) * portions
    return x
