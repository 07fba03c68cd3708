"""Which rule answers a traffic problem: our own, or a paper's by its name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from allocators.dense import dense, fits
from allocators.idle import fill_idle_rows
from allocators.imbres import GROUPS, grouped
from allocators.layout import Floats, Layout
from allocators.local_first import LevelFlow, level_flows
from allocators.opttraffic import two_steps
from allocators.problem import Terms
from allocators.scaling import Links
from allocators.sparse import sparse
from allocators.steadiness import on_standing_links, with_newcomers
from mesh.policy import auto_connections

SLIVER = 1e-9
CHUNK = 512  # rows


def solve(layout: Layout, terms: Terms, *, standing: Floats | None = None) -> tuple[Floats, str]:
    """Return fractions, shape ``(N, M)`` with rows that sum to 1, and one sentence that says why.

    ``standing`` are the shares in force in the layout's order, or None. There is a client and an endpoint at least.
    """
    if terms.strategy == "opttraffic":
        return _opttraffic(layout, terms)
    if terms.strategy == "imbres":
        return _imbres(layout, terms)
    return _askew(layout, terms, standing)


def most_links(terms: Terms, layout: Layout) -> int:
    """Return K, the most links of one client."""
    clients, endpoints = layout.shape
    if terms.connections == "all":
        return endpoints
    return min(endpoints, terms.connections or auto_connections(endpoints=endpoints, clients=clients))


def _askew(layout: Layout, terms: Terms, standing: Floats | None) -> tuple[Floats, str]:
    most = most_links(terms, layout)
    flows = level_flows(layout, max_overload=terms.max_overload)
    aim = layout
    if terms.max_overload > 1.0:  # what endpoints are to get once nodes may exceed their targets
        aim = replace(layout, targets=np.asarray(sum(flow.taken for flow in flows)))
    held = None if standing is None else _allowed(standing, aim, flows)
    if fits(flows, clients=layout.shape[0], most=most):
        x = dense(flows, aim)
        fresh, reason = int(np.count_nonzero(x)), "Local first, then in proportion to targets."
    else:
        links = sparse(aim, flows, most=most, standing=held)
        x, fresh = _matrix(links, layout), len(links.clients)
        held = None if held is None else with_newcomers(held, aim, flows, most=most)
        reason = f"Local first, in proportion to targets on at most {most} links a client."
    if held is not None:
        steady = on_standing_links(held, aim, flows, most=most, fresh=fresh)
        if steady is not None:
            x, reason = (
                _matrix(steady, layout),
                "Local first on the links that stood, with new ones only for newcomers.",
            )
    return _finished(x, layout, most=most), reason


def _opttraffic(layout: Layout, terms: Terms) -> tuple[Floats, str]:
    x = two_steps(layout)
    most = most_links(terms, layout)
    if np.count_nonzero(x, axis=1).max() <= most:
        return x / x.sum(axis=1, keepdims=True), "OptTraffic's two steps: local first, then padding, one row a node."
    clients, endpoints = layout.shape
    as_equals = replace(layout, rates=np.full(clients, 1.0 / clients), targets=np.full(endpoints, 1.0 / endpoints))
    links = sparse(as_equals, level_flows(as_equals), most=most)
    return _finished(
        _matrix(links, layout), as_equals, most=most
    ), f"OptTraffic's two steps, thinned to {most} links a client."


def _imbres(layout: Layout, terms: Terms) -> tuple[Floats, str]:
    groups = layout.shape[0] if terms.connections == "all" else (terms.connections or GROUPS)
    x = _finished(_matrix(grouped(layout, groups=groups), layout), layout, most=layout.shape[1])
    return x, f"Imbres: at most {groups} groups of equally fast clients, each with the whole target mix."


def _matrix(links: Links, layout: Layout) -> Floats:
    x = np.zeros(layout.shape)
    x[links.clients, links.endpoints] = links.requests
    return x


def _finished(x: Floats, layout: Layout, *, most: int) -> Floats:
    """Turn requests into fractions, in place, without slivers: under a billionth of client's rate and its target."""
    for start in range(0, len(x), CHUNK):  # in pieces, because at 5000 × 5000 a second matrix is 200 MB
        rows = slice(start, start + CHUNK)
        x[rows][x[rows] < SLIVER * np.minimum(layout.rates[rows, None], layout.targets)] = 0.0
    fill_idle_rows(x, layout, most=most)
    x /= x.sum(axis=1, keepdims=True)
    return x


def _allowed(standing: Floats, layout: Layout, flows: tuple[LevelFlow, ...]) -> Links:
    """Return the links in force over which local-first would send something today."""
    clients, endpoints = np.nonzero(standing)
    nearer, allowed = np.zeros(len(clients), dtype=bool), np.zeros(len(clients), dtype=bool)
    for flow in flows:
        inside = ~nearer & (flow.client_groups[clients] == flow.endpoint_groups[endpoints])
        allowed |= inside & (flow.sent[clients] > 0.0) & (flow.taken[endpoints] > 0.0)
        nearer |= inside
    return Links(clients[allowed], endpoints[allowed], standing[clients[allowed], endpoints[allowed]])
