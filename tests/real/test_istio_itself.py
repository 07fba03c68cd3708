"""Askew beside Istio's own istiod: what istiod makes of our EnvoyFilters is what real sidecars take and obey.

Runs where KUBEBUILDER_ASSETS names a folder with etcd, kube-apiserver, kube-controller-manager and pilot-discovery, in
a network namespace that owns the pods' addresses.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from istio.integration import Integration
from tests.real.istio_itself import IstioItself, no_pod_network
from tests.real.istio_sidecar import IstioSidecar
from tests.real.kubernetes_itself import missing
from tests.real.reviews_cluster import CONTROLLERS, LOCAL_FIRST, OFF, all_run, annotate, askew, fill, filters, manifests
from tests.real.sidecar_mesh import until
from tests.real.traffic import traffic

LACKS = missing("etcd", "kube-apiserver", *CONTROLLERS, "pilot-discovery") or no_pod_network()
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.skipif(bool(LACKS), reason=LACKS)]


@pytest.fixture
async def mesh(tmp_path: Path, envoy: Path) -> AsyncIterator[IstioItself]:
    """Four servers and two clients with sidecars on two nodes; istiod and the manifests are there, Askew is not."""
    async with IstioItself(tmp_path, envoy) as running:
        await fill(running)
        await until(lambda: all_run(running))
        await running.start_istiod()
        await running.start_workloads()
        yield running


async def some_more(mesh: IstioItself, count: int = 100) -> None:
    """Wait until this many requests more have been answered."""
    wanted = mesh.sent + count
    await until(lambda: mesh.sent >= wanted)


async def local(mesh: IstioItself) -> bool:
    """Whether each client has endpoints of its own node only."""
    return all(list(found) == [mesh.node[client]] for client, found in (await mesh.weights()).items())


async def istios(mesh: IstioItself) -> bool:
    """Whether each client has all four endpoints, with weight one each, as istiod sends them."""
    return all(sum(found.values()) == 4 and len(found) == 2 for found in (await mesh.weights()).values())


WAYS = [("dynamicCluster", "plaintext"), ("dynamicCluster", "mtls"), ("googleGrpc", "plaintext")]


@pytest.mark.parametrize(("mode", "transport"), WAYS)
async def test_annotate_and_istios_own_sidecars_obey_and_back(mesh: IstioItself, mode: str, transport: str) -> None:
    """Through istiod's own merge of our filters; no request fails, and no proxy refuses anything."""
    to = Integration(host="127.0.0.1", transport=transport, mode=mode)
    secured = mesh.mesh_ca.issue("askew", f"URI:{to.identity}") if transport == "mtls" else None
    ca = str(mesh.mesh_ca.certificate) if secured else ""
    async with askew(mesh, to, certificate=secured, ca=ca):
        await until(lambda: istios(mesh))
        async with traffic(mesh):
            await some_more(mesh)
            await annotate(mesh, LOCAL_FIRST)
            obeyed_s = await until(lambda: local(mesh))
            await some_more(mesh)
            await annotate(mesh, OFF)
            back_s = await until(lambda: istios(mesh))
            await some_more(mesh)
        print(f"{mode}, {transport}: obeyed after {obeyed_s:.2f} s, back after {back_s:.2f} s")
        assert await filters(mesh) == []
        assert [await refused(one) for one in mesh.sidecars.values()] == [[], []]


async def test_istiod_and_askew_may_each_restart(mesh: IstioItself) -> None:
    """Sidecars keep what Askew gave them while either is away, and no request fails."""
    to = Integration(host="127.0.0.1", transport="plaintext")
    async with traffic(mesh):
        async with askew(mesh, to):
            await annotate(mesh, LOCAL_FIRST)
            await until(lambda: local(mesh))
            await mesh.kill("pilot-discovery")
            await some_more(mesh)
            await mesh.start_again("pilot-discovery")
            await some_more(mesh)
            assert await local(mesh)
        await some_more(mesh)
        assert await local(mesh)
        async with askew(mesh, to):
            await annotate(mesh, OFF)
            await until(lambda: istios(mesh), deadline_s=60)


async def test_mode_native_goes_by_istios_own_routes_and_labels(mesh: IstioItself) -> None:
    """istiod labels proxies and endpoints with their node, so each node's clients stay on it; no request fails."""
    await mesh.apply(*manifests("istio-native"))
    async with askew(mesh, Integration(host="127.0.0.1", mode="native")):
        async with traffic(mesh):
            await annotate(mesh, LOCAL_FIRST)
            await until(lambda: answered_on_own_node(mesh), deadline_s=40)
            await some_more(mesh)
            assert await filters(mesh) == []
            await annotate(mesh, OFF)
            await until(lambda: not_there(mesh, "virtualservices", "destinationrules"), deadline_s=40)
            await some_more(mesh)
        assert [await refused(one) for one in mesh.sidecars.values()] == [[], []]


async def answered_on_own_node(mesh: IstioItself) -> bool:
    """Whether twenty requests of each client are answered on its node."""
    found = {client: await mesh.send(client, 20) for client in mesh.sidecars}
    return all({mesh.node[pod] for pod in answers} == {mesh.node[client]} for client, answers in found.items())


async def not_there(mesh: IstioItself, *plurals: str) -> bool:
    """Whether no such object of Istio's is left."""
    paths = [f"/apis/networking.istio.io/v1/{plural}" for plural in plurals]
    return not any([(await mesh.ask("GET", path))["items"] for path in paths])


async def refused(sidecar: IstioSidecar) -> list[str]:
    """Return the names of what a proxy has refused."""
    return [name for name, count in (await sidecar.stats("update_rejected")).items() if count]
