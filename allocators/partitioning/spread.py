"""From a split of cores and ways to holdings of all resources: what is left over goes where it helps most."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

from allocators.partitioning.ledger import Held, added, best_effort, can_take, idle
from allocators.partitioning.node_view import NodeView
from allocators.partitioning.odds import Odds
from mesh.topology import ContainerName


class CoresAndWays(Protocol):
    """Where cores and ways stand among a node's resources; None: it cannot divide them."""

    @property
    def cores(self) -> int | None: ...
    @property
    def ways(self) -> int | None: ...


def spread_out(
    view: NodeView,
    table: Mapping[ContainerName, Odds],
    held: Held,
    split: Mapping[ContainerName, tuple[int, int]],
    places: CoresAndWays,
    *,
    to_jobs: bool = False,
) -> Held:
    """Return the holdings with this split; each unit left over goes to the tenant nearest to its target, or to jobs.

    O(units · tenants).
    """
    after = dict(held)
    jobs = best_effort(view)
    for at, index in ((0, places.cores), (1, places.ways)):
        if index is None:
            continue
        for job in jobs:
            after[job.container] = _set(after[job.container], index, job.least[index])
        for name, pair in split.items():
            after[name] = _set(after[name], index, pair[at])
    result: Held = after
    for index in (places.cores, places.ways):
        while index is not None and idle(view, result, index) > 0:
            takers = [tenant for tenant in view.tenants if can_take(tenant, result, index)]
            wanted = [tenant for tenant in takers if (tenant in jobs) == to_jobs] or takers
            if not wanted:
                break
            one = max(wanted, key=lambda t: (_need(table.get(t.container), result[t.container], places), t.container))
            if to_jobs:
                one = min(wanted, key=lambda t: result[t.container][index or 0])
            result = added(result, one.container, index, 1)
    return result


def _set(units: tuple[int, ...], index: int, value: int) -> tuple[int, ...]:
    return (*units[:index], value, *units[index + 1 :])


def _need(odds: Odds | None, units: tuple[int, ...], places: CoresAndWays) -> float:
    """Return the expected tail in parts of the target; jobs have none."""
    if odds is None:
        return 0.0
    cores = 1 if places.cores is None else units[places.cores]
    ways = 1 if places.ways is None else units[places.ways]
    found = float(odds.expected[cores - 1, ways - 1])
    return found if math.isfinite(found) else 1e9
