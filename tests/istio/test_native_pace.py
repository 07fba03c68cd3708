"""No step between two states of mode native has a route to a subset that is not there, or that is too new."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from istio.difference import KubeObject, is_ours
from istio.integration import LABELS
from istio.native_pace import REST_S, NativePace
from tests.fakes.clock import FakeClock

NODES = ("n1", "n2", "n3")
Pair = tuple[KubeObject, KubeObject]


def pair(*nodes: str) -> list[KubeObject]:
    """Return a rule with these subsets, and routes that lead to all of them."""
    metadata = {"name": "askew.shop", "namespace": "default", "labels": dict(LABELS)}
    ways = [{"destination": {"host": "shop", "subset": node}, "weight": 1} for node in nodes]
    routes = [{"match": [{"port": 80}], "route": ways}, {"route": [{"destination": {"host": "shop"}}]}]
    specs: dict[str, dict[str, Any]] = {
        "DestinationRule": {"host": "shop", "subsets": [{"name": node, "labels": {}} for node in nodes]},
        "VirtualService": {"hosts": ["shop"], "http": routes},
    }
    return [
        {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec}
        for kind, spec in specs.items()
    ]


def subsets(objects: list[KubeObject]) -> set[str]:
    """Return the subsets that the rule has."""
    return {one["name"] for o in objects if o["kind"] == "DestinationRule" for one in o["spec"]["subsets"]}


def used(objects: list[KubeObject]) -> set[str]:
    """Return the subsets that routes lead to."""
    routes = [route for o in objects if o["kind"] == "VirtualService" for route in o["spec"]["http"]]
    return {
        way["destination"]["subset"] for route in routes for way in route["route"] if "subset" in way["destination"]
    }


def walk(start: list[KubeObject], wanted: list[KubeObject], clock: FakeClock) -> list[list[KubeObject]]:
    """Return the states from one to the other, a rest between each two."""
    pace, states = NativePace(clock), [start]
    while True:
        now = pace.paced(wanted, states[-1])
        states.append(now)
        if pace.wake_s is None:
            return states
        assert len(states) < 6
        clock.now_s = pace.wake_s


def test_the_rule_comes_first_and_goes_last(clock: FakeClock) -> None:
    """A rest lies between."""
    came = walk([], pair("n1", "n2"), clock)
    went = walk(came[-1], [], clock)

    assert [[one["kind"] for one in state] for state in came] == [
        [], ["DestinationRule"], ["DestinationRule", "VirtualService"]
    ]  # fmt: skip
    assert [[one["kind"] for one in state] for state in went] == [
        ["DestinationRule", "VirtualService"], ["DestinationRule"], []
    ]  # fmt: skip


def test_weights_alone_do_not_wait(clock: FakeClock) -> None:
    """All subsets are led to already; also for a leader that has just begun."""
    wanted = pair("n1", "n2")
    wanted[1]["spec"]["http"][0]["route"][0]["weight"] = 7

    assert NativePace(clock).paced(wanted, pair("n1", "n2")) == wanted


def test_a_node_that_is_empty_leaves_the_routes_at_once_though_another_must_rest(clock: FakeClock) -> None:
    """Its endpoints are gone; the new node's subset is there, and led to after the rest."""
    states = walk(pair("n1", "n2"), pair("n2", "n3"), clock)

    assert [(sorted(subsets(one)), sorted(used(one))) for one in states] == [
        (["n1", "n2"], ["n1", "n2"]),
        (["n1", "n2", "n3"], ["n2"]),
        (["n2", "n3"], ["n2", "n3"]),
    ]


def test_others_objects_are_not_touched(clock: FakeClock) -> None:
    """What has not our label is no step on our way."""
    foreign = pair("n1")
    for one in foreign:
        one["metadata"] = {**one["metadata"], "labels": {}}
    assert not any(map(is_ours, foreign))

    assert NativePace(clock).paced([], foreign) == []


@given(st.lists(st.sets(st.sampled_from(NODES)), min_size=1, max_size=5), st.data())
def test_no_route_leads_to_what_is_not_there_or_is_new(wishes: list[set[str]], data: st.DataObject) -> None:
    """However often the wish changes, and whenever it is looked at: a subset that routes lead to stood for a rest."""
    clock = FakeClock()
    pace = NativePace(clock)
    state: list[KubeObject] = []
    since: dict[str, float] = {}
    for wish in wishes:
        wanted = pair(*sorted(wish)) if wish else []
        for _ in range(data.draw(st.integers(1, 3))):
            before, state = state, pace.paced(wanted, state)
            since = {name: since.get(name, clock.now_s) for name in subsets(state)}
            assert used(state) <= subsets(state) & subsets(before) or not used(state)
            assert all(clock.now_s - since[name] >= REST_S for name in used(state))
            # What the last routes led to stands on: a proxy may have them still.
            assert used(before) <= subsets(state)
            clock.now_s += data.draw(st.sampled_from((0.5, REST_S, 2 * REST_S)))
    for _ in range(4):
        state = pace.paced(wanted, state)
        clock.now_s += REST_S

    assert state == wanted


@pytest.mark.parametrize(
    "spec",
    [
        None,
        {},
        {"http": [{"redirect": {"uri": "/"}}], "subsets": [{}]},
        {"http": None, "tcp": {}, "subsets": None},
        {"http": [{"route": [{}]}, None, {"route": [{"destination": None}]}], "subsets": ["x", {"name": None}]},
    ],
)
def test_what_anybody_wrote_with_our_label_ends_nothing(clock: FakeClock, spec: object) -> None:
    """A redirect in an object of one's own namespace must not be the end of the control plane, again and again."""
    odd = [one | {"spec": spec} for one in pair()]
    bare = [{key: value for key, value in one.items() if key != "spec"} for one in odd]
    for present in (odd, bare):
        assert used(walk(present, [], clock)[-1]) == set()
        assert used(walk(present, pair("n1"), clock)[-1]) == {"n1"}
