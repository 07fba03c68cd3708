"""From an annotation to a node: ``askew serve --kubernetes`` and ``askew enforce`` on a stand-in API server."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from enforcer.proto import node_agent_pb2 as pb
from enforcer.told_containers import FILE_NAME
from tests.fakes.agent_service import SERVICE, recorded_host
from tests.fakes.api_server import ApiServer
from tests.fakes.fake_host import v2_group
from tests.fakes.recorded_tree import write_tree
from tests.istio.cluster_objects import endpoint, endpoint_slice, node, pod, service
from tests.istio.test_node_containers import JOB_ID, WEB_ID, running

pytestmark = pytest.mark.timeout(120)
AGENT_READY = r"ready: .* grpc on port (\d+), http on (\d+)"
PLANE_READY = r"xds on \S+ port (\d+), http on \S+ port (\d+)"
"""Lines of a log; their groups are ports."""
POD = "kubepods/pod12345678-1234-1234-1234-123456789abc"


@dataclass(slots=True)
class Process:
    """A running command and its ports."""

    process: subprocess.Popen[str]
    ports: tuple[int, ...]

    def page(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[-1]}{path}", timeout=5) as response:
            return json.loads(response.read())

    def end(self, number: int) -> None:
        self.process.send_signal(number)
        self.process.wait(timeout=10)


@asynccontextmanager
async def started(*arguments: str, ready: str, environment: dict[str, str]) -> AsyncIterator[Process]:
    """Run ``askew`` with these arguments until the block ends; its log tells the ports."""
    command = [sys.executable, "-m", "askew", *arguments]
    variables = {**os.environ, **environment}
    with await asyncio.to_thread(
        subprocess.Popen, command, stderr=subprocess.PIPE, text=True, env=variables
    ) as process:
        try:
            ports = await asyncio.to_thread(ports_in_log, process, ready)  # it waits for us: the API server is ours
            yield Process(process, ports)
        finally:
            process.kill()


def ports_in_log(process: subprocess.Popen[str], ready: str) -> tuple[int, ...]:
    assert process.stderr is not None
    log: list[str] = []
    for line in process.stderr:
        log.append(line)
        found = re.search(ready, line)
        if found is not None:
            return tuple(map(int, found.groups()))
    raise AssertionError("".join(log))


def agent(host: Path, *, port: int = 0) -> Any:
    """Run n1's agent, which divides CPU and reads no latency: equal parts, every step."""
    return started(
        "enforce", "--node", "n1", "--host-root", str(host), "--grpc", f"127.0.0.1:{port}", "--http", "127.0.0.1:0",
        ready=AGENT_READY,
        environment={"ASKEW_AGENT_RESOURCES": "cpu", "ASKEW_AGENT_STRATEGY": "static"},
    )  # fmt: skip


def control_plane(api: ApiServer, name: str, agent_port: int) -> Any:
    """Run a replica on the cluster."""
    return started(
        "serve", "--kubernetes", "--xds", "127.0.0.1:0", "--http", "127.0.0.1:0",
        ready=PLANE_READY,
        environment={
            "ASKEW_KUBERNETES_API_SERVER": api.url,
            "ASKEW_NODES_AGENT_PORT": str(agent_port),
            "ASKEW_REPLICATION_NAME": name,
            "ASKEW_REPLICATION_PORT": "0",
            "ASKEW_REPLICATION_LEASE_S": "3",
            "ASKEW_REPLICATION_RENEW_DEADLINE_S": "2",
            "ASKEW_REPLICATION_RETRY_S": "0.2",
            "ASKEW_ISTIO_TRANSPORT": "plaintext",
        },
    )  # fmt: skip


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A node with two pods' control groups, as the kubelet makes them."""
    root = recorded_host(tmp_path)
    groups = root / "sys/fs/cgroup"
    names = ("cgroup.controllers", "cgroup.procs")
    for path in (*Path(POD).parents, Path(POD)):
        (groups / path).mkdir(parents=True, exist_ok=True)
        write_tree(groups / path, {names[0]: "cpuset cpu io memory pids", names[1]: ""})
    write_tree(groups / POD, {WEB_ID: v2_group(procs="31"), JOB_ID: v2_group(procs="41")})
    return root


