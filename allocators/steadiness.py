"""Steady: leave well alone. Shares in force stay as they are, or at least their links do, while that costs little."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from allocators.coverage import ENOUGH, cover
from allocators.layout import Floats, Layout, sums
from allocators.local_first import LevelFlow
from allocators.problem import Standing, Terms, TrafficProblem
from allocators.scaling import Links, balance, links_of
from allocators.sparse import samples

ENOUGH_CHANGE = 0.05  # of all requests; targets or rates that moved less re-solve nothing
ENOUGH_MISS = 0.1  # of an endpoint's target; in a large service 5 % of all requests is more than all of one endpoint's
LEAST_WEIGHED = 0.2  # of the mean target: by no less is a miss measured, or the rates of the slowest would move a plan
CHEAP = 0.01  # of a target; what keeping links may cost
ENOUGH_LINKS = 0.8  # of what a fresh plan would have; fewer would average errors less well


def keep(problem: TrafficProblem, terms: Terms, *, rates: Floats, targets: Floats) -> Standing | None:
    """Return the shares in force where nothing changed enough to touch them, in the problem's order.

    Members, their nodes and the terms must be the same, and neither ``rates`` nor ``targets`` (parts of all requests,
    in the problem's order) may have moved by more than 5 % since they were solved for; nor may any endpoint now miss
    its target by a tenth more than then. Drift adds up: what counts is the last solve, not the last tick. Rates of
    clients that are all silent say nothing. Cost O(N·M).
    """
    standing = problem.standing
    if standing is None or standing.terms not in (None, terms):
        return None
    rows = _places(standing.clients, standing.client_nodes, problem.clients, problem.client_nodes)
    columns = _places(standing.endpoints, standing.endpoint_nodes, problem.endpoints, problem.endpoint_nodes)
    if rows is None or columns is None:
        return None
    moved_targets = np.abs(standing.targets[columns] - targets).sum()
    moved_rates = np.abs(standing.rates[rows] - rates).sum() if problem.rates.any() else 0.0
    if max(moved_targets, moved_rates) > ENOUGH_CHANGE:
        return None
    if _misses_one(standing, rows, columns, rates=rates if problem.rates.any() else None, targets=targets):
        return None
    if standing.clients == problem.clients and standing.endpoints == problem.endpoints:
        return standing
    return Standing(
        clients=problem.clients,
        client_nodes=problem.client_nodes,
        endpoints=problem.endpoints,
        endpoint_nodes=problem.endpoint_nodes,
        fractions=standing.fractions[np.ix_(rows, columns)],
        rates=standing.rates[rows],
        targets=standing.targets[columns],
        terms=standing.terms,
    )


def _misses_one(
    standing: Standing, rows: list[int], columns: list[int], *, rates: Floats | None, targets: Floats
) -> bool:
    """Whether the shares in force now miss some endpoint's target by over a tenth more than when they were solved."""
    wanted = np.zeros(len(targets))
    wanted[columns] = targets  # in the order of what stands
    moved = wanted - standing.targets
    if rates is not None:
        now = np.zeros(len(rates))
        now[rows] = rates
        moved = moved - (now - standing.rates) @ standing.fractions
    allowed = ENOUGH_MISS * np.maximum(wanted, LEAST_WEIGHED * wanted.mean())
    return bool((np.abs(moved) > allowed).any())


def standing_fractions(problem: TrafficProblem) -> Floats | None:
    """Return the shares in force as a matrix in the problem's order, 0 for who is new; None where there are none."""
    standing = problem.standing
    if standing is None:
        return None
    if standing.clients == problem.clients and standing.endpoints == problem.endpoints:
        return standing.fractions
    row_of = {name: row for row, name in enumerate(standing.clients)}
    column_of = {name: column for column, name in enumerate(standing.endpoints)}
    here_rows = [row for row, name in enumerate(problem.clients) if name in row_of]
    here_columns = [column for column, name in enumerate(problem.endpoints) if name in column_of]
    fractions = np.zeros((len(problem.clients), len(problem.endpoints)))
    there = np.ix_(
        [row_of[problem.clients[r]] for r in here_rows], [column_of[problem.endpoints[c]] for c in here_columns]
    )
    fractions[np.ix_(here_rows, here_columns)] = standing.fractions[there]
    return fractions


def link_changes(problem: TrafficProblem, fractions: Floats) -> tuple[int, int]:
    """Return how many links ``fractions`` opens and closes against the shares in force."""
    now = int(np.count_nonzero(fractions))
    before = standing_fractions(problem)
    if before is None or problem.standing is None:
        return now, 0
    both = int(np.count_nonzero((before > 0.0) & (fractions > 0.0)))
    return now - both, int(np.count_nonzero(problem.standing.fractions)) - both


def _places(
    old_names: Sequence[str], old_nodes: Sequence[str], names: Sequence[str], nodes: Sequence[str]
) -> list[int] | None:
    """Return where each of ``names`` stood before, or None where members or their nodes differ."""
    if tuple(old_names) == tuple(names) and tuple(old_nodes) == tuple(nodes):
        return list(range(len(names)))
    if len(old_names) != len(names):
        return None
    place = {pair: index for index, pair in enumerate(zip(old_names, old_nodes, strict=True))}
    places = [place.get(pair, -1) for pair in zip(names, nodes, strict=True)]
    return None if -1 in places else places


def on_standing_links(
    standing: Links, layout: Layout, flows: tuple[LevelFlow, ...], *, most: int, fresh: int
) -> Links | None:
    """Return requests on links in force, or None where that costs too much.

    ``standing`` are those links that local-first allows today. They must be at most ``most`` a client and no fewer than
    80 % of the ``fresh`` links that a new plan would have, and bring every endpoint within 1 % of its target.
    """
    counts = np.bincount(standing.clients, minlength=len(layout.rates))
    if counts.max(initial=0) > most or not counts[layout.rates > 0.0].all():
        return None
    if len(standing.clients) < ENOUGH_LINKS * fresh:
        return None
    links = balance(standing, layout, flows)
    loads = sums(links.endpoints, links.requests, len(layout.targets))
    return links if (np.abs(loads - layout.targets) <= CHEAP * layout.targets).all() else None


def with_newcomers(standing: Links, layout: Layout, flows: tuple[LevelFlow, ...], *, most: int) -> Links:
    """Return the links in force and those that newcomers need: clients without a link sample as many as they may, and
    an endpoint gets half as many as the average one has, some of them turned away from others."""
    width = len(layout.targets)
    counts = np.bincount(standing.clients, minlength=len(layout.rates))
    clients, endpoints = samples(layout, flows, np.where((counts == 0) & (layout.rates > 0.0), most, 0))
    links = links_of(
        np.concatenate((standing.clients, clients)),
        np.concatenate((standing.endpoints, endpoints)),
        np.ones(len(standing.clients) + len(clients)),
        width=width,
    )
    half = max(ENOUGH, len(links.clients) // (2 * width))
    reached = np.bincount(links.endpoints, minlength=width)
    return cover(links, None, layout, flows, most=most, enough=half if not reached.all() else ENOUGH)
