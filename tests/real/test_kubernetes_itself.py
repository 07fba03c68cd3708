"""Askew against Kubernetes' own API server, controllers and RBAC: the manifests as they are, and no right beyond them.

Runs where KUBEBUILDER_ASSETS names a folder with etcd, kube-apiserver and kube-controller-manager.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from askew.beside_kubernetes import BesideKubernetes
from istio.apply import CONFIG_MAPS, reconcile
from istio.envoy_filters import bootstrap_config
from istio.errors import NotPermittedError, SourceUnavailableError, StartOverError, TokenRefusedError
from istio.integration import Integration
from istio.kinds import NODES, PODS
from istio.token_reviews import TokenReviews
from istio.watchdog import Watchdog, WatchdogSettings
from tests.real.kubernetes_itself import KubernetesItself, missing
from tests.real.reviews_cluster import (
    CONTROLLERS,
    LOCAL_FIRST,
    MANIFESTS,
    OFF,
    all_run,
    annotate,
    askew,
    fill,
    filters,
    manifests,
)
from tests.real.sidecar_mesh import until

LACKS = missing("etcd", "kube-apiserver", *CONTROLLERS)
SERVICE = "/api/v1/namespaces/default/services/reviews"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.skipif(bool(LACKS), reason=LACKS)]


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[KubernetesItself]:
    """Two nodes, Istio's kinds, the manifests beside Istio, a Service of four pods and two pods that call it."""
    async with KubernetesItself(tmp_path, controllers=CONTROLLERS) as running:
        await fill(running)
        await until(lambda: all_run(running))
        yield running


@pytest.mark.parametrize("overlay", sorted(one.parent.name for one in MANIFESTS.glob("*/kustomization.yaml")))
async def test_the_api_server_takes_the_manifests_strictly(tmp_path: Path, overlay: str) -> None:
    """No unknown field and no refused value."""
    async with KubernetesItself(tmp_path) as running:
        await running.install_istio()
        await running.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "askew-system"}})
        await running.apply(*manifests(overlay), strict=True)


async def test_pods_of_system_priorities_are_taken_where_only_a_quota_allows_them(tmp_path: Path) -> None:
    """An API server that limits them, as some clouds' do, makes our pods; without our quota it would make none."""
    classes = ["system-cluster-critical", "system-node-critical"]
    scope = {"scopeName": "PriorityClass", "operator": "In", "values": classes}
    quota = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "ResourceQuotaConfiguration"}
    quota["limitedResources"] = [{"resource": "pods", "matchScopes": [scope]}]
    plugin = {"name": "ResourceQuota", "configuration": quota}
    file = tmp_path / "admission.json"
    head = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration"}
    file.write_text(json.dumps(head | {"plugins": [plugin]}))
    path = "/api/v1/namespaces/{}/pods"
    flags = (f"--admission-control-config-file={file}",)

    async with KubernetesItself(tmp_path, controllers=CONTROLLERS, flags=flags) as running:
        await running.install_istio()
        await running.add_node("n1", zone="z1")
        await running.apply(*manifests("istio"), *manifests("enforcer"))

        async def priorities() -> list[int]:
            pods = (await running.ask("GET", path.format("askew-system")))["items"]
            return sorted(pod["spec"]["priority"] for pod in pods)

        async def all_there() -> bool:
            return len(await priorities()) == 5

        await until(all_there, deadline_s=60)
        found = await priorities()
        spec = {"priorityClassName": classes[0], "containers": [{"name": "app", "image": "app"}]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "other"}, "spec": spec}
        with pytest.raises(ValueError, match="insufficient quota to match these scopes"):
            await running.ask("POST", path.format("default"), pod)

    assert found == [2_000_000_000] * 4 + [2_000_001_000]


@pytest.mark.parametrize("overlay", ["istio", "istio-tokens"])
async def test_tokens_are_judged_with_the_rights_of_their_overlay_alone(tmp_path: Path, overlay: str) -> None:
    """A sidecar's token names its account; another audience's and a forged one none; without the right, none does."""
    async with KubernetesItself(tmp_path) as running:
        await running.install_istio()
        await running.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "askew-system"}})
        await running.apply(*manifests(overlay))
        metadata = {"name": "load", "namespace": "default"}
        await running.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
        good = await running.token("load", namespace="default", audiences=("istio-ca",))
        other = await running.token("load", namespace="default")
        async with await running.client(await running.token("askew", namespace="askew-system"), name="askew") as client:
            reviews = TokenReviews(lambda token: client.review_token(token, audience="istio-ca"), audience="istio-ca")
            if overlay == "istio":
                with pytest.raises(SourceUnavailableError):
                    await reviews.owner_of(good)
                return
            owner = await reviews.owner_of(good)
            for wrong in (other, good[:-8] + "AAAAAAAA"):
                with pytest.raises(TokenRefusedError):
                    await reviews.owner_of(wrong)

    assert (owner.namespace, owner.service_account) == ("default", "load")


