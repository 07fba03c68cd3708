"""Both roles of the agent joined by their socket, on real namespaces: links measured by known bytes, limits by TCP."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
import pytest
from pyroute2 import NetNS

from allocators.partitioning.static import Static
from askew.node_partitioning import NodePartitioning
from askew.node_resources import divisibles
from enforcer.containers_file import ListedContainer
from enforcer.extents import Extents
from enforcer.latency_source import LatencySource
from enforcer.measured_node import HostLinks
from enforcer.network_peer import NetworkPeer
from enforcer.node_loop import LoopFigures, NodeLoop
from enforcer.proto import node_agent_pb2 as pb
from enforcer.settings import AgentSettings
from mesh.topology import ContainerName
from tests.fakes.agent_service import RunningAgent, recorded_host, running_agent
from tests.real.namespace_pair import RECEIVER_ADDRESS, SENDER_ADDRESS, Pair, need_htb
from tests.real.network_namespaces import Host, Talk, missing

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(missing()), reason=missing() or "-")]
WEB, OTHER = ContainerName("web"), ContainerName("other")
PORT = 5001
WINDOW_S = 0.8
MBIT = 1e6


@dataclass(frozen=True)
class Roles:
    """Who is asked, and who does it."""

    cgroup: RunningAgent
    network: RunningAgent
    opened: asyncio.Event


@pytest.fixture
async def roles(tmp_path: Path, pair: Pair) -> AsyncIterator[Roles]:
    """Both roles on a host whose control groups are recorded, and whose processes and networks are this machine's."""
    root = recorded_host(tmp_path)
    shutil.rmtree(root / "proc")
    (root / "proc").symlink_to("/proc")
    (root / "sys/fs/cgroup/web/cgroup.procs").write_text(f"{pair.sender_pid}\n")
    (root / "sys/fs/cgroup/batch/cgroup.procs").write_text(f"{pair.receiver_pid}\n")
    async with both(root) as made:
        yield made


@asynccontextmanager
async def both(root: Path) -> AsyncIterator[Roles]:
    listed = (ListedContainer(WEB, cgroup="web"), ListedContainer(OTHER, cgroup="batch"))
    loop, opened = asyncio.get_running_loop(), asyncio.Event()

    def on_open() -> None:
        loop.call_soon_threadsafe(opened.set)

    async with running_agent(
        root, role="network", socket="n.sock", listed=listed, measured=lambda host: HostLinks(host, on_open=on_open)
    ) as network:
        peer = NetworkPeer(network.socket)
        async with running_agent(root, role="cgroup", peer=peer, listed=listed) as cgroup:
            yield Roles(cgroup, network, opened)
        await peer.close()


async def measured(roles: Roles, method: str, traffic: Callable[[], None]) -> pb.MeasureResponse:
    """Ask the cgroup role to measure ``web``, with traffic once the network role's window is open."""
    request = pb.MeasureRequest(container="web", method=method, limit_s=WINDOW_S)
    asked = asyncio.create_task(roles.cgroup.ask("Measure", request.SerializeToString()))
    asked.add_done_callback(lambda _: roles.opened.set())  # it may be refused before it opens
    await roles.opened.wait()
    if not asked.done():
        await asyncio.to_thread(traffic)
    return pb.MeasureResponse.FromString(await asked)


@pytest.mark.parametrize(("method", "by"), [("sockets", "sockets"), ("capture", "capture"), ("", "sockets")])
async def test_the_api_measures_known_bytes_by_each_way(pair: Pair, roles: Roles, method: str, by: str) -> None:
    """Asked of one role, done by the other: every byte of the window, none of before; unasked, the cheapest way."""
    client, server = Host(pair.sender, SENDER_ADDRESS, "", ""), Host(pair.receiver, RECEIVER_ADDRESS, "", "")
    with server.listen(RECEIVER_ADDRESS, port=PORT) as listener:
        talk = Talk.between(client, listener)
        talk.exchange(request_bytes=70_000, response_bytes=30_000)
        answer = await measured(roles, method, lambda: talk.exchange(request_bytes=50_000, response_bytes=200_000))
        sent_again = talk.repeated_bytes() if by == "capture" else (0, 0)
        talk.close()
    [link] = answer.links

    assert (answer.method, answer.complete, list(answer.passed_over)) == (by, True, [])
    assert (link.peer, link.port, link.side, link.connections) == (RECEIVER_ADDRESS, PORT, "client", 1)
    assert 0 <= link.bytes_sent - 50_000 <= sent_again[0]
    assert 0 <= link.bytes_received - 200_000 <= sent_again[1]


async def test_what_the_network_role_refuses_is_refused_by_its_own_status(roles: Roles) -> None:
    """A container that it does not know will not come by asking again; a role that is away may."""
    request = pb.MeasureRequest(container="nobody", limit_s=WINDOW_S).SerializeToString()
    with pytest.raises(grpc.aio.AioRpcError, match="found 'nobody', allowed: a container of this host") as refused:
        await roles.cgroup.ask("Measure", request)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_container_on_the_hosts_network_is_not_measured(roles: Roles, tmp_path: Path) -> None:
    """All of the node's connections are there: none of them would be its own."""
    (tmp_path / "host/sys/fs/cgroup/web/cgroup.procs").write_text(f"{os.getpid()}\n")
    answer = await measured(roles, "", lambda: None)
    reason = "web uses the host's own network: all of the node's links are there"
    assert (answer.method, [one.reason for one in answer.passed_over]) == ("", [reason, reason])


async def stepped(roles: Roles, settings: AgentSettings, *, steps: int) -> LoopFigures:
    """Run the loop of the cgroup role for some steps and return what it saw."""
    status = await roles.cgroup.agent.status()
    node = NodePartitioning(Static(), divisibles(status.capabilities, Extents(), settings))
    listed = (ListedContainer(WEB, cgroup="web"), ListedContainer(OTHER, cgroup="batch"))
    loop = NodeLoop(roles.cgroup.agent, settings, listed=lambda: listed, decide=node.decide)
    source = LatencySource(settings)
    for _ in range(steps):
        await loop.step(source)
    await source.close()
    return loop.figures


def qdiscs(namespace: str) -> list[str]:
    with NetNS(namespace) as netlink:
        return [str(q.get_attr("TCA_KIND")) for q in netlink.get_qdiscs() if q["handle"]]


async def test_the_loop_divides_the_network_through_the_other_role(pair: Pair, roles: Roles) -> None:
    """40 Mbit/s for two containers: HTB gives each 20, TCP gets that and no more, and a revert takes all away."""
    await asyncio.to_thread(need_htb, pair.receiver)  # pyroute2 wants a thread without a running loop
    before = await asyncio.to_thread(qdiscs, pair.sender)
    settings = AgentSettings(resources="network_egress", network_bits_per_s=40 * MBIT)

    figures = await stepped(roles, settings, steps=3)
    rate = await asyncio.to_thread(pair.measure_bits_per_s, 1.5)
    during = await asyncio.to_thread(qdiscs, pair.sender)
    restored = await roles.cgroup.agent.revert()
    after = await asyncio.to_thread(qdiscs, pair.sender)

    assert (figures.not_done, figures.changes) == ((), 1)  # what the other role holds is not asked for again
    assert [dict(one.held) for one in figures.reading.containers] == [{"network_egress": 20 * MBIT}] * 2
    assert [one.use.network_bytes is not None for one in figures.reading.containers] == [True, True]
    assert 0.90 <= rate / (20 * MBIT) <= 1.00
    assert ("htb" in during, after, restored.failed) == (True, before, ())
