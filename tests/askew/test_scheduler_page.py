"""``POST /scheduler/prioritize`` of a control plane that runs, on a mesh file and on a cluster."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from askew.replication.wire import Decided, Reign
from mesh.picture import Link, Picture
from mesh.telemetry import Telemetry
from tests.askew.running_plane import Running, running_plane
from tests.fakes.sidecars import FakeSidecars

MESH = """
apiVersion: askew.mesh/v1
nodes: [{name: n1}, {name: n2}, {name: n3}]
services:
  - name: web
    containers: [{name: web-1, node: n1, address: 127.5.0.1}, {name: web-2, node: n2, address: 127.5.0.2}]
  - {name: shop, port: 80, containers: [{name: shop-1, node: n1, address: 127.5.0.3}]}
calls: [{from: web, to: shop}]
"""
WEB = {"metadata": {"name": "web-7d9f-abcde", "namespace": "default", "labels": {"app": "web"}}}
SHOP = {"metadata": {"name": "shop-7d9f-abcde", "namespace": "default", "labels": {"app": "shop"}}}


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    """A control plane on the mesh above, before any telemetry."""
    async with running_plane(tmp_path, MESH) as found:
        yield found


async def ask(running: Running, body: object) -> tuple[int, Any]:
    """Return the status and JSON that a body (bytes, or to be JSON) is answered with."""
    data = body if isinstance(body, bytes) else json.dumps(body)
    async with running.http.post(running.url + "/scheduler/prioritize", data=data) as response:
        return response.status, await response.json()


def counted(running: Running, result: str) -> float:
    return running.plane.registry.get_sample_value("askew_scheduler_requests_total", {"result": result}) or 0.0


async def test_before_anything_is_known_all_nodes_are_equal(running: Running) -> None:
    """An entry for each node asked, in order, with one score: kube-scheduler decides alone."""
    status, found = await ask(running, {"Pod": WEB, "NodeNames": ["n2", "n1", "else"]})

    assert status == 200
    assert found == [{"Host": "n2", "Score": 0}, {"Host": "n1", "Score": 0}, {"Host": "else", "Score": 0}]
    assert counted(running, "equal") == 1.0


async def test_measured_traffic_draws_a_pod(running: Running, rng: np.random.Generator) -> None:
    """shop stands on n1, and sidecars say that web talks to it: a new web is best there; a new shop near both webs."""
    plane = running.plane
    sidecars = FakeSidecars(plane.topology, {("web-1", "shop.default"): 90.0}, rng)
    telemetry = Telemetry()
    plane.collector.drain = lambda: telemetry  # type: ignore[method-assign]
    for _ in range(4):
        telemetry = sidecars.advance(5.0)
        plane._tick()
    nodes = {"metadata": {}, "items": [{"metadata": {"name": name}} for name in ("n1", "n2", "n3")]}

    assert await ask(running, {"Pod": WEB, "Nodes": nodes, "NodeNames": None}) == (
        200, [{"Host": "n1", "Score": 10}, {"Host": "n2", "Score": 0}, {"Host": "n3", "Score": 0}],
    )  # fmt: skip
    assert await ask(running, {"Pod": SHOP, "Nodes": None, "NodeNames": ["n3", "n2"]}) == (
        200, [{"Host": "n3", "Score": 0}, {"Host": "n2", "Score": 10}],
    )  # fmt: skip
    assert counted(running, "scored") == 2.0
    assert running.plane.registry.get_sample_value("askew_scheduler_seconds_count") == 2.0


@pytest.mark.parametrize("body", [b"", b"no JSON", b"[]", b"{}", b'{"Pod": {}, "NodeNames": ["n1"]}'])
async def test_a_malformed_body_is_told(running: Running, body: bytes) -> None:
    """400 with one line: what was found, and what is allowed."""
    status, found = await ask(running, body)

    assert (status, list(found)) == (400, ["error"])
    assert "allowed: " in found["error"]
    assert counted(running, "refused") == 1.0


async def test_a_body_without_end_is_not_kept(running: Running) -> None:
    """Past 4 MiB it is refused, whether it says its length or not; 50,000 names of nodes are not too many."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(5 * 16):
            yield b" " * 65_536

    url = running.url + "/scheduler/prioritize"
    async with running.http.post(url, data=io.BytesIO(b" " * (4 * 1024 * 1024 + 1))) as response:
        assert response.status == 413
    async with running.http.post(url, data=pieces()) as response:
        assert (response.status, "nodeCacheCapable" in await response.text()) == (413, True)
    names = [f"node-{index}.eu-central-1.compute.internal" for index in range(50_000)]
    asked = io.BytesIO(json.dumps({"Pod": WEB, "NodeNames": names}).encode())
    async with running.http.post(url, data=asked) as response:
        assert (response.status, len(await response.json())) == (200, 50_000)


async def test_no_other_verb_is_answered(running: Running) -> None:
    """It scores and does no more: it can keep no pod from a node."""
    for verb in ("filter", "bind", "preempt"):
        async with running.http.post(f"{running.url}/scheduler/{verb}", json={}) as response:
            assert response.status == 404
    async with running.http.get(f"{running.url}/scheduler/prioritize") as response:
        assert response.status == 405


async def test_a_follower_answers_from_what_the_leader_saw(running: Running) -> None:
    """A replica that does not lead scores by the picture that it was told."""
    links = (Link("web.default", "shop.default", 10.0, "measured"),)
    running.plane.follow(Decided("leader", Reign(), None, Picture(links=links), None))

    assert await ask(running, {"Pod": WEB, "NodeNames": ["n1", "n2"]}) == (
        200, [{"Host": "n1", "Score": 10}, {"Host": "n2", "Score": 0}],
    )  # fmt: skip
