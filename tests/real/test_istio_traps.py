"""The traps of steering Istio's sidecars, each on a real Envoy: what goes wrong without the measure, and that it helps.

Numbers are those of ``docs/istio.md``; traps that need no Envoy are in ``tests/istio/test_envoy_filters.py``.
"""

from __future__ import annotations

import copy
import json
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from istio.envoy_filters import bootstrap_config, render
from istio.integration import Integration, SteeredService
from mesh.istio_facts import EndpointFacts, IstioFacts
from mesh.topology import ContainerName
from tests.fakes.authority import Authority
from tests.real.istio_mesh import PORT, SHOP, WHOLE, IstioMesh
from tests.real.istio_sidecar import IstioSidecar
from tests.real.outside_process import free_port
from tests.real.sidecar_mesh import failures, until
from xds_server.settings import XdsSettings

pytestmark = pytest.mark.timeout(120)
TLS_CONTEXT = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
RAW = "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"


@pytest.fixture
async def mesh(tmp_path: Path, each_envoy: Path) -> AsyncIterator[IstioMesh]:
    async with IstioMesh(tmp_path, each_envoy) as running:
        yield running


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def changed(filters: list[dict[str, Any]], change: Callable[[dict[str, Any]], None]) -> list[dict[str, Any]]:
    """Return the EnvoyFilters with one thing of the MERGE value another."""
    found = copy.deepcopy(filters)
    for one in found:
        for patch in one["spec"]["configPatches"]:
            if patch["patch"]["operation"] == "MERGE":
                change(patch["patch"]["value"])
    return found


async def steered(mesh: IstioMesh, pod: str = "load-1") -> None:
    """Wait until a sidecar's endpoints are ours: those of its own node alone."""
    own = f"{mesh.address(pod.replace('load', 'shop'))}:{PORT}"

    async def obeys() -> bool:
        return list(await mesh.sidecars[pod].weights(WHOLE)) == [own]

    await until(obeys)


@pytest.mark.slow
async def test_trap_1_lb_policy(mesh: IstioMesh) -> None:
    """Istio balances by LEAST_REQUEST, which shuns a slow server whatever its weight: with the bias 0 weights hold."""
    mesh.file.write_text(mesh.file.read_text().replace("local-first", "uniform"))
    mesh.delay_s = {"shop-2": 0.03}
    sidecar = await mesh.add_sidecar("load-1")

    async def uniform() -> bool:
        return sorted((await sidecar.weights(WHOLE)).values()) == [9999, 10_000]

    mesh.steer()
    await until(uniform)
    ours = await mesh.send("load-1", 600, at_once=8)
    mesh.istiod.filters = changed(mesh.istiod.filters, lambda value: value.pop("least_request_lb_config"))
    mesh.istiod.push()
    await until(lambda: _bias_gone(mesh))
    without = await mesh.send("load-1", 600, at_once=8)

    assert not failures(ours + without)
    assert abs(ours["shop-2"] - 300) <= 30
    assert without["shop-2"] < 240


async def _bias_gone(mesh: IstioMesh) -> bool:
    text = await mesh.sidecars["load-1"].admin("/config_dump?resource=dynamic_active_clusters")
    return "active_request_bias" not in text


async def _warm_while_we_are_down(mesh: IstioMesh) -> IstioSidecar:
    """Steer a sidecar, stop Askew, and change its cluster, so that it warms without an answer. Returns the sidecar."""
    sidecar = await mesh.add_sidecar("load-1")
    mesh.steer()
    await steered(mesh)
    await mesh.stop_askew()
    mesh.istiod.services = [replace(mesh.shop(), policy={"connect_timeout": "7s"})]
    mesh.istiod.push()
    await until(lambda: _warms(sidecar))
    return sidecar


async def _warms(sidecar: IstioSidecar) -> bool:
    return (await sidecar.stats("cluster_manager.warming_clusters"))["cluster_manager.warming_clusters"] > 0


async def _is_free(sidecar: IstioSidecar) -> bool:
    return not await _warms(sidecar) and len(await sidecar.weights(WHOLE)) == 2


async def test_trap_2_a_running_proxy_keeps_its_endpoints_while_we_are_down(mesh: IstioMesh) -> None:
    """A changed cluster warms without us, and the old one goes on to serve; the filters' removal frees it at once."""
    sidecar = await _warm_while_we_are_down(mesh)
    before = await mesh.send("load-1", 100)
    mesh.unsteer()
    await until(lambda: _is_free(sidecar))
    after = await mesh.send("load-1", 100)

    assert before == {"shop-1": 100}
    assert not failures(after)


async def test_trap_13_an_istiod_with_flow_control_cannot_take_a_filter_back(mesh: IstioMesh) -> None:
    """While a cluster warms its proxy acknowledges no clusters, and such an istiod waits for that; without it does not.

    300 requests take far longer than an istiod without flow control needs to free the proxy (trap 2).
    """
    mesh.istiod.flow_control = True
    sidecar = await _warm_while_we_are_down(mesh)
    mesh.unsteer()
    held = await mesh.send("load-1", 300)
    assert held == {"shop-1": 300}
    assert await _warms(sidecar)

    mesh.istiod.flow_control = False
    mesh.istiod.push()
    await until(lambda: _is_free(sidecar))


