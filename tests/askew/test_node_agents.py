"""Lines to agents: lists out, wishes in, whoever comes, goes or tells something else meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from askew import agent_line
from askew.agent_channels import AgentChannels
from askew.agent_line import AgentLine
from askew.node_agents import NodeAgents
from askew.node_agents_page import NodeAgentsMetrics
from askew.settings import NodeSettings
from enforcer.api_messages import MigrationWish
from istio.errors import NotLeaderError
from istio.node_containers import NodeLists
from mesh.node_containers import NodeContainer
from mesh.policy import Slo
from mesh.topology import ContainerName, Node, NodeName, Topology
from tests.fakes.agent_service import RunningAgent, recorded_host, running_agent

N1, SHOP = NodeName("n1"), ContainerName("shop-0.default")
LISTED = (NodeContainer(SHOP, "web", slo=Slo(95.0, 50.0), latency_url="http://10.0.0.1:80/m"),)


@dataclass
class World:
    """What the control plane sees; a test changes it."""

    topology: Topology = field(default_factory=Topology)
    lists: dict[NodeName, tuple[NodeContainer, ...]] = field(default_factory=lambda: {N1: LISTED})
    leads: bool = True
    errors: int = 0
    looks: int = 0

    def seen(self) -> Topology:
        self.looks += 1
        return self.topology

    def failed(self) -> None:
        self.errors += 1


@asynccontextmanager
async def running(world: World) -> AsyncIterator[NodeAgents]:
    """Run the lines of a world."""
    settings = NodeSettings(deadline_s=5.0)
    agents = NodeAgents(
        settings,
        AgentChannels(settings),
        topology=world.seen,
        is_active=lambda: world.leads,
        on_error=world.failed,
    )
    agents.lists = lambda: NodeLists(world.lists)
    task = asyncio.create_task(agents.run())
    try:
        yield agents
    finally:
        task.cancel()
        await asyncio.wait((task,))


def of(agent: RunningAgent) -> Topology:
    return Topology(nodes=(Node(N1, agent=f"unix:{agent.socket}"), Node(NodeName("n2"))))


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something is true."""
    async with asyncio.timeout(10.0):
        while not holds():  # noqa: ASYNC110 (an agent tells nobody)
            await asyncio.sleep(0.01)


@pytest.fixture
def host(tmp_path: Path) -> Path:
    return recorded_host(tmp_path)


def names(agent: RunningAgent) -> list[str]:
    return [one.name for one in agent.known.now]


async def test_an_agent_is_told_its_list_and_each_change(host: Path) -> None:
    """As it is wanted, with a generation that grows; an empty one, too."""
    async with running_agent(host) as agent:
        world = World(of(agent))
        async with running(world) as agents:
            await until(lambda: names(agent) == [SHOP])
            (told,), first = agent.known.now, agent.known.generation
            world.lists = {}
            agents.note_change()
            await until(lambda: names(agent) == [])
            second = agent.known.generation
            await until(lambda: agents.counts["taken"] == 2)
            assert agents.page()["nodes"][0]["told"] is True
            assert agents.page()["nodes"][1] == {"node": "n2", "agent": None}
    assert (told.cgroup, told.target_ms, told.percentile, told.latency) == ("web", 50.0, 95.0, "http://10.0.0.1:80/m")
    assert first < second


async def test_what_has_not_changed_is_not_told_again(host: Path) -> None:
    """A rollout elsewhere is no news for this node."""
    async with running_agent(host) as agent:
        world = World(of(agent))
        async with running(world) as agents:
            await until(lambda: agents.counts["taken"] == 1)
            for count in range(3):
                world.lists = {N1: LISTED, NodeName("n2"): LISTED[:count]}
                agents.note_change()
                looked = world.looks
                await until(lambda looked=looked: world.looks > looked)  # type: ignore[misc]
            assert agents.counts == {"taken": 1, "refused": 0, "failed": 0}


