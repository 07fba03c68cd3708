"""Local first: the node, then the zone, then the region, then the rest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocators.dense import dense, fits
from allocators.layout import lay_out
from allocators.local_first import crossing_bound, level_flows
from allocators.opttraffic import two_steps
from allocators.problem import TrafficProblem
from mesh.topology import Distance
from tests.allocators.cases import problem, problems

PLACES = {"a1": ("za", "r1"), "a2": ("za", "r1"), "b1": ("zb", "r1"), "c1": ("zc", "r2")}


def test_each_distance_takes_what_the_nearer_ones_left() -> None:
    """One client of 8 beside endpoints that want 1, 2, 2 and 3 at rising distances sends just that to each."""
    asked = problem([("a1", 8.0)], [("a1", 1.0), ("a2", 2.0), ("b1", 2.0), ("c1", 3.0)], places=PLACES)
    flows = level_flows(lay_out(asked))

    assert [flow.distance for flow in flows] == list(Distance)
    assert [flow.sent.sum() * 8 for flow in flows] == pytest.approx([1.0, 2.0, 2.0, 3.0])


def test_the_zone_comes_before_the_region() -> None:
    """Two clients with too much, one free endpoint in the zone of each: nobody swaps zones."""
    asked = problem(
        [("a1", 2.0), ("b1", 2.0)],
        [("a1", 1.0), ("b1", 1.0), ("a2", 1.0), ("b2", 1.0)],
        places={**PLACES, "b2": ("zb", "r1")},
    )
    layout = lay_out(asked)
    fractions = layout.restore(dense(level_flows(layout), layout)) * 2

    assert fractions == pytest.approx(np.array([[0.5, 0, 0.5, 0], [0, 0.5, 0, 0.5]]))


@given(problems())
def test_flows_conserve(asked: TrafficProblem) -> None:
    """Over all distances every client sends its rate and every endpoint takes its target, group by group."""
    layout = lay_out(asked)
    for compact in (False, True):
        flows = level_flows(layout, compact=compact)
        assert sum(flow.sent for flow in flows) == pytest.approx(layout.rates, rel=1e-9, abs=1e-12)
        assert sum(flow.taken for flow in flows) == pytest.approx(layout.targets, rel=1e-9, abs=1e-12)
        for flow in flows:
            sent = np.bincount(flow.client_groups, flow.sent, flow.group_count)
            taken = np.bincount(flow.endpoint_groups, flow.taken, flow.group_count)
            assert sent == pytest.approx(taken, abs=1e-12)


@given(problems())
def test_fits_counts_what_dense_needs(asked: TrafficProblem) -> None:
    """``fits`` promises no more than ``dense`` keeps."""
    layout = lay_out(asked)
    flows = level_flows(layout)
    widest = int(np.count_nonzero(dense(flows, layout), axis=1).max())

    least = next(k for k in range(len(asked.endpoints) + 1) if fits(flows, clients=len(asked.clients), most=k))
    assert least >= widest
    if layout.latency_ms is None:
        assert least == widest


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=5))
def test_two_steps_are_the_case_of_equal_rates_and_targets(counts: list[tuple[int, int]]) -> None:
    """OptTraffic's rule keeps as much local as ours, on the same links, when all clients and endpoints are alike."""
    clients = [(f"h{node}", 1.0) for node, (m, _) in enumerate(counts) for _ in range(m)]
    endpoints = [(f"h{node}", 1.0) for node, (_, n) in enumerate(counts) for _ in range(n)]
    if not clients or not endpoints:
        return
    layout = lay_out(problem(clients, endpoints))
    paper = two_steps(layout) / len(clients)
    ours = dense(level_flows(layout), layout)
    same_node = layout.client_groups[Distance.NODE][:, None] == layout.endpoint_groups[Distance.NODE]

    assert paper[same_node] == pytest.approx(ours[same_node], abs=1e-7)
    assert paper.sum(axis=0) == pytest.approx(ours.sum(axis=0), abs=1e-7)
    assert paper[~same_node].sum() == pytest.approx(crossing_bound(layout), abs=1e-7)
