"""How busy nodes are, from a real agent's gRPC service and from this machine, into φ's key."""

from __future__ import annotations

import asyncio
import logging
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from askew.agent_channels import AgentChannels
from askew.control_loop import Memory, tick
from askew.node_observing import NodeObserver, counters_of, here
from askew.settings import NodeSettings
from enforcer.proto import node_agent_pb2 as pb
from mesh.node_interference import NodeCounters
from mesh.topology import Node, NodeName, Topology
from tests.askew.test_imbalance_loop import SHOP, TICK_S, Loop
from tests.fakes.agent_service import recorded_host, running_agent

N1, N2 = NodeName("n1"), NodeName("n2")


async def test_an_agent_is_asked_and_one_that_is_away_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What it answers is its node's; the other node is not known, each failure counted."""
    failures: list[None] = []
    async with running_agent(recorded_host(tmp_path)) as agent:
        topology = Topology(nodes=(Node(N1, agent=f"unix:{agent.socket}"), Node(N2, agent=f"unix:{tmp_path}/none")))
        settings = NodeSettings(deadline_s=5.0)
        channels = AgentChannels(settings)
        observer = NodeObserver(
            settings, channels=channels, topology=lambda: topology, on_error=lambda: failures.append(None)
        )
        caplog.set_level(logging.WARNING)
        await observer.look()
        await observer.look()
        [seen] = observer.samples()
        assert (seen.node, seen.clock_s) == (N1, 1.0)
        assert seen.cpus >= 1
        assert len(failures) == 2
        assert ["the agent of n2" in record.getMessage() for record in caplog.records] == [True]

        topology = Topology(nodes=(Node(N2),))
        await observer.look()
        assert observer.samples() == ()
        await channels.close()


async def test_this_machine_stands_for_nodes_without_an_agent() -> None:
    """Where the setting says so."""
    topology = Topology(nodes=(Node(N1), Node(N2)))
    for this_machine, names in ((True, {N1, N2}), (False, set())):
        settings = NodeSettings(this_machine=this_machine)
        observer = NodeObserver(settings, channels=AgentChannels(settings), topology=lambda: topology)
        await observer.look()
        assert {one.node for one in observer.samples()} == names
        assert all(one.busy_cpu_s and one.network_bytes is not None for one in observer.samples())


def test_what_a_machine_does_not_show_is_none(tmp_path: Path) -> None:
    """Not 0, which would be an idle one."""
    seen = here(N1, root=str(tmp_path))
    assert (seen.busy_cpu_s, seen.waited_s, seen.memory_moved_bytes, seen.network_bytes) == (None, {}, None, None)
    told = counters_of(N1, pb.ObserveResponse(time_s=3.0, busy_cpu_s=2.0, cpus=2, memory_moved_bytes=0), time_s=9.0)
    assert told == NodeCounters(N1, 9.0, 3.0, 2, busy_cpu_s=2.0, memory_moved_bytes=0)


def test_what_a_busy_node_teaches_stands_in_its_own_cells() -> None:
    """One node's CPUs are 50 % busy: its windows teach bucket 2, the others' the calm one; the picture shows it."""
    loop = Loop(np.random.default_rng(5))
    memory = Memory()
    busy = loop.topology.nodes[0].name
    for step in range(4):
        telemetry = loop.mesh.advance(loop.plan)
        counted = NodeCounters(busy, telemetry.time_s, TICK_S * step, cpus=2, busy_cpu_s=TICK_S * step)
        telemetry = replace(telemetry, nodes=(counted,))
        memory, picture, loop.plan = tick(memory, loop.topology, telemetry, tick_s=TICK_S)
    assert {place[:3] for place in memory.tables[SHOP].cells} == {(2, 0, 0), (0, 0, 0)}
    assert picture.node_interference[busy].cpu == 0.5
    assert (picture.node_interference[busy].window_s, picture.node_interference[busy].time_s) == (5.0, telemetry.time_s)


async def test_an_agent_that_goes_while_it_is_asked_ends_no_look(tmp_path: Path) -> None:
    """Its channel is closed by whoever keeps them, which cancels the call; the other nodes are known all the same."""
    with socket.socket(socket.AF_UNIX) as silent:  # takes connections, and never a call
        silent.bind(f"{tmp_path}/silent")
        silent.listen()
        await _look_while_it_goes(tmp_path)


async def _look_while_it_goes(tmp_path: Path) -> None:
    async with running_agent(recorded_host(tmp_path)) as agent:
        addresses = f"unix:{agent.socket}", f"unix:{tmp_path}/silent"
        topology = Topology(nodes=(Node(N1, agent=addresses[0]), Node(N2, agent=addresses[1])))
        settings = NodeSettings(deadline_s=60.0)
        channels = AgentChannels(settings)
        observer = NodeObserver(settings, channels=channels, topology=lambda: topology)
        looking = asyncio.create_task(observer.look())
        async with asyncio.timeout(10.0):
            while not observer.samples():  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0.01)
        await channels.keep(addresses[:1])
        async with asyncio.timeout(10.0):
            await looking
        assert [one.node for one in observer.samples()] == [N1]
        await channels.close()
