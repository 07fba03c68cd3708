"""Steady: what stands is left standing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from allocators.problem import Standing, TrafficProblem
from allocators.traffic_plan import TrafficPlan, allocate_traffic
from mesh.topology import ContainerName, NodeName
from tests.allocators.cases import random_problem, reordered

ASKED = random_problem(100, 100, nodes=10, seed=0)
K = 10


def plan(asked: TrafficProblem, **terms: object) -> TrafficPlan:
    """Return the local-first plan with K = 10."""
    return allocate_traffic(asked, **({"routing": "local-first", "connections": K} | terms))  # type: ignore[arg-type]


FIRST = plan(ASKED)


def after(asked: TrafficProblem = ASKED, **terms: object) -> TrafficPlan:
    """Return the plan for ``asked`` while the first one is in force."""
    return plan(replace(asked, standing=FIRST.standing), **terms)


def scaled(factors: np.ndarray) -> TrafficProblem:
    """Return the problem with other rates."""
    return replace(ASKED, rates=ASKED.rates * factors)


def test_a_cold_start_opens_every_link() -> None:
    """There is nothing in force."""
    assert (FIRST.links_opened, FIRST.links_closed) == (FIRST.connections, 0)


def test_one_rate_by_one_percent_moves_nothing() -> None:
    """Neither a link nor a weight."""
    factors = np.ones(100)
    factors[3] = 1.01
    made = after(scaled(factors))

    assert np.array_equal(made.fractions, FIRST.fractions)
    assert (made.links_opened, made.links_closed) == (0, 0)
    assert made.reason.startswith("Kept")


@pytest.mark.parametrize(("factor", "kept"), [(0.3, False), (1.3, False), (0.95, True), (1.05, True)])
def test_one_endpoint_among_many_is_not_overlooked(factor: float, kept: bool) -> None:
    """One of 100 targets to a third is 1.5 % of all requests, but all that matters to who is slow."""
    targets = np.ones(100)
    first = plan(replace(ASKED, targets=targets))
    targets = targets.copy()
    targets[7] *= factor
    made = plan(replace(ASKED, targets=targets, standing=first.standing))

    assert made.reason.startswith("Kept") == kept
    assert (ASKED.rates @ made.fractions)[7] == pytest.approx(made.targets[7], rel=0.1)


def test_the_order_of_names_does_not_hide_an_endpoint() -> None:
    """The same question in another order gets the same answer."""
    targets = np.ones(100)
    first = plan(replace(ASKED, targets=targets))
    targets = targets.copy()
    targets[7] = 0.3
    order = np.random.default_rng(2).permutation(100).tolist()
    asked = reordered(replace(ASKED, targets=targets), order, order)
    same = reordered(replace(ASKED, targets=np.ones(100)), order, order)

    assert not plan(replace(asked, standing=first.standing)).reason.startswith("Kept")
    assert plan(replace(same, standing=first.standing)).reason.startswith("Kept")


def test_drift_adds_up() -> None:
    """Steps of 3 % each, none of which would re-solve: the sum does, because the last solve is what counts."""
    factors = np.where(np.arange(100) % 2 == 0, 1.03, 1 / 1.03)
    made, rates = FIRST, ASKED.rates
    kept = []
    for _ in range(4):
        rates = rates * factors
        made = plan(replace(ASKED, rates=rates, standing=made.standing))
        kept.append(made.reason.startswith("Kept"))

    assert kept[0]
    assert not all(kept)


def test_links_stay_when_only_weights_must_move() -> None:
    """On one node, rates wrong by up to 30 %: the targets are met again without one new link."""
    asked = random_problem(100, 100, nodes=1, seed=0)
    first = plan(asked)
    rates = asked.rates * np.random.default_rng(1).uniform(0.7, 1.3, 100)
    made = plan(replace(asked, rates=rates, standing=first.standing))

    assert (made.links_opened, made.links_closed) == (0, 0)
    assert made.target_deviation < 0.01
    assert not np.array_equal(made.fractions, first.fractions)


def test_links_mostly_stay_when_nodes_change_sides() -> None:
    """Rates that make some nodes send more than they take, which took more before: under a tenth of links is new."""
    made = after(scaled(np.random.default_rng(1).uniform(0.7, 1.3, 100)))

    assert made.links_opened < made.connections / 10
    assert made.target_deviation < 0.01
    assert made.cross_node_share == pytest.approx(made.lower_bound_cross_node_share, abs=0.01)


def test_a_new_endpoint_costs_few_links() -> None:
    """One endpoint more: only links to it are new, and nobody loses another one for nothing."""
    asked = replace(
        ASKED,
        endpoints=(*ASKED.endpoints, ContainerName("new")),
        endpoint_nodes=(*ASKED.endpoint_nodes, NodeName("h3")),
        capacities=np.append(ASKED.capacities, 1.0),
    )
    made = after(asked)

    assert np.count_nonzero(made.fractions[:, -1]) >= 2
    assert made.links_opened <= K
    assert made.target_deviation < 0.01


def test_a_lost_endpoint_costs_few_links() -> None:
    """One endpoint less: under a twentieth of the links is new."""
    made = after(reordered(ASKED, range(100), range(1, 100)))

    assert made.links_opened < made.connections / 20
    assert made.target_deviation < 0.01


def test_a_new_client_gets_its_links() -> None:
    """One client more: its own links and few others are new."""
    asked = replace(
        ASKED,
        clients=(*ASKED.clients, ContainerName("new")),
        client_nodes=(*ASKED.client_nodes, NodeName("h3")),
        rates=np.append(ASKED.rates, 1.0),
    )
    made = after(asked)

    assert made.links_opened < made.connections / 20
    assert made.target_deviation < 0.01


def test_a_moved_container_is_a_change_of_membership() -> None:
    """The same name on another node is solved anew."""
    nodes = list(ASKED.endpoint_nodes)
    nodes[0] = NodeName("h1" if nodes[0] != "h1" else "h2")

    assert not after(replace(ASKED, endpoint_nodes=tuple(nodes))).reason.startswith("Kept")


@pytest.mark.parametrize("terms", [{"connections": 9}, {"max_overload": 1.2}, {"strategy": "opttraffic"}])
def test_other_terms_are_solved_anew(terms: dict[str, object]) -> None:
    """An operator who changes an annotation sees it obeyed."""
    assert not after(**terms).reason.startswith("Kept")


def test_another_order_is_no_change() -> None:
    """Shares in force are found by name."""
    rows, columns = np.random.default_rng(2).permutation(100), np.random.default_rng(3).permutation(100)
    made = after(reordered(ASKED, rows.tolist(), columns.tolist()))

    assert np.array_equal(made.fractions, FIRST.fractions[np.ix_(rows, columns)])
    assert (made.links_opened, made.links_closed) == (0, 0)


def test_silence_says_nothing() -> None:
    """Clients that all stop sending do not overturn the plan."""
    made = after(replace(ASKED, rates=np.zeros(100)))

    assert np.array_equal(made.fractions, FIRST.fractions)
    assert made.local_share == 1.0


def test_shares_of_unknown_terms_are_kept() -> None:
    """After a restart only the shares may be known, not how they were asked for."""
    standing: Standing = replace(FIRST.standing, terms=None)

    assert plan(replace(ASKED, standing=standing)).reason.startswith("Kept")