async def test_an_agent_that_comes_back_is_told_again(host: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It may have lost its state directory; while it is away that is said once, counted, and on the page."""
    caplog.set_level(logging.INFO)
    world = World(Topology(nodes=(Node(N1, agent=f"unix:{host}/agent.sock"),)))
    async with running(world) as agents:
        async with running_agent(host) as agent:
            await until(lambda: names(agent) == [SHOP])
        await until(lambda: agents.page()["nodes"][0]["connected"] is False)
        world.lists = {N1: (LISTED[0], NodeContainer(ContainerName("job-0.default"), "batch", best_effort=True))}
        agents.note_change()
        await until(lambda: world.errors > 1)
        assert agents.page()["nodes"][0]["error"]
        async with running_agent(host) as anew:
            began_with = names(anew)
            await until(lambda: names(anew) == [SHOP, "job-0.default"])
            await until(lambda: agents.page()["nodes"][0]["connected"])
            assert agents.page()["nodes"][0]["error"] == ""
    said = [record.getMessage() for record in caplog.records if "the agent of n1" in record.getMessage()]
    assert began_with == [SHOP]
    assert any(line.endswith("answers again") for line in said)


async def test_a_newer_list_of_anothers_is_told_over(host: Path) -> None:
    """A leader that went may have had a clock ahead of ours, and its last list may come late: ours goes past it."""
    async with running_agent(host) as agent:
        far = 2**55
        await agent.tell(node="n1", generation=far)
        async with running(World(of(agent))):
            await until(lambda: names(agent) == [SHOP])
            await agent.tell(node="n1", generation=far + 1000)
            await until(lambda: names(agent) == [SHOP])
        assert agent.known.generation == far + 1001


async def test_who_does_not_lead_tells_nothing(host: Path) -> None:
    """No line at all; and where leadership ends while a list is on its way, the list is not sent."""

    refused: list[object] = []

    async def refuse(write: object) -> None:
        refused.append(write)
        raise NotLeaderError("lease")

    async with running_agent(host) as agent:
        world = World(of(agent), leads=False)
        async with running(world) as agents:
            await until(lambda: world.looks > 0)
            assert agents.lines == {}
            agents.as_leader, world.leads = refuse, True
            agents.note_change()
            await until(lambda: len(refused) > 1)
            assert (names(agent), agents.counts["taken"], world.errors) == ([], 0, 0)


async def test_another_nodes_agent_at_the_address_takes_nothing(host: Path) -> None:
    """An address that has become another pod's: refused, and shown."""
    async with running_agent(host, node="n9") as agent:
        async with running(World(of(agent))) as agents:
            await until(lambda: agents.counts["refused"] > 0)
            await until(lambda: "node: found 'n1', allowed: n9" in agents.page()["nodes"][0]["error"])
        assert names(agent) == []


async def test_wishes_are_shown_with_their_age_until_they_end(host: Path) -> None:
    """On the page, in the metrics; a wish that goes on keeps its beginning."""
    async with running_agent(host) as agent, running(World(of(agent))) as agents:
        agent.agent.migrations = (MigrationWish(SHOP, "it needs 9 of 8 cores", certain=True),)
        await until(lambda: bool(agents.wishes()))
        (first,) = agents.wishes()
        agent.agent.migrations = (MigrationWish(SHOP, "it needs 10 of 8 cores", certain=True),)
        await until(lambda: agents.wishes()[0].reason == "it needs 10 of 8 cores")
        (second,), page = agents.wishes(), agents.page()["wishes"]
        shown = {one.name: one.samples for one in NodeAgentsMetrics(agents).collect()}
        agent.agent.migrations = ()
        await until(lambda: not agents.wishes())
    assert (first.node, first.container, first.certain, first.since_s) == ("n1", SHOP, True, second.since_s)
    assert page[0]["reason"] == "it needs 10 of 8 cores"
    assert shown["askew_move_wishes"][0].value == 1.0
    assert [sample.value for sample in shown["askew_node_agents"]] == [1.0, 0.0]


async def test_an_agent_that_claims_a_generation_past_all_fails_alone(host: Path) -> None:
    """No newer list can be told it: that is its line's error, said on the page, and no end of the control plane's."""
    for claimed in (2**64 - 1, 2**63 - 1):
        async with running_agent(host) as agent:
            agent.agent._known = SimpleNamespace(generation=claimed)  # type: ignore[assignment]
            world = World(of(agent))
            async with running(world) as agents:
                await until(lambda world=world: world.errors > 1)  # type: ignore[misc]
                assert "containers_generation" in agents.page()["nodes"][0]["error"]
                agent.agent._known = agent.known
                await until(lambda agent=agent: names(agent) == [SHOP])  # type: ignore[misc]


async def test_one_services_odd_objective_takes_no_others_list_away(host: Path) -> None:
    """``askew.mesh/slo: p99=900000000s`` can be written; the agent takes some hours at most, else nothing at all."""
    odd = NodeContainer(ContainerName("odd-0.default"), "batch", slo=Slo(99.0, 9e11))
    async with running_agent(host) as agent, running(World(of(agent), lists={N1: (odd, *LISTED)})):
        await until(lambda: names(agent) == ["odd-0.default", SHOP])


async def test_an_agent_that_never_stops_telling_is_read_at_our_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of statuses a second, from a broken agent or a node that was taken over, leave the loop to others."""
    monkeypatch.setattr(agent_line, "PAUSE_S", 3600.0)
    reads: list[None] = []

    class Call:
        async def read(self) -> bytes:
            reads.append(None)
            return b""

    settings = NodeSettings()
    agents = NodeAgents(settings, AgentChannels(settings), topology=Topology)
    watching = asyncio.create_task(AgentLine(N1, "n1:1", agents._ways)._watch(Call()))
    for _ in range(100):
        await asyncio.sleep(0)
    watching.cancel()
    await asyncio.wait((watching,))

    assert reads == []
