"""What crosses nodes, and the least that has to."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lab.traffic import (
    Amount,
    Link,
    Traffic,
    between,
    cross_node_byte_share,
    cross_node_request_share,
    lower_bound_cross_node_byte_share,
    lower_bound_cross_node_request_share,
    must_leave,
    total,
)
from mesh.topology import Container, ContainerName, Node, NodeName, Service, ServiceName, Topology

NODES = ("n1", "n2", "n3")


def mesh(capacity_by_node: dict[str, float], *, service: str = "s.default") -> Topology:
    containers = tuple(
        Container(ContainerName(f"s-{node}"), ServiceName(service), NodeName(node), "127.0.0.1", capacity=capacity)
        for node, capacity in capacity_by_node.items()
        if capacity
    )
    nodes = tuple(Node(NodeName(node)) for node in NODES)
    return Topology(nodes=nodes, services=(Service(ServiceName(service), containers=containers),))


def flows(table: dict[tuple[str, str], int]) -> Traffic:
    return {Link("s.default", client, server): Amount(n, 10 * n) for (client, server), n in table.items()}


def test_shares_count_what_leaves_its_node() -> None:
    """3 of 10 requests go from n1 to n2; the bytes are counted apart."""
    traffic = {
        Link("s.default", "n1", "n1"): Amount(requests=7, bytes=100),
        Link("s.default", "n1", "n2"): Amount(requests=3, bytes=300),
    }

    assert cross_node_request_share(traffic) == pytest.approx(0.3)
    assert cross_node_byte_share(traffic) == pytest.approx(0.75)


def test_no_traffic_has_no_share() -> None:
    """Nothing divided by nothing is shown as 0."""
    assert (cross_node_request_share({}), cross_node_byte_share({})) == (0.0, 0.0)
    assert lower_bound_cross_node_request_share({}, mesh({"n1": 1.0})) == 0.0


def test_readings_add_up_and_subtract_link_by_link() -> None:
    """A window is the difference of two readings, each summed over the containers of a service."""
    link, other = Link("s.default", "n1", "n2"), Link("s.default", "n2", "n2")
    start = total([(link, Amount(1, 10)), (link, Amount(2, 20))])
    end = total([(link, Amount(8, 80)), (other, Amount(5, 50))])

    assert between(start, end) == {link: Amount(5, 50), other: Amount(5, 50)}


def test_the_bound_is_demand_beyond_the_nodes_own_capacity() -> None:
    """Demand 50/30/20 on capacity 2:1:1 of 4: n1 can take 50, n2 25 of its 30, n3 all: 5 % must leave."""
    traffic = flows({("n1", "n1"): 50, ("n2", "n1"): 30, ("n3", "n1"): 20})

    assert lower_bound_cross_node_request_share(traffic, mesh({"n1": 2.0, "n2": 1.0, "n3": 1.0})) == pytest.approx(0.05)


def test_a_node_without_servers_must_send_everything_away() -> None:
    """Capacity only on n3: what n1 sends must cross."""
    traffic = flows({("n1", "n3"): 40, ("n3", "n3"): 60})

    assert lower_bound_cross_node_request_share(traffic, mesh({"n3": 1.0})) == pytest.approx(0.4)


@given(counts=st.lists(st.integers(0, 1000), min_size=9, max_size=9))
def test_no_balanced_traffic_beats_the_bound(counts: list[int]) -> None:
    """Whatever goes where: if each node serves in proportion to its capacity, at least the bound crosses."""
    table = {(NODES[i // 3], NODES[i % 3]): count for i, count in enumerate(counts)}
    served = {node: float(sum(n for (_, server), n in table.items() if server == node)) for node in NODES}
    assume(sum(served.values()) > 0)
    traffic = flows(table)

    assert lower_bound_cross_node_request_share(traffic, mesh(served)) <= cross_node_request_share(traffic) + 1e-9


def test_the_bound_in_bytes_weighs_each_service_by_the_size_of_its_requests() -> None:
    """All 100 requests come from n1, all servers stand on n2; a second service stays at home with 3 times the bytes."""
    here, there = Link("s.default", "n1", "n2"), Link("t.default", "n1", "n1")
    traffic = {here: Amount(100, 1000), there: Amount(100, 3000)}
    nodes = mesh({"n2": 1.0})
    both = Topology(nodes=nodes.nodes, services=(*nodes.services, *mesh({"n1": 1.0}, service="t.default").services))

    assert lower_bound_cross_node_byte_share(traffic, both) == pytest.approx(0.25)
    assert lower_bound_cross_node_request_share(traffic, both) == pytest.approx(0.5)
    assert must_leave(traffic, both) == {"s.default": pytest.approx(100.0), "t.default": pytest.approx(0.0)}


def test_no_bytes_have_no_bound() -> None:
    """Nothing divided by nothing is shown as 0."""
    assert lower_bound_cross_node_byte_share({}, mesh({"n1": 1.0})) == 0.0
