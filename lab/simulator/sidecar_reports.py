"""What the sidecars of one pair would report to a control plane: a window's counts as production telemetry, cumulative.

The topology and the telemetry are the product's own values (``mesh``), so that its own estimators can read them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lab.simulator.pair import Pair
from lab.simulator.telemetry import Window, bucket_bounds_s
from mesh.policy import Policy as MeshPolicy
from mesh.telemetry import ClusterCounters, EndpointLoad, LatencyHistogram, LoadReport, Telemetry
from mesh.topology import (
    Call,
    Container,
    ContainerName,
    Node,
    NodeName,
    Port,
    Service,
    ServiceName,
    ServicePort,
    Topology,
)

CALLER, CALLEE = ServiceName("caller.sim"), ServiceName("callee.sim")
PORT, APP_PORT = 80, 8080
SERVICE_PORT = ServicePort(CALLEE, PORT)
CLUSTER, INBOUND = f"outbound|{PORT}||{CALLEE}", f"inbound|{APP_PORT}||"
BOUNDS_MS = tuple(float(bound * 1000.0) for bound in bucket_bounds_s()[:-1])


def client_name(row: int) -> ContainerName:
    """Return the name of a client."""
    return ContainerName(f"c{row}")


def server_name(column: int) -> ContainerName:
    """Return the name of a server."""
    return ContainerName(f"s{column}")


def _node_name(node: int) -> NodeName:
    return NodeName(f"n{node}")


def topology_of(pair: Pair, *, policy: MeshPolicy) -> Topology:
    """Return the pair as a mesh of two services; servers known to be dead are not in it.

    Server ``j`` is the container ``s<j>`` with its declared workers as capacity, client ``i`` is ``c<i>``.
    """
    highest = int(max(pair.client_nodes.max(), pair.server_nodes.max()))
    zones = dict(zip(pair.client_nodes.tolist(), pair.client_zones.tolist(), strict=True))
    zones.update(zip(pair.server_nodes.tolist(), pair.server_zones.tolist(), strict=True))
    nodes = tuple(Node(_node_name(node), zone=f"z{zones.get(node, 0)}", region="r") for node in range(highest + 1))
    clients = tuple(
        Container(client_name(i), CALLER, _node_name(node), f"c{i}.sim")
        for i, node in enumerate(pair.client_nodes.tolist())
    )
    servers = tuple(
        Container(
            server_name(j),
            CALLEE,
            _node_name(node),
            f"s{j}.sim",
            ports={PORT: APP_PORT},
            capacity=float(pair.workers[j]),
        )
        for j, node in enumerate(pair.server_nodes.tolist())
        if pair.alive[j]
    )
    return Topology(
        nodes=nodes,
        services=(
            Service(CALLER, containers=clients),
            Service(CALLEE, ports=(Port(PORT),), policy=policy, containers=servers),
        ),
        calls=(Call(CALLER, CALLEE),),
    )


class SidecarReports:
    """The counters of all sidecars of one pair since the run began."""

    def __init__(self, pair: Pair) -> None:
        shape = (pair.clients, pair.servers)
        self._issued, self._failed = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        self._histogram = np.zeros((pair.servers, len(BOUNDS_MS) + 1), dtype=np.int64)
        self._latency_sum_ms = np.zeros(pair.servers)

    def after(self, window: Window, pair: Pair) -> Telemetry:
        """Return what they report once ``window`` has closed. The dead report nothing. O(links + servers · buckets)."""
        self._issued += window.sent
        self._failed += window.failed
        self._histogram += window.server_histogram
        self._latency_sum_ms += 1000.0 * window.server_latency_sum_s
        alive = np.flatnonzero(pair.alive).tolist()
        return Telemetry(
            loads=tuple(self._load(client, window.end_s) for client in range(pair.clients)),
            counters=tuple(_no_errors(server, window.end_s) for server in alive),
            latencies=tuple(self._latencies(server, window.end_s) for server in alive),
        )

    def _load(self, client: int, now_s: float) -> LoadReport:
        used = np.flatnonzero(self._issued[client]).tolist()
        issued, failed = self._issued[client].tolist(), self._failed[client].tolist()
        loads = tuple(
            EndpointLoad(
                cluster=CLUSTER,
                service_port=SERVICE_PORT,
                address=f"s{j}.sim:{APP_PORT}",
                issued=issued[j],
                succeeded=issued[j] - failed[j],
                failed=failed[j],
                in_progress=0,
            )
            for j in used
        )
        return LoadReport(client=client_name(client), time_s=now_s, covered_s=now_s, endpoints=loads)

    def _latencies(self, server: int, now_s: float) -> LatencyHistogram:
        along = np.cumsum(self._histogram[server])
        return LatencyHistogram(
            container=server_name(server),
            cluster=INBOUND,
            service_port=None,
            reporter="server",
            time_s=now_s,
            bounds_ms=BOUNDS_MS,
            counts=tuple(along[:-1].tolist()),
            count=int(along[-1]),
            sum_ms=float(self._latency_sum_ms[server]),
        )


def way_ms(window: Window, crosses: NDArray[np.bool_]) -> tuple[float | None, float | None]:
    """Return how much longer clients wait than servers take, in ms: on their node, and across; None where unknown.

    ``crosses``: shape (clients, servers). What servers took is known by server only, so their means are used.
    """
    taken_s = window.server_latency_sum_s / np.maximum(window.server_done, 1)
    found: list[float | None] = []
    for mask in (~crosses, crosses):
        done = np.where(mask, window.done, 0)
        count = int(done.sum())
        waited_s = float(window.latency_sum_s[mask].sum()) - float((done @ taken_s).sum())
        found.append(1000.0 * waited_s / count if count else None)
    return found[0], found[1]


def _no_errors(server: int, now_s: float) -> ClusterCounters:
    return ClusterCounters(
        container=server_name(server),
        cluster=INBOUND,
        service_port=None,
        reporter="server",
        time_s=now_s,
        server_errors=0,
    )
