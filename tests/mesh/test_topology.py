"""Topology: names, distances, who calls whom."""

from __future__ import annotations

import pytest

from mesh.listeners import tcp_outbound
from mesh.topology import (
    Call,
    Container,
    ContainerName,
    Distance,
    Node,
    NodeName,
    Port,
    Service,
    ServiceName,
    ServicePort,
    Topology,
    namespace_of,
)


def service(name: str, *containers: str, port: Port | None = None) -> Service:
    """Return a service of namespace default with these containers, all on node n."""
    full = ServiceName(f"{name}.default")
    members = tuple(
        Container(ContainerName(c), full, NodeName("n"), f"127.0.0.{i + 1}") for i, c in enumerate(containers)
    )
    return Service(full, ports=(port or Port(80),), containers=members)


def call(client: str, server: str) -> Call:
    """Return a call between two services of namespace default."""
    return Call(ServiceName(f"{client}.default"), ServiceName(f"{server}.default"))


A, B, C = service("a", "a-0", "a-1"), service("b", "b-0"), service("c")


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [
        (Node(NodeName("x"), "z1", "r1"), Node(NodeName("x"), "z1", "r1"), Distance.NODE),
        (Node(NodeName("x"), "z1", "r1"), Node(NodeName("y"), "z1", "r1"), Distance.ZONE),
        (Node(NodeName("x"), "z1", "r1"), Node(NodeName("y"), "z2", "r1"), Distance.REGION),
        (Node(NodeName("x"), "z1", "r1"), Node(NodeName("y"), "z1", "r2"), Distance.FAR),
        (Node(NodeName("x")), Node(NodeName("y")), Distance.ZONE),
        (Node(NodeName("x")), Node(NodeName("y"), "z1"), Distance.REGION),
    ],
)
def test_distances(one: Node, other: Node, distance: Distance) -> None:
    """Same node, same zone, same region, else far; where no zone and no region is named, all are equal."""
    topology = Topology(nodes=(one, other))

    assert topology.distance(one.name, other.name) == distance
    assert topology.distance(other.name, one.name) == distance


def test_a_node_that_is_not_in_the_mesh_has_no_distance() -> None:
    """Asking for a stranger is a programming error, not a far node."""
    with pytest.raises(KeyError):
        Topology(nodes=(Node(NodeName("n")),)).distance(NodeName("n"), NodeName("m"))


def test_known_calls_are_kept_in_order_and_once() -> None:
    """``servers_of`` lists each called service once, in source order; who calls nobody has an empty entry."""
    topology = Topology(services=(A, B, C), calls=(call("a", "c"), call("a", "b"), call("a", "c")))

    assert topology.servers_of == {A.name: (C.name, B.name), B.name: (), C.name: ()}
    assert topology.clients_of == {A.name: (), B.name: A.containers, C.name: A.containers}


def test_unknown_calls_mean_that_everyone_may_call_all() -> None:
    """With ``calls`` None every container is a client of every service, its own too."""
    topology = Topology(services=(A, B))

    assert topology.servers_of == {A.name: (A.name, B.name), B.name: (A.name, B.name)}
    assert topology.clients_of[B.name] == A.containers + B.containers


def test_a_service_may_call_itself() -> None:
    """A call from a service to itself is a call like any other."""
    topology = Topology(services=(A,), calls=(call("a", "a"),))

    assert topology.clients_of[A.name] == A.containers


def test_tcp_listeners_follow_the_calls() -> None:
    """A sidecar listens for the TCP ports of what its service calls; its own only where that call is written."""
    db = service("db", "db-0", port=Port(6379, protocol="tcp", outbound_port=6379))

    assert tcp_outbound(Topology(services=(A, db), calls=(call("a", "db"),)), A) == ((db, db.ports[0]),)
    assert tcp_outbound(Topology(services=(A, db), calls=(call("a", "db"),)), db) == ()
    assert tcp_outbound(Topology(services=(A, db)), A) == ((db, db.ports[0]),)
    assert tcp_outbound(Topology(services=(A, db)), db) == ()
    assert tcp_outbound(Topology(services=(db,), calls=(call("db", "db"),)), db) == ((db, db.ports[0]),)


def test_look_up_by_name() -> None:
    """Nodes, services, containers and proxies are found by their names; a proxy's is ``<container>.<namespace>``."""
    topology = Topology(nodes=(Node(NodeName("n")),), services=(A, B))

    assert topology.node_by_name[NodeName("n")].name == "n"
    assert topology.service_by_name[B.name] is B
    assert topology.container_by_name[ContainerName("a-1")] is A.containers[1]
    assert topology.container_by_proxy_id["a-1.default"] is A.containers[1]


def test_names_of_a_service() -> None:
    """The full name splits at its last dot."""
    named = Service(ServiceName("reviews.books"), ports=(Port(9080),))

    assert (named.short_name, named.namespace, namespace_of(named.name)) == ("reviews", "books", "books")
    assert named.service_port(named.ports[0]) == ServicePort(named.name, 9080)
    assert str(ServicePort(named.name, 9080)) == "reviews.books:9080"
