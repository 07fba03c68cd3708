"""The one way in: a traffic problem and its terms to shares, with the figures that explain them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from allocators.errors import ProblemError
from allocators.layout import Floats, Layout, lay_out
from allocators.local_first import crossing_bound
from allocators.problem import STEERED_ROUTINGS, Standing, SteeredRouting, Terms, TrafficProblem
from allocators.scaling import PRECISE
from allocators.steadiness import keep, link_changes, standing_fractions
from allocators.strategies import solve
from mesh.policy import STRATEGIES, Strategy
from mesh.topology import Distance

KEPT = "Kept: members are the same, and rates and targets moved by less than 5 % since the shares were worked out."


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
    if not layout.size:
        nothing = np.zeros((len(problem.clients), len(problem.endpoints)))
        return _plan(problem, layout, terms, nothing, "No client." if problem.endpoints else "No endpoint.")
    if routing == "uniform":
        return _plan(problem, layout, terms, np.full(layout.shape, 1.0 / layout.shape[1]), "Equal shares for all.")
    kept = keep(problem, terms, rates=layout.original_rates(), targets=layout.original_targets())
    if kept is not None:
        return _plan(problem, layout, terms, layout.arrange(kept.fractions), KEPT, kept=kept)
    fractions, reason = solve(layout, terms, standing=_arranged_standing(problem, layout))
    return _plan(problem, layout, terms, fractions, reason)


def _check(terms: Terms) -> None:
    if terms.routing not in STEERED_ROUTINGS:
        raise ProblemError(f"routing: found {terms.routing!r}, allowed: {' | '.join(STEERED_ROUTINGS)}")
    if terms.strategy not in STRATEGIES:
        raise ProblemError(f"strategy: found {terms.strategy!r}, allowed: {' | '.join(STRATEGIES)}")
    if terms.connections not in (None, "all") and (isinstance(terms.connections, str) or terms.connections < 1):
        raise ProblemError(f"connections: found {terms.connections!r}, allowed: an integer >= 1, all, or nothing")
    if not 1.0 <= terms.max_overload < np.inf:
        raise ProblemError(f"max_overload: found {terms.max_overload}, allowed: a number >= 1")


def _arranged_standing(problem: TrafficProblem, layout: Layout) -> Floats | None:
    fractions = standing_fractions(problem)
    return None if fractions is None else layout.arrange(fractions)


def _plan(
    problem: TrafficProblem, layout: Layout, terms: Terms, x: Floats, reason: str, *, kept: Standing | None = None
) -> TrafficPlan:
    """Work out the figures of shares ``x`` (in the layout's order) and put them in the problem's order."""
    silent = not problem.rates.any()
    cross, bound = (0.0, 0.0) if silent or not layout.size else _crossing(layout, terms, x)
    wanted = layout.targets > 0.0
    misses = np.abs((layout.rates @ x)[wanted] - layout.targets[wanted]) / layout.targets[wanted]
    links = np.count_nonzero(x, axis=1)
    fractions = layout.restore(x) if kept is None else kept.fractions
    opened, closed = link_changes(problem, fractions)
    targets = layout.original_targets()
    return TrafficPlan(
        fractions=fractions,
        targets=targets * float(problem.rates.sum()),
        local_share=1.0 - cross,
        cross_node_share=cross,
        lower_bound_cross_node_share=bound,
        connections=int(links.sum()),
        max_connections_per_client=int(links.max(initial=0)),
        target_deviation=0.0 if silent else float(misses.max(initial=0.0)),
        links_opened=opened,
        links_closed=closed,
        reason=reason,
        standing=kept or _standing(problem, layout, terms, fractions),
    )


def _crossing(layout: Layout, terms: Terms, x: Floats) -> tuple[float, float]:
    """Return the part of requests that leave their node, and the least that any with these targets could reach."""
    node = Distance.NODE
    same_node = layout.client_groups[node][:, None] == layout.endpoint_groups[node]
    local = float(np.einsum("i,ij,ij->", layout.rates, x, same_node))
    bound = crossing_bound(layout, max_overload=terms.max_overload)
    cross = max(0.0, 1.0 - local)
    return (bound if abs(cross - bound) < PRECISE else cross), bound  # rounding must not end below the bound


def _standing(problem: TrafficProblem, layout: Layout, terms: Terms, fractions: Floats) -> Standing:
    return Standing(
        clients=problem.clients,
        client_nodes=problem.client_nodes,
        endpoints=problem.endpoints,
        endpoint_nodes=problem.endpoint_nodes,
        fractions=fractions,
        rates=layout.original_rates(),
        targets=layout.original_targets(),
        terms=terms,
    )
