"""Figures and table of a comparison of localities."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from lab.locality_report import HEADINGS, Cell, Row, make_row, markdown, overload, rows_json, table
from lab.traffic import Amount, Link
from mesh.topology import Container, ContainerName, Node, NodeName, Service, ServiceName, Topology

CELL = Cell("chain", nodes=2, replicas=2, placement="spread", seed=1)


def mesh(**services: tuple[str, ...]) -> Topology:
    """Return a mesh of services, each with one container on each of the nodes named."""
    made = [
        Service(
            ServiceName(f"{name}.default"),
            containers=tuple(
                Container(ContainerName(f"{name}-{k}"), ServiceName(f"{name}.default"), NodeName(node), "127.0.0.1")
                for k, node in enumerate(nodes)
            ),
        )
        for name, nodes in services.items()
    ]
    return Topology(nodes=(Node(NodeName("n1")), Node(NodeName("n2"))), services=tuple(made))


def row(policy: str, *, seed: int = 1, crossing: float = 0.5) -> Row:
    traffic = {
        Link("a.default", "n1", "n1"): Amount(100, 1000 - int(1000 * crossing)),
        Link("a.default", "n1", "n2"): Amount(100, int(1000 * crossing)),
    }
    made = make_row(
        replace(CELL, seed=seed),
        mesh(a=("n1", "n2")),
        traffic,
        {"a-0": 100, "a-1": 100},
        policy=policy,
        seconds=5.0,
        failed=0,
        connections=2,
        cpu_busy_share=0.5,
    )
    assert made.cross_node_byte_share == pytest.approx(crossing)
    return made


def test_overload_is_the_fullest_endpoint_over_the_mean() -> None:
    """a: 150 of a mean of 100; b: 300 of a mean of 300. By requests: (1.5 · 200 + 1 · 600) / 800."""
    mean, worst = overload(mesh(a=("n1", "n2"), b=("n1", "n2")), {"a-0": 150, "a-1": 50, "b-0": 300, "b-1": 300})

    assert (mean, worst) == (pytest.approx(1.125), pytest.approx(1.5))


def test_a_service_with_few_requests_is_not_the_worst() -> None:
    """4 of 5 requests at one endpoint is luck, not a policy; it still counts, by its few requests, in the mean."""
    mean, worst = overload(mesh(a=("n1", "n2"), b=("n1", "n2")), {"a-0": 4, "a-1": 1, "b-0": 100, "b-1": 100})

    assert worst == pytest.approx(1.0)
    assert mean == pytest.approx((1.6 * 5 + 200) / 205)


def test_nothing_sent_is_no_overload() -> None:
    """A mesh without traffic has nothing to compare."""
    assert overload(mesh(a=("n1",)), {}) == (0.0, 0.0)


def test_a_row_counts_all_hops() -> None:
    """200 requests and 1000 bytes, half of them across; n1 sends all and has half of the capacity: half must leave."""
    made = row("uniform")

    assert (made.requests, made.bytes, made.containers) == (200, 1000, 2)
    assert made.cross_node_request_share == pytest.approx(0.5)
    assert made.lower_bound_cross_node_request_share == pytest.approx(0.5)
    assert made.lower_bound_cross_node_byte_share == pytest.approx(0.5)


def test_rows_are_json() -> None:
    """One object a cell and policy, with nothing that JSON cannot say."""
    (written,) = json.loads(json.dumps(rows_json([row("askew")]), allow_nan=False))

    assert {"nodes": 2, "replicas": 2, "seed": 1, "policy": "askew"}.items() <= written.items()


def test_savings_are_relative_to_uniform_of_the_same_mesh() -> None:
    """From 50 % to 20 % is 60 % less; uniform itself saves nothing."""
    first, second = table([row("uniform"), row("askew", crossing=0.2)])

    assert dict(zip(HEADINGS, first, strict=True))["less than uniform"] == "–"
    assert dict(zip(HEADINGS, second, strict=True))["less than uniform"] == "60.0 %"


def test_several_seeds_are_one_line_with_a_range() -> None:
    """Each seed is compared with its own uniform."""
    rows = [
        row("uniform", crossing=0.5),
        row("askew", crossing=0.2),
        row("uniform", seed=2, crossing=0.4),
        row("askew", seed=2, crossing=0.3),
    ]
    _, askew = table(rows)
    cells = dict(zip(HEADINGS, askew, strict=True))

    assert cells["bytes across nodes"] == "20.0 to 30.0 %"
    assert cells["less than uniform"] == "25.0 to 60.0 %"
    assert cells["requests"] == "400"


def test_the_table_is_markdown() -> None:
    """Every line has as many cells as the heading."""
    lines = markdown([row("uniform"), row("askew")]).splitlines()

    assert len(lines) == 4
    assert {line.count("|") for line in lines} == {len(HEADINGS) + 1}
