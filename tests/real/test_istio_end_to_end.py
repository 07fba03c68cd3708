"""From a person's annotation to the sidecars and back, through all that goes wrong on the way; no request fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from istio import self_check
from istio.client import connect
from istio.settings import KubernetesSettings
from istio.watchdog import Watchdog, WatchdogSettings
from tests.real.istio_cluster import WHOLE, IstioCluster
from tests.real.outside_process import free_ports
from tests.real.sidecar_mesh import until
from tests.real.traffic import traffic

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def cluster(tmp_path: Path, envoy: Path) -> AsyncIterator[IstioCluster]:
    async with IstioCluster(tmp_path, envoy) as running:
        yield running


async def test_annotate_and_the_sidecars_obey_un_annotate_and_they_are_istios(cluster: IstioCluster) -> None:
    """Within two seconds (printed), with Events that say so."""
    async with traffic(cluster):
        await cluster.some_more()
        cluster.annotate(routing="local-first")
        obeyed_s = await until(cluster.local)
        await cluster.some_more()
        cluster.annotate()
        back_s = await until(cluster.istios)
        await cluster.some_more()
    print(f"obeyed after {obeyed_s:.2f} s, back after {back_s:.2f} s")

    assert cluster.api.all_of("EnvoyFilter") == []
    assert {"AskewApplied", "AskewReverted"} <= cluster.events()


async def test_a_wrong_annotation_changes_nothing_and_is_told(cluster: IstioCluster) -> None:
    """Also where the Service was steered well before: it is Istio's then."""
    async with traffic(cluster):
        cluster.annotate(routing="lokal-first")
        await until(lambda: "AskewUnsupported" in cluster.events())
        assert cluster.api.all_of("EnvoyFilter") == []
        cluster.annotate(routing="local-first")
        await until(cluster.local)
        cluster.annotate(routing="local-first", connections="none")
        await until(cluster.istios)
        await cluster.some_more()


