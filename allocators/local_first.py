"""Local first: keep as much as can be kept on the node, then in the zone, then in the region; then the rest.

OptTraffic's two steps (ICPP 2023, figure 8), generalised to unequal rates and targets and to more than one distance.
For each group of a distance (a node, a zone, a region, all) what stays inside is ``min(sent, wanted)`` of what the nearer
distances left over. The groups are nested, so this is optimal: requests that leave their node come to
``Σ_h max(0, R_h − W_h)``, and so on for zones and regions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocators.layout import Floats, Ints, Layout
from mesh.topology import Distance

NOISE = 1e-12  # relative; what a subtraction leaves below this is rounding


@dataclass(frozen=True, eq=False)
class LevelFlow:
    """What is moved inside the groups of one distance.

    Attributes
    ----------
    distance:
        Of all that moves here.
    sent, taken:
        Shapes ``(N,)`` and ``(M,)``, parts of all requests; they sum to the same in every group.
    client_groups, endpoint_groups:
        The group of each client and endpoint.
    group_count:
        Number of groups.
    """

    distance: Distance
    sent: Floats
    taken: Floats
    client_groups: Ints
    endpoint_groups: Ints
    group_count: int


def level_flows(layout: Layout, *, max_overload: float = 1.0, compact: bool = False) -> tuple[LevelFlow, ...]:
    """Split what every client sends and every endpoint takes by distance, nearest first.

    Parameters
    ----------
    layout:
        N clients, M endpoints.
    max_overload:
        β >= 1: a node may take β times its target before requests leave it; the others then get less.
    compact:
        False: clients of a group share a distance in proportion, as do endpoints. True: they fill up one after the
        other, so that all but one have a single distance (fewest links).

    Returns
    -------
    tuple of LevelFlow
        only distances at which something moves. Cost O(N+M) each.
    """
    left, room = layout.rates.copy(), layout.targets.copy()
    flows = []
    for distance in Distance:
        client_groups, endpoint_groups = layout.client_groups[distance], layout.endpoint_groups[distance]
        count = layout.group_counts[distance]
        stretch = max_overload if distance is Distance.NODE else 1.0
        sent_by_group = np.bincount(client_groups, left, count)
        room_by_group = np.bincount(endpoint_groups, room, count)
        moved = np.minimum(sent_by_group, stretch * room_by_group)
        if distance is Distance.FAR:
            moved = sent_by_group  # rounding apart, whatever is left has room here
        if not moved.any():
            continue
        fill = _fill_in_turn if compact else _fill_in_proportion
        sent = fill(left, client_groups, moved, np.asarray(sent_by_group))
        taken = fill(room * stretch, endpoint_groups, moved, np.asarray(room_by_group * stretch))
        flows.append(LevelFlow(distance, sent, taken, client_groups, endpoint_groups, count))
        left = _without_noise(left - sent, layout.rates)
        room = _without_noise(np.maximum(room - taken, 0.0), layout.targets)
        if not left.any():
            break
    return tuple(flows)


def dense(flows: tuple[LevelFlow, ...], layout: Layout) -> Floats:
    """Return requests ``x``, shape ``(N, M)``: in each group everyone sends to everyone in proportion.

    Links are as many as can be without sending anything farther than it must go, so that errors in single rates
    average out. Cost O(N·M) a distance.
    """
    x = np.zeros((len(layout.rates), len(layout.targets)))
    for flow in flows:
        totals = np.bincount(flow.endpoint_groups, flow.taken, flow.group_count)
        portions = flow.taken / np.where(totals > 0, totals, 1.0)[flow.endpoint_groups]
        if flow.group_count == 1:
            x += flow.sent[:, None] * portions
        else:
            x += flow.sent[:, None] * (flow.client_groups[:, None] == flow.endpoint_groups) * portions
    return x


def crossing_bound(layout: Layout, *, max_overload: float = 1.0) -> float:
    """Return ``Σ_h max(0, R_h − β·W_h) / R``: the least part of all requests that must leave their node."""
    count = layout.group_counts[Distance.NODE]
    sent = np.bincount(layout.client_groups[Distance.NODE], layout.rates, count)
    room = np.bincount(layout.endpoint_groups[Distance.NODE], layout.targets, count)
    excess = sent - max_overload * room
    return float(excess[excess > NOISE * sent].sum())


def _fill_in_proportion(amounts: Floats, groups: Ints, moved: Floats, totals: Floats) -> Floats:
    ratio = moved / np.where(totals > 0, totals, 1.0)
    return np.asarray(amounts * ratio[groups])


def _fill_in_turn(amounts: Floats, groups: Ints, moved: Floats, totals: Floats) -> Floats:
    before = np.cumsum(amounts) - amounts
    starts = np.concatenate(([0.0], np.cumsum(totals)[:-1]))
    return np.clip(moved[groups] - (before - starts[groups]), 0.0, amounts)


def _without_noise(left: Floats, whole: Floats) -> Floats:
    return np.where(left > NOISE * whole, left, 0.0)
