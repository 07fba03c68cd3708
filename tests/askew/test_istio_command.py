"""``askew istio`` and ``askew watchdog`` from the command line."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from askew.__main__ import main
from istio.apply import reconcile
from istio.client import connect
from istio.envoy_filters import render
from istio.integration import Integration, SteeredService
from istio.settings import KubernetesSettings
from mesh.topology import ServiceName
from tests.fakes.api_server import ApiServer
from tests.istio import cluster_objects as objects
from tests.real.sidecar_mesh import until

MESH = """
apiVersion: askew.mesh/v1
nodes: [{name: n1}]
services:
  - name: load
    containers: [{name: load-1, node: n1, address: 127.0.1.1}]
  - name: shop
    port: 9080
    annotations: {askew.mesh/routing: local-first}
    containers: [{name: shop-1, node: n1, address: 127.0.1.10}]
  - name: watched
    port: 9081
    annotations: {askew.mesh/routing: local-first, askew.mesh/mode: observe}
    containers: [{name: watched-1, node: n1, address: 127.0.1.11}]
  - name: plain
    port: 9082
    containers: [{name: plain-1, node: n1, address: 127.0.1.12}]
calls: [{from: load, to: shop}, {from: load, to: watched}, {from: load, to: plain}]
"""


@pytest.fixture
def mesh(tmp_path: Path) -> str:
    file = tmp_path / "mesh.yaml"
    file.write_text(MESH)
    return str(file)


@pytest.fixture
async def api(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiServer]:
    async with ApiServer() as running:
        monkeypatch.setenv("ASKEW_KUBERNETES_API_SERVER", running.url)
        async with await connect(KubernetesSettings(api_server=running.url)) as client:
            to = Integration()
            await reconcile(client, to, render(to, [SteeredService(ServiceName("shop.default"))]))
        yield running


@pytest.mark.parametrize(
    ("mode", "names"),
    [
        ("dynamicCluster", ["askew-xds-cluster", "askew.default.shop"]),
        ("bootstrap", ["askew-bootstrap", "askew.default.shop"]),
        ("googleGrpc", ["askew.default.shop"]),
        ("native", ["askew.shop", "askew.shop"]),
    ],
)
def test_render_prints_what_would_be_applied(
    mesh: str, capsys: pytest.CaptureFixture[str], mode: str, names: list[str]
) -> None:
    """For the Service that is annotated to apply; not for one that only observes, nor for one that is left alone."""
    assert main(["istio", "render", "--mesh", mesh, "--mode", mode]) == 0

    assert [one["metadata"]["name"] for one in yaml.safe_load_all(capsys.readouterr().out)] == names


def test_a_service_may_go_the_native_way_alone(mesh: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its annotation says so; it then has no EnvoyFilter, and nothing is shared."""
    text = Path(mesh).read_text().replace("local-first}", "local-first, askew.mesh/programming: istio-native}", 1)
    Path(mesh).write_text(text)
    assert main(["istio", "render", "--mesh", mesh]) == 0

    assert [one["kind"] for one in yaml.safe_load_all(capsys.readouterr().out)] == ["DestinationRule", "VirtualService"]


