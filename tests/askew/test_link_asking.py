"""Links asked of agents over gRPC: cheapest way first, bounded, and never again what an agent cannot do."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from askew.agent_channels import AgentChannels
from askew.link_asking import AT_ONCE, REFUSED_S, LinkAsker
from askew.node_agents import NodeAgents
from askew.node_agents_page import NodeAgentsMetrics
from askew.settings import NodeSettings
from enforcer.api_messages import measurement_of
from enforcer.proto import node_agent_pb2 as pb
from estimators.measured_links import HELD_S, RENEWED_S
from mesh.errors import BadInputError
from mesh.link_measurement import LinkBytes, LinkMeasurer, Measurement, Method, Unmeasured
from mesh.mesh_file import parse_mesh_file
from mesh.picture import Link
from mesh.topology import Container, ContainerName, Node, NodeName, ServiceName, Topology
from tests.askew.test_node_agents import until
from tests.fakes.agent_service import recorded_host, running_agent

N1 = NodeName("n1")
MESH = """
apiVersion: askew.mesh/v1
nodes: [{name: n1}]
services:
  - name: web
    containers: [{name: web-1, node: n1, address: 127.5.0.1}]
  - name: shop
    port: 80
    annotations: {askew.mesh/routing: local-first}
    containers: [{name: shop-1, node: n1, address: 127.5.0.3}, {name: shop-2, node: n1, address: 127.5.0.4}]
"""
LINKS = (LinkBytes("127.5.0.1", 80, "server", bytes_sent=4000, bytes_received=400, connections=2),)


@dataclass
class Way:
    """A measurer of the agent: what it says, and what it was asked."""

    method: Method
    complete: bool = True
    unsupported: str = ""
    asked: list[tuple[str, float]] = field(default_factory=list)
    hangs: bool = False

    async def measure(self, container: Container, *, window_s: float) -> Measurement | Unmeasured:
        self.asked.append((container.name, window_s))
        if self.hangs:
            await asyncio.Event().wait()
        if self.unsupported:
            return Unmeasured(container.name, self.method, self.unsupported)
        return Measurement(container.name, self.method, window_s, LINKS, cost_cpu_s=0.25, complete=self.complete)


@dataclass
class FakeNode:
    """The containers that an agent knows, and its ways to measure them."""

    names: tuple[str, ...]
    measurers: Sequence[LinkMeasurer]

    def find(self, name: str) -> Container | None:
        known = name in self.names
        return Container(ContainerName(name), ServiceName(""), NodeName(""), "") if known else None


@dataclass
class World:
    """An agent, the control plane's lines to it, and who asks."""

    asker: LinkAsker
    agents: NodeAgents
    sockets: Way
    capture: Way
    errors: list[None]
    now_s: float = 1000.0
    links: tuple[Link, ...] = ()
    topology: Topology = field(default_factory=Topology)

    async def ask(self) -> str:
        """Ask for whom it is time, and return the container's name."""
        container = self.asker.next_one()
        if container is None:
            return ""
        await self.asker.ask(container)
        return container.name

    def left_out(self) -> dict[str, str]:
        self.asker.next_one()
        found: dict[str, str] = self.asker.page()["left_out"]
        return found


@asynccontextmanager
async def world(
    tmp_path: Path,
    *,
    names: tuple[str, ...] = ("shop-1", "shop-2"),
    deadline_s: float = 5.0,
    measure_s: float = 2.0,
    sockets: Way | None = None,
) -> AsyncIterator[World]:
    """Run an agent and the lines to it."""
    host = tmp_path / "host"
    ways = (sockets or Way("sockets"), Way("capture"))
    async with running_agent(
        host if host.exists() else recorded_host(tmp_path), measured=lambda _: FakeNode(names, ways)
    ) as agent:
        settings = NodeSettings(deadline_s=deadline_s, measure_s=measure_s, measure_per_minute=6)
        errors: list[None] = []
        channels = AgentChannels(settings)
        topology = replace(parse_mesh_file(MESH), nodes=(Node(N1, agent=f"unix:{agent.socket}"),))
        agents = NodeAgents(settings, channels, topology=lambda: topology)
        made = World(agents.links, agents, *ways, errors, topology=topology)
        made.asker = LinkAsker(
            settings,
            channels,
            known=lambda: (made.topology, made.links),
            lines=agents.lines,
            on_error=lambda: errors.append(None),
            now_s=lambda: made.now_s,
        )
        lines = asyncio.create_task(agents.run())
        try:
            await until(lambda: N1 in agents.lines and agents.lines[N1].connected)
            yield made
        finally:
            lines.cancel()
            await asyncio.wait((lines,))


