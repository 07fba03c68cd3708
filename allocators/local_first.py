"""Local first: keep as much as can be kept on the node, then in the zone, then in the region; then the rest.

OptTraffic's two steps (ICPP 2023, figure 8), generalised to unequal rates and targets and to more than one distance.
For each group of a distance (a node, a zone, a region, all) what stays inside is ``min(sent, wanted)`` of what the
nearer distances left over. The groups are nested, so this is optimal: requests that leave their node come to
``Σ_h max(0, R_h − W_h)``, and so on for zones and regions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocators.layout import Floats, Ints, Layout, sums
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
        False: clients of a group share a distance in proportion, as do endpoints. True: nodes still do, but on each
        node they fill up one after the other, so that most have a single distance (few links). Only with β = 1.

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
        sent_by_group = sums(client_groups, left, count)
        room_by_group = sums(endpoint_groups, room, count)
        moved = np.minimum(sent_by_group, stretch * room_by_group)
        if distance is Distance.FAR:
            moved = sent_by_group  # rounding apart, whatever is left has room here
        if not moved.any():
            continue
        sent = left * _ratio(moved, sent_by_group)[client_groups]
        taken = room * stretch * _ratio(moved, room_by_group * stretch)[endpoint_groups]
        if compact:
            sent = _in_turn(left, sent, layout.client_groups[Distance.NODE])
            taken = _in_turn(room, taken, layout.endpoint_groups[Distance.NODE])
        flows.append(LevelFlow(distance, sent, taken, client_groups, endpoint_groups, count))
        left = _without_noise(left - sent, layout.rates)
        room = _without_noise(np.maximum(room - taken, 0.0), layout.targets)
        if not left.any():
            break
    return tuple(flows)


def crossing_bound(layout: Layout, *, max_overload: float = 1.0) -> float:
    """Return ``Σ_h max(0, R_h − β·W_h) / R``: the least part of all requests that must leave their node."""
    count = layout.group_counts[Distance.NODE]
    sent = sums(layout.client_groups[Distance.NODE], layout.rates, count)
    room = sums(layout.endpoint_groups[Distance.NODE], layout.targets, count)
    excess = sent - max_overload * room
    return float(excess[excess > NOISE * sent].sum())


def _ratio(moved: Floats, totals: Floats) -> Floats:
    return np.asarray(moved / np.where(totals > 0, totals, 1.0))


def _in_turn(amounts: Floats, portions: Floats, nodes: Ints) -> Floats:
    """Return what each node's ``portions`` come to when its members give all of their amounts, one after the other."""
    before = np.cumsum(amounts) - amounts
    starts = (np.cumsum(sums(nodes, amounts)) - sums(nodes, amounts))[nodes]
    return np.clip(sums(nodes, portions)[nodes] - (before - starts), 0.0, amounts)


def _without_noise(left: Floats, whole: Floats) -> Floats:
    return np.where(left > NOISE * whole, left, 0.0)
