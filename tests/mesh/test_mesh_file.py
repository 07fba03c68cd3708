"""The mesh file: every rule of ``docs/mesh-file.md``, its defaults and its refusals."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.mesh_file import parse_mesh_file
from mesh.topology import Call, ClientRate, ContainerName, Port, ServiceName, Topology
from tests.mesh.bookshop import bookshop, parse, refusal


def topology_with(change: Any) -> Topology:
    """Return the bookshop's topology after ``change(document)``."""
    document = bookshop()
    change(document)
    return parse(document)


def refusal_with(change: Any) -> str:
    """Return the message for the bookshop after ``change(document)``."""
    document = bookshop()
    change(document)
    return refusal(document)


def container(topology: Topology, name: str) -> Any:
    """Return a container by its name."""
    return topology.container_by_name[ContainerName(name)]


def test_the_smallest_file() -> None:
    """A version, one node and no service make a mesh."""
    topology = parse_mesh_file("apiVersion: askew.mesh/v1\nnodes: [{name: n1}]\nservices: []\n")

    assert (topology.nodes[0].name, topology.services, topology.calls, topology.rates) == ("n1", (), None, ())


def test_yaml_and_json_say_the_same() -> None:
    """JSON is the same file in another spelling."""
    yaml_text = "apiVersion: askew.mesh/v1\nnodes:\n  - {name: n1, zone: z1}\nservices:\n  - name: a\n    port: 80\n"
    json_text = (
        '{"apiVersion": "askew.mesh/v1", '
        '"nodes": [{"name": "n1", "zone": "z1"}], "services": [{"name": "a", "port": 80}]}'
    )

    assert parse_mesh_file(yaml_text) == parse_mesh_file(json_text)


def test_defaults() -> None:
    """Protocol http, capacity 1, the service's port, outbound listener 15001, no zone, namespace default, unmanaged."""
    topology = parse_mesh_file(
        "{apiVersion: askew.mesh/v1, nodes: [{name: n}], services: "
        "[{name: a, port: 80, containers: [{name: a-0, node: n, address: 127.0.1.1}]}]}"
    )

    service, a = topology.services[0], container(topology, "a-0")
    assert (service.name, service.ports, service.policy.managed) == ("a.default", (Port(80),), False)
    assert (a.ports, a.app_ports, a.capacity, a.outbound_port) == ({80: 80}, {}, 1.0, 15001)
    assert (topology.nodes[0].zone, topology.nodes[0].region) == ("", "")


def test_ports_of_a_container() -> None:
    """``port`` and ``app_port`` are for a service of one port, ``ports`` and ``app_ports`` go by the ports' names."""
    topology = parse(bookshop())

    assert container(topology, "reviews-0").ports == {9080: 9080}
    assert container(topology, "reviews-0").app_ports == {9080: 9081}
    assert container(topology, "reviews-1").ports == {9080: 9090}
    assert container(topology, "store-0").ports == {7000: 7001, 6379: 6379}


def test_short_names_mean_namespace_default() -> None:
    """In ``calls`` and ``rates`` a name without a dot is a service of namespace default."""
    topology = parse(bookshop())

    assert topology.calls is not None
    assert topology.calls[0] == Call(ServiceName("productpage.default"), ServiceName("reviews.default"))
    assert topology.rates == (ClientRate(ContainerName("productpage-0"), ServiceName("reviews.default"), 100.0),)


def test_a_short_name_never_reaches_another_namespace() -> None:
    """``store`` is not ``store.data``, even where no other store exists."""
    message = refusal_with(lambda d: d["calls"].append({"from": "reviews", "to": "store"}))

    assert message.startswith("calls[2].to: found 'store.default', allowed: a service of this file: ")


def test_calls_absent_means_everyone_calls_everyone() -> None:
    """Without the key ``calls`` every service is served to every sidecar."""
    topology = topology_with(lambda d: d.pop("calls"))

    assert topology.calls is None
    assert set(topology.servers_of[ServiceName("store.data")]) == {s.name for s in topology.services}


def test_calls_present_means_these_and_no_others() -> None:
    """With the key, a service that is nobody's ``from`` calls nobody; an empty list means that nobody calls anybody."""
    assert parse(bookshop()).servers_of[ServiceName("store.data")] == ()
    quiet = topology_with(lambda d: d.update(calls=[], rates=[]))
    assert quiet.servers_of[ServiceName("productpage.default")] == ()


def test_a_service_without_containers_is_valid() -> None:
    """``containers: []`` keeps the service, empty."""
    topology = topology_with(lambda d: d["services"][1].update(containers=[]))

    assert topology.service_by_name[ServiceName("reviews.default")].containers == ()


