"""A pod's score of each node, from the mesh and the links as they are known."""

from __future__ import annotations

import pytest

from askew.pod_placing import PodPlacer, names_in_mesh
from istio.objects import Pod
from mesh.mesh_file import parse_mesh_file
from mesh.picture import Link
from mesh.topology import Topology

MESH = parse_mesh_file("""
apiVersion: askew.mesh/v1
nodes: [{name: n1}, {name: n2}, {name: n3}]
services:
  - {name: web, containers: [{name: web-0, node: n1, address: 127.5.0.1}, {name: web-1, node: n2, address: 127.5.0.2}]}
  - {name: cart, port: 80, containers: [{name: cart-0, node: n2, address: 127.5.0.3}]}
  - {name: db, port: 81, containers: [{name: db-0, node: n3, address: 127.5.0.4}]}
""")
LINKS = (
    Link("web.default", "cart.default", 100.0, "measured"),
    Link("cart.default", "web.default", 900.0, "measured"),
    Link("cart.default", "db.default", 200.0, "measured"),
)
NODES = ["n1", "n2", "n3", "n9"]


def scores(
    pod: Pod, *, links: tuple[Link, ...] = LINKS, names: list[str] | None = None, crowded_share: float = 1.0
) -> list[int]:
    """Return the scores of ``NODES`` in the mesh above."""
    placer = PodPlacer(
        lambda: (MESH, links),
        names_of=lambda one: names_in_mesh(MESH, one) if names is None else names,
        crowded_share=crowded_share,
    )
    return placer.scores(pod, NODES)


def pod(name: str = "cart-9", *, workload: str = "", namespace: str = "default", **labels: str) -> Pod:
    return Pod(namespace, name, labels=labels, workload=workload)


def test_partners_draw_by_what_they_exchange() -> None:
    """Half of web's 1,000 bytes/s are on n1, half on n2, db's 200 on n3; a node that is not known has none."""
    assert scores(pod(app="cart")) == [10, 10, 4, 0]


def test_a_pod_of_two_services_is_drawn_by_both() -> None:
    """It will serve both: n1 has 500 of web's, n2 500 and cart's 200 with db, n3 db's 200 with cart."""
    both = ["cart.default", "db.default"]

    assert scores(pod(), names=both) == [7, 10, 3, 0]


def test_nothing_known_is_no_opinion() -> None:
    """Before the first telemetry, and for a stranger, all nodes are equal."""
    assert scores(pod(app="cart"), links=()) == [0, 0, 0, 0]
    assert scores(pod(app="unknown")) == [0, 0, 0, 0]


@pytest.mark.parametrize("former", [pod("web-0"), pod("web-0", workload="web")])
def test_a_pods_former_self_does_not_draw(former: Pod) -> None:
    """A container of the pod's own name is what is being replaced."""
    links = (Link("web.default", "web.default", 1.0, "measured"),)

    assert scores(former, links=links) == [0, 10, 0, 0]


def test_a_crowded_node_is_halved_where_that_is_asked_for() -> None:
    """cart-0 stands on n2, which is all of cart: with a share of one half, n2 is worth half."""
    assert scores(pod(app="cart"), crowded_share=0.5) == [10, 5, 4, 0]


def test_new_links_are_seen() -> None:
    """What was worked out for one tick's links is not used for the next."""
    now = [LINKS]
    placer = PodPlacer(lambda: (MESH, now[0]), names_of=lambda _: ["cart.default"])
    before = placer.scores(pod(), NODES)
    now[0] = (Link("db.default", "cart.default", 1.0, "measured"),)

    assert (before, placer.scores(pod(), NODES)) == ([10, 10, 4, 0], [0, 0, 10, 0])


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (pod("cart-0"), ["cart.default"]),
        (pod("x", app="cart"), ["cart.default"]),
        (pod("x", **{"app.kubernetes.io/name": "cart", "app": "web"}), ["cart.default"]),
        (pod("x", app="nobody", workload="web"), ["web.default"]),
        (pod("x", workload="web"), ["web.default"]),
        (pod("x", app="cart", namespace="shop"), []),
        (pod("cart-0", namespace="shop"), []),
        (pod("x"), []),
    ],
)
def test_a_file_knows_pods_by_name_label_or_workload(asked: Pod, expected: list[str]) -> None:
    """In this order, and only in the pod's own namespace."""
    assert names_in_mesh(MESH, asked) == expected


def test_an_empty_mesh_knows_nobody() -> None:
    """Before anything was read."""
    assert names_in_mesh(Topology(), pod("cart-0", app="cart")) == []
