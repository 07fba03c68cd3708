"""The API-server stand-in behaves as the API's documentation and the recorded facts say."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.fakes.api_server import ApiServer

SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "default"}}
FILTERS = "/apis/networking.istio.io/v1alpha3/namespaces/istio-system/envoyfilters"
APPLY = {"Content-Type": "application/apply-patch+yaml"}


class Http:
    """A session that knows the stand-in's address and returns status and body."""

    def __init__(self, api: ApiServer, session: aiohttp.ClientSession) -> None:
        self.api, self.session = api, session

    async def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body)
        async with self.session.request(method, self.api.url + path, data=data, headers=headers) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text.startswith("{") else text


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    """A stand-in."""
    async with ApiServer() as server:
        yield server


@pytest.fixture
async def http(api: ApiServer) -> AsyncIterator[Http]:
    """A plain HTTP client."""
    async with aiohttp.ClientSession() as session:
        yield Http(api, session)


async def apply(http: Http, spec: Any, *, manager: str, force: str = "false") -> tuple[int, Any]:
    """Apply the EnvoyFilter ``f`` as a manager."""
    kind = {"apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter", "metadata": {"name": "f"}}
    return await http("PATCH", f"{FILTERS}/f?fieldManager={manager}&force={force}", kind | {"spec": spec}, **APPLY)


async def test_items_of_built_in_lists_do_not_say_their_kind(api: ApiServer, http: Http) -> None:
    """Those of custom resources do."""
    api.put(SERVICE)
    api.put({"kind": "EnvoyFilter", "metadata": {"name": "f", "namespace": "istio-system"}})

    (_, services), (_, filters) = await http("GET", "/api/v1/services"), await http("GET", FILTERS)
    assert ("kind" in services["items"][0], "kind" in filters["items"][0]) == (False, True)


