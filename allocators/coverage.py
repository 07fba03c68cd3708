"""Coverage: every endpoint with a target is reached by two clients or more, where that sends nothing farther."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from allocators.layout import Ints, Layout
from allocators.local_first import LevelFlow
from allocators.scaling import Links, links_of

Mask = NDArray[np.bool_]
ENOUGH = 2  # clients for each endpoint: one may go away without the endpoint falling idle


def cover(
    links: Links,
    kept: Links | None,
    layout: Layout,
    flows: tuple[LevelFlow, ...],
    *,
    most: int,
    enough: int = ENOUGH,
) -> Links:
    """Return ``links`` with links added to endpoints that fewer than ``enough`` clients reach.

    Only clients that local-first lets reach such an endpoint come into question: one with fewer than ``most`` links,
    else one that can give up a link, none of ``kept``, to an endpoint that more than ``enough`` reach (more than one,
    for an endpoint that nobody reaches). Where there is none the endpoint stays as it is. Cost O(N + L) for each
    endpoint that lacks one; as a rule there are few.
    """
    width = len(layout.targets)
    reached = np.bincount(links.endpoints, minlength=width)
    lacking = np.flatnonzero((reached < enough) & (layout.targets > 0.0))
    if not len(lacking):
        return links
    state = _Cover(links, kept, layout, reached, enough=enough)
    for endpoint in lacking.tolist():
        able = _able(endpoint, flows)
        able[state.clients[state.endpoints == endpoint]] = False
        while reached[endpoint] < enough:
            client = state.add(endpoint, able, most=most)
            if client is None:
                break
            able[client] = False
    return links_of(
        np.concatenate((state.clients, [client for client, _ in state.added])).astype(np.intp),
        np.concatenate((state.endpoints, [endpoint for _, endpoint in state.added])).astype(np.intp),
        np.concatenate((links.requests, np.ones(len(state.added)))),
        width=width,
    )


class _Cover:
    """Links while they change: some are turned to another endpoint, some are added."""

    def __init__(self, links: Links, kept: Links | None, layout: Layout, reached: Ints, *, enough: int) -> None:
        width, self.enough = len(layout.targets), enough
        self.clients, self.endpoints, self.reached = links.clients, links.endpoints.copy(), reached
        self.counts = np.bincount(links.clients, minlength=len(layout.rates))
        self.fixed = np.zeros(len(links.clients), dtype=bool)
        if kept is not None:
            self.fixed = np.isin(links.clients * width + links.endpoints, kept.clients * width + kept.endpoints)
        self.added: list[tuple[int, int]] = []

    def add(self, endpoint: int, able: Mask, *, most: int) -> int | None:
        """Link one of the ``able`` clients to ``endpoint`` and return it, or None where nobody can."""
        free = np.flatnonzero(able & (self.counts < most))
        if len(free):
            client = int(free[np.argmin(self.counts[free])])
            self.added.append((client, endpoint))
            self.counts[client] += 1
        else:
            spared = self.enough if self.reached[endpoint] else 1
            giving = np.flatnonzero(able[self.clients] & ~self.fixed & (self.reached[self.endpoints] > spared))
            if not len(giving):
                return None
            link = giving[np.argmax(self.reached[self.endpoints[giving]])]
            client = int(self.clients[link])
            self.reached[self.endpoints[link]] -= 1
            self.endpoints[link], self.fixed[link] = endpoint, True
        self.reached[endpoint] += 1
        return client


def _able(endpoint: int, flows: tuple[LevelFlow, ...]) -> Mask:
    """Return which clients may send to an endpoint without sending anything farther (a mask)."""
    able = np.zeros(len(flows[0].sent), dtype=bool)
    for flow in flows:
        if flow.taken[endpoint] > 0.0:
            able |= (flow.sent > 0.0) & (flow.client_groups == flow.endpoint_groups[endpoint])
    return able
