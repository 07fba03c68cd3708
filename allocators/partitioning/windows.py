"""Windows that stay open until they hold enough requests: a slow service's tail is not read from seven of them."""

from __future__ import annotations

from collections.abc import Mapping

from allocators.partitioning.ledger import latency_critical
from allocators.partitioning.node_view import NodeView
from allocators.partitioning.tail import Tail, extended, tail_of
from estimators.latency import LatencyWindow
from mesh.topology import ContainerName

Open = Mapping[ContainerName, LatencyWindow]


def closed_tails(view: NodeView, still_open: Open, *, fewest: int) -> tuple[dict[ContainerName, Tail], Open]:
    """Return the tails of windows that hold ``fewest`` requests by now, and the windows that do not yet.

    A container without a request has no tail: that is neither good nor bad.
    """
    tails: dict[ContainerName, Tail] = {}
    waiting: dict[ContainerName, LatencyWindow] = {}
    for tenant in latency_critical(view):
        assert tenant.target_ms is not None
        window = extended(still_open.get(tenant.container), tenant.window)
        if window is None or not window.count:
            continue
        if window.count < fewest:
            waiting[tenant.container] = window
            continue
        tail = tail_of(window, target_ms=tenant.target_ms, percentile=tenant.percentile)
        assert tail is not None
        tails[tenant.container] = tail
    return tails, waiting