def test_the_same_short_name_in_two_namespaces() -> None:
    """Services are unique by their full name only."""
    topology = topology_with(lambda d: d["services"].append({"name": "reviews", "namespace": "other", "port": 1}))

    assert topology.services[-1].name == "reviews.other"


def test_tcp_services_may_share_an_outbound_port_unless_one_client_calls_both() -> None:
    """``outbound_port`` is bound per client, so only a common client makes two of them clash."""
    other = {"name": "queue", "port": 5672, "protocol": "tcp", "outbound_port": 16379, "containers": []}

    def separate(document: dict[str, Any]) -> None:
        document["services"].append(other)
        document["calls"].append({"from": "productpage", "to": "queue"})

    def together(document: dict[str, Any]) -> None:
        document["services"].append(other)
        document["calls"].append({"from": "reviews", "to": "queue"})

    assert len(topology_with(separate).services) == 4
    assert refusal_with(together) == (
        "services[3].outbound_port: found 16379, "
        "allowed: a port that nothing else on 127.0.1.10 uses (taken: store.data)"
    )


def test_a_database_may_listen_on_its_own_outbound_port() -> None:
    """Without ``calls``, a TCP service's own sidecars don't listen for it, so 6379 may be both."""
    topology = parse_mesh_file(
        "{apiVersion: askew.mesh/v1, nodes: [{name: n}], services: [{name: redis, port: 6379, protocol: tcp, "
        "outbound_port: 6379, containers: [{name: redis-0, node: n, address: 127.0.1.1}]}]}"
    )

    assert topology.services[0].ports[0].outbound_port == 6379


def test_an_address_is_kept_in_its_shortest_form() -> None:
    """Two spellings of one IPv6 address are one address."""

    def two_spellings(document: dict[str, Any]) -> None:
        document["services"][1]["containers"][0]["address"] = "fd00::1"
        document["services"][1]["containers"][1]["address"] = "fd00:0:0:0:0:0:0:1"

    assert refusal_with(two_spellings).startswith("services[1].containers[1].address: found 'fd00::1'")


def test_duplicates_name_the_first_place_too() -> None:
    """A container's name is used once in the whole file, whatever its service."""
    message = refusal_with(lambda d: d["services"][2]["containers"][0].update(name="reviews-0"))

    assert message == (
        "services[2].containers[0].name: found 'reviews-0', allowed: a value used once in the file "
        "(also at services[1].containers[0].name)"
    )


def test_the_yaml_boolean_trap() -> None:
    """``off`` and ``no`` are texts, as in YAML 1.2; ``true`` is a boolean, and the message says to quote it."""
    head = "apiVersion: askew.mesh/v1\nnodes: [{name: n1}]\nservices:\n- name: a\n  port: 80\n"

    assert parse_mesh_file(head + "  annotations: {askew.mesh/routing: off}\n").services[0].policy.routing == "off"
    assert parse_mesh_file(head + "- name: no\n").services[1].name == "no.default"
    assert refusal(head + "- name: true\n") == (
        "services[1].name: found True, allowed: a string: lower-case letters, digits and dashes, at most 63 (quote it)"
    )


def test_a_number_in_an_annotation_is_its_text() -> None:
    """``connections: 3`` and ``max-overload: 1.5`` need no quotes."""
    annotations = "{askew.mesh/connections: 3, askew.mesh/max-overload: 1.5}"
    text = f"apiVersion: askew.mesh/v1\nnodes: []\nservices: [{{name: a, port: 80, annotations: {annotations}}}]\n"
    policy = parse_mesh_file(text).services[0].policy

    assert (policy.connections, policy.max_overload) == (3, 1.5)


@pytest.mark.parametrize("number", ["0100", "9_080", "2:30"])
def test_numbers_that_yaml_versions_read_differently_are_refused(number: str) -> None:
    """YAML 1.1 reads 0100 as 64 and 2:30 as 150; hardly anybody who writes them means that."""
    text = f"apiVersion: askew.mesh/v1\nnodes: [{{name: n1}}]\nservices:\n- name: a\n  port: {number}\n"

    assert refusal(text) == (
        f"found line 5: '{number}', which YAML 1.1 and 1.2 read differently, "
        "allowed: a plain decimal number, or text in quotes"
    )


def test_unmanaged_programming_for_tcp() -> None:
    """Weighted clusters on a TCP port would drain connections at each change, so they are a wrong value there."""
    message = refusal_with(
        lambda d: d["services"][2].update(annotations={"askew.mesh/programming": "weighted-clusters"})
    )

    assert message == (
        "services[2].annotations[askew.mesh/programming]: found 'weighted-clusters', "
        "allowed: endpoint-weights (a port's protocol is tcp)"
    )