async def test_annotate_and_back_with_the_rights_of_the_manifests(cluster: KubernetesItself) -> None:
    """The filters come and go, Events and the condition say so, nothing is forbidden, the endpoints are the slices'."""
    async with askew(cluster) as replica:
        assert replica.plane is not None
        assert endpoints(replica) == await addresses(cluster, "reviews")
        await annotate(cluster, LOCAL_FIRST)
        await until(lambda: applied(cluster))
        assert await reasons(cluster) == ["AskewApplied"]
        [condition] = (await cluster.ask("GET", SERVICE))["status"]["conditions"]
        assert (condition["type"], condition["status"]) == ("askew.mesh/steered", "True")
        assert replica.plane.source.status.error == ""
        await annotate(cluster, OFF)
        await until(lambda: gone(cluster))
        assert sorted(await reasons(cluster)) == ["AskewApplied", "AskewReverted"]


@pytest.mark.parametrize("overlay", ["istio", "istio-bootstrap"])
async def test_only_the_one_config_map_is_written_and_only_with_its_overlay(
    cluster: KubernetesItself, overlay: str
) -> None:
    """In mode ``bootstrap`` it comes to each namespace of clients and goes; all other ConfigMaps stay forbidden."""
    await cluster.apply(*manifests(overlay))
    to = Integration(mode="bootstrap")
    name = "askew-bootstrap"
    wanted = [bootstrap_config(to, namespace) for namespace in ("default", "kube-public")]
    token = await cluster.token("askew", namespace="askew-system")
    async with await cluster.client(token, name="askew") as client:
        if overlay == "istio":
            with pytest.raises(NotPermittedError):
                await reconcile(client, to, wanted)
            return
        for _ in range(2):
            outcome = await reconcile(client, to, wanted)
            assert outcome.refused == {}
        assert sorted(one["metadata"]["namespace"] for one in await client.list(CONFIG_MAPS, name=name)) == [
            "default",
            "kube-public",
        ]
        other = wanted[0] | {"metadata": wanted[0]["metadata"] | {"name": "another"}}
        for forbidden in (
            client.list(CONFIG_MAPS),
            client.list(CONFIG_MAPS, namespace="default"),
            client.apply(CONFIG_MAPS, other),
            client.create(CONFIG_MAPS, wanted[0], namespace="default"),
        ):
            with pytest.raises(NotPermittedError):
                await forbidden
        assert len((await reconcile(client, to, ())).deleted) == 2
        assert await client.list(CONFIG_MAPS, name=name) == []


async def test_an_api_server_that_dies_leaves_all_as_it_is_and_is_heard_again(cluster: KubernetesItself) -> None:
    """The filters stay, the lease is taken again, and what is annotated afterwards counts."""
    async with askew(cluster) as replica:
        plane = replica.plane
        assert plane is not None
        await annotate(cluster, LOCAL_FIRST)
        await until(lambda: applied(cluster))
        await cluster.kill("kube-apiserver")
        await until(lambda: plane.source.status.error != "")
        assert len(endpoints(replica)) == 4
        await cluster.start_again("kube-apiserver")
        assert await filters(cluster) == ["askew-xds-cluster", "askew.default.reviews"]
        await annotate(cluster, OFF)
        await until(lambda: gone(cluster), deadline_s=60)


async def test_a_watch_from_a_version_that_is_too_old_starts_over(tmp_path: Path) -> None:
    """An API server that has started anew knows no past: our client hears 410 as what it is."""
    async with KubernetesItself(tmp_path) as running:
        await running.add_node("n1", zone="z1")
        await running.kill("kube-apiserver")
        await running.start_again("kube-apiserver")
        async with await running.client() as client:
            with pytest.raises(StartOverError):
                async for _ in client.watch(NODES, resource_version="1", watch_s=5.0):
                    pass


async def test_the_watchdog_takes_the_filters_back_with_its_own_rights(cluster: KubernetesItself) -> None:
    """No pod of the control plane is ready, so they go; and it may do no more than that."""
    to = Integration(host="127.0.0.1")
    async with askew(cluster, to):
        await annotate(cluster, LOCAL_FIRST)
        await until(lambda: applied(cluster))
    token = await cluster.token("askew-watchdog", namespace="askew-system")
    async with await cluster.client(token, name="watchdog") as client:
        watching = asyncio.create_task(Watchdog(client, to, WatchdogSettings(limit_s=0.2, poll_s=0.05)).run())
        try:
            await until(lambda: gone(cluster))
        finally:
            watching.cancel()
            await asyncio.wait((watching,))
        with pytest.raises(NotPermittedError):
            await client.list(PODS)


async def reasons(cluster: KubernetesItself) -> list[str]:
    """Return the reasons of our Events."""
    found = (await cluster.ask("GET", "/api/v1/namespaces/default/events"))["items"]
    return [one["reason"] for one in found if one["reason"].startswith("Askew")]


async def addresses(cluster: KubernetesItself, app: str) -> list[str]:
    """Return the addresses of an app's pods."""
    pods = (await cluster.ask("GET", f"/api/v1/namespaces/default/pods?labelSelector=app%3D{app}"))["items"]
    return sorted(one["status"]["podIP"] for one in pods)


def endpoints(replica: BesideKubernetes) -> list[str]:
    """Return the addresses of the Service's endpoints as planned from."""
    assert replica.plane is not None
    [service] = [one for one in replica.plane.topology.services if one.name == "reviews.default"]
    return sorted(one.address for one in service.containers)


async def applied(cluster: KubernetesItself) -> bool:
    return await filters(cluster) == ["askew-xds-cluster", "askew.default.reviews"] and bool(await reasons(cluster))


async def gone(cluster: KubernetesItself) -> bool:
    return await filters(cluster) == [] and "AskewReverted" in await reasons(cluster)
