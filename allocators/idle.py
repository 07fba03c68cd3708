"""Rows for clients that send nothing now: where their first request should go."""

from __future__ import annotations

import numpy as np

from allocators.layout import Floats, Ints, Layout
from mesh.topology import Distance


def fill_idle_rows(x: Floats, layout: Layout, *, most: int) -> None:
    """Write shares into every row of ``x`` that is all 0, in place: of clients that send nothing, or hardly anything.

    Such a client is to use the endpoints with a target that are nearest to it, in proportion to their targets; at most
    ``most`` of them, and the idle clients of one node start at different ones. They carry no load: no target is hurt.
    """
    idle = np.flatnonzero(~x.any(axis=1))
    if not len(idle):
        return
    wanted = np.flatnonzero(layout.targets > 0.0)
    node_of = layout.client_groups[Distance.NODE]
    for node in np.unique(node_of[idle]):
        rows = idle[node_of[idle] == node]
        near = _nearest(int(rows[0]), wanted, layout)
        count = min(most, len(near))
        starts = np.arange(len(rows)) * count
        chosen = near[(starts[:, None] + np.arange(count)) % len(near)]
        weights = layout.targets[chosen]
        weights = weights / weights.max(axis=1, keepdims=True)
        x[rows[:, None], chosen] = weights / weights.sum(axis=1, keepdims=True)


def _nearest(client: int, wanted: Ints, layout: Layout) -> Ints:
    """Return those of the ``wanted`` endpoints that are nearest to a client."""
    for distance in Distance:
        inside = layout.endpoint_groups[distance][wanted] == layout.client_groups[distance][client]
        if inside.any():
            return np.asarray(wanted[inside])
    return wanted
