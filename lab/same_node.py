"""What ``trafficDistribution: PreferSameNode`` would send: the endpoints of one's own node if it has any, else all.

Source: Kubernetes KEP-3015, "PreferSameZone and PreferSameNode Traffic Distribution". kube-proxy picks at random among
the chosen endpoints; here they get equal shares. A peer to compare with, not a strategy that Askew offers: it looks
neither at rates nor at what an endpoint can take.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from allocators.mesh_plan import NOTHING_CHOSEN, PlanMemory, plan_mesh
from mesh.picture import Picture
from mesh.plan import ChosenTargets, Plan, ServicePlan
from mesh.shares import Shares
from mesh.topology import ServicePort, Topology


def same_node_fractions(client_nodes: NDArray[np.str_], endpoint_nodes: NDArray[np.str_]) -> NDArray[np.float64]:
    """Return client × endpoint fractions, each row summing to 1. O(clients × endpoints).

    >>> same_node_fractions(np.array(["n1", "n2"]), np.array(["n1", "n1", "n3", "n3"])).tolist()
    [[0.5, 0.5, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]]
    """
    chosen = client_nodes[:, None] == endpoint_nodes[None, :]
    chosen[~chosen.any(axis=1)] = True
    return np.asarray(chosen / chosen.sum(axis=1, keepdims=True), dtype=np.float64)


class SameNodePlanner:
    """A planner for the control plane: ours, or, while ``is_on``, the same services by PreferSameNode.

    Our plan is made in both cases, so that rates are learnt and remembered all the time.
    """

    def __init__(self, is_on: Callable[[], bool]) -> None:
        self._is_on, self._sent = is_on, Plan()

    def __call__(
        self,
        topology: Topology,
        picture: Picture,
        memory: PlanMemory,
        *,
        chosen: Mapping[ServicePort, ChosenTargets] = NOTHING_CHOSEN,
    ) -> tuple[Plan, PlanMemory]:
        plan, memory = plan_mesh(topology, picture, memory, chosen=chosen)
        services = plan.services
        if self._is_on():
            services = {port: _by_same_node(topology, one) for port, one in services.items()}
        before = self._sent.services
        same = services.keys() == before.keys() and all(one.sends_the_same_as(before[p]) for p, one in services.items())
        self._sent = Plan(self._sent.generation + (not same), services)
        return self._sent, memory


def _by_same_node(topology: Topology, plan: ServicePlan) -> ServicePlan:
    nodes = {name: container.node for name, container in topology.container_by_name.items()}
    shares = plan.shares
    client_nodes = np.array([nodes[name] for name in shares.clients])
    endpoint_nodes = np.array([nodes[name] for name in shares.endpoints])
    fractions = same_node_fractions(client_nodes, endpoint_nodes)
    rates = np.array([plan.client_rates[name] for name in shares.clients])
    crossing = (fractions * (client_nodes[:, None] != endpoint_nodes[None, :])).sum(axis=1)
    crossing_share = float(rates @ crossing / rates.sum()) if rates.sum() else 0.0
    return replace(
        plan,
        shares=Shares(shares.clients, shares.endpoints, fractions),
        local_share=1.0 - crossing_share,
        cross_node_share=crossing_share,
        reason="PreferSameNode: all to the endpoints of the client's node, or to all where it has none.",
    )
