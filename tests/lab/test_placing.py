"""Sizes of a sample application: how its replicas lie on the nodes."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lab.application import Application
from lab.placing import placed_topology
from lab.topology_file import names, parse_application, shipped_file
from mesh.errors import BadInputError


def spread(name: str, *, nodes: int, replicas: int, seed: int = 1) -> Application:
    text = shipped_file(name).read_text("utf-8")
    text = placed_topology(text, nodes=nodes, replicas=replicas, placement="spread", seed=seed)
    return parse_application(text, name=name)


@given(nodes=st.integers(1, 9), replicas=st.integers(1, 20), seed=st.integers(0, 100))
def test_replicas_differ_by_one_at_most_between_nodes(nodes: int, replicas: int, seed: int) -> None:
    """A topology spread constraint with a skew of 1 holds for every service, and none is lost."""
    application = spread("chain", nodes=nodes, replicas=replicas, seed=seed)

    for service in application.services:
        (group,) = service.replicas
        assert sum(group.per_node.values()) == replicas
        assert len(group.per_node) == nodes
        assert max(group.per_node.values()) - min(group.per_node.values()) <= 1


@pytest.mark.parametrize("name", names())
def test_nothing_but_places_changes(name: str) -> None:
    """Services, operations, calls and the load's mix are those of the application."""
    before, after = (
        parse_application(shipped_file(name).read_text("utf-8"), name=name),
        spread(name, nodes=4, replicas=3),
    )

    assert after.edges == before.edges
    assert after.load.mix == before.load.mix
    assert [service.operations for service in after.services] == [service.operations for service in before.services]


def test_single_replicas_do_not_all_stand_on_one_node() -> None:
    """One replica of everything on one node would cross nothing: chance spreads the services, too."""
    application = spread("social-network", nodes=3, replicas=1)

    assert {replica.node for replicas in application.replicas_of.values() for replica in replicas} == {"n1", "n2", "n3"}


def test_the_same_seed_is_the_same_placement() -> None:
    """A cell can be run again; another seed is another draw."""
    first, again, other = (spread("social-network", nodes=5, replicas=2, seed=seed) for seed in (1, 1, 2))

    assert first.services == again.services
    assert first.services != other.services


def test_the_load_starts_on_every_node_and_one_has_half_as_much_again() -> None:
    """Even load on even replicas needs no rates to be learnt."""
    assert spread("chain", nodes=3, replicas=3).load.nodes == pytest.approx({"n1": 3 / 7, "n2": 2 / 7, "n3": 2 / 7})


def test_what_is_no_topology_file_is_refused() -> None:
    """The same message as from any other reader of it."""
    with pytest.raises(BadInputError):
        placed_topology(yaml.safe_dump({"nodes": ["n1"]}), nodes=2, replicas=1, placement="spread", seed=1)


def test_at_random_every_replica_has_a_node_and_the_nodes_are_not_even() -> None:
    """Without constraints some node gets two more than another, somewhere among 23 services."""
    text = shipped_file("social-network").read_text("utf-8")
    text = placed_topology(text, nodes=5, replicas=4, placement="random", seed=1)
    counts = [service.replicas[0].per_node for service in parse_application(text, name="social-network").services]

    assert {sum(per_node.values()) for per_node in counts} == {4}
    assert max(max(per_node.values()) for per_node in counts) > 1
