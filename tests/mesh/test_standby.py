"""Standbys: who takes over when all that a client uses in a tier are down."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.standby import ALL_BELOW, STANDBYS, standbys, tier_of
from mesh.topology import Container, ContainerName, Distance, Node, NodeName, ServiceName, Topology

ZONES = {"n0": "z0", "n1": "z0", "n2": "z0", "n3": "z1", "n4": "z1"}
MESH = Topology(nodes=tuple(Node(NodeName(name), zone) for name, zone in ZONES.items()))


def container(name: str, node: str) -> Container:
    """Return a container of one service."""
    return Container(ContainerName(name), ServiceName("s.default"), NodeName(node), "127.0.0.1")


def endpoints(*per_node: int) -> list[Container]:
    """Return so many endpoints on n0, n1, …."""
    return [container(f"e{node}-{i}", f"n{node}") for node, count in enumerate(per_node) for i in range(count)]


CLIENT = container("client", "n0")


@pytest.mark.parametrize(
    ("distance", "tier"),
    [(Distance.NODE, "local"), (Distance.ZONE, "zone"), (Distance.REGION, "remote"), (Distance.FAR, "remote")],
)
def test_tiers(distance: Distance, tier: str) -> None:
    """The same node is local, the same zone is zone, the rest is remote."""
    assert tier_of(distance) == tier


def test_a_small_service_has_all_others_as_standbys() -> None:
    """With 10 endpoints or fewer, every endpoint that is off the client's node and not in use stands by."""
    members = endpoints(2, 4, 2, 2)

    chosen = standbys(MESH, CLIENT, members, used=members[:2])

    assert len(members) == ALL_BELOW
    assert {e.name for e in chosen} == {e.name for e in members[2:]}


def test_a_large_service_has_three_nearest_first() -> None:
    """Above 10 endpoints three stand by, those of the client's zone before those of another."""
    chosen = standbys(MESH, CLIENT, endpoints(2, 4, 4, 4), used=())

    assert len(chosen) == STANDBYS
    assert {ZONES[e.node] for e in chosen} == {"z0"}


def test_standbys_come_from_two_nodes_where_there_are_two() -> None:
    """If the nearest three share a node, the last gives way to the nearest on another."""
    chosen = standbys(MESH, CLIENT, endpoints(1, 12, 0, 1), used=())

    assert [e.node for e in chosen] == ["n1", "n1", "n3"]
    assert {e.node for e in standbys(MESH, CLIENT, endpoints(1, 12), used=())} == {"n1"}


def test_clients_spread_over_the_standbys() -> None:
    """Rendezvous hashing gives every endpoint about its part of the clients: 60 × 3 over 12 is 15 each."""
    members = endpoints(0, 6, 6)
    counts = dict.fromkeys((e.name for e in members), 0)
    for i in range(60):
        for e in standbys(MESH, container(f"client-{i}", "n0"), members, used=()):
            counts[e.name] += 1

    assert min(counts.values()) >= 5
    assert max(counts.values()) <= 30


def test_a_newcomer_moves_few() -> None:
    """An endpoint that joins enters about 3 lists in 13, and shifts no list but those."""
    before, after = endpoints(0, 6, 6), endpoints(0, 6, 7)
    moved = 0
    for i in range(60):
        client = container(f"client-{i}", "n0")
        old = {e.name for e in standbys(MESH, client, before, used=())}
        new = {e.name for e in standbys(MESH, client, after, used=())}
        moved += old != new
        assert old == new or "e2-6" in new

    assert 5 <= moved <= 25


@given(
    counts=st.lists(st.integers(0, 8), min_size=5, max_size=5),
    used=st.sets(st.integers(0, 39)),
    node=st.sampled_from(sorted(ZONES)),
)
def test_what_always_holds(counts: list[int], used: set[int], node: str) -> None:
    """Not in use, off the client's node, nearest first, as many as promised, from two nodes where there are two."""
    members = endpoints(*counts)
    busy = [e for i, e in enumerate(members) if i in used]
    client = container("client", node)

    chosen = standbys(MESH, client, members, used=busy)

    free = {e.name: e for e in members if e not in busy and e.node != node}
    distances = [MESH.distance(client.node, e.node) for e in chosen]
    assert {e.name for e in chosen} <= free.keys()
    assert distances == sorted(distances)
    assert len(chosen) == (len(free) if len(members) <= ALL_BELOW else min(STANDBYS, len(free)))
    if len(chosen) >= 2:
        assert len({e.node for e in chosen}) >= min(2, len({e.node for e in free.values()}))
    assert chosen == standbys(MESH, client, list(reversed(members)), used=busy)