def test_a_wrong_mode_is_one_line(
    mesh: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what was found and what is allowed."""
    monkeypatch.setenv("ASKEW_ISTIO_MODE", "sidecar")
    assert main(["istio", "render", "--mesh", mesh]) == 2

    wanted = "settings: istio.mode: found 'sidecar', allowed: dynamicCluster | bootstrap | googleGrpc | native\n"
    assert capsys.readouterr().err == wanted


async def test_remove_takes_all_back(api: ApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    """First it says what would go, then it goes; a third call finds nothing."""
    assert await asyncio.to_thread(main, ["istio", "remove", "--dry-run"]) == 0
    assert len(api.all_of("EnvoyFilter")) == 2
    assert await asyncio.to_thread(main, ["istio", "remove"]) == 0
    assert api.all_of("EnvoyFilter") == []
    assert await asyncio.to_thread(main, ["istio", "remove"]) == 0

    out, err = capsys.readouterr()
    assert err == "a control plane that runs writes them again where a Service is still annotated\n"
    lines = out.splitlines()
    assert lines == [
        "EnvoyFilter istio-system/askew-xds-cluster would go",
        "EnvoyFilter istio-system/askew.default.shop would go",
        "EnvoyFilter istio-system/askew.default.shop removed",
        "EnvoyFilter istio-system/askew-xds-cluster removed",
        "nothing of Askew's is there",
    ]


async def test_a_cluster_that_is_away_is_one_line(api: ApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1: the input was good."""
    await api.stop()
    assert await asyncio.to_thread(main, ["istio", "remove"]) == 1

    assert capsys.readouterr().err.count("\n") == 1


async def test_the_watchdog_watches_until_it_is_told_to_stop(api: ApiServer, tmp_path: Path) -> None:
    """As a process: nobody is ready, the filters go, and a file says that it looks; SIGTERM ends it with 0."""
    alive = tmp_path / "alive"
    alive.touch()
    os.utime(alive, times=(0.0, 0.0))
    environment = {**os.environ, "ASKEW_WATCHDOG_LIMIT_S": "0.2", "ASKEW_WATCHDOG_POLL_S": "0.1"}
    watchdog = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "askew", "watchdog", "--kubernetes", "--alive", str(alive)),
        env=environment,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        await until(lambda: not api.all_of("EnvoyFilter"))
        os.utime(alive, times=(0.0, 0.0))
        await until(lambda: alive.stat().st_mtime > 0.0)
        await until(lambda: api.all_of("Event"))
    finally:
        watchdog.send_signal(signal.SIGTERM)
        _, errors = await watchdog.communicate()

    assert watchdog.returncode == 0
    assert b"no replica of the control plane is ready" in errors


async def test_render_of_a_cluster(api: ApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    """What is annotated there; a Service that is refused is told of on standard error."""
    api.put(objects.node("n1"))
    api.put(objects.pod("shop-1", ip="10.0.0.5", labels={"app": "shop"}))
    api.put(objects.service("shop", routing="local-first"))
    api.put(objects.endpoint_slice(objects.endpoint("10.0.0.5", "shop-1"), of="shop"))
    api.put(objects.service("naked", routing="local-first", spec={"clusterIP": "None"}))
    assert await asyncio.to_thread(main, ["istio", "render", "--kubernetes"]) == 0
    said = capsys.readouterr()

    assert [one["metadata"]["name"] for one in yaml.safe_load_all(said.out)] == [
        "askew-xds-cluster",
        "askew.default.shop",
    ]
    assert said.err.startswith("naked.default: headless: ")


async def test_serve_beside_kubernetes_applies_and_stops_in_time(api: ApiServer) -> None:
    """As a process: an annotated Service gets its filter; SIGTERM ends it with 0, and what it wrote stays."""
    api.put(objects.node("n1"))
    api.put(objects.pod("shop-1", ip="10.0.0.5", labels={"app": "shop"}))
    api.put(objects.service("cart", routing="local-first"))
    api.put(objects.endpoint_slice(objects.endpoint("10.0.0.5", "shop-1"), of="cart"))
    arguments = ("serve", "--kubernetes", "--xds", "127.0.0.1:0", "--http", "127.0.0.1:0")
    serving = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "askew", *arguments, stderr=asyncio.subprocess.DEVNULL
    )
    wanted = ["askew-xds-cluster", "askew.default.cart"]
    try:
        await until(lambda: sorted(one["metadata"]["name"] for one in api.all_of("EnvoyFilter")) == wanted)
    finally:
        serving.send_signal(signal.SIGTERM)
        await serving.wait()

    assert serving.returncode == 0
    assert len(api.all_of("EnvoyFilter")) == 2
