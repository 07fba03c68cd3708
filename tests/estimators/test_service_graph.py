"""GraphMerge: replicas to vertices, calls to undirected links."""

from __future__ import annotations

from estimators.service_graph import merge_replicas
from estimators.window_totals import WindowTotals

TOTALS = WindowTotals(10.0, {"a-0": 1, "a-1": 2, "b-0": 3}, {"a-0": 10, "a-1": 20, "b-0": 30})
CONTAINERS = {"a-0": "a", "a-1": "a", "b-0": "b"}


def test_replicas_sum_to_one_vertex() -> None:
    """Receive and transmit of a service are the sums over its containers."""
    graph = merge_replicas(CONTAINERS, [("a", "b")], TOTALS)
    assert (graph.receive_bytes, graph.transmit_bytes) == ((3, 3), (30, 30))


def test_repeated_and_mutual_calls_are_one_pair() -> None:
    """The first call gives the pair its direction; the calls themselves stay apart."""
    graph = merge_replicas(CONTAINERS, [("b", "a"), ("a", "b"), ("b", "a")], TOTALS)
    assert (graph.pairs, graph.calls) == (((1, 0),), ((1, 0), (0, 1)))


def test_a_self_call_is_no_link_and_is_named() -> None:
    """A service's own traffic shows in no link."""
    graph = merge_replicas(CONTAINERS, [("a", "a")], TOTALS)
    assert graph.pairs == ()
    assert "call from a to itself" in graph.warnings[0]


def test_a_call_to_a_service_without_containers_is_named() -> None:
    """No vertex, no link, a warning with the name."""
    graph = merge_replicas(CONTAINERS, [("a", "ghost")], TOTALS)
    assert graph.pairs == ()
    assert "ghost has no containers" in graph.warnings[0]


def test_counters_of_a_stranger_are_named_and_left_out() -> None:
    """A counter of a container that is not listed adds to no service."""
    graph = merge_replicas({"b-0": "b"}, [], TOTALS)
    assert graph.receive_bytes == (3,)
    assert "counters of a-0: no such container" in graph.warnings


def test_a_service_with_an_uncounted_container_is_not_taken_for_known() -> None:
    """Half of its containers counted: a lower bound, and a warning that names the other."""
    graph = merge_replicas(CONTAINERS | {"b-1": "b"}, [("a", "b")], TOTALS)
    assert (graph.coverage, graph.observed(1)) == ((1.0, 0.5), False)
    assert graph.warnings == ("service b: no counters of b-1",)


def test_nothing_gives_nothing() -> None:
    """No containers, no calls, no counters: an empty graph without warnings."""
    graph = merge_replicas({}, [], WindowTotals(0.0, {}, {}))
    assert (graph.services, graph.pairs, graph.warnings) == ((), (), ())
