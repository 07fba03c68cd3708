"""Changes of configuration under load, in five modes of fetching it, on two Envoys: not one request fails."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.real.sidecar_mesh import SidecarMesh, failures, until
from tests.real.test_envoy_mesh import MESH
from xds_server.resources.config_source import TRANSPORTS, Transport

FLIPS, FLIPS_ON_136 = 200, 40  # the older Envoy has fewer, to keep the whole run short
# Each step changes clusters, endpoints and routes: other tiers, other endpoints, other programming, managed or not.
STEPS = (
    ("askew.mesh/routing: local-first", "askew.mesh/routing: uniform"),
    ("askew.mesh/routing: uniform", "askew.mesh/routing: local-first, askew.mesh/programming: endpoint-weights"),
    (", askew.mesh/programming: endpoint-weights", ", askew.mesh/connections: all"),
    ("routing: local-first, askew.mesh/connections: all", "routing: off"),
    ("routing: off", "routing: local-first"),
)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_200_flips_lose_no_request(tmp_path: Path, envoy: Path, transport: Transport) -> None:
    """Make before break, whatever the transport; and every change arrives."""
    await _flips_lose_no_request(tmp_path, envoy, transport, FLIPS)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_flips_lose_no_request_on_envoy_136(tmp_path: Path, envoy_136: Path, transport: Transport) -> None:
    """The same for the oldest Envoy that Askew must serve, and it takes part as the version that it is.

    Its MetricsServiceConfig has no ``batch_size`` yet, and a field that a static file may not have ends an Envoy.
    """
    allowing = ("--allow-unknown-static-fields",)
    await _flips_lose_no_request(tmp_path, envoy_136, transport, FLIPS_ON_136, version="1.36.", arguments=allowing)


async def _flips_lose_no_request(
    folder: Path,
    envoy: Path,
    transport: Transport,
    flips: int,
    *,
    version: str = "1.40.",
    arguments: tuple[str, ...] = (),
) -> None:
    """Flip ``flips`` times while three clients send; every answer is one, and all sidecars are of this version."""
    async with SidecarMesh(MESH, folder, envoy, transport=transport, brisk=True, envoy_arguments=arguments) as mesh:
        for name in mesh.envoys:
            assert (await _version(mesh, name)).startswith(version)
        done = False

        async def load(client: str) -> list[str]:
            failed: list[str] = []
            while not done:
                failed += failures(await mesh.send(client, "shop", 20, at_once=2))
                await asyncio.sleep(0.02)
            return failed

        loads = [asyncio.create_task(load(client)) for client in ("load-1", "load-2", "load-3")]
        try:
            for flip in range(flips):
                await _flip(mesh, flip, wait=flip % 10 == 9)
        finally:
            done = True
            failed = await asyncio.gather(*loads)
        assert [answer for answers in failed for answer in answers] == []
        assert sum(mesh.served.values()) > 2.5 * flips


async def _version(mesh: SidecarMesh, name: str) -> str:
    async with mesh.http.get(f"http://127.0.0.1:{mesh.admin_ports[name]}/server_info") as response:
        build = json.loads(await response.text())["version"]  # "commit/1.36.4/Clean/RELEASE/BoringSSL"
    return str(build).split("/")[1]


async def _flip(mesh: SidecarMesh, flip: int, *, wait: bool) -> None:
    """Take one step; every tenth waits until all sidecars have it, the others come as fast as the file is read."""
    before = mesh.plane.plan, mesh.plane.topology
    mesh.rewrite(STEPS[flip % len(STEPS)])
    await until(lambda: (mesh.plane.plan, mesh.plane.topology) != before)
    if wait:
        await until(mesh.all_synced)
