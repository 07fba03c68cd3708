"""Imbres' connection manager to the letter (ASPLOS 2025): each group of equally fast clients fills the target mix.

If all clients of a group slow down together, the mix that the endpoints see stays as it was; and as the fastest clients
of a group are paired with the slowest endpoints, slow clients meet only fast ones. Nodes play no part.
"""

from __future__ import annotations

import numpy as np

from allocators.forest import overlaps
from allocators.layout import Floats, Ints, Layout, sums
from allocators.scaling import Links, links_of

GROUPS = 10  # K = 10 · (number of endpoints) connections in all
MOST_ROUNDS = 100


def grouped(layout: Layout, *, groups: int) -> Links:
    """Return requests on at most ``|g| + M − 1`` links for each group ``g`` of clients.

    ``groups`` is G = K/M; clients without latencies count as equally fast, so they are one group. Cost O(G·(N+M) log).
    """
    sending = np.flatnonzero(layout.rates > 0.0)
    latencies = np.zeros(len(sending)) if layout.latency_ms is None else layout.latency_ms[sending]
    group_of = nearest_means(latencies, groups)
    slow_first = np.argsort(layout.targets, kind="stable")  # a small target is the sign of a slow endpoint
    slow_first = slow_first[layout.targets[slow_first] > 0.0]
    pieces = []
    for group in np.unique(group_of):
        members = sending[group_of == group]
        fast_first = members[np.argsort(-layout.rates[members], kind="stable")]
        rates = layout.rates[fast_first]
        clients, endpoints, widths = overlaps(rates / rates.sum(), layout.targets[slow_first])
        pieces.append((fast_first[clients], slow_first[endpoints], widths * rates.sum()))
    clients, endpoints, requests = (np.concatenate(column) for column in zip(*pieces, strict=True))
    return links_of(clients, endpoints, requests, width=len(layout.targets))


def nearest_means(values: Floats, count: int) -> Ints:
    """Return the group of each value by one-dimensional K-means (Lloyd, started at even quantiles of distinct values).

    At most ``count`` groups, fewer where there are fewer distinct values; groups are numbered from small to large.

    >>> nearest_means(np.array([1.0, 9.0, 1.2, 9.1]), 2).tolist()
    [0, 1, 0, 1]
    """
    distinct = np.unique(values)
    if len(distinct) <= count:
        return np.searchsorted(distinct, values)
    means = distinct[((np.arange(count) + 0.5) * len(distinct) / count).astype(np.intp)]
    groups = np.zeros(len(values), dtype=np.intp)
    for _ in range(MOST_ROUNDS):
        groups = np.searchsorted((means[1:] + means[:-1]) / 2, values)
        members = np.bincount(groups, minlength=len(means))
        updated = (sums(groups, values, len(means)) / np.maximum(members, 1))[members > 0]
        if np.array_equal(updated, means):
            break
        means = updated
    return groups
