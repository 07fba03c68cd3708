"""Mode native: a plan as a DestinationRule and a VirtualService."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from istio.native import node_shares, render_native, subset_names
from mesh.mesh_file import parse_mesh_file
from mesh.plan import Plan, ServicePlan
from mesh.shares import Shares
from mesh.topology import ContainerName, NodeName, ServiceName, ServicePort, Topology

MESH = """
apiVersion: askew.mesh/v1
nodes: [{name: n1}, {name: "ip-10-0-0-2.ec2.internal"}, {name: n3}]
services:
  - name: page
    containers:
      - {name: page-0, node: n1, address: 127.0.1.1}
      - {name: page-1, node: n1, address: 127.0.1.2}
      - {name: page-2, node: "ip-10-0-0-2.ec2.internal", address: 127.0.2.1}
  - name: shop
    ports: [{name: http, port: 80}, {name: redis, port: 6379, protocol: tcp, outbound_port: 16379}]
    containers:
      - {name: shop-0, node: n1, address: 127.0.1.10}
      - {name: shop-1, node: "ip-10-0-0-2.ec2.internal", address: 127.0.2.10}
calls: [{from: page, to: shop}]
"""
TOPOLOGY = parse_mesh_file(MESH)
SHOP = TOPOLOGY.service_by_name[ServiceName("shop.default")]
HOST = "shop.default.svc.cluster.local"


def plan(port: int = 80, *, rates: dict[str, float] | None = None, applied: bool = True) -> Plan:
    """Return a plan: page-0 sends all to shop-0, page-1 half of its requests, page-2 all to shop-1."""
    shares = Shares(
        tuple(map(ContainerName, ("page-0", "page-1", "page-2"))),
        tuple(map(ContainerName, ("shop-0", "shop-1"))),
        np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]),
    )
    key = ServicePort(ServiceName("shop.default"), port)
    one = ServicePlan(
        service_port=key,
        shares=shares,
        client_rates={ContainerName(name): rate for name, rate in (rates or {}).items()},
        targets={},
        local_share=0.0,
        cross_node_share=1.0,
        lower_bound_cross_node_share=0.0,
        programming="istio-native",
        reason="by hand",
        applied=applied,
    )
    return Plan(services={key: one})


def test_clients_of_a_node_count_by_their_rates() -> None:
    """page-0 sends three times what page-1 sends: 7/8 of node n1's requests stay."""
    sources, targets, parts = node_shares(
        TOPOLOGY, next(iter(plan(rates={"page-0": 75, "page-1": 25}).services.values()))
    )

    assert (sources, targets) == (["ip-10-0-0-2.ec2.internal", "n1"],) * 2
    assert parts.tolist() == [[1.0, 0.0], [0.125, 0.875]]


def test_clients_without_rates_count_alike() -> None:
    """Nothing is known of them yet."""
    *_, parts = node_shares(TOPOLOGY, next(iter(plan().services.values())))

    assert parts.tolist() == [[1.0, 0.0], [0.25, 0.75]]


def test_objects() -> None:
    """A subset for each node with an endpoint, a route for each node with a client, Istio's balancing for others."""
    rule, routes = render_native(TOPOLOGY, plan(), SHOP, cluster_domain="cluster.local")
    subset = rule["spec"]["subsets"][0]["name"]
    found = [
        (
            one["match"][0].get("sourceLabels"),
            [(way["destination"].get("subset"), way.get("weight")) for way in one["route"]],
        )
        for one in routes["spec"]["http"]
    ]

    assert rule["spec"]["host"] == HOST == routes["spec"]["hosts"][0]
    assert [one["labels"] for one in rule["spec"]["subsets"]] == [
        {"kubernetes.io/hostname": "ip-10-0-0-2.ec2.internal"},
        {"kubernetes.io/hostname": "n1"},
    ]
    assert found == [
        ({"kubernetes.io/hostname": "ip-10-0-0-2.ec2.internal"}, [(subset, 100)]),
        ({"kubernetes.io/hostname": "n1"}, [(subset, 25), ("n1", 75)]),
        (None, [(None, None)]),
    ]
    assert "tcp" not in routes["spec"]
    assert all(one["match"][0]["port"] == 80 for one in routes["spec"]["http"])


def test_tcp_has_routes_of_its_own() -> None:
    """TCP routes take sourceLabels, too."""
    _, routes = render_native(TOPOLOGY, plan(6379), SHOP, cluster_domain="cluster.local")

    assert "http" not in routes["spec"]
    assert routes["spec"]["tcp"][0]["match"][0]["port"] == 6379


@pytest.mark.parametrize("nothing", [Plan(), plan(applied=False)])
def test_nothing_without_a_plan_that_applies(nothing: Plan) -> None:
    """Observe mode shows and changes nothing."""
    assert render_native(TOPOLOGY, nothing, SHOP, cluster_domain="cluster.local") == []


def test_nothing_without_endpoints() -> None:
    """A route to an empty subset would answer 503."""
    empty = Topology(nodes=TOPOLOGY.nodes, services=TOPOLOGY.services[:1])

    assert render_native(empty, plan(), type(SHOP)(SHOP.name, SHOP.ports), cluster_domain="cluster.local") == []


@given(st.lists(st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,80}[a-z0-9])?", fullmatch=True), unique=True, max_size=8))
def test_subset_names_are_dns_labels_and_differ(nodes: list[str]) -> None:
    """Istio wants labels; nodes are often named with dots."""
    names = subset_names([NodeName(node) for node in nodes])

    assert all(re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name) for name in names.values())
    assert len(set(names.values())) == len(nodes)


@given(st.lists(st.floats(0.0, 1.0), min_size=2, max_size=2), st.lists(st.floats(0.0, 1000.0), min_size=3, max_size=3))
def test_weights_sum_to_a_hundred(splits: list[float], rates: list[float]) -> None:
    """Whatever the shares and the rates are."""
    key = ServicePort(ServiceName("shop.default"), 80)
    made = plan(rates=dict(zip(("page-0", "page-1", "page-2"), rates, strict=True))).services[key]
    fractions = np.array([[1.0, 0.0], [splits[0], 1.0 - splits[0]], [splits[1], 1.0 - splits[1]]])
    one = ServicePlan(**{**vars(made), "shares": Shares(made.shares.clients, made.shares.endpoints, fractions)})
    _, routes = render_native(TOPOLOGY, Plan(services={key: one}), SHOP, cluster_domain="cluster.local")

    sums = [sum(way["weight"] for way in route["route"]) for route in routes["spec"]["http"][:-1]]
    assert sums == [100] * len(sums)
    assert sums
