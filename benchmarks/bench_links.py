"""How does link estimation grow with the mesh, and what would a dense NNLS or a networkx peel cost on the same mesh?

Synthetic meshes: 17 containers a service, a random call tree plus 5 % further calls, log-normal bytes, two samples
per container, 10 endpoints per client. ``whole``: from samples to links, cycle breaking and core included;
``split``: the same with container links. The peers start from sums per service, so they are compared with what is
left of ours after that: ``NNLS/solve`` (both solve every link) and ``networkx/peel`` (both stop at the core). Each
peer runs up to the largest size at which it is expected to end within ``--seconds``.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import networkx as nx
import numpy as np
from scipy.optimize import nnls

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from estimators.container_links import NO_SHARES, ShareColumns
from estimators.counters import CounterSample
from estimators.link_traffic import LinkEstimate, estimate_links
from estimators.peeling import edge_nodes, peel
from estimators.service_graph import ServiceGraph, merge_replicas
from estimators.window_totals import WindowTotals, total_window

SIZES = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000)
SHOWN = (1_000, 10_000, 100_000)
CONTAINERS_PER_SERVICE = 17
FURTHER_CALLS = 0.05
ENDPOINTS_PER_CLIENT = 10
WINDOW_S = 5.0


@dataclass(frozen=True, eq=False)
class Mesh:
    """One synthetic mesh: what the estimator is given, and the truth."""

    containers: dict[str, str]
    calls: list[tuple[str, str]]
    samples: list[CounterSample]
    shares: ShareColumns
    link_bytes: dict[tuple[str, str], int]


def make_mesh(size: int, rng: np.random.Generator) -> Mesh:
    """Draw a mesh of ``size`` containers."""
    services = size // CONTAINERS_PER_SERVICE
    parents = [int(rng.integers(0, vertex)) for vertex in range(1, services)]
    ends = list(zip(parents, range(1, services), strict=True))
    ends += [(one, other) for one, other in rng.integers(0, services, (int(FURTHER_CALLS * services), 2)).tolist()]
    calls = [(f"s{one}", f"s{other}") for one, other in ends if one != other]
    link_bytes = {}
    for client, server in calls:
        for pair in ((client, server), (server, client)):
            link_bytes.setdefault(pair, int(1e5 * rng.lognormal(0, 1.5)))
    members = {f"s{vertex}": [f"s{vertex}-{k}" for k in range(CONTAINERS_PER_SERVICE)] for vertex in range(services)}
    sent, received = dict.fromkeys(members, 0), dict.fromkeys(members, 0)
    for (source, target), amount in link_bytes.items():
        sent[source] += amount
        received[target] += amount
    samples = []
    for service, names in members.items():
        parts = [rng.multinomial(total[service], np.full(len(names), 1 / len(names))) for total in (received, sent)]
        for name, got, gave in zip(names, parts[0].tolist(), parts[1].tolist(), strict=True):
            samples += [
                CounterSample(name, 0.0, 10**9, 10**9),
                CounterSample(name, WINDOW_S, 10**9 + got, 10**9 + gave),
            ]
    rows = [
        (client, endpoint)
        for caller, called in calls
        for place, client in enumerate(members[caller])
        for endpoint in (members[called] * 2)[place : place + ENDPOINTS_PER_CLIENT]
    ]
    shares = ShareColumns(
        [client for client, _ in rows], [endpoint for _, endpoint in rows], np.full(len(rows), 1 / ENDPOINTS_PER_CLIENT)
    )
    containers = {name: service for service, names in members.items() for name in names}
    return Mesh(containers, calls, samples, shares, link_bytes)


def ours(mesh: Mesh, shares: ShareColumns = NO_SHARES) -> LinkEstimate:
    """Estimate from the raw samples on."""
    return estimate_links(mesh.containers, mesh.calls, total_window(mesh.samples), shares=shares)


def dense_nnls(graph: ServiceGraph) -> np.ndarray:
    """Solve all links at once by SciPy's dense non-negative least squares."""
    nodes = edge_nodes(graph.pairs)
    matrix = np.zeros((2 * len(graph.services), len(nodes)))
    for edge, pair in enumerate(nodes):
        matrix[list(pair), edge] = 1.0
    sums = np.array([graph.transmit_bytes, graph.receive_bytes], dtype=np.float64).T.ravel()
    solution, _ = nnls(matrix, sums)
    return np.asarray(solution)