async def test_the_cheapest_way_that_works_is_taken(tmp_path: Path) -> None:
    """The window is the agent's limit; packets are captured for a second at most, and only where sockets do not do."""
    async with world(tmp_path) as one:
        assert [await one.ask(), await one.ask(), await one.ask()] == ["shop-1", "shop-2", ""]
        assert (one.sockets.asked, one.capture.asked) == ([("shop-1", 2.0), ("shop-2", 2.0)], [])
        [first, second] = one.asker.samples()
        assert (first.time_s, first.measurement.links, first.measurement.method) == (1000.0, LINKS, "sockets")

        one.now_s += RENEWED_S + 1.0
        one.sockets.complete = False
        await one.ask()
        assert one.capture.asked == [("shop-1", 1.0)]
        assert one.asker.counts == {"measured": 3, "incomplete": 0, "refused": 0, "failed": 0}
        assert one.asker.cost_cpu_s == 0.75
    assert second.measurement.container == "shop-2"


async def test_what_is_known_to_miss_bytes_is_taken_where_there_is_nothing_better(tmp_path: Path) -> None:
    """It counts as incomplete, and as half sure."""
    async with world(tmp_path) as one:
        one.sockets.complete, one.capture.unsupported = False, "needs CAP_NET_RAW"
        await one.ask()
        [sample] = one.asker.samples()
        assert (sample.measurement.complete, one.asker.counts["incomplete"]) == (False, 1)


async def test_what_an_agent_cannot_do_is_not_asked_again(tmp_path: Path) -> None:
    """For an hour, with its reasons on the page; its service cannot be measured whole, so that none of it is."""
    async with world(tmp_path) as one:
        one.sockets.unsupported, one.capture.unsupported = "no inet_diag", "needs CAP_NET_RAW"
        assert [await one.ask(), await one.ask()] == ["shop-1", ""]
        reason = "shop-1: sockets: no inet_diag; capture: needs CAP_NET_RAW"
        assert (one.left_out(), one.asker.counts["refused"], one.errors) == ({"shop.default": reason}, 1, [])
        one.now_s += REFUSED_S - 1.0
        assert await one.ask() == ""
        one.now_s += 2.0
        assert await one.ask() == "shop-1"


async def test_a_container_that_the_agent_does_not_know_is_refused(tmp_path: Path) -> None:
    """By the typed status; an agent that begins anew is asked anew."""
    async with world(tmp_path, names=("shop-2",)) as one:
        assert [await one.ask(), await one.ask()] == ["shop-1", ""]
        assert one.left_out()["shop.default"].startswith("shop-1: container: found 'shop-1', allowed: a container of")
        assert (one.asker.counts["refused"], one.asker.counts["failed"]) == (1, 0)
        one.agents.lines[N1].since_s += 1.0  # as when it was away and has come back
        assert await one.ask() == "shop-1"


async def test_it_is_asked_by_the_name_that_the_agent_knows(tmp_path: Path) -> None:
    """On Kubernetes the runtime's id; what comes back is the mesh's container's."""
    async with world(tmp_path, names=("id-of-shop-1",)) as one:
        one.asker.name_of = lambda name: f"id-of-{name}"
        await one.ask()
        assert (one.sockets.asked, one.asker.samples()[0].measurement.container) == ([("id-of-shop-1", 2.0)], "shop-1")


async def test_a_container_that_was_started_anew_is_asked_for_anew(tmp_path: Path) -> None:
    """It is another to the agent, which did not know the one that was asked for."""
    async with world(tmp_path, names=("second",)) as one:
        one.asker.name_of = lambda name: "first"
        assert [await one.ask(), await one.ask()] == ["shop-1", ""]
        one.asker.name_of = lambda name: "second"
        assert await one.ask() == "shop-1"
        assert one.asker.counts == {"measured": 1, "incomplete": 0, "refused": 1, "failed": 0}


async def test_an_agent_that_hangs_is_given_up(tmp_path: Path) -> None:
    """After the window and the deadline; it is tried again as late as a sample would be renewed."""
    async with world(tmp_path, deadline_s=0.3, measure_s=0.1, sockets=Way("sockets", hangs=True)) as one:
        assert [await one.ask(), await one.ask()] == ["shop-1", ""]
        assert (one.asker.counts["failed"], one.errors, one.asker.samples()) == (1, [None], ())
        assert "Deadline" in one.left_out()["shop.default"]
        one.now_s += RENEWED_S + 1.0
        one.sockets.hangs = False
        assert await one.ask() == "shop-1"
        assert len(one.asker.samples()) == 1


async def test_an_agent_that_has_gone_is_not_asked_and_what_it_said_grows_old(tmp_path: Path) -> None:
    """As long as its line is broken; samples count for a quarter of an hour."""
    async with world(tmp_path) as one:
        await one.ask()
        line = one.agents.lines[N1]
        line.connected = False
        assert (await one.ask(), one.left_out()) == ("", {"shop.default": "shop-1: no agent answers on n1"})
        one.now_s += HELD_S
        one.asker.next_one()
        assert len(one.asker.samples()) == 1
        one.now_s += 1.0
        one.asker.next_one()
        assert one.asker.samples() == ()


