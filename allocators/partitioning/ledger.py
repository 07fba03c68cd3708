"""Who holds how much: units moved between tenants and the idle pool, never made, never lost, never out of bounds."""

from __future__ import annotations

from collections.abc import Mapping

from allocators.errors import ProblemError
from allocators.partitioning.node_view import Divisible, NodeView, Tenant, Units
from allocators.partitioning.step import Grant
from mesh.topology import ContainerName

Held = Mapping[ContainerName, Units]


def idle(view: NodeView, held: Held, index: int) -> int:
    """Return the units of a pooled resource that nobody holds; where not pooled, there is always enough."""
    divisible = view.resources[index]
    if not divisible.pooled:
        return divisible.total
    return divisible.total - sum(units[index] for units in held.values())


def added(held: Held, container: ContainerName, index: int, units: int) -> Held:
    """Return the holdings with so many units more (or fewer, below 0) in one container's hand."""
    before = held[container]
    return {**held, container: (*before[:index], before[index] + units, *before[index + 1 :])}


def can_take(tenant: Tenant, held: Held, index: int, units: int = 1) -> bool:
    """Whether the tenant may hold so many units more."""
    return held[tenant.container][index] + units <= tenant.most[index]


def can_give(tenant: Tenant, held: Held, index: int, units: int = 1) -> bool:
    """Whether the tenant may hold so many units fewer."""
    return held[tenant.container][index] - units >= tenant.least[index]


def equal_shares(view: NodeView) -> Held:
    """Return the start of PARTIES: every resource in equal parts, inside each one's bounds.

    Raises
    ------
    ProblemError
        where the tenants' least parts are more than the node has.

    Examples
    --------
    >>> cores = Divisible("cpuset", "cpus", 1.0, 14)
    >>> tenants = tuple(Tenant(ContainerName(n), "latency-critical", None, (1,), (14,)) for n in "abc")
    >>> dict(equal_shares(NodeView(0.0, (cores,), tenants)))
    {'a': (5,), 'b': (5,), 'c': (4,)}
    """
    columns = [_equal(divisible, index, view.tenants) for index, divisible in enumerate(view.resources)]
    return {tenant.container: tuple(column[at] for column in columns) for at, tenant in enumerate(view.tenants)}


def _equal(divisible: Divisible, index: int, tenants: tuple[Tenant, ...]) -> list[int]:
    if not divisible.pooled:
        first = divisible.total if divisible.nominal is None else divisible.nominal
        return [min(max(first, tenant.least[index]), tenant.most[index]) for tenant in tenants]
    shares = [tenant.least[index] for tenant in tenants]
    left = divisible.total - sum(shares)
    if left < 0:
        raise ProblemError(f"{divisible.resource}: found {sum(shares)} as the sum of least, allowed: {divisible.total}")
    while left:
        open_to_more = [at for at, tenant in enumerate(tenants) if shares[at] < tenant.most[index]]
        if not open_to_more:
            break
        shares[min(open_to_more, key=lambda at: shares[at])] += 1
        left -= 1
    return shares


def in_force(view: NodeView) -> Held:
    """Return what every tenant holds, newcomers included, inside all bounds.

    A newcomer gets its least part from the idle pool, else from best-effort jobs, else from who holds most. Where the
    view holds more than there is (somebody else wrote), who holds most above its least gives back.

    Raises
    ------
    ProblemError
        where the tenants' least parts are more than the node has.
    """
    rows = {
        tenant.container: [
            min(max(units, least), most)
            for units, least, most in zip(tenant.units or tenant.least, tenant.least, tenant.most, strict=True)
        ]
        for tenant in view.tenants
    }
    for index, divisible in enumerate(view.resources):
        if divisible.pooled:
            _fit(rows, divisible, index, view.tenants)
            continue
        newcomers = (tenant for tenant in view.tenants if tenant.units is None and divisible.nominal is not None)
        for tenant in newcomers:
            nominal = divisible.nominal or 0
            rows[tenant.container][index] = min(max(nominal, tenant.least[index]), tenant.most[index])
    return {container: tuple(row) for container, row in rows.items()}


def _fit(rows: dict[ContainerName, list[int]], divisible: Divisible, index: int, tenants: tuple[Tenant, ...]) -> None:
    over = sum(row[index] for row in rows.values()) - divisible.total
    while over > 0:
        givers = [tenant for tenant in tenants if rows[tenant.container][index] > tenant.least[index]]
        if not givers:
            raise ProblemError(
                f"{divisible.resource}: found {over} units too many in least, allowed: {divisible.total}"
            )
        giver = max(givers, key=lambda tenant: (tenant.kind == "best-effort", rows[tenant.container][index]))
        rows[giver.container][index] -= 1
        over -= 1


def grants(held: Held) -> tuple[Grant, ...]:
    """Return one grant for each container."""
    return tuple(Grant((container,), units) for container, units in held.items())


def latency_critical(view: NodeView) -> tuple[Tenant, ...]:
    """Return the tenants that were promised a latency."""
    return tuple(t for t in view.tenants if t.kind == "latency-critical" and t.target_ms is not None)


def best_effort(view: NodeView) -> tuple[Tenant, ...]:
    """Return the tenants that were promised nothing."""
    named = {t.container for t in latency_critical(view)}
    return tuple(t for t in view.tenants if t.container not in named)
