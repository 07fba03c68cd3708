"""Who sends how much to whom: from byte counters of containers to the bytes on every link.

The order of OptTraffic (ICPP 2023), Algorithm 1: merge replicas (``service_graph.py``), peel (``peeling.py``), name
the services to measure (``cycles.py``), solve what stays open (``core_links.py``), split over containers
(``container_links.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from estimators.confidence import Disagreement, disagreement_of, edge_confidence
from estimators.container_links import NO_SHARES, ContainerLinks, ShareColumns, split_links
from estimators.core_links import pinned_part, solve_core
from estimators.cycles import services_to_measure
from estimators.errors import UnknownNameError
from estimators.peeling import Peeled, edge_nodes, peel
from estimators.service_graph import ServiceGraph, merge_replicas
from estimators.window_totals import WindowTotals
from mesh.picture import Link, LinkMethod

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LinkEstimate:
    """The picture of all links.

    Attributes
    ----------
    links:
        Both directions of every pair that talks, each once, in the order of the calls.
    container_links:
        The links that have shares, split.
    to_measure:
        Services still to be measured so that every link can be known exactly.
    residual:
        ‖vertex sums of links − counters‖₁ / ‖counters‖₁ over all services, transmit and receive apart; 0 where all
        agree.
    warnings:
        What was left out, and of whom.
    """

    links: tuple[Link, ...]
    container_links: ContainerLinks
    to_measure: tuple[str, ...]
    residual: float
    warnings: tuple[str, ...]


def estimate_links(
    containers: Mapping[str, str],
    calls: Iterable[tuple[str, str]],
    totals: WindowTotals,
    *,
    shares: ShareColumns = NO_SHARES,
    measured: Mapping[tuple[str, str], float] | None = None,
    strategy: str = "askew",
) -> LinkEstimate:
    """Estimate the traffic of every link from per-container byte counters.

    Parameters
    ----------
    containers:
        Container → its service.
    calls:
        ``(client service, server service)``; undirected as links go.
    totals:
        Bytes per container (``total_window`` of a file, ``mean_rates`` of a live stream).
    shares:
        Shares in force, for the container links.
    measured:
        ``(from service, to service)`` → bytes per second, taken as they are.
    strategy:
        How ``to_measure`` is chosen: ``askew`` or ``opttraffic``.

    Returns
    -------
    LinkEstimate
        Linear in containers, calls and shares, apart from the unpeeled core.

    Raises
    ------
    UnknownNameError
        for a measured link between services that no call joins.
    UnknownStrategyError
        for a strategy that there is not.

    Examples
    --------
    >>> totals = WindowTotals(10.0, {"f-0": 800, "c-0": 300}, {"f-0": 300, "c-0": 800})
    >>> result = estimate_links({"f-0": "front", "c-0": "cart"}, [("front", "cart")], totals)
    >>> [(link.source, link.target, link.rate_bytes_per_s, link.method) for link in result.links]
    [('front', 'cart', 30.0, 'peeled'), ('cart', 'front', 80.0, 'peeled')]
    >>> result.residual, result.to_measure
    (0.0, ())
    """
    graph = merge_replicas(containers, calls, totals)
    window_s = graph.window_s or 1.0
    measured_bytes = {edge: rate * window_s for edge, rate in _measured_edges(graph, measured or {}).items()}
    peeled = peel(graph, measured_bytes)
    edge_bytes, pinned = _settle_core(graph, peeled)
    disagreement = disagreement_of(graph, edge_bytes)
    confidence = edge_confidence(edge_bytes, peeled, pinned, disagreement)
    open_pairs = sorted({edge // 2 for edge in peeled.open_edges})
    to_measure = services_to_measure(graph, open_pairs, strategy=strategy)
    container_links, share_warnings = split_links(graph, containers, totals, shares, edge_rates=edge_bytes / window_s)
    methods = _methods(peeled, measured_bytes)
    return LinkEstimate(
        links=_links(graph, edge_bytes / window_s, methods, confidence, disagreement),
        container_links=container_links,
        to_measure=tuple(graph.services[vertex] for vertex in to_measure),
        residual=disagreement.overall,
        warnings=graph.warnings + share_warnings,
    )


def _measured_edges(graph: ServiceGraph, measured: Mapping[tuple[str, str], float]) -> dict[int, float]:
    if not measured:
        return {}
    edges = {ends: 2 * pair for pair, ends in enumerate(graph.pairs)}
    edges |= {(server, client): 2 * pair + 1 for pair, (client, server) in enumerate(graph.pairs)}
    vertex_of = {service: vertex for vertex, service in enumerate(graph.services)}
    found = {}
    for (source, target), rate in measured.items():
        edge = edges.get((vertex_of.get(source, -1), vertex_of.get(target, -1)))
        if edge is None:
            raise UnknownNameError(f"measured link {source} to {target}: no call joins them, allowed: links of calls")
        found[edge] = rate
    return found


def _settle_core(graph: ServiceGraph, peeled: Peeled) -> tuple[Floats, Floats]:
    """Return the bytes of all edges, and the part of each that is pinned (1 outside the core)."""
    edge_bytes = np.array([amount or 0 for amount in peeled.link_bytes], dtype=np.float64)
    pinned = np.ones(len(edge_bytes))
    if peeled.open_edges:
        rest = np.array(peeled.rest_bytes, dtype=np.float64)
        rest[np.repeat(np.array(graph.coverage), 2) == 0] = np.nan  # a lower bound still is a better guess than none
        open_edges = np.array(peeled.open_edges)
        ends = np.array(edge_nodes(graph.pairs))[open_edges]
        edge_bytes[open_edges] = solve_core(ends, rest)
        pinned[open_edges] = pinned_part(ends, rest)
    return edge_bytes, pinned


def _methods(peeled: Peeled, measured_bytes: Mapping[int, float]) -> list[LinkMethod]:
    return [
        "measured" if edge in measured_bytes else "estimated" if amount is None else "peeled"
        for edge, amount in enumerate(peeled.link_bytes)
    ]


def _links(
    graph: ServiceGraph, rates: Floats, methods: list[LinkMethod], confidence: Floats, disagreement: Disagreement
) -> tuple[Link, ...]:
    per_vertex = disagreement.per_vertex.tolist()
    columns = zip(rates.tolist(), methods, confidence.tolist(), strict=True)
    links = []
    for edge, (rate, method, trust) in enumerate(columns):
        client, server = graph.pairs[edge // 2]
        source, target = (client, server) if edge % 2 == 0 else (server, client)
        links.append(Link(graph.services[source], graph.services[target], rate, method, trust, per_vertex[source]))
    return tuple(links)
