"""200 changes of configuration under load, in five modes of fetching it: not one request fails."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.real.sidecar_mesh import SidecarMesh, failures, until
from tests.real.test_envoy_mesh import MESH
from xds_server.resources.config_source import TRANSPORTS, Transport

FLIPS = 200
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
    async with SidecarMesh(MESH, tmp_path, envoy, transport=transport, brisk=True) as mesh:
        done = False

        async def load(client: str) -> list[str]:
            failed: list[str] = []
            while not done:
                failed += failures(await mesh.send(client, "shop", 20, at_once=2))
                await asyncio.sleep(0.02)
            return failed

        loads = [asyncio.create_task(load(client)) for client in ("load-1", "load-2", "load-3")]
        try:
            for flip in range(FLIPS):
                await _flip(mesh, flip, wait=flip % 10 == 9)
        finally:
            done = True
            failed = await asyncio.gather(*loads)
        assert [answer for answers in failed for answer in answers] == []
        assert sum(mesh.served.values()) > 500


async def _flip(mesh: SidecarMesh, flip: int, *, wait: bool) -> None:
    """Take one step; every tenth waits until all sidecars have it, the others come as fast as the file is read."""
    before = mesh.plane.plan, mesh.plane.topology
    mesh.rewrite(STEPS[flip % len(STEPS)])
    await until(lambda: (mesh.plane.plan, mesh.plane.topology) != before)
    if wait:
        await until(mesh.all_synced)
