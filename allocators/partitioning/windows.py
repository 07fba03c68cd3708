"""Windows that stay open until they hold enough requests: a slow service's tail is not read from seven of them."""

from __future__ import annotations

from collections.abc import Mapping

from allocators.partitioning.ledger import latency_critical
from allocators.partitioning.node_view import NodeView
from allocators.partitioning.tail import Tail, Verdict, extended, tail_of, verdict_of
from estimators.latency import LatencyWindow
from mesh.topology import ContainerName

Open = Mapping[ContainerName, LatencyWindow]


def closed_tails(view: NodeView, still_open: Open, *, fewest: int) -> tuple[dict[ContainerName, Tail], Open]:
    """Return the tails of windows that tell enough by now, and the windows that do not yet.

    Enough is ``fewest`` requests, or fewer of which so many are late that the target is surely missed: a service of two
    requests a second would drown while its window fills.
    A container without a request has no tail: that is neither good nor bad.
    """
    tails: dict[ContainerName, Tail] = {}
    waiting: dict[ContainerName, LatencyWindow] = {}
    for tenant in latency_critical(view):
        assert tenant.target_ms is not None
        window = extended(still_open.get(tenant.container), tenant.window)
        if window is None or not window.count:
            continue
        tail = tail_of(window, target_ms=tenant.target_ms, percentile=tenant.percentile)
        assert tail is not None
        if window.count < fewest and verdict_of(tail) is not Verdict.LATE:
            waiting[tenant.container] = window
            continue
        tails[tenant.container] = tail
    return tails, waiting
