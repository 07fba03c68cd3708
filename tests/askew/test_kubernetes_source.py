"""The control plane on a cluster: annotate a Service, and the plan is there; trouble changes nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import aiohttp
import pytest

from askew.control_plane import ControlPlane
from askew.errors import CommandError
from askew.kubernetes_source import KubernetesSource
from askew.settings import HttpSettings, LoopSettings, ServeSettings
from istio.extender import read_asked
from istio.settings import KubernetesSettings
from mesh.telemetry import ClusterCounters, Telemetry
from mesh.topology import ContainerName, ServiceName, ServicePort
from tests.fakes.api_server import ApiServer
from tests.istio.cluster_objects import endpoint, endpoint_slice, node, pod, service
from xds_server.settings import XdsSettings

REVIEWS = ServicePort(ServiceName("reviews.default"), 9080)


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    """A cluster of two nodes: one client pod, and a Service of two pods."""
    async with ApiServer() as server:
        for number in (1, 2):
            server.put(node(f"n{number}", zone="z1"))
            server.put(pod(f"r{number}", on=f"n{number}", ip=f"10.0.0.{number}", labels={"app": "reviews"}))
        server.put(pod("client", ip="10.0.0.9"))
        server.put(service())
        server.put(endpoint_slice(endpoint("10.0.0.1", "r1"), endpoint("10.0.0.2", "r2", on="n2")))
        yield server


@pytest.fixture
async def plane(api: ApiServer) -> AsyncIterator[ControlPlane]:
    """A control plane that runs on it."""
    kubernetes = KubernetesSettings(api_server=api.url, backoff_s=0.01, longest_backoff_s=0.05, build_pause_s=0.0)
    settings = ServeSettings(
        xds=XdsSettings(port=0, drain_s=0.1), http=HttpSettings(port=0), loop=LoopSettings(tick_s=0.1)
    )
    running = ControlPlane(KubernetesSource(kubernetes), settings)
    ready = asyncio.Event()
    task = asyncio.create_task(running.run(on_ready=ready.set))
    await asyncio.wait_for(ready.wait(), 10)
    try:
        yield running
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something is true."""
    async with asyncio.timeout(10.0):
        while not holds():  # noqa: ASYNC110 (the plane tells nobody)
            await asyncio.sleep(0.01)


async def test_an_annotation_makes_a_plan_and_its_end_ends_it(api: ApiServer, plane: ControlPlane) -> None:
    """Annotated: the client is sent to the endpoint on its node. Not annotated: no plan."""
    before = dict(plane.plan.services)
    api.put(service(routing="local-first"))
    await until(lambda: REVIEWS in plane.plan.services)
    shares = plane.plan.services[REVIEWS].shares
    client = shares.clients.index("client.default")  # type: ignore[arg-type]
    local = shares.endpoints.index("r1.default")  # type: ignore[arg-type]
    row = shares.fractions[client].tolist()
    api.put(service())
    await until(lambda: REVIEWS not in plane.plan.services)

    assert before == {}
    assert row[local] > 0.4


async def test_an_outage_of_the_api_server_changes_no_plan(api: ApiServer, plane: ControlPlane) -> None:
    """It is told and counted; the topology stays the same object."""
    api.put(service(routing="uniform"))
    await until(lambda: REVIEWS in plane.plan.services)
    topology, plan = plane.topology, plane.plan.services[REVIEWS]
    await api.stop()
    await until(lambda: bool(plane.source.status.error))

    assert plane.topology is topology
    assert plane.plan.services[REVIEWS] is plan
    assert plane.registry.get_sample_value("askew_source_errors_total", {"source": "kubernetes"}) > 0  # type: ignore[operator]
    await api.start()
    await until(lambda: not plane.source.status.error)


async def test_a_refused_service_is_told_on_sourcez(api: ApiServer, plane: ControlPlane) -> None:
    """The page names the trap, what was found and what is allowed, and each kind of object."""
    api.put(service(routing="uniform", spec={"sessionAffinity": "ClientIP"}))
    await until(lambda: bool(plane.source.page()["findings"]))
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{plane.http_port}/debug/sourcez") as answer:
        (source,) = (await answer.json())["sources"]

    assert source["findings"]["reviews.default"][0].startswith("session-affinity: spec.sessionAffinity: found ClientIP")
    assert source["kind"] == "kubernetes"
    assert {one["kind"]: one["objects"] for one in source["kinds"]}["pods"] == 3


async def test_pods_that_still_need_the_mode_bootstrap_are_told_on_sourcez(api: ApiServer, plane: ControlPlane) -> None:
    """In any other mode, with what to do: the ConfigMap stays for their sake, and nobody else would say so."""
    source = plane.source
    assert isinstance(source, KubernetesSource)
    annotations = {"sidecar.istio.io/bootstrapOverride": "askew-bootstrap"}
    assert source.page()["still_need_bootstrap"] == {}
    api.put(pod("old", namespace="shop", ip="10.0.0.8", annotations=annotations))
    await until(lambda: bool(source.page()["still_need_bootstrap"]))
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{plane.http_port}/debug/sourcez") as answer:
        (page,) = (await answer.json())["sources"]
    source.keeps_bootstrap = True

    assert page["still_need_bootstrap"]["shop"].startswith("1 pods name the ConfigMap askew-bootstrap,")
    assert source.page()["still_need_bootstrap"] == {}


async def test_a_pod_is_drawn_to_whom_its_service_talks_to(api: ApiServer, plane: ControlPlane) -> None:
    """Its selectors say which Services a pod will serve; their measured traffic says where it should go."""
    cluster = plane.source
    assert isinstance(cluster, KubernetesSource)
    labels = {"app": "reviews", "pod-template-hash": "7d9f"}
    fresh = pod("reviews-7d9f-abcde", labels=labels, owner=("ReplicaSet", "reviews-7d9f"))
    asked = read_asked(json.dumps({"Pod": fresh, "NodeNames": ["n2", "n1"]}).encode())
    assert cluster.services_of_new(asked.pod) == ["reviews.default", "workload:reviews.default"]
    seen = iter(range(1, 1000))

    def drain() -> Telemetry:
        now_s = float(next(seen))
        client = ContainerName("client.default")
        counted = ClusterCounters(
            client, "outbound|9080||reviews.default.svc.cluster.local", REVIEWS, "client", time_s=now_s,
            requests=int(now_s), sent_bytes=int(1000 * now_s), received_bytes=int(5000 * now_s),
        )  # fmt: skip
        return Telemetry(time_s=now_s, counters=(counted,))

    plane.collector.drain = drain  # type: ignore[method-assign]
    await until(lambda: bool(plane.picture.links))
    url = f"http://127.0.0.1:{plane.http_port}/scheduler/prioritize"
    question = {"Pod": fresh, "NodeNames": ["n2", "n1"]}
    async with aiohttp.ClientSession() as http, http.post(url, json=question) as answer:
        assert await answer.json() == [{"Host": "n2", "Score": 0}, {"Host": "n1", "Score": 10}]


async def test_no_configuration_of_a_cluster_is_bad_input() -> None:
    """One line says what would be taken."""
    source = KubernetesSource(KubernetesSettings(kubeconfig="/nonexistent/config"))

    with pytest.raises(CommandError, match="a kubeconfig"):
        await source.start()
