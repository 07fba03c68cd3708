"""The peer: Kubernetes' PreferSameNode, as a planner."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocators.mesh_plan import PlanMemory, plan_mesh
from lab.mesh_document import ROUTING, mesh_document
from lab.same_node import SameNodePlanner, same_node_fractions
from lab.topology_file import load_application, shipped_file
from mesh.picture import ClientRates, Picture
from mesh.topology import Topology

NODES = st.lists(st.sampled_from(["n1", "n2", "n3", "n4"]), min_size=1, max_size=12).map(np.array)


def chain() -> tuple[Topology, Picture]:
    document = mesh_document(load_application(shipped_file("chain")), block=56, annotations={ROUTING: "uniform"})
    topology = document.topology
    rates = {}
    for service in topology.services:
        for port in service.ports:
            clients = [client.name for client in topology.clients_of[service.name]]
            rates[service.service_port(port)] = ClientRates(dict.fromkeys(clients, 10.0), "measured")
    return topology, Picture(client_rates=rates)


@given(clients=NODES, endpoints=NODES)
def test_all_goes_to_the_own_node_or_evenly_to_all(clients: np.ndarray, endpoints: np.ndarray) -> None:
    """KEP-3015: endpoints of the client's node, if it has any; otherwise as if nothing had been asked for."""
    fractions = same_node_fractions(clients, endpoints)

    for client, row in zip(clients, fractions, strict=True):
        allowed = endpoints == client if (endpoints == client).any() else np.full(len(endpoints), fill_value=True)
        assert row.tolist() == pytest.approx((allowed / allowed.sum()).tolist())


def test_it_plans_as_we_do_until_it_is_switched_on() -> None:
    """The window with equal shares is the product's own ``uniform``."""
    topology, picture = chain()
    plan, _ = SameNodePlanner(lambda: False)(topology, picture, PlanMemory())
    ours, _ = plan_mesh(topology, picture, PlanMemory())

    assert plan.services.keys() == ours.services.keys()
    assert all(plan.services[port].sends_the_same_as(ours.services[port]) for port in ours.services)


def test_the_generation_grows_when_it_is_switched_on_and_only_then() -> None:
    """Sidecars are told once; a plan that says the same is no news."""
    topology, picture = chain()
    switched: list[bool] = []
    planner = SameNodePlanner(lambda: bool(switched))
    first, memory = planner(topology, picture, PlanMemory())
    again, memory = planner(topology, picture, memory)
    switched.append(True)
    on, memory = planner(topology, picture, memory)
    still, memory = planner(topology, picture, memory)

    assert first.generation == again.generation < on.generation == still.generation


def test_figures_are_of_what_is_sent() -> None:
    """second stands twice on n1 and once on n3, first once on each node: only n2 sends away, a third of all."""
    topology, picture = chain()
    plan, _ = SameNodePlanner(lambda: True)(topology, picture, PlanMemory())
    (second,) = [one for port, one in plan.services.items() if port.service == "second.default"]

    assert second.cross_node_share == pytest.approx(1 / 3)
    assert second.local_share == pytest.approx(2 / 3)
    assert "PreferSameNode" in second.reason
