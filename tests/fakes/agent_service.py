"""A node agent on a recorded host, its service behind a real gRPC server on a Unix socket, for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import grpc
import grpc.aio

from enforcer.agent import NodeAgent, Peer, Role
from enforcer.api import MeasuredNode, NodeAgentService, server
from enforcer.containers_file import ListedContainer
from enforcer.host import Host, real_host
from enforcer.host_paths import HostPaths
from enforcer.known_containers import KnownContainers
from enforcer.listed_containers import ListedContainers
from enforcer.network_peer import NetworkPeer, passed_on
from enforcer.node_writer import NodeWriter
from enforcer.observe import observe
from enforcer.proto import node_agent_pb2 as pb
from enforcer.settings import ApiSettings, WriterSettings
from enforcer.told_containers import ToldContainers
from mesh.topology import ContainerName
from tests.fakes.fake_host import host_tree, v2_group
from tests.fakes.recorded_tree import write_tree

SERVICE = "/askew.enforcer.v1.NodeAgent/"


def recorded_host(directory: Path) -> Path:
    """Write a host of two groups on cgroup v2 as plain files, and return its root."""
    root = directory / "host"
    root.mkdir()
    cgroup = {
        "cgroup.controllers": "cpuset cpu io memory pids",
        "cgroup.procs": "1",
        "web": v2_group(procs="31"),
        "batch": v2_group(procs="41"),
    }
    write_tree(root, host_tree(cgroup))
    return root


@dataclass(slots=True)
class RunningAgent:
    """What a test speaks to."""

    agent: NodeAgent
    known: KnownContainers
    writer: NodeWriter
    service: NodeAgentService
    socket: str
    channel: grpc.aio.Channel

    async def ask(self, method: str, request: bytes) -> bytes:
        """Return the raw answer to a raw request."""
        asked = self.channel.unary_unary(SERVICE + method, request_serializer=None, response_deserializer=None)
        answer: bytes = await asked(request, timeout=5.0)
        return answer

    async def apply(self, **fields: object) -> pb.ApplyResponse:
        """Apply a request of these fields."""
        return pb.ApplyResponse.FromString(await self.ask("Apply", pb.ApplyRequest(**fields).SerializeToString()))  # type: ignore[arg-type]

    async def tell(self, **fields: object) -> pb.SetContainersResponse:
        """Tell a list of these fields."""
        request = pb.SetContainersRequest(**fields).SerializeToString()  # type: ignore[arg-type]
        return pb.SetContainersResponse.FromString(await self.ask("SetContainers", request))

    async def status(self) -> pb.StatusResponse:
        """Return the status."""
        return pb.StatusResponse.FromString(await self.ask("Status", b""))


@asynccontextmanager
async def running_agent(
    root: Path,
    *,
    role: Role = "all",
    peer: Peer | None = None,
    measured: Callable[[Host], MeasuredNode] | None = None,
    listed: Sequence[ListedContainer] = (),
    socket: str = "agent.sock",
    node: str = "n1",
) -> AsyncIterator[RunningAgent]:
    """Run an agent on the host below ``root`` until the block ends; ``measured`` makes what it can measure."""
    settings = WriterSettings(journal_name="network" if role == "network" else "writer")
    host = real_host(HostPaths(str(root)), listed=listed)
    writer = NodeWriter(host, settings)
    await writer.start()
    paths = HostPaths(str(root))
    known = KnownContainers(ListedContainers(paths.containers_file), ToldContainers(paths.state, node=node))
    known.load()
    agent = NodeAgent(writer, node=node, role=role, peer=peer, known=known)

    async def look() -> pb.ObserveResponse:
        found = [host.find(ContainerName(name)) for name in ("web", "batch")]
        return observe(host, [one for one in found if one is not None], time_s=1.0)

    service = NodeAgentService(
        agent,
        ApiSettings(watch_s=0.01),
        observe=look,
        measured=None if measured is None else measured(host),
        forward=partial(passed_on, peer) if isinstance(peer, NetworkPeer) else None,
    )
    made = server(service)
    path = str(root / socket)
    made.add_insecure_port(f"unix:{path}")
    await made.start()
    channel = grpc.aio.insecure_channel(f"unix:{path}")
    try:
        yield RunningAgent(agent, known, writer, service, path, channel)
    finally:
        await channel.close(None)
        await made.stop(0.1)
        await writer.stop()