async def test_a_channel_that_is_closed_meanwhile_ends_no_part(tmp_path: Path) -> None:
    """The agent's node has gone while it measured: that question ends, nothing is known, and the next can be asked."""
    async with world(tmp_path, sockets=Way("sockets", hangs=True), deadline_s=60.0) as one:
        container = one.asker.next_one()
        assert container is not None
        asking = asyncio.create_task(one.asker.ask(container))
        await until(lambda: bool(one.sockets.asked))
        await one.agents._channels.close()
        await asyncio.wait((asking,), timeout=10.0)
        assert asking.done()
        assert one.asker.samples() == ()


async def test_an_agent_whose_node_goes_between_two_ways_ends_no_part(tmp_path: Path) -> None:
    """And one whose node went since it was its turn: there is nobody to be asked."""
    async with world(tmp_path) as one:
        one.sockets.complete = False
        container = one.asker.next_one()
        assert container is not None
        measure = one.sockets.measure

        async def measured_and_gone(container: Container, *, window_s: float) -> Measurement | Unmeasured:
            found = await measure(container, window_s=window_s)
            asyncio.get_running_loop().call_soon(one.agents.lines.clear)
            return found

        one.sockets.measure = measured_and_gone  # type: ignore[method-assign]
        await one.asker.ask(container)
        await one.asker.ask(container)
        assert one.asker.counts == {"measured": 1, "incomplete": 0, "refused": 0, "failed": 0}


async def test_who_is_told_of_by_others_is_not_asked_for(tmp_path: Path) -> None:
    """An agent's work is for what nobody else knows."""
    async with world(tmp_path) as one:
        one.links = (Link("web.default", "shop.default", 1.0, "prometheus"),)
        assert await one.ask() == ""
        assert one.sockets.asked == []


async def test_so_many_a_minute_one_on_a_node_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of ten seconds for six; while its node is measured nobody of it is due."""
    pauses: list[float] = []
    turns = asyncio.Semaphore(0)
    sleep = asyncio.sleep

    async def paused(seconds: float) -> None:
        if seconds < 1.0:
            await sleep(seconds)
            return
        pauses.append(seconds)
        await turns.acquire()

    async with world(tmp_path, sockets=Way("sockets", hangs=True), deadline_s=60.0) as one:
        monkeypatch.setattr("askew.link_asking.asyncio.sleep", paused)
        running = asyncio.create_task(one.asker.run())
        for _ in range(AT_ONCE + 1):
            turns.release()
        await until(lambda: len(pauses) == AT_ONCE + 2)
        await until(lambda: bool(one.sockets.asked))
        running.cancel()
        await asyncio.wait((running,))
    assert (set(pauses), one.sockets.asked) == ({10.0}, [("shop-1", 2.0)])


async def test_none_a_minute_asks_nobody() -> None:
    """And nothing ends."""
    looked: list[None] = []

    def known() -> tuple[Topology, tuple[Link, ...]]:
        looked.append(None)
        return Topology(), ()

    settings = NodeSettings(measure_per_minute=0)
    asker = LinkAsker(settings, AgentChannels(settings), known=known, lines={})
    running = asyncio.create_task(asker.run())
    await asyncio.wait((running,), timeout=0.05)
    assert (running.done(), looked) == (False, [])
    running.cancel()
    await asyncio.wait((running,))


@pytest.mark.parametrize("fields", [{"method": "dreams", "window_s": 1.0}, {"method": "sockets"},
                                    {"method": "sockets", "window_s": math.nan},
                                    {"method": "sockets", "window_s": 1e-300},
                                    {"method": "sockets", "window_s": 1.0, "cost_cpu_s": math.nan}])  # fmt: skip
def test_an_answer_that_cannot_be_is_none(fields: dict[str, object]) -> None:
    """Another way than there is, and a window of no length: refused by name."""
    with pytest.raises(BadInputError, match="sockets or capture"):
        measurement_of(pb.MeasureResponse(**fields), ContainerName("a"))  # type: ignore[arg-type]


async def test_metrics_count_the_answers_and_what_they_cost(tmp_path: Path) -> None:
    """No label names a container."""
    async with world(tmp_path) as one:
        one.agents.links = one.asker
        await one.ask()
        found = {
            (sample.name, *sample.labels.values()): sample.value
            for family in NodeAgentsMetrics(one.agents).collect()
            for sample in family.samples
        }
        page = one.agents.page()["links"]
    assert found["askew_link_measurements_total", "measured"] == 1.0
    assert found["askew_link_measurement_cpu_seconds_total",] == 0.25
    assert (page["measured"][0]["container"], page["measured"][0]["complete"], page["due"]) == ("shop-1", True, 2)
