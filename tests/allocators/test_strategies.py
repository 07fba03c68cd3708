"""The papers' own rules, under their names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocators.imbres import grouped, nearest_means
from allocators.layout import lay_out
from allocators.problem import TrafficProblem
from allocators.traffic_plan import allocate_traffic
from tests.allocators.cases import FIGURE_8, problem, problems, random_problem


def test_opttraffic_gives_all_clients_of_a_node_one_row() -> None:
    """kube-proxy's chains are per node, so are the paper's ratios, whatever the rates."""
    asked = problem([("h1", 5.0), ("h1", 1.0), ("h2", 1.0)], [("h1", 1.0), ("h2", 1.0), ("h3", 1.0)])
    fractions = allocate_traffic(asked, routing="local-first", strategy="opttraffic").fractions

    assert fractions[0].tolist() == fractions[1].tolist()


def test_opttraffic_counts_every_client_as_one() -> None:
    """Two clients of 5 and 1 on two nodes with one endpoint each stay local: what the targets say is not asked."""
    asked = problem([("h1", 5.0), ("h2", 1.0)], [("h1", 1.0), ("h2", 1.0)])
    made = allocate_traffic(asked, routing="local-first", strategy="opttraffic")

    assert made.fractions.tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert made.target_deviation == pytest.approx(2 / 3)


def test_figure_8_by_opttraffic() -> None:
    """The paper's own rule on its own figure."""
    made = allocate_traffic(FIGURE_8, routing="local-first", strategy="opttraffic")

    assert made.fractions == pytest.approx(np.array([[1 / 2, 1 / 2, 0], [1 / 6, 1 / 6, 2 / 3]]))


@given(problems(), st.integers(1, 4))
def test_opttraffic_keeps_to_k(asked: TrafficProblem, connections: int) -> None:
    """The paper has no K; where one is set, its margins are kept on fewer links."""
    made = allocate_traffic(asked, routing="local-first", strategy="opttraffic", connections=connections)

    assert made.max_connections_per_client <= connections
    assert made.fractions.sum(axis=1) == pytest.approx(1.0)


@given(problems(), st.integers(1, 5))
def test_every_group_of_imbres_has_the_whole_target_mix(asked: TrafficProblem, groups: int) -> None:
    """Each group alone reproduces the targets, on at most |g| + M − 1 links; then so do all together."""
    layout = lay_out(asked)
    links = grouped(layout, groups=groups)
    x = np.zeros(layout.shape)
    x[links.clients, links.endpoints] = links.requests
    latencies = np.zeros(layout.shape[0]) if layout.latency_ms is None else layout.latency_ms
    sending = layout.rates > 0.0
    group_of = np.full(layout.shape[0], -1)
    group_of[sending] = nearest_means(latencies[sending], groups)

    for group in range(group_of.max() + 1):
        members = x[group_of == group]
        assert members.sum(axis=0) / members.sum() == pytest.approx(layout.targets, abs=1e-9)
        assert np.count_nonzero(members) <= len(members) + layout.shape[1] - 1


def test_imbres_pairs_fast_clients_with_slow_endpoints() -> None:
    """In a group the client with most requests takes the endpoints with the smallest targets."""
    asked = problem([("a", 3.0), ("b", 1.0)], [("a", 1.0), ("a", 2.0), ("b", 1.0)])
    fractions = allocate_traffic(asked, routing="local-first", strategy="imbres").fractions

    assert fractions == pytest.approx(np.array([[1 / 3, 1 / 3, 1 / 3], [0.0, 1.0, 0.0]]))


def test_as_many_groups_as_clients_are_a_full_mesh() -> None:
    """Every client its own group fills the whole mix alone."""
    asked = replace(random_problem(6, 7, nodes=3, seed=4), latency_ms=np.arange(6.0))
    made = allocate_traffic(asked, routing="local-first", strategy="imbres", connections="all")

    assert made.connections == 6 * 7
    assert made.target_deviation == pytest.approx(0.0, abs=1e-9)


@given(st.lists(st.floats(0.0, 100.0), min_size=1, max_size=30), st.integers(1, 6))
def test_one_dimensional_means(values: list[float], count: int) -> None:
    """At most ``count`` groups, and a group is an interval: no value lies between two of another group."""
    groups = nearest_means(np.array(values), count)
    in_order = groups[np.argsort(values, kind="stable")]

    assert len(set(groups.tolist())) <= count
    assert (np.diff(in_order) >= 0).all()