async def test_trap_3_every_name_is_answered(mesh: IstioMesh) -> None:
    """Subsets that nobody defines and Services that nobody knows: no cluster warms for long, the pod starts."""
    stranger = replace(mesh.shop(), name="stranger.default", port=7777)
    mesh.istiod.services = [replace(mesh.shop(), subsets=("v1", "v2")), stranger]
    filters = render(mesh.to, [SteeredService(SHOP), SteeredService("stranger.default")])  # type: ignore[arg-type]
    mesh.istiod.filters = list(filters)
    sidecar = await mesh.add_sidecar("load-1")

    assert mesh.istiod.refused == []
    assert await sidecar.weights(stranger.cluster_names[0]) == {}
    assert len(await sidecar.weights("outbound|9080|v2|shop.default.svc.cluster.local")) == 1
    assert (await sidecar.stats("cluster_manager.warming_clusters"))["cluster_manager.warming_clusters"] == 0


async def test_trap_4_a_cluster_that_is_not_eds_is_refused_by_envoy(mesh: IstioMesh) -> None:
    """A headless Service is ORIGINAL_DST: the merge makes a cluster that Envoy refuses, so they are left alone."""
    cluster = {"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"}
    mesh.istiod.services = [replace(mesh.shop(), policy=cluster)]
    mesh.steer()
    await mesh.add_sidecar("load-1", wait=False)
    await until(lambda: mesh.istiod.refused)

    assert "eds_cluster_config" in mesh.istiod.refused[0]


async def test_trap_6_metadata_chooses_mtls(tmp_path: Path, envoy: Path, authority: Authority) -> None:
    """A STRICT server resets plaintext: only with tlsMode in our metadata does Envoy take the mTLS socket."""
    issued = authority.issue("shop", "DNS:shop")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(issued.certificate, issued.key)
    async with IstioMesh(tmp_path, envoy, apps=("shop-1",)) as mesh:
        await mesh.start_app("shop-2", tls=tls)
        mesh.istiod.services = [replace(mesh.shop(), policy=_auto_mtls(authority.certificate))]
        mesh.steer()
        for pod in ("load-1", "load-2"):
            await mesh.add_sidecar(pod)
            await steered(mesh, pod)
        unknown = await mesh.send("load-2", 10)
        await mesh.know(IstioFacts(endpoints={ContainerName("shop-2"): EndpointFacts(takes_mtls=True)}))

        async def served() -> bool:
            return await mesh.send("load-2", 1) == {"shop-2": 1}

        await until(served)
        known = await mesh.send("load-2", 50)
        plain = await mesh.send("load-1", 50)

    assert len(failures(unknown)) == len(unknown)
    assert known == {"shop-2": 50}
    assert plain == {"shop-1": 50}


def _auto_mtls(ca: Path) -> dict[str, Any]:
    """Return the two sockets that Istio gives a cluster: mTLS for endpoints that say so, plaintext for the others."""
    trust = {"validation_context": {"trusted_ca": {"filename": str(ca)}}}
    mtls = {"@type": TLS_CONTEXT, "common_tls_context": trust}
    sockets = {"tlsMode-istio": ("tls", mtls), "tlsMode-disabled": ("raw_buffer", {"@type": RAW})}
    return {
        "transport_socket_matches": [
            {
                "name": name,
                "match": {"tlsMode": "istio"} if name == "tlsMode-istio" else {},
                "transport_socket": {"name": f"envoy.transport_sockets.{kind}", "typed_config": config},
            }
            for name, (kind, config) in sockets.items()
        ]
    }


async def test_trap_8_an_outage_changes_no_traffic_and_ends_by_itself(mesh: IstioMesh) -> None:
    """Askew stops: sidecars keep what they were told. It comes back: they hear what is new."""
    sidecar = await mesh.add_sidecar("load-1")
    mesh.steer()
    await steered(mesh)
    await mesh.stop_askew()
    during = await mesh.send("load-1", 200)
    mesh.file.write_text(mesh.file.read_text().replace("local-first", "uniform"))
    await mesh.start_askew()

    async def uniform() -> bool:
        return sorted((await sidecar.weights(WHOLE)).values()) == [9999, 10_000]

    await until(uniform, deadline_s=40)
    assert during == {"shop-1": 200}


async def test_trap_9_all_steered_clusters_share_one_connection(mesh: IstioMesh) -> None:
    """A stream each, but one TCP connection; and a new plan changes no EnvoyFilter, so istiod pushes nothing."""
    mesh.istiod.services = [replace(mesh.shop(), subsets=("v1", "v2"))]
    mesh.steer()
    sidecar = await mesh.add_sidecar("load-1")
    streams = mesh.plane.store.clients[sidecar.node_id].streams

    assert len(streams) == 3
    assert len({stream.peer for stream in streams}) == 1


