"""PARTIES' rule for network bandwidth: half a gigabit spare for each, no wheel (ASPLOS'19, section 4.2)."""

from __future__ import annotations

from allocators.partitioning.ledger import Held, added, can_give, can_take, idle, latency_critical
from allocators.partitioning.node_view import NodeView
from mesh.actions import Resource

NETWORK: tuple[Resource, ...] = ("network_egress", "network_ingress")
SHORT_BITS_PER_S, SPARE_BITS_PER_S = 0.5e9, 1.0e9


def adjust_network(view: NodeView, held: Held) -> tuple[Held, tuple[str, ...]]:
    """Give a unit to who has less than 0.5 Gbit/s unused, take one from who has more than 1 Gbit/s unused."""
    reasons: list[str] = []
    for index, divisible in enumerate(view.resources):
        if divisible.resource not in NETWORK:
            continue
        for tenant in latency_critical(view):
            unused = divisible.amount(held[tenant.container][index]) - tenant.network_bits_per_s
            if unused < SHORT_BITS_PER_S and can_take(tenant, held, index) and idle(view, held, index) > 0:
                held = added(held, tenant.container, index, 1)
                reasons.append(f"{tenant.container}: {divisible.resource} + 1, {unused / 1e9:.2f} Gbit/s unused.")
            elif unused > SPARE_BITS_PER_S and can_give(tenant, held, index):
                held = added(held, tenant.container, index, -1)
                reasons.append(f"{tenant.container}: {divisible.resource} - 1, {unused / 1e9:.2f} Gbit/s unused.")
    return held, tuple(reasons)
