"""What a performance table expects of endpoints that have not shown their own speed yet, and how tables learn."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from estimators.endpoint_windows import EndpointWindow
from estimators.latency import figure_of
from estimators.latency_curve import service_ms_of, weighted_median
from estimators.performance_table import HistoryPoint, Interference, PerformanceTable, cells_near, learn, with_full_load
from mesh.topology import ContainerName, NodeName, ServicePort, Topology

Tables = Mapping[ServicePort, PerformanceTable]
CALM = Interference()


def expected_service_ms(
    table: PerformanceTable, interference: Interference, *, workers: int, now_s: float
) -> float | None:
    """Return the service time that the table expects under ``interference``; None where it knows nothing. O(cells).

    The cells of the nearest interference, each turned into a service time by the shape that is in use, and the weighted
    median of these: the curve fitted from the table.

    >>> points = [HistoryPoint(0.0, CALM, load, 0.0, 1000.0 / (100.0 - load), 100.0) for load in (20.0, 50.0)]
    >>> round(expected_service_ms(learn(PerformanceTable(64.0), points), CALM, workers=1, now_s=0.0), 3)
    10.0
    """
    cells = [(cell, left) for cell, left in cells_near(table, interference, now_s=now_s) if cell.mean_ms > 0.0]
    if not cells:
        return None
    loads = np.array([max(cell.load_per_s, 1e-9) for cell, _ in cells])
    means = np.array([cell.mean_ms for cell, _ in cells])
    return weighted_median(service_ms_of(loads, means, workers=workers), np.array([left for _, left in cells]))


def learn_windows(
    tables: Tables,
    topology: Topology,
    windows: Mapping[ServicePort, Mapping[ContainerName, EndpointWindow]],
    *,
    interference: Mapping[NodeName, Interference],
    percentile: float = 95.0,
) -> Tables:
    """Return the tables with this tick's windows learnt; those of service ports that are gone go too. O(cells).

    A window teaches where it has a tail (20 requests for p95) and nothing failed: an error is not how fast a container
    is. Nobody tells which load takes half of a container's CPU, so the load axis ends at the power of two at or above
    the highest load seen, and is cut anew when that grows.
    """
    learnt = {key: table for key, table in tables.items() if key.service in topology.service_by_name}
    for service_port, of_port in windows.items():
        points = [
            point
            for name, window in of_port.items()
            if (point := _point(topology, name, window, interference, percentile=percentile)) is not None
        ]
        if points:
            learnt[service_port] = learn_points(learnt.get(service_port), points, percentile=percentile)
    return learnt


def learn_points(
    table: PerformanceTable | None, points: list[HistoryPoint], *, percentile: float = 95.0
) -> PerformanceTable:
    """Return the table, made if there is none, with points learnt; its load axis grows with the highest load. O(cells).

    >>> learn_points(None, [HistoryPoint(0.0, CALM, 33.0, 9.0, 5.0, 50.0)]).full_load_per_s
    64.0
    """
    most = float(2.0 ** np.ceil(np.log2(max(1.0, *(point.load_per_s for point in points)))))
    if table is None:
        table = PerformanceTable(most, percentile)
    elif most > table.full_load_per_s:
        table = with_full_load(table, most)
    return learn(table, points)


def _point(
    topology: Topology,
    name: ContainerName,
    window: EndpointWindow,
    interference: Mapping[NodeName, Interference],
    *,
    percentile: float,
) -> HistoryPoint | None:
    latency = window.latency
    figure = figure_of(latency, percentile=percentile, now_s=latency.end_s)
    container = topology.container_by_name.get(name)
    if figure is None or figure.tail is None or container is None or window.failures or not figure.window_s > 0.0:
        return None
    return HistoryPoint(
        time_s=latency.end_s,
        interference=interference.get(container.node, CALM),
        load_per_s=figure.count / figure.window_s,
        tail_ms=figure.tail.value_ms,
        mean_ms=figure.mean_ms,
        count=float(figure.count),
    )
