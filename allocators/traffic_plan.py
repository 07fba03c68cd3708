"""The one way in: a traffic problem and its terms to shares, with the figures that explain them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from allocators.errors import ProblemError
from allocators.idle import fill_idle_rows
from allocators.layout import Floats, Layout, lay_out
from allocators.local_first import NOISE, crossing_bound, dense, level_flows
from allocators.problem import STEERED_ROUTINGS, Standing, SteeredRouting, Terms, TrafficProblem
from mesh.policy import STRATEGIES, Strategy, auto_connections
from mesh.topology import Distance


@dataclass(frozen=True, eq=False)
class TrafficPlan:
    """Shares of one called service, and what they come to.

    Attributes
    ----------
    fractions:
        float64, shape ``(N, M)`` in the problem's order; each row sums to 1, or to 0 where there is no endpoint.
    targets:
        Requests per second that each endpoint should get, shape ``(M,)``, summing to what the clients send.
    local_share, cross_node_share:
        Parts of all requests that stay on, or leave, their client's node.
    lower_bound_cross_node_share:
        ``Σ_h max(0, R_h − β·W_h) / R``: the least that shares which keep to the targets can reach.
    connections, max_connections_per_client:
        Links with a share above 0, in total and of the busiest client.
    target_deviation:
        ``max |load − target| / target`` over endpoints with a target.
    links_opened, links_closed:
        Against the shares in force (a cold start opens all).
    reason:
        One sentence: why these shares.
    standing:
        What the next solve of this service should be told, so that it can leave well alone.
    """

    fractions: Floats
    targets: Floats
    local_share: float
    cross_node_share: float
    lower_bound_cross_node_share: float
    connections: int
    max_connections_per_client: int
    target_deviation: float
    links_opened: int
    links_closed: int
    reason: str
    standing: Standing


def allocate_traffic(
    problem: TrafficProblem,
    *,
    routing: SteeredRouting,
    strategy: Strategy = "askew",
    connections: int | Literal["all"] | None = None,
    max_overload: float = 1.0,
) -> TrafficPlan:
    """Decide which part of its requests each client sends to each endpoint.

    Parameters
    ----------
    problem:
        N clients and M endpoints.
    routing:
        ``uniform``: 1/M each, always. ``local-first`` and ``imbalance-aware``: the transport problem, on the problem's
        targets.
    strategy:
        ``askew``, ``opttraffic`` or ``imbres``.
    connections:
        K, the most endpoints a client may use (for ``imbres`` the number of groups); None for the default by size.
    max_overload:
        β >= 1: how far a node's endpoints may exceed their targets so that requests stay local.

    Raises
    ------
    ProblemError
        for terms that are not allowed.

    Examples
    --------
    >>> from mesh.topology import Node
    >>> nodes = {"h1": Node("h1"), "h2": Node("h2")}
    >>> one, two = np.ones(2), np.ones(3)
    >>> figure_8 = TrafficProblem(("u1", "u2"), ("h1", "h2"), one, ("d1", "d2", "d3"), ("h1", "h1", "h2"), two, nodes)
    >>> allocate_traffic(figure_8, routing="local-first").fractions.round(3).tolist()
    [[0.5, 0.5, 0.0], [0.167, 0.167, 0.667]]
    """
    terms = Terms(routing=routing, strategy=strategy, connections=connections, max_overload=max_overload)
    _check(terms)
    layout = lay_out(problem)
    n, m = len(problem.clients), len(problem.endpoints)
    if not n or not m:
        return _assemble(
            problem, layout, terms, np.zeros((n, m)), "There is no client." if m else "There is no endpoint."
        )
    if routing == "uniform":
        return _assemble(problem, layout, terms, np.full((n, m), 1.0 / m), "Equal shares over all endpoints.")
    fractions, reason = _solve(layout, terms)
    return _assemble(problem, layout, terms, fractions, reason)


def _check(terms: Terms) -> None:
    if terms.routing not in STEERED_ROUTINGS:
        raise ProblemError(f"routing: found {terms.routing!r}, allowed: {' | '.join(STEERED_ROUTINGS)}")
    if terms.strategy not in STRATEGIES:
        raise ProblemError(f"strategy: found {terms.strategy!r}, allowed: {' | '.join(STRATEGIES)}")
    if terms.connections not in (None, "all") and (isinstance(terms.connections, str) or terms.connections < 1):
        raise ProblemError(f"connections: found {terms.connections!r}, allowed: an integer >= 1, all, or nothing")
    if not 1.0 <= terms.max_overload < np.inf:
        raise ProblemError(f"max_overload: found {terms.max_overload}, allowed: a number >= 1")


def _most_links(terms: Terms, *, clients: int, endpoints: int) -> int:
    """Return K, the most links of one client."""
    if terms.connections == "all":
        return endpoints
    if terms.connections is None:
        return min(endpoints, auto_connections(endpoints=endpoints, clients=clients))
    return min(endpoints, terms.connections)


def _solve(layout: Layout, terms: Terms) -> tuple[Floats, str]:
    most = _most_links(terms, clients=len(layout.rates), endpoints=len(layout.targets))
    x = dense(level_flows(layout, max_overload=terms.max_overload), layout)
    fill_idle_rows(x, layout, most=most)
    return _rows_to_one(_without_slivers(x, layout)), "Local first, in proportion to targets."


def _without_slivers(x: Floats, layout: Layout) -> Floats:
    """Drop what is under a billionth both of its client's rate and of its endpoint's target: rounding, not a share."""
    slivers = (x < 1e-9 * layout.rates[:, None]) & (x < 1e-9 * layout.targets)
    x[slivers] = 0.0
    return x


def _rows_to_one(x: Floats) -> Floats:
    return np.asarray(x / x.sum(axis=1, keepdims=True))


def _assemble(problem: TrafficProblem, layout: Layout, terms: Terms, x: Floats, reason: str) -> TrafficPlan:
    """Work out the figures of shares ``x`` (in the layout's order) and put them in the problem's order."""
    node = Distance.NODE
    linked = x > 0.0
    links = linked.sum(axis=1)
    loads = layout.rates @ x
    same_node = layout.client_groups[node][:, None] == layout.endpoint_groups[node]
    total = float(problem.rates.sum())
    silent = not problem.rates.any()
    local = 1.0 if silent or not x.size else min(1.0, float(np.einsum("i,ij,ij->", layout.rates, x, same_node)))
    wanted = layout.targets > 0.0
    misses = np.abs(loads[wanted] - layout.targets[wanted]) / layout.targets[wanted]
    bound = 0.0 if silent or not x.size else crossing_bound(layout, max_overload=terms.max_overload)
    if abs(1.0 - local - bound) < NOISE:
        local = 1.0 - bound
    fractions, targets = layout.restore(x), np.empty(len(layout.targets))
    targets[layout.endpoint_order] = layout.targets
    return TrafficPlan(
        fractions=fractions,
        targets=targets * total,
        local_share=local,
        cross_node_share=1.0 - local,
        lower_bound_cross_node_share=bound,
        connections=int(links.sum()),
        max_connections_per_client=int(links.max(initial=0)),
        target_deviation=0.0 if silent or not len(problem.rates) else float(misses.max(initial=0.0)),
        links_opened=int(links.sum()),
        links_closed=0,
        reason=reason,
        standing=_standing(problem, layout, terms, fractions, targets),
    )


def _standing(problem: TrafficProblem, layout: Layout, terms: Terms, fractions: Floats, targets: Floats) -> Standing:
    rates = np.empty(len(layout.rates))
    rates[layout.client_order] = layout.rates
    return Standing(
        clients=problem.clients,
        client_nodes=problem.client_nodes,
        endpoints=problem.endpoints,
        endpoint_nodes=problem.endpoint_nodes,
        fractions=fractions,
        rates=rates,
        targets=targets,
        terms=terms,
    )