@pytest.mark.parametrize(("more", "shown"), [((), False), (("cluster.askew-xds",), True)])
async def test_trap_11_statistics_of_the_way_to_us_are_kept_only_when_asked_for(
    mesh: IstioMesh, more: tuple[str, ...], shown: bool
) -> None:
    """Istio's sidecars keep few statistics; the annotation ``statsInclusionPrefixes`` brings ours back."""
    mesh.steer()
    sidecar = await mesh.add_sidecar("load-1", stat_prefixes=("cluster.xds-grpc", "cluster_manager", "server", *more))
    await steered(mesh)
    found = await sidecar.stats(r"cluster\.(askew-xds|xds-grpc)\.upstream_cx_total")

    assert ("cluster.askew-xds.upstream_cx_total" in found) == shown
    assert found["cluster.xds-grpc.upstream_cx_total"] >= 1


async def test_trap_delta_grpc_never_grpc(mesh: IstioMesh) -> None:
    """Envoy refuses state-of-the-world GRPC over a cluster that came by CDS; that is why it is DELTA_GRPC."""

    def state_of_the_world(value: dict[str, Any]) -> None:
        value["eds_cluster_config"]["eds_config"]["api_config_source"]["api_type"] = "GRPC"

    mesh.steer()
    mesh.istiod.filters = changed(mesh.istiod.filters, state_of_the_world)
    await mesh.add_sidecar("load-1", wait=False)
    await until(lambda: mesh.istiod.refused)

    assert "statically defined non-EDS cluster" in mesh.istiod.refused[0]


async def test_mode_google_grpc_needs_no_cluster(mesh: IstioMesh) -> None:
    """The target stands in the EDS source itself."""
    mesh.steer(replace(mesh.to, mode="googleGrpc"))
    await mesh.add_sidecar("load-1")
    await steered(mesh)

    assert "askew-xds" not in {one["metadata"]["name"] for one in mesh.istiod.filters}
    assert mesh.istiod.refused == []


async def test_mode_bootstrap_brings_its_cluster_along(mesh: IstioMesh) -> None:
    """The ConfigMap's JSON is laid into the bootstrap; nothing is added by CDS."""
    to = replace(mesh.to, mode="bootstrap")
    config = json.loads(bootstrap_config(to, "default")["data"]["custom_bootstrap.json"])
    mesh.steer(to)
    await mesh.add_sidecar("load-1", static_clusters=tuple(config["static_resources"]["clusters"]))
    await steered(mesh)

    assert mesh.istiod.refused == []


async def test_mode_bootstrap_needs_a_restart_of_every_client(mesh: IstioMesh) -> None:
    """A pod without the cluster in its bootstrap warms the Service's cluster for nothing, until the filter goes."""
    sidecar = await mesh.add_sidecar("load-1")
    mesh.steer(replace(mesh.to, mode="bootstrap"))
    await until(lambda: _warms(sidecar))
    assert set(await mesh.send("load-1", 100)) == {"shop-1", "shop-2"}
    mesh.unsteer()
    await until(lambda: _is_free(sidecar))

    assert mesh.istiod.refused == []


@pytest.mark.parametrize("identity", ["askew", "someone-else"])
async def test_istios_certificates_open_the_way_to_us(
    tmp_path: Path, envoy: Path, authority: Authority, identity: str
) -> None:
    """mTLS with the workload's certificate from the agent's SDS; a control plane with another name is not believed."""
    server = authority.issue("server", f"URI:spiffe://cluster.local/ns/askew-system/sa/{identity}")
    workload = authority.issue("workload", "URI:spiffe://cluster.local/ns/default/sa/load")
    xds = XdsSettings(
        certificate_file=str(server.certificate),
        key_file=str(server.key),
        client_ca_file=str(authority.certificate),
    )
    async with IstioMesh(tmp_path, envoy, xds=xds) as mesh:
        mesh.istiod.workload_certificate = (workload.certificate, workload.key)
        mesh.istiod.root_certificate = authority.certificate
        sidecar = await mesh.add_sidecar("load-1")
        mesh.steer(replace(mesh.to, transport="mtls"))
        if identity == "askew":
            await steered(mesh)
            return

        async def refused() -> bool:
            found = await sidecar.stats("cluster.askew-xds.ssl.fail_verify_san")
            return found.get("cluster.askew-xds.ssl.fail_verify_san", 0) > 0

        await until(refused)
        assert sidecar.node_id not in mesh.plane.store.clients
        assert not failures(await mesh.send("load-1", 50))  # the old cluster goes on to serve


async def test_the_watchdogs_removal_frees_a_fresh_proxy_that_is_stuck(mesh: IstioMesh) -> None:
    """Nobody answers: a new pod waits for its endpoints. The filters go, and it is live with istiod's."""
    dead = Integration(host="127.0.0.1", port=free_port(), transport="plaintext")
    mesh.steer(dead)
    sidecar = await mesh.add_sidecar("load-1", wait=False)

    async def warming() -> bool:
        found = await sidecar.stats("cluster_manager.warming_clusters")
        return found.get("cluster_manager.warming_clusters", 0) > 0

    await until(warming)
    assert not await sidecar.is_live()
    mesh.unsteer()
    await until(sidecar.is_live)

    assert set((await mesh.send("load-1", 100)).keys()) == {"shop-1", "shop-2"}
