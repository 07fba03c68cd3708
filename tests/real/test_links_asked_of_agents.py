"""Bytes that nobody but a node's kernel tells of: from real TCP over a real agent to the control plane's links."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.askew.test_agents_in_a_cluster import AGENT_READY, PLANE_READY, Process, started, until
from tests.fakes.agent_service import recorded_host
from tests.real.namespace_pair import RECEIVER_ADDRESS, SENDER_ADDRESS, Pair
from tests.real.network_namespaces import Host, Talk, missing

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(120),
    pytest.mark.skipif(bool(missing()), reason=missing() or "-"),
]
MESH = f"""
apiVersion: askew.mesh/v1
nodes: [{{name: n1, agent: "127.0.0.1:AGENT"}}]
services:
  - name: web
    containers: [{{name: web-0, node: n1, address: {SENDER_ADDRESS}}}]
  - name: shop
    port: 5001
    annotations: {{askew.mesh/routing: local-first}}
    containers: [{{name: shop-0, node: n1, address: {RECEIVER_ADDRESS}}}]
"""


@pytest.fixture
def host(tmp_path: Path, pair: Pair) -> Path:
    """A node whose control groups are recorded, and whose processes and networks are this machine's."""
    root = recorded_host(tmp_path)
    shutil.rmtree(root / "proc")
    (root / "proc").symlink_to("/proc")
    (root / "sys/fs/cgroup/batch/cgroup.procs").write_text(f"{pair.receiver_pid}\n")
    (tmp_path / "containers.json").write_text(json.dumps([{"name": "shop-0", "cgroup": "batch"}]))
    return root


@contextmanager
def traffic(pair: Pair) -> Iterator[None]:
    """Have web-0 send shop-0 1,000 bytes and get 10,000, again and again over one connection."""
    client, server = Host(pair.sender, SENDER_ADDRESS, "", ""), Host(pair.receiver, RECEIVER_ADDRESS, "", "")
    ended = threading.Event()
    with server.listen(RECEIVER_ADDRESS, port=5001) as listener:
        talk = Talk.between(client, listener)

        def go_on() -> None:
            while not ended.wait(0.005):
                talk.exchange(request_bytes=1000, response_bytes=10_000)

        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            talk.close()


def agent(host: Path) -> Any:
    return started(
        "enforce", "--node", "n1", "--host-root", str(host), "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0",
        "--containers", str(host.parent / "containers.json"),
        ready=AGENT_READY,
        environment={"ASKEW_AGENT_STRATEGY": "none"},
    )  # fmt: skip


def control_plane(mesh: Path) -> Any:
    """Run one that asks for a container every second, and watches it for half of one."""
    return started(
        "serve", "--mesh", str(mesh), "--xds", "127.0.0.1:0", "--http", "127.0.0.1:0",
        ready=PLANE_READY,
        environment={
            "ASKEW_NODES_MEASURE_PER_MINUTE": "60", "ASKEW_NODES_MEASURE_S": "0.5", "ASKEW_NODES_DEADLINE_S": "10",
            "ASKEW_LOOP_TICK_S": "0.2",
        },
    )  # fmt: skip


async def page(plane: Process, path: str) -> Any:
    return await asyncio.to_thread(plane.page, path)


async def test_a_control_plane_without_other_sources_has_links_from_its_agents(
    pair: Pair, host: Path, tmp_path: Path
) -> None:
    """Both directions, as many bytes as the kernel counted; that the agent has gone is said, and nothing is asked."""
    mesh = tmp_path / "mesh.yaml"
    with traffic(pair):
        async with agent(host) as node:
            mesh.write_text(MESH.replace("AGENT", str(node.ports[0])))
            async with control_plane(mesh) as plane:
                await until(lambda: bool(plane.page("/debug/linkz")["links"]))
                links = (await page(plane, "/debug/linkz"))["links"]
                asked = (await page(plane, "/debug/nodez"))["links"]
                node.end(signal.SIGKILL)
                await until(lambda: bool(plane.page("/debug/nodez")["links"]["left_out"]))
                after = (await page(plane, "/debug/nodez"))["links"]

    [answers, requests] = links
    assert [(one["from"], one["to"], one["method"], one["confidence"]) for one in links] == [
        ("shop.default", "web.default", "agent", 1.0), ("web.default", "shop.default", "agent", 1.0)]  # fmt: skip
    [sample] = asked["measured"]
    assert (sample["container"], sample["method"], sample["complete"]) == ("shop-0", "sockets", True)
    assert requests["bytes_per_s"] == pytest.approx(sample["bytes_received"] / sample["window_s"], rel=0.01)
    # A window cuts an exchange at either end.
    assert abs(sample["bytes_sent"] - 10 * sample["bytes_received"]) <= 20_000
    assert sample["bytes_received"] > 2000
    assert answers["bytes_per_s"] > requests["bytes_per_s"]
    assert after["left_out"] == {"shop.default": "shop-0: no agent answers on n1"}
