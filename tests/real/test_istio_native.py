"""Mode native on real Envoys: a plan as istiod's own objects, without any xDS of ours, and not a request lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from istio import native_pace
from tests.real.istio_cluster import PORT, WHOLE, IstioCluster
from tests.real.sidecar_mesh import failures, until

pytestmark = pytest.mark.timeout(120)
SUBSET = "outbound|9080|{}|shop.default.svc.cluster.local"


@pytest.fixture
async def cluster(tmp_path: Path, envoy: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[IstioCluster]:
    monkeypatch.setattr(native_pace, "REST_S", 0.5)  # there is one proxy a node to push to, and nobody is slow
    async with IstioCluster(tmp_path, envoy) as running:
        yield running


async def answers(cluster: IstioCluster, pod: str, count: int) -> Counter[str]:
    """Return who answers a pod."""
    return Counter([await cluster._get(pod) for _ in range(count)])


async def clusters_of(cluster: IstioCluster, pod: str) -> set[str]:
    """Return the subsets that a sidecar knows, with their endpoints as ``node: pod``."""
    names = {f"{cluster.address[f'shop-{i}']}:{PORT}": f"shop-{i}" for i in (1, 2)}
    found = {node: await cluster.sidecars[pod].weights(SUBSET.format(node)) for node in ("n1", "n2")}
    return {f"{node}: {names[address]}" for node, addresses in found.items() for address in addresses}


async def test_clients_go_where_the_plan_says_and_back_without_a_lost_request(cluster: IstioCluster) -> None:
    """Each node's clients to their own node by weighted routes of istiod; un-annotated, all is as it was."""
    done = asyncio.Event()
    sending = asyncio.create_task(cluster.send_until(done))
    try:
        await cluster.some_more()
        cluster.annotate(routing="local-first", programming="istio-native")
        await until(lambda: cluster.api.all_of("VirtualService"))

        async def local() -> bool:
            return all([await answers(cluster, f"load-{i}", 10) == {f"shop-{i}": 10} for i in (1, 2)])

        await until(local)
        assert await clusters_of(cluster, "load-1") == {"n1: shop-1", "n2: shop-2"}
        assert cluster.api.all_of("EnvoyFilter") == []
        assert not cluster.plane.store.clients  # no sidecar asks us for anything
        cluster.annotate()
        await until(lambda: not cluster.api.all_of("DestinationRule"))

        async def istios() -> bool:
            return await clusters_of(cluster, "load-1") == set() and set(await answers(cluster, "load-1", 20)) == {
                "shop-1", "shop-2"
            }  # fmt: skip

        await until(istios)
        assert cluster.api.all_of("VirtualService") == []
        await cluster.some_more()
    finally:
        done.set()
        told = await sending

    assert failures(told) == []
    assert cluster.istiod.refused == []
    assert {"AskewApplied", "AskewReverted"} <= cluster.events()


async def test_requests_are_divided_as_the_plan_divides_them(cluster: IstioCluster) -> None:
    """Uniform shares: half of each node's requests to each node, by weighted clusters."""
    cluster.annotate(routing="uniform", programming="istio-native")
    await until(lambda: cluster.api.all_of("VirtualService"))
    (routes,) = cluster.api.all_of("VirtualService")
    planned = [[way["weight"] for way in one["route"]] for one in routes["spec"]["http"][:-1]]

    async def there() -> bool:
        dump = await cluster.sidecars["load-1"].admin("/config_dump?resource=dynamic_route_configs")
        return "weighted_clusters" in dump

    await until(there)
    found = await answers(cluster, "load-1", 400)

    assert planned == [[50, 50], [50, 50]]
    assert sum(found.values()) == 400
    assert abs(found["shop-1"] - 200) < 60  # five standard deviations are 50
    assert list(await cluster.sidecars["load-1"].weights(WHOLE)) != []