def networkx_peel(graph: ServiceGraph) -> dict[tuple[int, int], float]:
    """Peel with a networkx graph, as one would write it from the paper."""
    left = nx.Graph(graph.pairs)
    send, receive = list(graph.transmit_bytes), list(graph.receive_bytes)
    links: dict[tuple[int, int], float] = {}
    leaves = [vertex for vertex, degree in left.degree if degree == 1]
    while leaves:
        leaf = leaves.pop()
        if leaf not in left or left.degree[leaf] != 1:
            continue
        (other,) = left.neighbors(leaf)
        links[leaf, other], links[other, leaf] = send[leaf], receive[leaf]
        send[other] -= receive[leaf]
        receive[other] -= send[leaf]
        left.remove_node(leaf)
        if left.degree[other] == 1:
            leaves.append(other)
    return links


def seconds_of(work: Callable[[], object]) -> float:
    """Return the median wall time of up to 5 runs, in seconds; fewer once they have taken 2 s."""
    times: list[float] = []
    while len(times) < 5 and sum(times) < 2.0:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return median(times)


def exponent(times: dict[int, float]) -> float:
    """Return the slope of log time over log size (1 = linear)."""
    sizes = np.log(list(times))
    return float(np.polyfit(sizes, np.log(list(times.values())), 1)[0]) if len(times) > 1 else math.nan


def solve(graph: ServiceGraph) -> LinkEstimate:
    """Estimate from the sums per service on: every service as one container."""
    names = dict(zip(graph.services, graph.services, strict=True))
    sums = WindowTotals(
        window_s=WINDOW_S,
        receive_bytes=dict(zip(graph.services, graph.receive_bytes, strict=True)),
        transmit_bytes=dict(zip(graph.services, graph.transmit_bytes, strict=True)),
    )
    calls = [(graph.services[client], graph.services[server]) for client, server in graph.calls]
    return estimate_links(names, calls, sums)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=20.0, help="longest run of a peer at one size")
    parser.add_argument("--seed", type=int, default=4)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    networkx_peel(ServiceGraph((), (), (), (), (), (), 1.0))  # networkx compiles its dispatch at the first call
    times: dict[str, dict[int, float]] = {name: {} for name in WORKS}
    print("containers  links   open  to measure  whole ms  split ms  solve ms  peel ms  NNLS/solve  networkx/peel")
    for size in SIZES:
        mesh = make_mesh(size, rng)
        graph = merge_replicas(mesh.containers, mesh.calls, total_window(mesh.samples))
        for name, (work, power) in WORKS.items():
            done = times[name]
            if power is None or not done or max(done.values()) * (size / max(done)) ** power <= options.seconds:
                done[size] = seconds_of(partial(work, mesh, graph))
        if size in SHOWN:
            _show(size, mesh, {name: done.get(size, math.nan) for name, done in times.items()})
    print("\ngrowth exponent (1 = linear), and the largest size that ended in time:")
    for name, done in times.items():
        print(f"{name:9} {exponent(done):5.2f} {max(done):8d} containers: {done[max(done)]:8.3f} s")


# Name → what to time, and the growth to expect of a peer (None: ours, every size).
WORKS: dict[str, tuple[Callable[[Mesh, ServiceGraph], object], int | None]] = {
    "whole": (lambda mesh, graph: ours(mesh), None),
    "split": (lambda mesh, graph: ours(mesh, mesh.shares), None),
    "solve": (lambda mesh, graph: solve(graph), None),
    "peel": (lambda mesh, graph: peel(graph, {}), None),
    "NNLS": (lambda mesh, graph: dense_nnls(graph), 3),
    "networkx": (lambda mesh, graph: networkx_peel(graph), 1),
}


def _show(size: int, mesh: Mesh, times: dict[str, float]) -> None:
    estimate = ours(mesh)
    worst = max(
        abs(link.rate_bytes_per_s * WINDOW_S / mesh.link_bytes[link.source, link.target] - 1)
        for link in estimate.links
        if link.method == "peeled"
    )
    if worst > 1e-6:
        sys.exit(f"a peeled link is off by {worst}")
    still_open = sum(link.method == "estimated" for link in estimate.links)
    columns = " ".join(f"{times[name] * 1e3:9.1f}" for name in ("whole", "split", "solve", "peel"))
    nnls_ratio, peel_ratio = times["NNLS"] / times["solve"], times["networkx"] / times["peel"]
    print(
        f"{size:10d} {len(estimate.links):6d} {still_open:6d} {len(estimate.to_measure):11d} {columns}"
        f" {'too slow' if math.isnan(nnls_ratio) else f'{nnls_ratio:.1f} x':>11} {peel_ratio:12.1f} x",
        flush=True,
    )


if __name__ == "__main__":
    main()
