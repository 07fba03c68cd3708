"""How far to trust a link: what the counters disagree by, and how much was subtracted to reach it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from estimators.peeling import Peeled
from estimators.service_graph import ServiceGraph

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Disagreement:
    """Bytes that the links leave unexplained, as a part of the bytes counted.

    Attributes
    ----------
    overall:
        Over all services; 0 where all agree, 1 where nothing was counted but links carry bytes.
    per_vertex:
        float64, shape ``(services,)``: the same over the service's connected component.
    per_edge:
        float64, shape ``(2 · pairs,)``.
    """

    overall: float
    per_vertex: Floats
    per_edge: Floats


def disagreement_of(graph: ServiceGraph, edge_bytes: Floats) -> Disagreement:
    """Compare the sums of the links at every counted service with its counters. O(V + E).

    Parameters
    ----------
    edge_bytes:
        float64, shape ``(2 · pairs,)``: bytes of each directed edge in the window.
    """
    size = len(graph.services)
    pairs = np.array(graph.pairs, dtype=np.int64).reshape(-1, 2)
    towards, back = edge_bytes[0::2], edge_bytes[1::2]
    client, server = pairs[:, 0], pairs[:, 1]
    sent = np.bincount(client, towards, size) + np.bincount(server, back, size)
    received = np.bincount(server, towards, size) + np.bincount(client, back, size)
    counted_sent = np.array(graph.transmit_bytes, dtype=np.float64)
    counted_received = np.array(graph.receive_bytes, dtype=np.float64)
    unexplained = np.abs(sent - counted_sent) + np.abs(received - counted_received)
    unexplained[np.array(graph.coverage) < 1] = 0.0
    counted = counted_sent + counted_received
    links = csr_array((np.ones(len(pairs)), (client, server)), shape=(size, size))
    count, label = connected_components(links, directed=False) if size else (0, np.zeros(0, dtype=np.int64))
    left = np.bincount(label, unexplained, count).astype(np.float64)
    per_component = _ratio(left, np.bincount(label, counted, count).astype(np.float64))
    per_vertex = per_component[label]
    overall = _ratio(unexplained.sum(keepdims=True), counted.sum(keepdims=True))
    return Disagreement(float(overall[0]), per_vertex, np.repeat(per_vertex[client], 2))


def _ratio(part: Floats, whole: Floats) -> Floats:
    ratio: Floats = np.divide(part, whole, out=(part > 0).astype(np.float64), where=whole > 0)
    return ratio


def edge_confidence(edge_bytes: Floats, peeled: Peeled, pinned: Floats, disagreement: Disagreement) -> Floats:
    """Return the confidence of each directed edge, 0..1.

    A peeled value is a difference of counters that hold ``mass`` bytes together; with counters wrong by the part
    that they are seen to disagree by, its expected relative error is disagreement · mass / bytes. An estimated value
    counts as a difference of what its ends hold, and only its pinned part is sure at all. Measured: 1.

    Returns
    -------
    Floats
        Shape ``(edges,)``.
    """
    mass = np.array(peeled.mass_bytes, dtype=np.float64)
    is_open = np.array([amount is None for amount in peeled.link_bytes], dtype=np.bool_)
    mass[is_open] = edge_bytes[is_open]
    error_bytes = disagreement.per_edge * mass
    agreed = np.divide(edge_bytes, edge_bytes + error_bytes, out=np.ones_like(edge_bytes), where=error_bytes > 0)
    confidence: Floats = agreed * pinned
    return confidence
