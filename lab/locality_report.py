"""What a comparison of localities has measured: rows as JSON, and as a table that can be pasted into a page.

Pure: counters in, figures and text out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lab.placing import Placement
from lab.traffic import (
    Traffic,
    cross_node_byte_share,
    cross_node_request_share,
    lower_bound_cross_node_byte_share,
    lower_bound_cross_node_request_share,
)
from mesh.topology import Topology

FEWEST_PER_ENDPOINT = 50.0  # fewer requests: the fullest endpoint is the luckiest one


@dataclass(frozen=True, slots=True)
class Cell:
    """One mesh: so many nodes, so many replicas of every service, one draw of the placement."""

    app: str
    nodes: int
    replicas: int
    placement: Placement
    seed: int


@dataclass(frozen=True, slots=True)
class Row:
    """One policy in one cell, over one window.

    Attributes
    ----------
    requests, bytes:
        Of all hops, as the servers' sidecars counted them; bytes of both directions with their heads.
    lower_bound_cross_node_request_share, lower_bound_cross_node_byte_share:
        For the clients' rates of this very window and equal load on the endpoints of each service.
    max_over_mean_load:
        Requests of a service's fullest endpoint over the mean of its endpoints; mean over services, by requests.
    worst_max_over_mean_load:
        The largest of any service with ``FEWEST_PER_ENDPOINT`` requests an endpoint; 0 where there is none.
    connections:
        Distinct (client, endpoint) pairs with an open connection at the end of the window.
    cpu_busy_share:
        Of the whole machine, whoever kept it busy: a starved one fails requests that no policy has lost.
    """

    app: str
    nodes: int
    replicas: int
    placement: Placement
    seed: int
    containers: int
    policy: str
    seconds: float
    requests: int
    bytes: int
    failed: int
    cross_node_byte_share: float
    cross_node_request_share: float
    lower_bound_cross_node_byte_share: float
    lower_bound_cross_node_request_share: float
    max_over_mean_load: float
    worst_max_over_mean_load: float
    connections: int
    cpu_busy_share: float


def make_row(
    cell: Cell,
    topology: Topology,
    traffic: Traffic,
    requests_of: Mapping[str, int],
    *,
    policy: str,
    seconds: float,
    failed: int,
    connections: int,
    cpu_busy_share: float,
) -> Row:
    """Return the figures of one window; ``requests_of`` are the requests that each container received in it."""
    mean, worst = overload(topology, requests_of)
    return Row(
        app=cell.app,
        nodes=cell.nodes,
        replicas=cell.replicas,
        placement=cell.placement,
        seed=cell.seed,
        containers=len(topology.container_by_name),
        policy=policy,
        seconds=seconds,
        requests=sum(amount.requests for amount in traffic.values()),
        bytes=sum(amount.bytes for amount in traffic.values()),
        failed=failed,
        cross_node_byte_share=cross_node_byte_share(traffic),
        cross_node_request_share=cross_node_request_share(traffic),
        lower_bound_cross_node_byte_share=lower_bound_cross_node_byte_share(traffic, topology),
        lower_bound_cross_node_request_share=lower_bound_cross_node_request_share(traffic, topology),
        max_over_mean_load=mean,
        worst_max_over_mean_load=worst,
        connections=connections,
        cpu_busy_share=cpu_busy_share,
    )


def overload(topology: Topology, requests_of: Mapping[str, int]) -> tuple[float, float]:
    """Return the fullest endpoint's load over the mean: averaged over services by requests, and the worst service's.

    Every endpoint of a service counts the same, whatever its capacity.
    """
    weighted, whole, worst = 0.0, 0, 0.0
    for service in topology.services:
        counts = [requests_of.get(str(container.name), 0) for container in service.containers]
        if not sum(counts):
            continue
        ratio = max(counts) * len(counts) / sum(counts)
        weighted, whole = weighted + ratio * sum(counts), whole + sum(counts)
        if sum(counts) >= FEWEST_PER_ENDPOINT * len(counts):
            worst = max(worst, ratio)
    return (weighted / whole if whole else 0.0), worst


def rows_json(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return one object for each cell and policy."""
    return [asdict(row) for row in rows]


HEADINGS = (
    "nodes",
    "replicas",
    "policy",
    "bytes across nodes",
    "bound",
    "less than uniform",
    "requests across",
    "bound",
    "max/mean load",
    "worst service",
    "connections",
    "requests",
    "failed",
)


def table(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Return the lines of the table, one for each (nodes, replicas, policy); a range where there are several seeds."""
    groups: dict[tuple[str, str, int, int, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.app, row.placement, row.nodes, row.replicas, row.policy].append(row)
    uniform = {_mesh(row): row for row in rows if row.policy == "uniform"}
    return [_line(group, uniform) for group in groups.values()]


def markdown(rows: Sequence[Row]) -> str:
    """Return the table in Markdown."""
    lines = [HEADINGS, ("---",) * len(HEADINGS), *table(rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _line(group: Sequence[Row], uniform: Mapping[Cell, Row]) -> tuple[str, ...]:
    first = group[0]
    return (
        str(first.nodes),
        str(first.replicas),
        first.policy,
        _percent(row.cross_node_byte_share for row in group),
        _percent(row.lower_bound_cross_node_byte_share for row in group),
        _saved(group, uniform),
        _percent(row.cross_node_request_share for row in group),
        _percent(row.lower_bound_cross_node_request_share for row in group),
        _range([f"{row.max_over_mean_load:.2f}" for row in group]),
        _range([f"{row.worst_max_over_mean_load:.2f}" for row in group]),
        _range([str(row.connections) for row in sorted(group, key=lambda row: row.connections)]),
        str(sum(row.requests for row in group)),
        str(sum(row.failed for row in group)),
    )


def _mesh(row: Row) -> Cell:
    return Cell(row.app, row.nodes, row.replicas, row.placement, row.seed)


def _saved(group: Sequence[Row], uniform: Mapping[Cell, Row]) -> str:
    if group[0].policy == "uniform":
        return "–"
    beside = [(row, uniform.get(_mesh(row))) for row in group]
    return _percent(
        1.0 - row.cross_node_byte_share / other.cross_node_byte_share
        for row, other in beside
        if other is not None and other.cross_node_byte_share
    )


def _percent(fractions: Iterable[float]) -> str:
    texts = [f"{100.0 * fraction:.1f}" for fraction in sorted(fractions)]
    return f"{_range(texts)} %" if texts else "–"


def _range(texts: Sequence[str]) -> str:
    ordered = sorted(texts, key=float)
    return ordered[0] if ordered[0] == ordered[-1] else f"{ordered[0]} to {ordered[-1]}"
