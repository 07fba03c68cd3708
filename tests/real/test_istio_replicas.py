"""Several replicas beside Istio: who leads may change, may go, or may not be known; traffic does not notice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from askew.beside_kubernetes import BesideKubernetes
from mesh.topology import ContainerName
from tests.real.istio_cluster import WHOLE, IstioCluster
from tests.real.sidecar_mesh import failures, until
from xds_server.resources.names import EDS

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]


@pytest.fixture
async def cluster(tmp_path: Path, envoy: Path) -> AsyncIterator[IstioCluster]:
    async with IstioCluster(tmp_path, envoy) as running:
        yield running


def versions(replica: BesideKubernetes) -> list[str]:
    """Return the versions of the endpoints that this replica has for each client."""
    assert replica.plane is not None
    configs = replica.plane.configs
    clients = [configs.topology.container_by_name[ContainerName(f"load-{i}.default")] for i in (1, 2)]
    return [configs.snapshot(client).of(EDS)[WHOLE].version for client in clients]


def leads(replica: BesideKubernetes) -> bool:
    assert replica.plane is not None
    assert replica.plane.replicas is not None
    return replica.plane.replicas.leads


async def updates(cluster: IstioCluster) -> dict[str, int]:
    """Return how many endpoint updates each sidecar has taken from whoever is its source."""
    return {pod: sum((await one.stats(r"outbound.*update_success")).values()) for pod, one in cluster.sidecars.items()}


async def test_the_leader_goes_and_another_goes_on(cluster: IstioCluster) -> None:
    """The same versions everywhere; a new leader has the old one's plan and memory; a restarted one sends nothing."""
    done = asyncio.Event()
    sending = asyncio.create_task(cluster.send_until(done))
    async with cluster.another("b") as b:
        cluster.annotate(routing="local-first")
        await until(cluster.local)
        assert leads(cluster.askew)
        await until(lambda: b.plane is not None and b.plane.plan.services)
        assert versions(b) == versions(cluster.askew)
        before = await updates(cluster)

        await cluster.stop_askew()  # the leader, and the only one that the sidecars reach
        await until(lambda: leads(b))
        await cluster.some_more()
        await cluster.start_askew()
        await cluster.some_more(300)
        assert leads(b)
        assert not leads(cluster.askew)
        assert versions(b) == versions(cluster.askew)
        assert await cluster.local()
        assert await updates(cluster) == before

        cluster.annotate(routing="uniform")
        await until(lambda: len(set(versions(b))) and versions(b) == versions(cluster.askew))
        cluster.annotate()
        await until(cluster.istios)
    done.set()
    answers = await sending
    assert failures(answers) == []
    assert sum(answers.values()) >= 400


async def test_an_outage_of_the_api_of_a_minute(cluster: IstioCluster) -> None:
    """Nobody can lead for 60 s. Sidecars keep what they have, requests go on, and afterwards all is as asked."""
    done = asyncio.Event()
    sending = asyncio.create_task(cluster.send_until(done))
    async with cluster.another("b") as b:
        cluster.annotate(routing="local-first")
        await until(cluster.local)
        await cluster.api.stop()
        await until(lambda: not leads(b) and not leads(cluster.askew))
        await asyncio.sleep(60)  # what the rule is about
        assert await cluster.local()
        await cluster.api.start()
        await until(lambda: leads(b) or leads(cluster.askew), deadline_s=20)
        assert leads(b) != leads(cluster.askew)
        cluster.annotate()
        await until(cluster.istios, deadline_s=20)
    done.set()
    assert failures(await sending) == []
