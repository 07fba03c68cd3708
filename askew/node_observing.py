"""How busy nodes are: agents asked over gRPC, or this machine's ``/proc`` for nodes that are this machine."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import grpc.aio
from google.protobuf.message import DecodeError

from askew.agent_channels import AgentChannels, why
from askew.errors import CommandError
from askew.settings import NodeSettings
from enforcer.errors import EnforcerError
from enforcer.host_paths import HostPaths
from enforcer.node_counters import LOOPBACK, parse_net_dev
from enforcer.observe import observe_node
from enforcer.proto import node_agent_pb2 as pb
from mesh.errors import one_line
from mesh.node_interference import NodeCounters
from mesh.topology import NodeName, Topology

log = logging.getLogger(__name__)
OBSERVE = "/askew.enforcer.v1.NodeAgent/Observe"
AT_ONCE = 32


class NodeObserver:
    """Asks every interval, while ``is_active``; ``samples`` is what was heard last.

    Parameters
    ----------
    on_error:
        Called for each agent that could not be asked.
    channels:
        Shared with whoever else speaks to agents; who made them closes them.
    """

    def __init__(
        self,
        settings: NodeSettings,
        *,
        channels: AgentChannels,
        topology: Callable[[], Topology],
        is_active: Callable[[], bool] = lambda: True,
        on_error: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings, self._topology, self._is_active, self._on_error = settings, topology, is_active, on_error
        self._channels = channels
        self._known: dict[NodeName, NodeCounters] = {}
        self._failing: set[NodeName] = set()

    def samples(self) -> tuple[NodeCounters, ...]:
        """Return the newest counters of each node."""
        return tuple(self._known.values())

    async def run(self) -> None:
        """Ask until cancelled."""
        while self._settings.interval_s:
            started_s = time.monotonic()
            if self._is_active():
                await self.look()
            await asyncio.sleep(max(0.0, started_s + self._settings.interval_s - time.monotonic()))
        await asyncio.Event().wait()

    async def look(self) -> None:
        """Ask every agent once, and look at this machine if it stands for nodes."""
        nodes = self._topology().nodes
        self._known = {node.name: self._known[node.name] for node in nodes if node.name in self._known}
        at_once = asyncio.Semaphore(AT_ONCE)
        asking = (self._ask(node.name, node.agent, at_once) for node in nodes if node.agent)
        # A channel that is closed meanwhile (its agent has gone) cancels who asks over it: that one alone.
        for failure in await asyncio.gather(*asking, return_exceptions=True):
            if isinstance(failure, Exception):
                raise failure
        if self._settings.this_machine:
            self._known |= {node.name: here(node.name) for node in nodes if not node.agent}

    async def _ask(self, name: NodeName, agent: str, at_once: asyncio.Semaphore) -> None:
        async with at_once:
            try:
                asked = self._channels.to(agent).unary_unary(
                    OBSERVE, request_serializer=None, response_deserializer=None
                )
                answer = pb.ObserveResponse.FromString(await asked(b"", timeout=self._settings.deadline_s))
            except grpc.aio.AioRpcError as error:
                await self._channels.failed(agent)
                self._failed(name, agent, why(error))
                return
            except (DecodeError, CommandError) as error:
                self._failed(name, agent, "malformed" if isinstance(error, DecodeError) else str(error))
                return
        self._failing.discard(name)
        self._known[name] = counters_of(name, answer, time_s=time.time())

    def _failed(self, name: NodeName, agent: str, said: str) -> None:
        self._on_error()
        if name not in self._failing:
            log.warning("%s", one_line(f"the agent of {name} at {agent} does not say how busy its node is: {said}"))
        self._failing.add(name)


def counters_of(name: NodeName, answer: pb.ObserveResponse, *, time_s: float) -> NodeCounters:
    """Return an agent's answer as counters; an agent that cannot read how busy CPUs are says 0."""
    return NodeCounters(
        node=name,
        time_s=time_s,
        clock_s=answer.time_s,
        cpus=answer.cpus,
        busy_cpu_s=answer.busy_cpu_s or None,
        waited_s=dict(answer.pressure_s),
        memory_moved_bytes=answer.memory_moved_bytes if answer.HasField("memory_moved_bytes") else None,
    )


def here(name: NodeName, *, root: str = "/") -> NodeCounters:
    """Return this machine's counters, its network's too. Reads a few files of ``root``'s ``proc``."""
    paths = HostPaths(root)
    counted = counters_of(name, observe_node(paths, time_s=time.monotonic()), time_s=time.time())
    return replace(counted, network_bytes=_network_bytes(Path(paths.proc, "net", "dev")))


def _network_bytes(file: Path) -> int | None:
    try:
        found = parse_net_dev(file.read_text(encoding="ascii", errors="backslashreplace"))
    except (OSError, EnforcerError):
        return None
    return sum(one.receive_bytes + one.transmit_bytes for one in found if one.interface != LOOPBACK)
