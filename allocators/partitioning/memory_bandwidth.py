"""Memory bandwidth, whose use is not counted: from best-effort jobs to services that are late."""

from __future__ import annotations

from allocators.partitioning.ledger import Held, added, best_effort, can_give, can_take, idle
from allocators.partitioning.node_view import NodeView
from mesh.topology import ContainerName


def adjust_memory_bandwidth(
    view: NodeView, held: Held, needy: tuple[ContainerName, ...]
) -> tuple[Held, tuple[str, ...]]:
    """Give each needy tenant one unit, from the pool or else from the best-effort job that holds most."""
    index = view.index_of("memory_bandwidth")
    if index is None:
        return held, ()
    reasons: list[str] = []
    for tenant in view.tenants:
        if tenant.container not in needy or not can_take(tenant, held, index):
            continue
        if idle(view, held, index) <= 0:
            jobs = [job.container for job in best_effort(view) if can_give(job, held, index)]
            if not jobs:
                break
            held = added(held, _richest(held, jobs, index), index, -1)
        held = added(held, tenant.container, index, 1)
        reasons.append(f"{tenant.container}: memory_bandwidth + 1.")
    return held, tuple(reasons)


def _richest(held: Held, jobs: list[ContainerName], index: int) -> ContainerName:
    return max(jobs, key=lambda job: held[job][index])
