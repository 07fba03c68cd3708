"""Memory and disk bandwidth by use: a unit to who has no room left, from who has most (ASPLOS'19, section 4.2)."""

from __future__ import annotations

from allocators.partitioning.ledger import Held, added, can_give, can_take, idle
from allocators.partitioning.node_view import NodeView, Tenant
from allocators.partitioning.wheels import STORAGE
from mesh.topology import ContainerName

SHORT_UNITS, SPARE_UNITS = 1.0, 2.0


def adjust_storage(view: NodeView, held: Held, needy: tuple[ContainerName, ...]) -> tuple[Held, tuple[str, ...]]:
    """Give one unit of memory and of disk bandwidth to each needy tenant that has less than one unit unused.

    It comes from the pool, else from a best-effort job, else from the tenant with most unused, if that is two units.
    """
    reasons: list[str] = []
    for index, divisible in enumerate(view.resources):
        if divisible.resource not in STORAGE:
            continue
        for tenant in view.tenants:
            if tenant.container not in needy or not can_take(tenant, held, index):
                continue
            if not _unused(view, tenant, held, index) < SHORT_UNITS:
                continue
            giver = None if idle(view, held, index) > 0 else _giver(view, tenant, held, index)
            if giver is None and idle(view, held, index) <= 0:
                continue
            if giver is not None:
                held = added(held, giver.container, index, -1)
            held = added(held, tenant.container, index, 1)
            reasons.append(f"{tenant.container}: {divisible.resource} + 1.")
    return held, tuple(reasons)


def _unused(view: NodeView, tenant: Tenant, held: Held, index: int) -> float:
    """Return unused units; NaN where the use is not measured."""
    divisible = view.resources[index]
    used = tenant.memory_bytes if divisible.resource == "memory" else tenant.disk_bytes_per_s
    return (divisible.amount(held[tenant.container][index]) - used) / divisible.step


def _giver(view: NodeView, taker: Tenant, held: Held, index: int) -> Tenant | None:
    others = [other for other in view.tenants if other is not taker and can_give(other, held, index)]
    jobs = [other for other in others if other.kind == "best-effort"]
    if jobs:
        return max(jobs, key=lambda job: held[job.container][index])
    rich = [other for other in others if _unused(view, other, held, index) >= SPARE_UNITS]
    return max(rich, key=lambda other: _unused(view, other, held, index), default=None)
