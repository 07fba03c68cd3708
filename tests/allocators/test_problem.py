"""A problem refuses what no plan can answer, and is read off a mesh."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from allocators.errors import ProblemError
from allocators.problem import problem_for
from mesh.mesh_file import parse_mesh_file
from mesh.topology import ContainerName, NodeName, ServiceName
from tests.allocators.cases import FIGURE_8

MESH = parse_mesh_file("""
apiVersion: askew.mesh/v1
nodes: [{name: n1}, {name: n2}]
services:
  - {name: web, containers: [{name: web-0, node: n1, address: 127.0.1.1}, {name: web-1, node: n2, address: 127.0.2.1}]}
  - name: cart
    port: 80
    containers:
      - {name: cart-0, node: n1, address: 127.0.1.2, capacity: 3}
      - {name: cart-1, node: n2, address: 127.0.2.2}
calls: [{from: web, to: cart}]
""")


def test_a_problem_of_a_mesh() -> None:
    """Clients are the containers of the services that call; one without a rate sends nothing."""
    asked = problem_for(MESH, ServiceName("cart.default"), rates={ContainerName("web-1"): 7.0})

    assert asked.clients == ("web-0", "web-1")
    assert asked.client_nodes == ("n1", "n2")
    assert asked.rates.tolist() == [0.0, 7.0]
    assert asked.endpoints == ("cart-0", "cart-1")
    assert asked.capacities.tolist() == [3.0, 1.0]
    assert asked.targets is None
    assert asked.latency_ms is None


def test_targets_and_latencies_of_a_mesh() -> None:
    """They are taken by name, and one that is missing is an error."""
    targets = {ContainerName("cart-0"): 1.0, ContainerName("cart-1"): 2.0}
    latency = {ContainerName("web-0"): 4.0}
    asked = problem_for(MESH, ServiceName("cart.default"), rates={}, targets=targets)

    assert asked.targets is not None
    assert asked.targets.tolist() == [1.0, 2.0]
    with pytest.raises(KeyError, match="web-1"):
        problem_for(MESH, ServiceName("cart.default"), rates={}, latency_ms=latency)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rates": np.ones(3)}, r"rates: found shape \(3,\), allowed: \(2,\)"),
        ({"rates": np.array([1.0, -1.0])}, "rates: found a negative"),
        ({"rates": np.array([1.0, np.nan])}, "rates: found a negative or non-finite"),
        ({"capacities": np.array([1.0, np.inf, 1.0])}, "capacities: found a negative or non-finite"),
        ({"capacities": np.zeros(3)}, "capacities: found 0.0, allowed: numbers > 0"),
        ({"targets": np.zeros(3)}, "targets: found only zeros"),
        ({"latency_ms": np.array([1.0])}, "latency_ms: found shape"),
        ({"clients": (ContainerName("u"),) * 2}, "clients: found a name twice"),
        ({"client_nodes": (NodeName("h1"),)}, "clients: found 1 nodes, allowed: one for each of 2"),
        ({"endpoint_nodes": (NodeName("h1"), NodeName("h9"), NodeName("h1"))}, "endpoints: found node 'h9'"),
    ],
)
def test_what_a_problem_refuses(change: dict[str, object], message: str) -> None:
    """Each message names the field, what was found and what is allowed."""
    with pytest.raises(ProblemError, match=message):
        replace(FIGURE_8, **change)  # type: ignore[arg-type]
