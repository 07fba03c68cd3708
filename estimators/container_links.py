"""Service links to container links: the link, times the client's part of its service, times the share in force."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from estimators.counters import WindowTotals
from estimators.service_graph import ServiceGraph
from mesh.shares import Shares

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class ShareColumns:
    """Shares as three parallel columns, one row per (client container, endpoint container).

    ``shares``: float64, shape ``(rows,)``, ≥ 0. Rows of one client towards one service need not sum to 1; they are
    scaled.
    """

    clients: Sequence[str]
    endpoints: Sequence[str]
    shares: Floats


NO_SHARES = ShareColumns((), (), np.zeros(0))


def columns_of(matrices: Iterable[Shares]) -> ShareColumns:
    """Return the entries above zero of the plan's matrices. O(entries of the matrices)."""
    clients: list[str] = []
    endpoints: list[str] = []
    values: list[Floats] = []
    for matrix in matrices:
        rows, columns = np.nonzero(matrix.fractions)
        clients += [matrix.clients[row] for row in rows.tolist()]
        endpoints += [matrix.endpoints[column] for column in columns.tolist()]
        values.append(matrix.fractions[rows, columns])
    return ShareColumns(clients, endpoints, np.concatenate([np.zeros(0), *values]))


@dataclass(frozen=True, eq=False)
class ContainerLinks:
    """Directed container links, as columns.

    Attributes
    ----------
    names:
        Container names; the two index columns point here.
    sources, targets:
        int64, shape ``(links,)``; each ordered pair stands once.
    rate_bytes_per_s:
        float64, shape ``(links,)``, bytes per second from source to target.
    """

    names: tuple[str, ...]
    sources: Ints
    targets: Ints
    rate_bytes_per_s: Floats

    def __len__(self) -> int:
        return len(self.sources)

    def rows(self) -> Iterator[tuple[str, str, float]]:
        """Yield (from, to, bytes per second)."""
        columns = zip(self.sources.tolist(), self.targets.tolist(), self.rate_bytes_per_s.tolist(), strict=True)
        return ((self.names[source], self.names[target], rate) for source, target, rate in columns)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Usable shares by number: containers, the relation (client service, endpoint service), the pair, the share."""

    clients: Ints
    endpoints: Ints
    relation: Ints
    pair: Ints
    forward: Bools  # the client's service is the pair's first
    shares: Floats


def split_links(
    graph: ServiceGraph,
    containers: Mapping[str, str],
    totals: WindowTotals,
    shares: ShareColumns,
    *,
    edge_rates: Floats,
) -> tuple[ContainerLinks, tuple[str, ...]]:
    """Split every service link that has shares over its containers; the parts sum to the link.

    Parameters
    ----------
    graph, containers, totals:
        As for ``merge_replicas``.
    shares:
        Shares in force. A client counts with its part of what the clients with shares towards that service transmit
        (for the way back: receive); equal parts where they have no traffic. Where two services call each other and
        both ways have shares, each relation explains half of the link, since bytes do not say which call they belong
        to.
    edge_rates:
        float64, shape ``(2 · pairs,)``: bytes per second of each directed edge.

    Returns
    -------
    tuple[ContainerLinks, tuple[str, ...]]
        The links, and warnings about shares that have no link or no container. O(containers + shares · log).
    """
    names = tuple(containers)
    rows, warnings = _usable(graph, containers, names, shares)
    sent = np.array([totals.transmit_bytes.get(name, 0) for name in names], dtype=np.float64)
    received = np.array([totals.receive_bytes.get(name, 0) for name in names], dtype=np.float64)
    warnings += _shareless(graph, containers, names, rows, sent + received)
    half = _relations_per_pair(rows)
    towards = edge_rates[2 * rows.pair + np.where(rows.forward, 0, 1)] * _weights(rows, sent) / half
    back = edge_rates[2 * rows.pair + np.where(rows.forward, 1, 0)] * _weights(rows, received) / half
    sources = np.concatenate([rows.clients, rows.endpoints])
    targets = np.concatenate([rows.endpoints, rows.clients])
    keys, place = np.unique(sources * len(names) + targets, return_inverse=True)
    rates = np.bincount(place, weights=np.concatenate([towards, back]), minlength=len(keys)).astype(np.float64)
    count = max(1, len(names))
    return ContainerLinks(names, keys // count, keys % count, rates), tuple(warnings)


def _usable(
    graph: ServiceGraph, containers: Mapping[str, str], names: tuple[str, ...], shares: ShareColumns
) -> tuple[_Rows, list[str]]:
    index = {name: place for place, name in enumerate(names)}
    clients = np.array([index.get(name, -1) for name in shares.clients], dtype=np.int64)
    endpoints = np.array([index.get(name, -1) for name in shares.endpoints], dtype=np.int64)
    known = (clients >= 0) & (endpoints >= 0)
    strangers = [
        f"share of {shares.clients[row]} to {shares.endpoints[row]}: no such container"
        for row in np.flatnonzero(~known).tolist()
    ]
    vertex = {service: place for place, service in enumerate(graph.services)}
    vertices = np.array([vertex[service] for service in containers.values()] or [0], dtype=np.int64)
    size = len(graph.services)
    relation = np.where(known, vertices[clients] * size + vertices[endpoints], -1)
    distinct, place = np.unique(relation, return_inverse=True)
    pair_of = {ends: pair for pair, ends in enumerate(graph.pairs)}
    pairs, forwards, warnings = [], [], []
    for key in distinct.tolist():
        ends = divmod(key, size) if key >= 0 else (-1, -1)
        pair = pair_of.get(ends, pair_of.get(ends[::-1], -1))
        pairs.append(pair)
        forwards.append(ends in pair_of)
        if pair < 0 <= key:
            client, server = graph.services[ends[0]], graph.services[ends[1]]
            warnings.append(f"shares of {client} to {server}: no call joins them, so no link to split")
    pair_column = np.array(pairs, dtype=np.int64)[place]
    use = known & (pair_column >= 0) & (shares.shares > 0)
    rows = _Rows(
        clients=clients[use],
        endpoints=endpoints[use],
        relation=relation[use],
        pair=pair_column[use],
        forward=np.array(forwards, dtype=np.bool_)[place][use],
        shares=shares.shares[use],
    )
    return rows, strangers + warnings


def _weights(rows: _Rows, traffic: Floats) -> Floats:
    """Return each row's part of its relation: the client's part × its share; they sum to 1 per relation."""
    _, relation = np.unique(rows.relation, return_inverse=True)
    row_keys, row = np.unique(np.stack([relation, rows.clients]), axis=1, return_inverse=True)
    row = row.reshape(-1)
    row_relation, row_client = row_keys
    row_traffic = traffic[row_client]
    total = np.bincount(row_relation, weights=row_traffic)
    count = np.bincount(row_relation)
    equal = 1.0 / np.maximum(count, 1)[row_relation]
    part = np.divide(row_traffic, total[row_relation], out=equal, where=total[row_relation] > 0)
    share = rows.shares / np.bincount(row, weights=rows.shares, minlength=row_keys.shape[1])[row]
    weights: Floats = part[row] * share
    return weights


def _relations_per_pair(rows: _Rows) -> Floats:
    """Return, per row, in how many relations (1 or 2) its service pair has shares."""
    _, first = np.unique(rows.relation, return_index=True)
    per_pair = np.bincount(rows.pair[first], minlength=int(rows.pair.max(initial=-1)) + 1)
    counts: Floats = per_pair[rows.pair].astype(np.float64)
    return counts


def _shareless(
    graph: ServiceGraph, containers: Mapping[str, str], names: tuple[str, ...], rows: _Rows, traffic: Floats
) -> list[str]:
    """Name clients with traffic that have no share where their service's other clients have one."""
    members: dict[str, list[int]] = {}
    for place, service in enumerate(containers.values()):
        members.setdefault(service, []).append(place)
    warnings = []
    size = len(graph.services)
    for relation in np.unique(rows.relation).tolist():
        client, server = (graph.services[vertex] for vertex in divmod(relation, size))
        with_shares = set(rows.clients[rows.relation == relation].tolist())
        missing = [names[place] for place in members[client] if place not in with_shares and traffic[place] > 0]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            warnings.append(f"client {missing[0]}{more}: traffic but no share to {server}; the others carry the link")
    return warnings
