"""The stand-in of the API server and kube-apiserver itself, asked the same over HTTP: what one answers the other does.

The twin that is the program runs where KUBEBUILDER_ASSETS names a folder with etcd and kube-apiserver.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.fakes.api_server import ApiServer
from tests.real.kubernetes_itself import ADMIN_TOKEN, KubernetesItself, missing

LACKS = missing("etcd", "kube-apiserver")
ITSELF = pytest.param("itself", marks=[pytest.mark.slow, pytest.mark.skipif(bool(LACKS), reason=LACKS)])
FILTERS = "/apis/networking.istio.io/v1alpha3/namespaces/istio-system/envoyfilters"
SERVICES = "/api/v1/namespaces/default/services"
PODS = "/api/v1/namespaces/default/pods"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
APPLY = {"Content-Type": "application/apply-patch+yaml"}
pytestmark = pytest.mark.timeout(120)


class Twin:
    """Asks one of the two."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url, self.http = url, http

    async def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Return the status and the JSON of an answer."""
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": "application/json"} | headers
        async with self.http.request(method, self.url + path, data=data, headers=headers) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text.startswith("{") else text

    async def events(self, path: str, count: int) -> list[Any]:
        """Return the first events of a watch."""
        found: list[Any] = []
        async with self.http.get(self.url + path) as answer:
            async for line in answer.content:
                found.append(json.loads(line))
                if len(found) == count:
                    break
        return found

    async def apply(self, spec: Any, *, manager: str, force: str = "false") -> tuple[int, Any]:
        """Apply the EnvoyFilter ``f`` as a manager."""
        head = {"apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter", "metadata": {"name": "f"}}
        return await self("PATCH", f"{FILTERS}/f?fieldManager={manager}&force={force}", head | {"spec": spec}, **APPLY)


@pytest.fixture(params=["stand-in", ITSELF])
async def ask(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Twin]:
    connector = aiohttp.TCPConnector(ssl=False)
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as http:
        if request.param == "stand-in":
            async with ApiServer() as api:
                yield Twin(api.url, http)
        else:
            async with KubernetesItself(tmp_path) as running:
                await running.install_istio()
                yield Twin(running.url, http)


def service(name: str, **labels: str) -> Any:
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "labels": labels},
        "spec": {"ports": [{"port": 80, "protocol": "TCP"}]},
    }  # fmt: skip


async def test_items_of_built_in_lists_do_not_say_their_kind(ask: Twin) -> None:
    """Those of custom resources do."""
    await ask("POST", SERVICES, service("s"))
    await ask.apply({"priority": 1}, manager="a")
    (_, services), (_, filters) = await ask("GET", SERVICES), await ask("GET", FILTERS)

    assert ("kind" in services["items"][0], "kind" in filters["items"][0]) == (False, True)


async def test_an_apply_of_the_same_changes_no_version(ask: Twin) -> None:
    """Nothing is written, and no watch wakes."""
    (_, first), (_, second) = (
        await ask.apply({"priority": 1}, manager="a"),
        await ask.apply({"priority": 1}, manager="a"),
    )

    assert first["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]


async def test_what_a_manager_applies_no_more_is_removed(ask: Twin) -> None:
    """Unless another owns it too."""
    await ask.apply({"priority": 1, "workloadSelector": {"labels": {"a": "b"}}}, manager="a")
    await ask.apply({"priority": 1}, manager="b")
    _, found = await ask.apply({"configPatches": []}, manager="a")

    assert found["spec"] == {"priority": 1, "configPatches": []}


async def test_two_managers_that_want_different_things_conflict(ask: Twin) -> None:
    """By field, with the reason that our client looks at; force takes the field over."""
    await ask.apply({"configPatches": [{"applyTo": "CLUSTER"}]}, manager="a")
    status, refusal = await ask.apply({"configPatches": []}, manager="b")
    forced, found = await ask.apply({"configPatches": []}, manager="b", force="true")

    cause = refusal["details"]["causes"][0]
    assert (status, refusal["reason"], cause["reason"], cause["field"]) == (
        409, "Conflict", "FieldManagerConflict", ".spec.configPatches",
    )  # fmt: skip
    owners = [one["manager"] for one in found["metadata"]["managedFields"] if "f:configPatches" in str(one["fieldsV1"])]
    assert (forced, owners) == (200, ["b"])


async def test_an_object_with_finalizers_is_marked_and_stays(ask: Twin) -> None:
    """It goes when the last finalizer goes; a new one cannot be added meanwhile."""
    head = {"apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter"}
    await ask("POST", FILTERS, head | {"metadata": {"name": "f", "finalizers": ["a.b/x"]}, "spec": {}})
    status, marked = await ask("DELETE", f"{FILTERS}/f")
    _, there = await ask("GET", f"{FILTERS}/f")
    more = there | {"metadata": there["metadata"] | {"finalizers": ["a.b/x", "a.b/y"]}}
    refused, _ = await ask("PUT", f"{FILTERS}/f", more)
    await ask("PUT", f"{FILTERS}/f", there | {"metadata": there["metadata"] | {"finalizers": []}})
    gone, _ = await ask("GET", f"{FILTERS}/f")

    assert (status, "deletionTimestamp" in there["metadata"], refused, gone) == (200, True, 422, 404)
    assert marked["kind"] == "EnvoyFilter"


async def test_a_lease_is_not_updated_blindly(ask: Twin) -> None:
    """Without a version it is refused, with an old one there is a conflict; a second of its name exists already."""
    head = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
    _, lease = await ask("POST", LEASES, head | {"metadata": {"name": "l"}, "spec": {"holderIdentity": "a"}})
    again, exists = await ask("POST", LEASES, head | {"metadata": {"name": "l"}, "spec": {"holderIdentity": "a"}})
    blind, _ = await ask("PUT", f"{LEASES}/l", head | {"metadata": {"name": "l", "namespace": "default"}, "spec": {}})
    first, _ = await ask("PUT", f"{LEASES}/l", lease | {"spec": {"holderIdentity": "b"}})
    second, refusal = await ask("PUT", f"{LEASES}/l", lease | {"spec": {"holderIdentity": "c"}})

    assert (again, exists["reason"]) == (409, "AlreadyExists")
    assert (blind, first, second, refusal["reason"]) == (422, 200, 409, "Conflict")


async def test_a_condition_belongs_to_who_applied_it(ask: Twin) -> None:
    """Conditions are merged by their type, through the status alone; applied no more, ours goes and the other stays."""
    await ask("POST", SERVICES, service("s"))
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "default"}}

    def condition(kind: str) -> Any:
        now = "2026-01-01T00:00:00Z"
        said = {"type": kind, "status": "True", "reason": "R", "message": "", "lastTransitionTime": now}
        return body | {"status": {"conditions": [said]}}

    path = f"{SERVICES}/s/status?force=true&fieldManager="
    await ask("PATCH", path + "ours", condition("a.b/ours"), **APPLY)
    await ask("PATCH", path + "theirs", condition("a.b/theirs"), **APPLY)
    _, both = await ask("GET", f"{SERVICES}/s")
    await ask("PATCH", path + "ours", body, **APPLY)
    _, left = await ask("GET", f"{SERVICES}/s")

    assert sorted(one["type"] for one in both["status"]["conditions"]) == ["a.b/ours", "a.b/theirs"]
    assert [one["type"] for one in left["status"]["conditions"]] == ["a.b/theirs"]


async def test_who_leaves_a_selector_is_deleted_to_its_watch(ask: Twin) -> None:
    """And added when it comes back."""
    await ask("POST", SERVICES, service("s", a="b"))
    _, page = await ask("GET", f"{SERVICES}?labelSelector=a%3Db")
    version = page["metadata"]["resourceVersion"]
    watching = asyncio.create_task(
        ask.events(f"{SERVICES}?watch=true&labelSelector=a%3Db&resourceVersion={version}&timeoutSeconds=20", 2)
    )
    for value in ("c", "b"):
        merge = {"Content-Type": "application/merge-patch+json"}
        await ask("PATCH", f"{SERVICES}/s", {"metadata": {"labels": {"a": value}}}, **merge)
    found = await watching

    assert [one["type"] for one in found] == ["DELETED", "ADDED"]


async def test_a_page_of_a_list_leads_to_the_next(ask: Twin) -> None:
    """All pages are of one moment: a Service that is made in between is in none."""
    for number in range(3):
        await ask("POST", SERVICES, service(f"s{number}", page="x"))
    path, seen = f"{SERVICES}?labelSelector=page%3Dx&limit=2", []
    _, page = await ask("GET", path)
    await ask("POST", SERVICES, service("s9", page="x"))
    while True:
        seen += [one["metadata"]["name"] for one in page["items"]]
        if not (more := page["metadata"].get("continue")):
            break
        _, page = await ask("GET", f"{path}&continue={more}")

    assert seen == ["s0", "s1", "s2"]


@pytest.mark.parametrize(
    ("budgets", "expected"), [((), 201), ((1,), 201), ((0,), 429), ((1, 1), 500)], ids=["none", "one", "spent", "two"]
)
async def test_evictions_by_budgets(ask: Twin, budgets: tuple[int, ...], expected: int) -> None:
    """201 allowed; 429 where the budget allows none; 500 where there are several budgets."""
    spec = {"containers": [{"name": "c", "image": "i"}], "nodeName": "n1"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}}, "spec": spec}
    assert (await ask("POST", PODS, pod))[0] == 201
    now = "2026-01-01T00:00:00Z"
    ready = [{"type": "Ready", "status": "True", "lastTransitionTime": now}]
    merge = {"Content-Type": "application/merge-patch+json"}
    await ask("PATCH", f"{PODS}/p/status", {"status": {"phase": "Running", "conditions": ready}}, **merge)
    for number, allowed in enumerate(budgets):
        head = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": f"b{number}"}}
        selected = {"minAvailable": 0, "selector": {"matchLabels": {"a": "b"}}}
        _, made = await ask("POST", BUDGETS, head | {"spec": selected})
        counts = {"currentHealthy": 1, "desiredHealthy": 1 - allowed, "expectedPods": 1, "disruptionsAllowed": allowed}
        status = {"status": counts | {"observedGeneration": made["metadata"].get("generation", 1)}}
        await ask("PATCH", f"{BUDGETS}/b{number}/status", status, **merge)
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p", "namespace": "default"}}
    status_code, _ = await ask("POST", f"{PODS}/p/eviction", eviction)

    assert status_code == expected
