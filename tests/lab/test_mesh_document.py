"""The mesh file that an application becomes."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from lab.mesh_document import ROUTING, Rates, mesh_document, node_prefixes
from lab.topology_file import APP_PORT, load_application, names, shipped_file
from mesh.topology import ServiceName, Topology

BLOCK = 56


def topology(name: str, *, routing: str = "uniform", rates: Rates = "learnt") -> Topology:
    application = load_application(shipped_file(name))
    return mesh_document(application, block=BLOCK, annotations={ROUTING: routing}, rates=rates).topology


@pytest.mark.parametrize("name", names())
def test_addresses_tell_the_node(name: str) -> None:
    """Every container's address lies in its node's prefix: that is how servers' sidecars know who calls."""
    prefixes = node_prefixes(load_application(shipped_file(name)), block=BLOCK)

    for container in topology(name).container_by_name.values():
        assert ipaddress.ip_address(container.address) in ipaddress.ip_network(prefixes[container.node])


@pytest.mark.parametrize("name", names())
def test_rates_are_learnt_unless_they_are_asked_for(name: str) -> None:
    """The mesh file of a lab has no rates: Askew is to find out."""
    assert topology(name).rates == ()


@pytest.mark.parametrize("name", names())
def test_every_call_has_a_rate_where_rates_are_given(name: str) -> None:
    """Each client container has one rate for each service that its own service calls, so that nothing is guessed."""
    mesh = topology(name, rates="given")
    calls = {
        (container.name, server)
        for container in mesh.container_by_name.values()
        for server in mesh.servers_of[container.service]
    }

    assert {(rate.client, rate.service) for rate in mesh.rates} == calls


def test_apps_stand_behind_their_sidecars() -> None:
    """Each container's app listens on the app port; only the load has no port at all."""
    containers = topology("bookinfo").container_by_name.values()

    assert {tuple(c.app_ports.values()) for c in containers if c.service != "load.default"} == {(APP_PORT,)}
    assert {tuple(c.ports) for c in containers if c.service == "load.default"} == {()}


def test_the_annotation_is_on_every_service_but_the_load() -> None:
    """Rewriting the annotation is all that the demo does to switch."""
    policies = {s.short_name: s.policy.routing for s in topology("chain", routing="local-first").services}

    assert policies == {"load": "off"} | dict.fromkeys(("first", "second", "third", "fourth"), "local-first")


def test_several_containers_may_send_a_nodes_load() -> None:
    """Each has a name and an address of its own, in its node's prefix, and an equal part of the node's rate."""
    application = load_application(shipped_file("chain"))
    application = replace(application, load=replace(application.load, containers=2))
    mesh = mesh_document(application, block=BLOCK, annotations={ROUTING: "uniform"}, rates="given").topology
    senders = mesh.service_by_name[ServiceName("load.default")].containers
    rates = [rate.requests_per_s for rate in mesh.rates if rate.client in {sender.name for sender in senders}]

    assert [sender.name for sender in senders] == [f"load-n{node}-{i}" for node in (1, 2, 3) for i in (0, 1)]
    assert len({sender.address for sender in senders}) == 6
    assert rates == pytest.approx([20.0, 20.0, 20.0, 20.0, 10.0, 10.0])
