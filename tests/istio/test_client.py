"""The client of the API server, against the stand-in over real HTTP."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from istio.client import KubernetesClient, WatchEvent, connect
from istio.errors import (
    CannotConnectError,
    ChangedMeanwhileError,
    ExistsAlreadyError,
    NoSuchObjectError,
    NotPermittedError,
    SourceUnavailableError,
    StartOverError,
    TryLaterError,
)
from istio.kinds import DESTINATION_RULES, ENVOY_FILTERS, LEASES, PODS, SERVICES
from istio.settings import KubernetesSettings
from tests.fakes.api_server import ApiServer


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    """A stand-in with a few Services."""
    async with ApiServer() as server:
        for number in range(5):
            server.put({"kind": "Service", "metadata": {"name": f"s{number}", "labels": {"n": str(number % 2)}}})
        yield server


@pytest.fixture
async def client(api: ApiServer) -> AsyncIterator[KubernetesClient]:
    """A client with small pages and short deadlines."""
    async with await connect(KubernetesSettings(api_server=api.url, page_objects=2, deadline_s=2.0)) as connected:
        yield connected


async def first(client: KubernetesClient, count: int, *, version: str, watch_s: float = 5.0) -> list[WatchEvent]:
    """Return the first events of a watch of Services."""
    events: list[WatchEvent] = []
    async with aclosing(client.watch(SERVICES, resource_version=version, watch_s=watch_s)) as stream:
        async for event in stream:
            events.append(event)
            if len(events) == count:
                break
    return events


async def test_a_list_comes_in_pages_of_one_moment(api: ApiServer, client: KubernetesClient) -> None:
    """All pages show the cluster as it was at the first; what is written in between is for the watch."""
    page = await client.page(SERVICES)
    api.remove("Service", "s4")
    names = [one["metadata"]["name"] for one in page.items]
    while page.more:
        page = await client.page(SERVICES, more=page.more)
        names += [one["metadata"]["name"] for one in page.items]

    assert names == ["s0", "s1", "s2", "s3", "s4"]
    assert [event.type for event in await first(client, 1, version=page.resource_version)] == ["DELETED"]


async def test_a_page_token_that_is_too_old_is_said(api: ApiServer, client: KubernetesClient) -> None:
    """The list must start over."""
    page = await client.page(SERVICES)
    api.compact()

    with pytest.raises(StartOverError):
        await client.page(SERVICES, more=page.more)


async def test_a_selector_chooses(client: KubernetesClient) -> None:
    """Labels choose on the server."""
    found = await client.list(SERVICES, label_selector="n=1")

    assert [one["metadata"]["name"] for one in found] == ["s1", "s3"]


async def test_a_watch_tells_what_changes(api: ApiServer, client: KubernetesClient) -> None:
    """Creations, changes and deletions come in order."""
    version = (await client.page(SERVICES)).resource_version
    api.put({"kind": "Service", "metadata": {"name": "new"}})
    api.edit("Service", "new", lambda body: body["metadata"].update(labels={"a": "b"}))
    api.remove("Service", "new")

    events = await first(client, 3, version=version)

    assert [event.type for event in events] == ["ADDED", "MODIFIED", "DELETED"]


@pytest.mark.parametrize("as_status", [True, False], ids=["HTTP status", "ERROR event"])
async def test_a_watch_from_the_past_must_start_over(api: ApiServer, client: KubernetesClient, as_status: bool) -> None:
    """410 Gone is the same, wherever it stands."""
    version = (await client.page(SERVICES)).resource_version
    api.put({"kind": "Service", "metadata": {"name": "new"}})
    api.compact()
    api.faults.gone_as_status = as_status

    with pytest.raises(StartOverError):
        await first(client, 1, version=version)


async def test_an_event_that_is_cut_off_is_none(api: ApiServer, client: KubernetesClient) -> None:
    """A connection that breaks in the middle of a line ends the watch as unavailable, without the half."""
    version = (await client.page(SERVICES)).resource_version
    api.faults.cut_after_bytes = 30
    api.put({"kind": "Service", "metadata": {"name": "new"}})

    with pytest.raises(SourceUnavailableError):
        await first(client, 1, version=version)


async def test_a_name_is_taken_once(client: KubernetesClient) -> None:
    """The second creation says that there is one."""
    lease = {"metadata": {"name": "askew", "namespace": "askew-system"}, "spec": {"holderIdentity": "a"}}
    await client.create(LEASES, lease, namespace="askew-system")

    with pytest.raises(ExistsAlreadyError):
        await client.create(LEASES, lease, namespace="askew-system")


async def test_of_two_writers_of_one_version_one_wins(client: KubernetesClient) -> None:
    """Who puts an older version is told."""
    lease = {"metadata": {"name": "askew", "namespace": "askew-system"}, "spec": {"holderIdentity": "a"}}
    old = await client.create(LEASES, lease, namespace="askew-system")
    await client.replace(LEASES, {**old, "spec": {"holderIdentity": "b"}})

    with pytest.raises(ChangedMeanwhileError):
        await client.replace(LEASES, {**old, "spec": {"holderIdentity": "c"}})


async def test_apply_does_not_take_others_fields(client: KubernetesClient) -> None:
    """A conflict names the owner; ``force`` takes the field."""

    def body(priority: int) -> dict[str, object]:
        return {"metadata": {"name": "f", "namespace": "istio-system"}, "spec": {"priority": priority}}

    await client.apply(ENVOY_FILTERS, body(1), field_manager="someone")
    with pytest.raises(ChangedMeanwhileError) as error:
        await client.apply(ENVOY_FILTERS, body(2))
    taken = await client.apply(ENVOY_FILTERS, body(2), force=True)

    assert "someone" in error.value.owners[0]
    assert taken["spec"] == {"priority": 2}


async def test_what_is_not_installed_is_told_from_what_is_not_there(api: ApiServer, client: KubernetesClient) -> None:
    """No Istio: the kind is absent. An unknown name: the object is."""
    with pytest.raises(NoSuchObjectError) as of_object:
        await client.get(DESTINATION_RULES, "none", namespace="default")
    api.uninstall("destinationrules")
    with pytest.raises(NoSuchObjectError) as of_kind:
        await client.page(DESTINATION_RULES)

    assert (of_object.value.kind_is_absent, of_kind.value.kind_is_absent) == (False, True)


async def test_what_is_forbidden_names_the_right_that_is_missing(api: ApiServer, client: KubernetesClient) -> None:
    """403: the message says which verb of which resource."""
    api.faults.forbidden.add(("list", "pods"))

    with pytest.raises(NotPermittedError, match=r"cannot list resource \W+pods"):
        await client.page(PODS)


async def test_a_server_that_is_busy_says_when(api: ApiServer, client: KubernetesClient) -> None:
    """429 with Retry-After."""
    api.faults.fail(429, retry_s=7)

    with pytest.raises(TryLaterError) as error:
        await client.page(PODS)

    assert error.value.retry_s == 7.0


@pytest.mark.parametrize("fault", ["down", "hanging", "500"])
async def test_a_server_in_trouble_is_unavailable(api: ApiServer, fault: str) -> None:
    """No connection, no answer in time, a 5xx: try again."""
    if fault == "down":
        await api.stop()
    api.faults.hang = fault == "hanging"
    if fault == "500":
        api.faults.fail(500)

    async with await connect(KubernetesSettings(api_server=api.url, deadline_s=0.1)) as client:
        with pytest.raises(SourceUnavailableError):
            await client.page(PODS)


async def test_a_kubeconfig_leads_to_a_server(api: ApiServer, tmp_path: Path) -> None:
    """Its current context is used, with the user's token."""
    api.token = "secret-of-the-test"
    users = [{"name": "u", "user": {"token": api.token}}]
    clusters = [{"name": "c", "cluster": {"server": api.url}}]
    contexts = [{"name": "x", "context": {"cluster": "c", "user": "u"}}]
    file = tmp_path / "config"
    config = {"users": users, "clusters": clusters, "contexts": contexts, "current-context": "x"}
    file.write_text(json.dumps(config | {"apiVersion": "v1", "kind": "Config"}))

    async with await connect(KubernetesSettings(kubeconfig=str(file))) as client:
        assert len(await client.list(SERVICES)) == 5


async def test_no_configuration_is_told_in_one_line(tmp_path: Path) -> None:
    """A person reads what would be taken."""
    with pytest.raises(CannotConnectError, match=r"allowed: kubernetes\.api_server"):
        await connect(KubernetesSettings(kubeconfig=str(tmp_path / "none")))


async def test_who_has_no_home_is_told_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's user that no file names, outside of a cluster."""
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 424242)

    with pytest.raises(CannotConnectError, match=r"found no file ~/\.kube/config, allowed:"):
        await connect(KubernetesSettings())


async def test_a_kubeconfig_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the first key that an empty one lacks. Of several files one may be missing."""
    monkeypatch.setenv("KUBECONFIG", "/nonexistent/one:/nonexistent/two")

    with pytest.raises(CannotConnectError, match="found no file /nonexistent/one:/nonexistent/two, allowed:"):
        await connect(KubernetesSettings())
