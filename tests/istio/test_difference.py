"""What to do so that our objects are those that are wanted."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from istio.difference import Action, Apply, Delete, Ref, Release, difference, ref_of
from istio.envoy_filters import render
from istio.integration import FINALIZER, Integration, SteeredService
from mesh.topology import ServiceName

TO = Integration()
WAY = "askew-xds-cluster"


def wanted(*services: str, to: Integration = TO) -> list[dict[str, Any]]:
    """Return the objects for these Services."""
    return render(to, [SteeredService(ServiceName(service)) for service in services])


def stored(objects: list[dict[str, Any]], **metadata: Any) -> list[dict[str, Any]]:
    """Return objects as a server has them."""
    found = copy.deepcopy(objects)
    for i, one in enumerate(found):
        one["metadata"] |= {"uid": f"u{i}", "resourceVersion": str(i), "managedFields": []} | metadata
    return found


def told(actions: list[Action]) -> list[tuple[str, str]]:
    """Return kind of action and name of the object, in order."""
    return [(type(one).__name__, one.ref.name) for one in actions]


def test_the_way_comes_first() -> None:
    """No cluster's endpoints are looked for over a way that is not there."""
    assert told(difference(wanted("b.x", "a.x"), [])) == [
        ("Apply", WAY),
        ("Apply", "askew.x.a"),
        ("Apply", "askew.x.b"),
    ]


def test_what_is_as_wanted_is_left_alone() -> None:
    """Each write is a full push to all proxies."""
    assert difference(wanted("a.x"), stored(wanted("a.x"))) == []


def test_the_way_goes_last() -> None:
    """And its finalizer after it: an order that a person's deletion keeps, too."""
    actions = difference([], stored(wanted("a.x", "b.x")))

    assert told(actions) == [("Delete", "askew.x.a"), ("Delete", "askew.x.b"), ("Delete", WAY), ("Release", WAY)]
    assert actions[2] == Delete(Ref("EnvoyFilter", "istio-system", WAY), "u0")


def test_only_what_is_no_longer_wanted_goes() -> None:
    """One of two Services loses its annotation."""
    assert told(difference(wanted("a.x"), stored(wanted("a.x", "b.x")))) == [("Delete", "askew.x.b")]


def test_what_someone_has_changed_is_taken_back_by_force() -> None:
    """It is ours by its label."""
    present = stored(wanted("a.x"))
    present[1]["spec"]["priority"] = 99

    assert difference(wanted("a.x"), present) == [Apply(wanted("a.x")[1], force=True)]


def test_what_is_not_ours_is_never_deleted_and_never_forced() -> None:
    """An object of our name without our label is another's: the server then tells who owns it."""
    present = stored(wanted("a.x"))
    present[1]["metadata"]["labels"] = {}

    assert difference(wanted("a.x"), present) == [Apply(wanted("a.x")[1], force=False)]
    assert [one.ref.name for one in difference([], present)] == [WAY, WAY]


def test_a_way_that_someone_deletes_takes_the_services_first() -> None:
    """It waits by its finalizer until nothing leads over it; the next run makes both anew."""
    present = stored(wanted("a.x"))
    present[0]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    actions = difference(wanted("a.x"), present)

    assert told(actions) == [("Delete", "askew.x.a"), ("Release", WAY)]
    assert told(difference(wanted("a.x"), [])) == [("Apply", WAY), ("Apply", "askew.x.a")]


def test_others_finalizers_stay() -> None:
    """Only ours is taken off."""
    present = stored(wanted("a.x")[:1])
    present[0]["metadata"]["finalizers"] = ["other/one", FINALIZER]
    release = difference([], present)[-1]

    assert isinstance(release, Release)
    assert release.finalizers == ("other/one",)


def test_another_mode_replaces_the_services_before_the_way_goes() -> None:
    """Over Google's gRPC nothing leads over the cluster any more, and then it is not needed."""
    actions = difference(wanted("a.x", to=replace(TO, mode="googleGrpc")), stored(wanted("a.x")))

    assert told(actions) == [("Apply", "askew.x.a"), ("Delete", WAY), ("Release", WAY)]


names = st.sets(st.sampled_from(["a.x", "b.x", "c.y", "d.z"]))


@given(before=names, after=names, way_is_going=st.booleans())
def test_performing_the_actions_gives_what_is_wanted(*, before: set[str], after: set[str], way_is_going: bool) -> None:
    """In one run, or in two where the way was on its way out; at no step does a cluster lead over a missing way."""
    present = {ref_of(one): one for one in stored(wanted(*sorted(before)))}
    way = Ref("EnvoyFilter", "istio-system", WAY)
    if way_is_going and way in present:
        present[way]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    want = wanted(*sorted(after))
    for _ in range(2):
        for action in difference(want, list(present.values())):
            _perform(action, present)
            assert way in present or not present
    assert set(present) == {ref_of(one) for one in want}
    assert difference(want, list(present.values())) == []


def _perform(action: Action, present: dict[Ref, dict[str, Any]]) -> None:
    if isinstance(action, Apply):
        present[action.ref] = stored([action.body])[0]
    elif isinstance(action, Delete):
        if present[action.ref]["metadata"].get("finalizers"):
            present[action.ref]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        else:
            del present[action.ref]
    else:
        assert not action.finalizers
        del present[action.ref]