async def test_a_write_that_changes_nothing_gets_no_new_version(http: Http) -> None:
    """Nor does an apply of the same."""
    await apply(http, {"priority": 1}, manager="a")
    (_, first), (_, second) = (
        await apply(http, {"priority": 1}, manager="a"),
        await apply(http, {"priority": 1}, manager="a"),
    )

    assert first["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]


async def test_what_a_manager_applies_no_more_is_removed(http: Http) -> None:
    """Unless another owns it too."""
    await apply(http, {"priority": 1, "workloadSelector": {"labels": {"a": "b"}}}, manager="a")
    await apply(http, {"priority": 1}, manager="b")
    _, found = await apply(http, {"configPatches": []}, manager="a")

    assert found["spec"] == {"priority": 1, "configPatches": []}


async def test_a_list_of_a_custom_resource_has_one_owner(http: Http) -> None:
    """Two managers cannot share ``configPatches``: without list types in the schema a list is atomic."""
    await apply(http, {"configPatches": [{"applyTo": "CLUSTER"}]}, manager="a")
    status, refusal = await apply(http, {"configPatches": []}, manager="b")
    forced, found = await apply(http, {"configPatches": []}, manager="b", force="true")

    assert (status, refusal["reason"], refusal["details"]["causes"][0]["reason"]) == (
        409,
        "Conflict",
        "FieldManagerConflict",
    )
    assert (forced, [one["manager"] for one in found["metadata"]["managedFields"]]) == (200, ["b"])


async def test_an_object_with_finalizers_is_marked_and_stays(api: ApiServer, http: Http) -> None:
    """It goes when the last finalizer goes; a new one cannot be added meanwhile."""
    metadata = {"name": "f", "namespace": "istio-system", "finalizers": ["x"]}
    api.put({"kind": "EnvoyFilter", "metadata": metadata})
    status, marked = await http("DELETE", f"{FILTERS}/f")
    more = marked | {"metadata": marked["metadata"] | {"finalizers": ["x", "y"]}}
    refused, _ = await http("PUT", f"{FILTERS}/f", more)
    _, _ = await http("PUT", f"{FILTERS}/f", marked | {"metadata": marked["metadata"] | {"finalizers": []}})
    gone, _ = await http("GET", f"{FILTERS}/f")

    assert (status, "deletionTimestamp" in marked["metadata"], refused, gone) == (200, True, 422, 404)


async def test_a_lease_is_not_updated_blindly(api: ApiServer, http: Http) -> None:
    """Without a version it is refused, with an old one there is a conflict."""
    path = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    _, lease = await http("POST", path, {"metadata": {"name": "l"}, "spec": {"holderIdentity": "a"}})
    bare = {"metadata": {"name": "l", "namespace": "default"}, "spec": {}}
    blind, _ = await http("PUT", f"{path}/l", bare)
    first, _ = await http("PUT", f"{path}/l", lease | {"spec": {"holderIdentity": "b"}})
    second, refusal = await http("PUT", f"{path}/l", lease | {"spec": {"holderIdentity": "c"}})

    assert (blind, first, second, refusal["reason"]) == (422, 200, 409, "Conflict")


async def test_status_is_a_thing_of_its_own(api: ApiServer, http: Http) -> None:
    """A put of the object leaves the status, a put of the status leaves the object."""
    api.put(SERVICE)
    body = SERVICE | {"spec": {"type": "ClusterIP"}, "status": {"loadBalancer": {"x": 1}}}
    _, whole = await http("PUT", "/api/v1/namespaces/default/services/s", body)
    _, status = await http("PUT", "/api/v1/namespaces/default/services/s/status", body | {"spec": {"type": "Other"}})

    assert ("status" in whole, status["spec"], status["status"]) == (False, {"type": "ClusterIP"}, body["status"])


@pytest.mark.parametrize(
    ("budgets", "expected"), [([], 201), ([1], 201), ([0], 429), ([1, 1], 500)], ids=["none", "one", "spent", "two"]
)
async def test_evictions_are_answered_as_recorded(
    api: ApiServer, http: Http, budgets: list[int], expected: int
) -> None:
    """201 allowed; 429 where the budget allows none; 500 where there are several budgets."""
    api.put({"kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}}})
    for number, allowed in enumerate(budgets):
        spec, status = {"selector": {"matchLabels": {"a": "b"}}}, {"disruptionsAllowed": allowed}
        api.put({"kind": "PodDisruptionBudget", "metadata": {"name": f"b{number}"}, "spec": spec, "status": status})
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    status_code, _ = await http("POST", "/api/v1/namespaces/default/pods/p/eviction", eviction)
    marked = "deletionTimestamp" in api.get("Pod", "p")["metadata"]

    assert (status_code, marked) == (expected, expected == 201)


async def test_who_leaves_a_selector_is_deleted_to_its_watch(api: ApiServer, http: Http) -> None:
    """And added when it comes back."""
    api.put(SERVICE)
    version = api.objects.version
    for labels in ({"a": "b"}, {}, {"a": "b"}):
        api.edit("Service", "s", lambda body, labels=labels: body["metadata"].update(labels=labels))  # type: ignore[misc]
    path = f"/api/v1/services?watch=true&timeoutSeconds=1&resourceVersion={version}&labelSelector=a=b"
    async with http.session.get(api.url + path) as answer:
        lines = [json.loads(line)["type"] for line in (await answer.text()).splitlines()]

    assert lines == ["ADDED", "DELETED", "ADDED"]


async def test_a_merge_patch_merges_and_removes(api: ApiServer, http: Http) -> None:
    """RFC 7386, over HTTP."""
    api.put(SERVICE | {"metadata": SERVICE["metadata"] | {"labels": {"a": "1", "b": "2"}}})  # type: ignore[operator]
    path, merge = "/api/v1/namespaces/default/services/s", {"Content-Type": "application/merge-patch+json"}
    status, found = await http("PATCH", path, {"metadata": {"labels": {"a": None, "c": "3"}}}, **merge)

    assert (status, found["metadata"]["labels"]) == (200, {"b": "2", "c": "3"})
