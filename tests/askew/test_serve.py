"""``askew serve``: its input, its pages, its reload and its end."""

from __future__ import annotations

import asyncio
import io
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import redirect_stderr, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings

from askew.__main__ import main
from askew.cli.serve import MOST_DESCRIPTORS
from askew.control_plane import ControlPlane
from askew.settings import HttpSettings, ServeSettings
from tests.askew.running_plane import Running, running_plane
from tests.mesh.bookshop import mutated_texts
from xds_server.settings import XdsSettings

MESH = """
apiVersion: askew.mesh/v1
nodes: [{name: n1}, {name: n2}]
services:
  - name: shop
    port: 80
    annotations: {askew.mesh/routing: local-first}
    containers:
      - {name: shop-0, node: n1, address: 127.5.0.1}
      - {name: shop-1, node: n2, address: 127.5.0.2}
  - name: cart
    port: 80
    containers: [{name: cart-0, node: n2, address: 127.5.0.3}]
  - name: web
    containers: [{name: web-0, node: n1, address: 127.5.0.4}, {name: web-1, node: n2, address: 127.5.0.5}]
calls: [{from: web, to: shop}, {from: web, to: cart}]
"""


pytestmark = pytest.mark.usefixtures("logging_as_before")


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_plane(tmp_path, MESH) as running:
        yield running


def _rename_over(file: Path, text: str) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(file)


async def test_health_and_readiness(running: Running) -> None:
    """Both pages are 200 while it serves."""
    assert await running.get("/healthz") == (200, {"status": "ok"})
    assert await running.get("/readyz") == (200, {"status": "ready"})


async def test_the_index_lists_every_page(running: Running) -> None:
    """``/`` and ``/debug/`` name the pages, and every page without a parameter answers."""
    _, index = await running.get("/debug/")
    assert isinstance(index, dict)
    for path in index["pages"]:
        status, _ = await running.get(path)
        assert status == 200, path


async def test_allocationz_shows_shares_targets_and_why(running: Running) -> None:
    """One client a node, one endpoint a node: all local, by short name, full name and with the port."""
    for name in ("shop", "shop.default", "shop.default:80"):
        status, page = await running.get(f"/debug/allocationz?service={name}")
        assert status == 200
        assert isinstance(page, dict)
        assert page["shares"] == [[1.0, 0.0], [0.0, 1.0]]
        assert (page["service"], page["clients"], page["endpoints"]) == (
            "shop.default",
            ["web-0", "web-1"],
            ["shop-0", "shop-1"],
        )
        assert (page["cross_node_share"], page["local_share"], page["connections"]) == (0.0, 1.0, 2)
        assert page["reason"]


async def test_allocationz_of_an_unmanaged_service_says_so(running: Running) -> None:
    """A service without an annotation: equal shares, and why."""
    _, page = await running.get("/debug/allocationz?service=cart")
    assert isinstance(page, dict)
    assert (page["managed"], page["shares"]) == (False, [[1.0], [1.0]])
    assert "routing is off" in page["reason"]


@pytest.mark.parametrize(
    "path",
    ["/debug/allocationz?service=nobody", "/debug/allocationz?service=shop:81", "/debug/allocationz?service=web",
     "/debug/edsz?proxyID=nobody", "/debug/config_dump?proxyID=nobody"],
)  # fmt: skip
async def test_an_unknown_name_is_a_404_with_a_json_error(running: Running, path: str) -> None:
    """The error says what was found and what is allowed."""
    status, page = await running.get(path)
    assert status == 404
    assert isinstance(page, dict)
    assert "allowed" in page["error"]


async def test_a_changed_file_is_obeyed(running: Running) -> None:
    """Renaming over the mesh file changes the plan, without a restart."""
    _rename_over(running.file, MESH.replace("local-first", "uniform"))
    page = await running.until("/debug/allocationz?service=shop", "0.5, 0.5")
    assert isinstance(page, dict)
    assert page["connections"] == 4


async def test_a_bad_file_is_refused_and_the_last_good_one_stays(running: Running) -> None:
    """The refusal is on /debug/sourcez and counted; shares stay; a good file afterwards is taken."""
    _rename_over(running.file, MESH.replace("local-first", "lokal"))
    page = await running.until("/debug/sourcez", "allowed: off | uniform")
    assert isinstance(page, dict)
    assert "services[0].annotations[askew.mesh/routing]" in page["sources"][0]["error"]
    _, shares = await running.get("/debug/allocationz?service=shop")
    assert isinstance(shares, dict)
    assert shares["connections"] == 2
    _, metrics = await running.get("/metrics")
    assert 'askew_source_errors_total{source="mesh-file"} 1.0' in str(metrics)
    _rename_over(running.file, MESH.replace("local-first", "uniform"))
    await running.until("/debug/allocationz?service=shop", "0.5, 0.5")
    await running.until("/debug/sourcez", "'ok': True")


async def test_a_vanished_file_changes_nothing(running: Running) -> None:
    """Removing the file is a refusal like any other."""
    running.file.unlink()
    await running.until("/debug/sourcez", "No such file")
    _, shares = await running.get("/debug/allocationz?service=shop")
    assert isinstance(shares, dict)
    assert shares["connections"] == 2


