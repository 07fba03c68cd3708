"""Our objects in a cluster: applied, taken back, told apart from others', against a stand-in of the API server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from istio.apply import ALL_KINDS, reconcile, remove_all
from istio.client import KubernetesClient, connect
from istio.envoy_filters import render
from istio.errors import SourceUnavailableError
from istio.integration import Integration, SteeredService
from istio.native import render_native
from istio.service_events import service_event, tell
from istio.settings import KubernetesSettings
from mesh.topology import ServiceName
from tests.fakes.api_server import ApiServer
from tests.istio.test_native import SHOP, TOPOLOGY, plan

TO = Integration()


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    async with ApiServer() as running:
        yield running


@pytest.fixture
async def client(api: ApiServer) -> AsyncIterator[KubernetesClient]:
    async with await connect(KubernetesSettings(api_server=api.url)) as connected:
        yield connected


def wanted(*services: str, to: Integration = TO) -> list[dict[str, Any]]:
    return render(to, [SteeredService(ServiceName(service)) for service in services], client_namespaces=["default"])


def names(api: ApiServer) -> list[str]:
    """Return the names of the EnvoyFilters, sorted."""
    return sorted(one["metadata"]["name"] for one in api.all_of("EnvoyFilter"))


async def test_applied_once_and_then_left_alone(api: ApiServer, client: KubernetesClient) -> None:
    """The second run reads and writes nothing: each write would be a full push."""
    first = await reconcile(client, TO, wanted("a.x", "b.x"))
    writes = len(api.writes())
    second = await reconcile(client, TO, wanted("a.x", "b.x"))

    assert [ref.name for ref in first.applied] == ["askew-xds-cluster", "askew.x.a", "askew.x.b"]
    assert (second.applied, second.deleted, len(api.writes())) == ([], [], writes)
    assert names(api) == ["askew-xds-cluster", "askew.x.a", "askew.x.b"]


async def test_an_annotation_that_goes_takes_its_filter_along(api: ApiServer, client: KubernetesClient) -> None:
    """And the last one takes the way to us, finalizer or not."""
    await reconcile(client, TO, wanted("a.x", "b.x"))
    await reconcile(client, TO, wanted("b.x"))
    assert names(api) == ["askew-xds-cluster", "askew.x.b"]

    await reconcile(client, TO, wanted())
    assert names(api) == []


@pytest.mark.parametrize("mode", ["dynamicCluster", "bootstrap", "googleGrpc", "native"])
async def test_one_command_takes_all_back(api: ApiServer, client: KubernetesClient, mode: Any) -> None:
    """Whatever mode made it; what others have put there stays."""
    to = replace(TO, mode=mode)
    filter_of_another = {
        "kind": "EnvoyFilter",
        "metadata": {"name": "lua", "namespace": "istio-system"},
        "spec": {"configPatches": []},
    }
    api.put(filter_of_another)
    objects = (
        render_native(TOPOLOGY, plan(), SHOP, cluster_domain="cluster.local")
        if mode == "native"
        else wanted("a.x", to=to)
    )
    await reconcile(client, to, objects)
    assert sum(len(api.all_of(kind.name)) for kind in ALL_KINDS) == 1 + len(objects)
    await remove_all(client, TO)

    assert [one["metadata"]["name"] for kind in ALL_KINDS for one in api.all_of(kind.name)] == ["lua"]


async def test_a_foreign_object_of_our_name_is_left_and_told_of(api: ApiServer, client: KubernetesClient) -> None:
    """Server-side apply says who owns it; the others are applied all the same."""
    foreign = wanted("a.x")[1]
    foreign["metadata"]["labels"] = {}
    foreign["spec"]["priority"] = 3
    api.put(foreign)
    outcome = await reconcile(client, TO, wanted("a.x", "b.x"))

    assert [ref.name for ref in outcome.refused] == ["askew.x.a"]
    assert api.get("EnvoyFilter", "askew.x.a", namespace="istio-system")["spec"]["priority"] == 3
    assert "askew.x.b" in names(api)


async def test_a_persons_edit_of_ours_is_taken_back(api: ApiServer, client: KubernetesClient) -> None:
    """By force, for it carries our label."""
    await reconcile(client, TO, wanted("a.x"))
    api.edit("EnvoyFilter", "askew.x.a", lambda one: one["spec"].update(priority=1), namespace="istio-system")
    await reconcile(client, TO, wanted("a.x"))

    assert api.get("EnvoyFilter", "askew.x.a", namespace="istio-system")["spec"]["priority"] == 20


async def test_a_persons_deletion_of_the_way_waits_for_what_leads_over_it(
    api: ApiServer, client: KubernetesClient
) -> None:
    """The finalizer holds it; a run takes the Services' filters first, and the next makes all anew."""
    await reconcile(client, TO, wanted("a.x"))
    api.remove("EnvoyFilter", "askew-xds-cluster", namespace="istio-system")
    assert "askew-xds-cluster" in names(api)
    await reconcile(client, TO, wanted("a.x"))
    assert names(api) == []
    await reconcile(client, TO, wanted("a.x"))

    assert names(api) == ["askew-xds-cluster", "askew.x.a"]


async def test_a_run_that_broke_off_is_ended_by_the_next(api: ApiServer, client: KubernetesClient) -> None:
    """The API fails in the middle: what is left half done is seen by the next look."""
    await reconcile(client, TO, wanted("a.x", "b.x"))
    api.faults.fail(500, verb="delete", times=1)
    with pytest.raises(SourceUnavailableError):
        await remove_all(client, TO)
    await remove_all(client, TO)

    assert names(api) == []


async def test_what_may_not_be_written_holds_up_nothing_else(api: ApiServer, client: KubernetesClient) -> None:
    """Rights for mode native are bound in some namespaces alone; the refusal is told, and tried again."""
    native = render_native(TOPOLOGY, plan(), SHOP, cluster_domain="cluster.local")
    api.faults.forbidden |= {("patch", "destinationrules"), ("patch", "virtualservices")}
    outcome = await reconcile(client, TO, [*native, *wanted("a.x")])

    assert sorted(ref.kind for ref in outcome.refused) == ["DestinationRule", "VirtualService"]
    assert names(api) == ["askew-xds-cluster", "askew.x.a"]


async def test_a_mesh_without_istio_has_nothing_to_take_back(api: ApiServer, client: KubernetesClient) -> None:
    """Its kinds are not installed."""
    for kind in ("envoyfilters", "destinationrules", "virtualservices"):
        api.uninstall(kind)
    outcome = await remove_all(client, TO)

    assert outcome.deleted == []


async def test_an_event_that_says_the_same_is_counted(api: ApiServer, client: KubernetesClient) -> None:
    """A thousand ticks with one refusal are one Event."""
    for now_s in (0.0, 60.0, 120.0):
        await tell(client, service_event(ServiceName("a.default"), "AskewUnsupported", "headless", now_s=now_s))
    (event,) = api.all_of("Event")

    assert (event["count"], event["reason"], event["type"]) == (3, "AskewUnsupported", "Warning")
    assert (event["firstTimestamp"], event["lastTimestamp"]) == ("1970-01-01T00:00:00Z", "1970-01-01T00:02:00Z")
    assert event["involvedObject"]["name"] == "a"