@pytest.mark.slow
async def test_a_filter_for_which_no_sidecar_comes_is_taken_back_in_time(
    cluster: IstioCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leads to a closed port: told, withdrawn before sidecars give up, tried again; the port opens: steered."""
    monkeypatch.setattr(self_check, "RETRY_S", 4.0)
    [closed] = free_ports(1)
    there, cluster.to = cluster.to, replace(cluster.to, port=closed, initial_fetch_timeout_s=9)
    await cluster.stop_askew()
    async with traffic(cluster):
        await cluster.start_askew()
        cluster.annotate(routing="local-first")
        await until(lambda: "AskewUnsupported" in cluster.events())
        (said,) = [one["message"] for one in cluster.api.all_of("Event") if one["reason"] == "AskewUnsupported"]
        page = cluster.plane.source.page()
        await until(lambda: cluster.api.all_of("EnvoyFilter") == [])
        await until(lambda: len(cluster.api.all_of("EnvoyFilter")) == 2)
        await asyncio.sleep(11.0)  # longer than sidecars wait: the second try was taken back as well
        assert await cluster.istios()
        cluster.to = replace(there, initial_fetch_timeout_s=9)
        await cluster.stop_askew()
        await cluster.start_askew()
        await until(cluster.local)
        await until(lambda: steered(cluster))
        await cluster.some_more()

    assert "no sidecar has asked" in said
    assert list(page["no_sidecar_came"]) == ["shop.default"]


@pytest.mark.slow
async def test_a_filter_for_which_one_client_cannot_come_is_taken_back_in_time(
    cluster: IstioCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one's sidecar comes. Neither loses a request; the way is opened, and both are steered."""
    monkeypatch.setattr(self_check, "RETRY_S", 4.0)
    cluster.to = replace(cluster.to, initial_fetch_timeout_s=9)
    cluster.istiod.askew_ports = {"load-2": free_ports(1)[0]}
    await cluster.stop_askew()
    async with traffic(cluster):
        await cluster.start_askew()
        cluster.know_callers()
        cluster.annotate(routing="local-first")
        await until(lambda: "load-1.default" in cluster.plane.store.sidecars())
        await until(lambda: "AskewUnsupported" in cluster.events())
        (said,) = [one["message"] for one in cluster.api.all_of("Event") if one["reason"] == "AskewUnsupported"]
        page = cluster.plane.source.page()
        await until(lambda: cluster.api.all_of("EnvoyFilter") == [])
        await until(lambda: len(cluster.api.all_of("EnvoyFilter")) == 2)
        await asyncio.sleep(11.0)  # longer than sidecars wait: the second try was taken back as well
        await until(cluster.istios)
        cluster.istiod.askew_ports = {}
        await until(cluster.local)
        await until(lambda: steered(cluster))
        await cluster.some_more()

    assert "Missing: default/load-2." in said
    assert list(page["sidecars_did_not_come"]) == ["shop.default"]
    assert cluster.plane.source.page()["sidecars"]["shop.default"] == {
        "expected": 2, "came": 2, "missing": [], "missing_in_all": 0, "others": 2,
    }  # fmt: skip


@pytest.mark.slow
async def test_who_came_to_another_replica_has_come_and_a_new_leader_knows_it(cluster: IstioCluster) -> None:
    """Each client's sidecar reaches another replica. The filter stays, also when the leader goes, whom one has lost."""
    cluster.to = replace(cluster.to, initial_fetch_timeout_s=6)
    await cluster.stop_askew()
    async with traffic(cluster):
        await cluster.start_askew()
        async with cluster.another("b") as b:
            assert b.plane is not None
            follower = b.plane
            await until(lambda: follower.replicas is not None and follower.replicas.has_followed)
            cluster.istiod.askew_ports = {"load-2": follower.xds.port}
            cluster.know_callers()
            cluster.annotate(routing="local-first")
            await until(cluster.local)
            await asyncio.sleep(5.0)  # longer than a filter for which somebody is missing would be there
            assert await cluster.local()
            assert (list(cluster.plane.store.sidecars()), list(follower.store.sidecars())) == (
                ["load-1.default"],
                ["load-2.default"],
            )
            await cluster.stop_askew()
            await until(lambda: follower.replicas is not None and follower.replicas.leads)
            await asyncio.sleep(5.0)
            assert await cluster.local()
            assert len(cluster.api.all_of("EnvoyFilter")) == 2
            await cluster.some_more()


@pytest.mark.slow
async def test_a_new_leader_takes_back_in_time_what_the_last_one_began(cluster: IstioCluster) -> None:
    """Nobody can come, and the leader goes while it waits: the next one knows since when, and no request is lost."""
    [closed] = free_ports(1)
    cluster.to = replace(cluster.to, port=closed, initial_fetch_timeout_s=12)
    await cluster.stop_askew()
    async with traffic(cluster):
        await cluster.start_askew()
        async with cluster.another("b") as b:
            await until(lambda: b.plane is not None and b.plane.replicas is not None and b.plane.replicas.has_followed)
            cluster.annotate(routing="local-first")
            await until(lambda: len(cluster.api.all_of("EnvoyFilter")) == 2)
            await until(lambda: b.check is not None and b.check.heard.began_at_s)
            await cluster.stop_askew()
            await until(lambda: cluster.api.all_of("EnvoyFilter") == [])
            await asyncio.sleep(12.0)  # longer than sidecars wait
            assert await cluster.istios()
            await cluster.some_more()


def steered(cluster: IstioCluster) -> bool:
    """Whether the Service's condition says that it is steered."""
    conditions = cluster.api.get("Service", "shop").get("status", {}).get("conditions", [])
    return [one["status"] for one in conditions] == ["True"]


async def test_observe_mode_patches_nothing(cluster: IstioCluster) -> None:
    """The plan is there to look at; the cluster holds nothing of ours."""
    cluster.annotate(routing="local-first", mode="observe")
    await until(lambda: cluster.plane.plan.services)

    assert not any(plan.applied for plan in cluster.plane.plan.services.values())
    assert cluster.api.all_of("EnvoyFilter") == []
    assert await cluster.istios()


@pytest.mark.slow
async def test_an_outage_of_the_api_watch_gaps_and_restarts_cost_nothing(cluster: IstioCluster) -> None:
    """The API goes and comes, watches lose their past, Askew restarts: sidecars obey throughout, and hear the end."""
    async with traffic(cluster):
        cluster.annotate(routing="local-first")
        await until(cluster.local)
        await cluster.api.stop()
        await asyncio.sleep(1.0)  # the outage
        assert await cluster.local()
        await cluster.api.start()
        await cluster.stop_askew()
        await cluster.some_more()
        assert await cluster.local()
        await cluster.start_askew()
        cluster.api.cut_watches()
        cluster.annotate(routing="uniform")
        cluster.api.compact()

        async def uniform() -> bool:
            found = [await sidecar.weights(WHOLE) for sidecar in cluster.sidecars.values()]
            return all(sorted(weights.values()) == [9999, 10_000] for weights in found)

        await until(uniform, deadline_s=40)
        cluster.annotate()
        await until(cluster.istios)


@pytest.mark.slow
async def test_the_watchdog_gives_a_mesh_without_askew_back_to_istio(cluster: IstioCluster) -> None:
    """All replicas are gone for good: the filters go, the sidecars are istiod's, and no request was lost."""
    settings = KubernetesSettings(api_server=cluster.api.url)
    async with traffic(cluster):
        cluster.annotate(routing="local-first")
        await until(cluster.local)
        await cluster.stop_askew()
        async with await connect(settings) as client:
            watchdog = Watchdog(client, cluster.to, WatchdogSettings(limit_s=0.2, poll_s=0.05))
            watching = asyncio.create_task(watchdog.run())
            await until(cluster.istios)
            watching.cancel()
            await asyncio.wait((watching,))
        await cluster.some_more()

    assert cluster.api.all_of("EnvoyFilter") == []
