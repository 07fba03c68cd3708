"""A service as targets see it, put together from the topology, its windows and its clients' rates."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from allocators.target_view import Floats, ServiceView
from estimators.endpoint_windows import EndpointWindow
from estimators.latency import figure_of, merge
from mesh.topology import ContainerName, ServicePort, Topology

PERCENTILE = 99.0


def view_of(
    topology: Topology,
    service_port: ServicePort,
    windows: Mapping[ContainerName, EndpointWindow],
    *,
    rates: Mapping[ContainerName, float],
    now_s: float,
    crossing_price_ms: float = 0.0,
    unsteered_per_s: Mapping[ContainerName, float] | None = None,
    table_service_ms: Mapping[ContainerName, float] | None = None,
) -> ServiceView:
    """Return the view of one service port for ``decide_targets``; endpoints in the order of the service's containers.

    Parameters
    ----------
    windows:
        This tick's, of the endpoints that have one (``endpoint_windows.py``).
    rates:
        Requests per second of each client container; they say how much each node demands.
    crossing_price_ms, unsteered_per_s, table_service_ms:
        As in ``ServiceView``; endpoints that a mapping leaves out have 0, or no expectation.

    Raises
    ------
    KeyError
        for a service that the topology does not have.
    """
    containers = topology.service_by_name[service_port.service].containers
    found = [windows.get(container.name) for container in containers]
    merged = figure_of(merge(one.latency for one in found if one).window, percentile=PERCENTILE, now_s=now_s)
    demand: dict[str, float] = {}
    for client in topology.clients_of[service_port.service]:
        demand[client.node] = demand.get(client.node, 0.0) + rates.get(client.name, 0.0)

    def column(mapping: Mapping[ContainerName, float], absent: float) -> Floats:
        return np.array([mapping.get(container.name, absent) for container in containers], dtype=float)

    counts = np.array([one.latency.count if one else 0 for one in found], dtype=float)
    spent_ms = np.array([one.latency.sum_ms if one else 0.0 for one in found], dtype=float)
    issued = [one.issued for one in found if one and one.issued is not None]
    return ServiceView(
        endpoints=tuple(container.name for container in containers),
        nodes=tuple(container.node for container in containers),
        capacities=np.array([container.capacity for container in containers], dtype=float),
        requests=counts,
        failures=np.array([one.failures if one else 0 for one in found], dtype=float),
        mean_ms=np.divide(spent_ms, counts, out=np.full(len(found), np.nan), where=counts > 0.0),
        window_s=np.array([one.latency.end_s - one.latency.start_s if one else np.nan for one in found], dtype=float),
        newest_s=max((one.latency.end_s for one in found if one), default=None),
        tail_ms=merged.tail.value_ms if merged and merged.tail else None,
        table_service_ms=None if table_service_ms is None else column(table_service_ms, np.nan),
        unsteered_per_s=None if unsteered_per_s is None else column(unsteered_per_s, 0.0),
        issued=np.array([one.issued or 0 if one else 0 for one in found], dtype=float) if issued else None,
        crossing_price_ms=crossing_price_ms,
        demand_per_s=demand,
    )
