"""The plan: what proxies are told, apart from the figures that explain it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mesh.plan import Plan, ServicePlan
from mesh.shares import Shares
from mesh.topology import ContainerName, ServiceName, ServicePort

CLIENT, ENDPOINT = ContainerName("web-1"), ContainerName("shop-1")


def service_plan(name: str) -> ServicePlan:
    return ServicePlan(
        service_port=ServicePort(ServiceName(f"{name}.default"), 80),
        shares=Shares((CLIENT,), (ENDPOINT,), np.ones((1, 1))),
        client_rates={CLIENT: 10.0},
        targets={ENDPOINT: 10.0},
        local_share=1.0,
        cross_node_share=0.0,
        lower_bound_cross_node_share=0.0,
        programming="weighted-clusters",
        reason="",
    )


def plan(generation: int, *services: ServicePlan) -> Plan:
    return Plan(generation, {one.service_port: one for one in services})


def test_figures_change_nothing_that_proxies_are_told() -> None:
    """Rates, targets and reasons may differ; shares, form and whether it is applied may not."""
    one = service_plan("shop")

    assert one.sends_the_same_as(replace(one, client_rates={CLIENT: 20.0}, targets={ENDPOINT: 20.0}, reason="x"))
    assert not one.sends_the_same_as(replace(one, shares=Shares((CLIENT,), (ENDPOINT,), np.zeros((1, 1)))))
    assert not one.sends_the_same_as(replace(one, programming="endpoint-weights"))
    assert not one.sends_the_same_as(replace(one, applied=False))


def test_a_following_plan_keeps_by_identity_what_it_sends_as_before() -> None:
    """Edges see by identity that nothing is to be done; what has gone is gone, what is new or changed is new."""
    shop, cart, gone = service_plan("shop"), service_plan("cart"), service_plan("gone")
    same, changed, new = replace(shop, reason="x"), replace(cart, applied=False), service_plan("new")
    found = plan(2, same, changed, new).following(plan(1, shop, cart, gone))

    assert found.generation == 2
    assert list(found.services) == [shop.service_port, cart.service_port, new.service_port]
    assert list(map(id, found.services.values())) == [id(shop), id(changed), id(new)]