async def test_observe_computes_and_sends_nothing(running: Running) -> None:
    """Mode observe: the page shows the shares, and says that they are not applied."""
    text = MESH.replace("local-first}", "local-first, askew.mesh/mode: observe}")
    _rename_over(running.file, text)
    page = await running.until("/debug/allocationz?service=shop", "'applied': False")
    assert isinstance(page, dict)
    assert page["shares"] == [[1.0, 0.0], [0.0, 1.0]]


async def test_metrics_have_their_documented_names(running: Running) -> None:
    """The names of docs/interfaces.md, as Prometheus shows them."""
    _, page = await running.get("/metrics")
    for name in ("xds_connected_proxies", "plan_seconds", "tick_seconds", "cross_node_share", "connections"):
        assert f"askew_{name}" in str(page)


def _check(file: Path) -> tuple[int, str]:
    stderr = io.StringIO()
    with redirect_stderr(stderr):
        try:
            code = main(["serve", "--mesh", str(file), "--check"])
        except SystemExit as stop:
            code = int(stop.code or 0)
    return code, stderr.getvalue()


def test_check_says_0_for_a_good_file(tmp_path: Path) -> None:
    """``--check`` reads, says nothing and listens nowhere."""
    file = tmp_path / "mesh.yaml"
    file.write_text(MESH)
    assert _check(file) == (0, "")


def test_check_says_2_and_one_line_for_300_mutated_files(tmp_path: Path) -> None:
    """Exit 0, or exit 2 with one line that names the file; never a traceback."""
    file = tmp_path / "mesh.yaml"

    @settings(max_examples=300)
    @given(mutated_texts())
    def check(text: str) -> None:
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
        code, stderr = _check(file)
        if code == 0:
            assert stderr == ""
        else:
            assert code == 2
            assert stderr.count("\n") == 1
            assert stderr.startswith(str(file))
            assert "Traceback" not in stderr

    check()


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"", b"\x00" * 100, b"[" * 100_000])
def test_check_of_bytes_that_are_no_text(tmp_path: Path, content: bytes) -> None:
    """Not UTF-8, empty, NULs, absurd nesting: exit 2 and one line."""
    file = tmp_path / "mesh.yaml"
    file.write_bytes(content)
    code, stderr = _check(file)
    assert (code, stderr.count("\n")) == (2, 1)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    """The line names the file."""
    code, stderr = _check(tmp_path / "nowhere.yaml")
    assert code == 2
    assert "nowhere.yaml: No such file" in stderr


async def _start(tmp_path: Path, *more: str) -> asyncio.subprocess.Process:
    file = tmp_path / "mesh.yaml"
    file.write_text(MESH)
    arguments = ("-m", "askew", "serve", "--mesh", str(file), "--xds", "127.0.0.1:0", *more)
    return await asyncio.create_subprocess_exec(sys.executable, *arguments, stderr=asyncio.subprocess.PIPE)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_with_exit_0(tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM and SIGINT stop it cleanly, well within the 5 s of an orchestrator; the log says what ended it."""
    process = await _start(tmp_path, "--http", "127.0.0.1:0")
    assert process.stderr is not None
    async with asyncio.timeout(30):
        while b"ready" not in (line := await process.stderr.readline()):
            pass
        started_s = time.monotonic()
        os.kill(process.pid, number)
        assert await process.wait() == 0
    assert time.monotonic() - started_s < 5
    rest = await process.stderr.read()
    assert b"Traceback" not in rest
    assert b"ready: 3 services; xds on 127.0.0.1 port " in line
    assert rest.index(f"{number.name}: stopping".encode()) < rest.index(b": stopped")


async def test_it_takes_as_many_descriptors_as_it_may_have(tmp_path: Path) -> None:
    """Each sidecar is a connection; containers begin with a soft limit of 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard // 2, hard))
    try:
        process = await _start(tmp_path, "--http", "127.0.0.1:0")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert process.stderr is not None
    async with asyncio.timeout(30):
        while b"ready" not in await process.stderr.readline():
            pass
        found = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        process.terminate()
        await process.wait()

    assert found == (min(hard, MOST_DESCRIPTORS), hard)


async def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    """The line names the flag and the address; exit 1."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = await _start(tmp_path, "--http", f"127.0.0.1:{port}")
        _, stderr = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    assert f"--http: cannot listen on 127.0.0.1:{port}" in stderr.decode().splitlines()[-1]


async def test_a_mesh_without_managed_services_is_served_from_the_start(tmp_path: Path) -> None:
    """An empty plan is no reason to have no configuration: unmanaged services get all endpoints."""
    file = tmp_path / "mesh.yaml"
    file.write_text(MESH.replace("    annotations: {askew.mesh/routing: local-first}\n", ""))
    plane = ControlPlane(str(file), ServeSettings(xds=XdsSettings(port=0), http=HttpSettings(port=0)))
    ready = asyncio.Event()
    task = asyncio.create_task(plane.run(on_ready=ready.set))
    await asyncio.wait_for(ready.wait(), 10)
    names = [service.short_name for service in plane.configs.topology.services]
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task

    assert names == ["shop", "cart", "web"]
