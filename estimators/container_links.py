"""Service links to container links: the link, times the client's part of its service, times the share in force."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from estimators.service_graph import ServiceGraph
from estimators.window_totals import WindowTotals
from mesh.shares import Shares

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
SHARES_ROUNDING = 1e-3  # a file may write thirds as 0.333


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
    """Usable shares by number. A relation is a client service and the service that it calls."""

    clients: Ints
    endpoints: Ints
    shares: Floats
    relation: Ints  # into the columns below
    relation_ends: list[tuple[int, int]]  # vertices: client service, called service
    relation_pair: Ints
    relation_forward: Bools  # the client's service is the pair's first


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
    if len(shares.clients) == 0:
        return ContainerLinks(names, np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)), ()
    vertex = {service: place for place, service in enumerate(graph.services)}
    vertices = np.array([vertex[service] for service in containers.values()], dtype=np.int64)
    rows, warnings = _usable(graph, names, vertices, shares)
    sent = np.array([totals.transmit_bytes.get(name, 0) for name in names], dtype=np.float64)
    received = np.array([totals.receive_bytes.get(name, 0) for name in names], dtype=np.float64)
    warnings += _shareless(graph, names, vertices, rows, sent + received)
    warnings += _incomplete(graph, names, rows)
    towards, back = _rates(rows, edge_rates, sent, received)
    count = max(1, len(names))
    sources = np.concatenate([rows.clients, rows.endpoints])
    targets = np.concatenate([rows.endpoints, rows.clients])
    keys, place = np.unique(sources * count + targets, return_inverse=True)
    rates = np.bincount(place, weights=np.concatenate([towards, back]), minlength=len(keys)).astype(np.float64)
    return ContainerLinks(names, keys // count, keys % count, rates), tuple(warnings)


def _usable(
    graph: ServiceGraph, names: tuple[str, ...], vertices: Ints, shares: ShareColumns
) -> tuple[_Rows, list[str]]:
    index = {name: place for place, name in enumerate(names)}
    clients = np.array([index.get(name, -1) for name in shares.clients], dtype=np.int64)
    endpoints = np.array([index.get(name, -1) for name in shares.endpoints], dtype=np.int64)
    known = (clients >= 0) & (endpoints >= 0)
    warnings = [
        f"share of {shares.clients[row]} to {shares.endpoints[row]}: no such container"
        for row in np.flatnonzero(~known).tolist()
    ]
    clients, endpoints, values = clients[known], endpoints[known], shares.shares[known]
    size = max(1, len(graph.services))
    ends, relation = np.unique(vertices[clients] * size + vertices[endpoints], return_inverse=True)
    relation_ends = [divmod(key, size) for key in ends.tolist()]
    pair_of = {pair_ends: pair for pair, pair_ends in enumerate(graph.pairs)}
    pairs = [pair_of.get(key, pair_of.get(key[::-1], -1)) for key in relation_ends]
    warnings += [
        f"shares of {graph.services[client]} to {graph.services[server]}: no call joins them, so no link to split"
        for (client, server), pair in zip(relation_ends, pairs, strict=True)
        if pair < 0
    ]
    relation_pair = np.array(pairs, dtype=np.int64)
    use = (relation_pair[relation] >= 0) & (values > 0)
    rows = _Rows(
        clients=clients[use],
        endpoints=endpoints[use],
        shares=values[use],
        relation=relation[use],
        relation_ends=relation_ends,
        relation_pair=relation_pair,
        relation_forward=np.array([key in pair_of for key in relation_ends], dtype=np.bool_),
    )
    return rows, warnings


def _rates(rows: _Rows, edge_rates: Floats, sent: Floats, received: Floats) -> tuple[Floats, Floats]:
    """Return each row's bytes per second from the client to the endpoint, and back."""
    used = np.bincount(rows.relation, minlength=len(rows.relation_ends)) > 0
    pair, forward = rows.relation_pair, rows.relation_forward
    relations_of_pair = np.bincount(pair[used], minlength=len(edge_rates) // 2)
    halved = np.maximum(relations_of_pair[pair], 1)
    towards = edge_rates[2 * pair + np.where(forward, 0, 1)] / halved
    back = edge_rates[2 * pair + np.where(forward, 1, 0)] / halved
    clients, row = np.unique(
        rows.relation * len(sent) + rows.clients, return_inverse=True
    )  # one per client and relation
    relation, client = clients // len(sent), clients % len(sent)
    share = rows.shares / np.bincount(row, weights=rows.shares, minlength=len(clients))[row]
    by_sent, by_received = _parts(relation, sent[client]), _parts(relation, received[client])
    return towards[rows.relation] * by_sent[row] * share, back[rows.relation] * by_received[row] * share


def _parts(relation: Ints, traffic: Floats) -> Floats:
    """Return each client's part of its relation's traffic; equal parts where there is none."""
    total = np.bincount(relation, weights=traffic)[relation]
    parts: Floats = 1.0 / np.bincount(relation)[relation]
    np.divide(traffic, total, out=parts, where=total > 0)
    return parts


def _incomplete(graph: ServiceGraph, names: tuple[str, ...], rows: _Rows) -> list[str]:
    """Name, per relation, the first client whose shares do not sum to 1."""
    keys, row = np.unique(rows.relation * len(names) + rows.clients, return_inverse=True)
    off = keys[np.abs(np.bincount(row, weights=rows.shares, minlength=len(keys)) - 1) > SHARES_ROUNDING]
    relations, first = np.unique(off // len(names), return_index=True)
    return [
        f"client {names[client]}: shares to {graph.services[rows.relation_ends[relation][1]]} do not sum to 1, scaled"
        for relation, client in zip(relations.tolist(), (off[first] % len(names)).tolist(), strict=True)
    ]


def _shareless(graph: ServiceGraph, names: tuple[str, ...], vertices: Ints, rows: _Rows, traffic: Floats) -> list[str]:
    """Name clients with traffic that have no share where their service's other clients have one."""
    busy = traffic > 0
    covered = np.unique(rows.relation * len(names) + rows.clients)
    relation, client = covered // max(1, len(names)), covered % max(1, len(names))
    wanted = np.bincount(vertices[busy], minlength=len(graph.services))
    found = np.bincount(relation[busy[client]], minlength=len(rows.relation_ends))
    warnings = []
    for place in np.unique(relation).tolist():
        service, server = rows.relation_ends[place]
        missing = int(wanted[service] - found[place])
        if missing > 0:
            without = np.setdiff1d(np.flatnonzero(busy & (vertices == service)), client[relation == place])
            more = f" and {missing - 1} more" if missing > 1 else ""
            first = names[int(without[0])]
            warnings.append(
                f"client {first}{more}: traffic but no share to {graph.services[server]}; the others carry the link"
            )
    return warnings
