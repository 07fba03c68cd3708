"""How busy nodes are: agents asked over gRPC, or this machine's ``/proc`` for nodes that are this machine."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

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

    Raises
    ------
    CommandError
        for certificate files that cannot be read.
    """

    def __init__(
        self,
        settings: NodeSettings,
        *,
        topology: Callable[[], Topology],
        is_active: Callable[[], bool] = lambda: True,
        on_error: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings, self._topology, self._is_active, self._on_error = settings, topology, is_active, on_error
        self._credentials = _credentials(settings)
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._known: dict[NodeName, NodeCounters] = {}
        self._failing: set[NodeName] = set()

    def samples(self) -> tuple[NodeCounters, ...]:
        """Return the newest counters of each node."""
        return tuple(self._known.values())

    async def run(self) -> None:
        """Ask until cancelled."""
        try:
            while self._settings.interval_s:
                started_s = time.monotonic()
                if self._is_active():
                    await self.look()
                await asyncio.sleep(max(0.0, started_s + self._settings.interval_s - time.monotonic()))
            await asyncio.Event().wait()
        finally:
            await self._close(set(self._channels))

    async def look(self) -> None:
        """Ask every agent once, and look at this machine if it stands for nodes."""
        nodes = self._topology().nodes
        self._known = {node.name: self._known[node.name] for node in nodes if node.name in self._known}
        await self._close(self._channels.keys() - {node.agent for node in nodes})
        at_once = asyncio.Semaphore(AT_ONCE)
        await asyncio.gather(*(self._ask(node.name, node.agent, at_once) for node in nodes if node.agent))
        if self._settings.this_machine:
            self._known |= {node.name: here(node.name) for node in nodes if not node.agent}

    async def _ask(self, name: NodeName, agent: str, at_once: asyncio.Semaphore) -> None:
        if agent not in self._channels:
            self._channels[agent] = self._opened(agent)
        asked = self._channels[agent].unary_unary(OBSERVE, request_serializer=None, response_deserializer=None)
        async with at_once:
            try:
                answer = pb.ObserveResponse.FromString(await asked(b"", timeout=self._settings.deadline_s))
            except (grpc.aio.AioRpcError, DecodeError) as error:
                self._failed(name, agent, error)
                return
        self._failing.discard(name)
        self._known[name] = counters_of(name, answer, time_s=time.time())

    def _opened(self, agent: str) -> grpc.aio.Channel:
        options = [("grpc.max_reconnect_backoff_ms", 10_000)]
        if self._credentials is None:
            return grpc.aio.insecure_channel(agent, options=options)
        return grpc.aio.secure_channel(agent, self._credentials, options=options)

    async def _close(self, agents: set[str]) -> None:
        for agent in agents:
            await self._channels.pop(agent).close(None)

    def _failed(self, name: NodeName, agent: str, error: grpc.aio.AioRpcError | DecodeError) -> None:
        self._on_error()
        if name not in self._failing:
            why = error.details() or error.code().name if isinstance(error, grpc.aio.AioRpcError) else "malformed"
            log.warning("%s", one_line(f"the agent of {name} at {agent} does not say how busy its node is: {why}"))
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


def _credentials(settings: NodeSettings) -> grpc.ChannelCredentials | None:
    files = (settings.ca_file, settings.key_file, settings.certificate_file)
    if not any(files):
        return None
    try:
        authorities, key, certificate = (Path(file).read_bytes() for file in files)
    except OSError as error:
        allowed = "a certificate, its key and authorities (PEM)"
        raise CommandError(
            one_line(f"nodes.certificate_file, key_file, ca_file: found {error.strerror}, allowed: {allowed}")
        ) from error
    return grpc.ssl_channel_credentials(authorities, key, certificate)
