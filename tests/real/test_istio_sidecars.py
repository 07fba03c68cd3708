"""Real Envoys configured the way istiod does it: with our EnvoyFilters their endpoints come from Askew."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.real.istio_mesh import WHOLE, IstioMesh
from tests.real.sidecar_mesh import failures, until

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def mesh(tmp_path: Path, each_envoy: Path) -> AsyncIterator[IstioMesh]:
    async with IstioMesh(tmp_path, each_envoy) as running:
        yield running


async def test_sidecars_obey_within_two_seconds_and_go_back_without_a_lost_request(mesh: IstioMesh) -> None:
    """The filters come: each client sends to its own node alone. They go: istiod's weights are back. Nothing failed."""
    for pod in ("load-1", "load-2"):
        await mesh.add_sidecar(pod)
    done = asyncio.Event()
    sending = asyncio.gather(*(mesh.send_until(pod, done) for pod in ("load-1", "load-2")))
    local = {pod: {f"{mesh.address(pod.replace('load', 'shop'))}:9080": 10_000} for pod in ("load-1", "load-2")}

    async def obeyed() -> bool:
        return all([await mesh.sidecars[pod].weights(WHOLE) == local[pod] for pod in local])

    async def back() -> bool:
        found = [await mesh.sidecars[pod].weights(WHOLE) for pod in local]
        return all(set(weights.values()) == {1} and len(weights) == 2 for weights in found)

    await until(back)
    mesh.steer()
    took_s = await until(obeyed, deadline_s=10)
    only_local = await mesh.send("load-1", 100)
    mesh.unsteer()
    await until(back, deadline_s=10)
    both = await mesh.send("load-1", 100)
    done.set()
    answers = await sending

    assert only_local == {"shop-1": 100}
    assert both["shop-1"] > 0 < both["shop-2"]
    assert [failures(one) for one in answers] == [[], []]
    assert sum(map(sum, (one.values() for one in answers))) > 100
    print(f"obeyed after {took_s:.2f} s")


async def test_a_pod_that_comes_later_obeys_from_its_first_request(mesh: IstioMesh) -> None:
    """Its listeners open only when its clusters are warm, so no request goes by istiod's weights."""
    mesh.steer()
    sidecar = await mesh.add_sidecar("load-1")

    assert list(await sidecar.weights(WHOLE)) == [f"{mesh.address('shop-1')}:9080"]
    assert await mesh.send("load-1", 50) == {"shop-1": 50}
    assert mesh.istiod.refused == []
    assert not [name for _, name in mesh.istiod.asked if name == WHOLE]  # istiod was not even asked


async def test_a_new_plan_reaches_the_sidecars_without_a_word_of_istiods(mesh: IstioMesh) -> None:
    """The annotation changes to uniform: both endpoints, and istiod pushes nothing."""
    mesh.steer()
    sidecar = await mesh.add_sidecar("load-1")
    pushes = await sidecar.stats("cluster_manager.cds.update_success")
    text = mesh.file.read_text()
    mesh.file.write_text(text.replace("local-first", "uniform"))

    async def uniform() -> bool:
        return sorted((await sidecar.weights(WHOLE)).values()) == [9999, 10_000]

    started_s = time.monotonic()
    await until(uniform, deadline_s=10)
    print(f"on the wire after {time.monotonic() - started_s:.2f} s")
    assert await sidecar.stats("cluster_manager.cds.update_success") == pushes
