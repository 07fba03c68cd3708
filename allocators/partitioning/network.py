"""PARTIES' rule for network bandwidth: half a gigabit spare for each, no wheel (ASPLOS'19, section 4.2).

Its nodes have 10 Gbit/s and best-effort jobs get what services leave; on a slower link a twentieth is spare instead.
"""

from __future__ import annotations

from allocators.partitioning.ledger import Held, added, best_effort, can_give, can_take, idle, latency_critical
from allocators.partitioning.node_view import NodeView, Tenant
from mesh.actions import Resource
from mesh.topology import ContainerName

NETWORK: tuple[Resource, ...] = ("network_egress", "network_ingress")
SHORT_BITS_PER_S, SHORT_PART = 0.5e9, 1.0 / 20.0


def adjust_network(view: NodeView, held: Held) -> tuple[Held, tuple[str, ...]]:
    """Give a unit to who has less than 0.5 Gbit/s unused, take one from who has twice that unused.

    It comes from the pool, else from a best-effort job, and goes to a best-effort job, else to the pool.
    """
    reasons: list[str] = []
    for index, divisible in enumerate(view.resources):
        if divisible.resource not in NETWORK:
            continue
        short = min(SHORT_BITS_PER_S, divisible.amount(divisible.total) * SHORT_PART)
        for tenant in latency_critical(view):
            unused = divisible.amount(held[tenant.container][index]) - tenant.network_bits_per_s
            after = _moved(view, held, tenant, index, up=unused < short, down=unused > 2.0 * short)
            if after is not None:
                sign = "+" if unused < short else "-"
                reasons.append(f"{tenant.container}: {divisible.resource} {sign} 1, {unused / 1e9:.2f} Gbit/s unused.")
                held = after
    return held, tuple(reasons)


def _moved(view: NodeView, held: Held, tenant: Tenant, index: int, *, up: bool, down: bool) -> Held | None:
    """Return the holdings with a unit more or fewer for a tenant, None where nothing moves."""
    if up and can_take(tenant, held, index):
        giver = _giver(view, held, index)
        if giver is None and idle(view, held, index) <= 0:
            return None
        return added(held if giver is None else added(held, giver, index, -1), tenant.container, index, 1)
    if down and can_give(tenant, held, index):
        taker = _taker(view, held, index)
        held = added(held, tenant.container, index, -1)
        return held if taker is None else added(held, taker, index, 1)
    return None


def _giver(view: NodeView, held: Held, index: int) -> ContainerName | None:
    if idle(view, held, index) > 0:
        return None
    jobs = [job for job in best_effort(view) if can_give(job, held, index)]
    return max(jobs, key=lambda job: held[job.container][index]).container if jobs else None


def _taker(view: NodeView, held: Held, index: int) -> ContainerName | None:
    jobs = [job for job in best_effort(view) if can_take(job, held, index)]
    return min(jobs, key=lambda job: held[job.container][index]).container if jobs else None