@asynccontextmanager
async def cluster() -> AsyncIterator[ApiServer]:
    """A node with its agent's pod, a Service ``web`` of one pod, and a batch job; nobody is annotated."""
    async with ApiServer() as api:
        api.put(node("n1"))
        labels = {"app.kubernetes.io/name": "askew-enforcer"}
        api.put(pod("enforcer-1", namespace="askew-system", ip="127.0.0.1", labels=labels, sidecar=False))
        api.put(running(pod("web-0", ip="10.0.0.7"), WEB_ID))
        api.put(running(pod("job-0", ip="10.0.0.8"), JOB_ID))
        api.put(service("web"))
        api.put(endpoint_slice(endpoint("10.0.0.7", "web-0"), of="web"))
        yield api


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something of another process is true."""
    async with asyncio.timeout(30.0):
        while not await asyncio.to_thread(holds):  # noqa: ASYNC110 (a process tells nobody)
            await asyncio.sleep(0.05)


def listed(agent: Process) -> list[tuple[str, str]]:
    return [(one["name"], one["class"]) for one in agent.page("/debug/loopz")["containers"]]


def quota(host: Path, container_id: str) -> str:
    return (host / "sys/fs/cgroup" / POD / container_id / "cpu.max").read_text().strip()


def tell(port: int, generation: int) -> grpc.StatusCode:
    """Tell the agent an empty list of that generation."""
    request = pb.SetContainersRequest(node="n1", generation=generation).SerializeToString()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            channel.unary_unary(SERVICE + "SetContainers")(request, timeout=5)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


BOTH = [("job-0.default", "best-effort"), ("web-0.default", "latency-critical")]


@pytest.mark.slow
async def test_an_annotation_reaches_the_node_and_outlives_who_told_it(host: Path) -> None:
    """Annotate: limited. The leader dies: stays. A new one: goes on. Older news: refused. Not annotated: given back."""
    unlimited = quota(host, WEB_ID)
    async with cluster() as api, agent(host) as node_agent:
        grpc_port = node_agent.ports[0]
        async with control_plane(api, "a", grpc_port) as first:
            assert listed(node_agent) == []
            api.put(service("web", slo="p95=50ms", latency_metrics="9090/metrics#rq_seconds"))
            api.put(running(pod("job-0", ip="10.0.0.8", best_effort="true"), JOB_ID))
            await until(lambda: listed(node_agent) == BOTH)
            await until(lambda: quota(host, WEB_ID) != unlimited)
            shown = (await asyncio.to_thread(first.page, "/debug/nodez"))["nodes"]
            first.end(signal.SIGKILL)
        told = json.loads((host / "run/askew" / FILE_NAME).read_text())
        assert (listed(node_agent), quota(host, WEB_ID) != unlimited) == (BOTH, True)
        assert tell(grpc_port, told["generation"] - 1) == grpc.StatusCode.FAILED_PRECONDITION

        node_agent.end(signal.SIGKILL)
        async with agent(host, port=grpc_port) as anew:
            await until(lambda: listed(anew) == BOTH)  # its last list, without a control plane
            async with control_plane(api, "b", grpc_port):
                api.put(running(pod("job-0", ip="10.0.0.8"), JOB_ID))
                await until(lambda: listed(anew) == BOTH[1:])
                api.put(service("web"))
                await until(lambda: listed(anew) == [] and quota(host, WEB_ID) == unlimited)
            anew.end(signal.SIGTERM)

    assert [(one["node"], one["connected"], one["told"], one["containers"]) for one in shown] == [("n1", True, True, 2)]
    assert told["containers"][1] == {
        "name": "web-0.default", "cgroup": WEB_ID, "class": "latency-critical", "target_ms": 50.0, "percentile": 95.0,
        "latency": "http://10.0.0.7:9090/metrics#rq_seconds",
    }  # fmt: skip
