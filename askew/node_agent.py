"""The node agent's composition root: read it from top to bottom.

all       one process: the loop, the API on 18100, the pages on 18180, every resource
cgroup    the same without network resources, which it passes to the network role's socket
network   only that socket: HTB in containers' namespaces, and measuring their links
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial

import grpc.aio
from aiohttp import web
from prometheus_client import CollectorRegistry

from allocators.partitioning.strategies import STRATEGIES
from askew.alive_file import toucher
from askew.errors import CommandError
from askew.guard import guarded
from askew.http_access import TokenFile, access_rule
from askew.http_server import http_runner
from askew.node_partitioning import NodePartitioning
from askew.node_resources import divisibles, named_resources
from askew.settings import HttpSettings
from enforcer import agent_pages
from enforcer.agent import NodeAgent, Role
from enforcer.agent_metrics import AgentMetrics
from enforcer.api import NodeAgentService, server
from enforcer.errors import CannotListenError, EnforcerError
from enforcer.extents import read_extents
from enforcer.host import Host, real_host
from enforcer.host_paths import HostPaths
from enforcer.known_containers import KnownContainers
from enforcer.listed_containers import ListedContainers
from enforcer.measured_node import HostLinks
from enforcer.network_peer import NetworkPeer, passed_on
from enforcer.node_loop import LoopFigures, NodeLoop
from enforcer.node_writer import NodeWriter, boot_clock_s, page_bytes
from enforcer.observe import observe
from enforcer.proto import node_agent_pb2 as pb
from enforcer.results import Restored
from enforcer.settings import AgentSettings, ApiSettings, WriterSettings
from enforcer.tls import ServerCertificates
from enforcer.told_containers import ToldContainers
from mesh.errors import BadInputError, one_line

log = logging.getLogger(__name__)
NOT_OFFERED = frozenset(("heracles", "unmanaged"))  # heracles shares one pool of CPU time, which a quota cannot
NO_STRATEGY = "none"
HOUSEKEEPING_S = 1.0
NETWORK_JOURNAL = "network"  # the cgroup role keeps the journal of `askew enforcer`: the two must never write at once


@dataclass(frozen=True, slots=True)
class EnforceSettings:
    """All settings of ``askew enforce``, by section."""

    api: ApiSettings = field(default_factory=ApiSettings)
    agent: AgentSettings = field(default_factory=AgentSettings)
    http: HttpSettings = field(default_factory=lambda: HttpSettings(port=18180))


def check_agent(settings: AgentSettings) -> None:
    """Raise BadInputError for what no node can do, before anything starts."""
    offered = [name for name in STRATEGIES if name not in NOT_OFFERED] + [NO_STRATEGY]
    if settings.strategy not in offered:
        raise BadInputError("agent.strategy", settings.strategy, ", ".join(offered))
    if settings.resources != "auto":
        named_resources(settings.resources)


@dataclass(frozen=True, slots=True)
class NodeChoice:
    """What the command line says of the node."""

    node: str
    role: Role = "all"
    host_root: str = "/"
    containers_file: str | None = None
    dry_run: bool = False
    alive_file: str | None = None


class NodeAgentProcess:
    """``askew enforce``: one role of a node's agent."""

    def __init__(self, choice: NodeChoice, settings: EnforceSettings) -> None:
        self.choice, self.settings = choice, settings
        paths = HostPaths(choice.host_root)
        self.known = KnownContainers(
            ListedContainers(choice.containers_file or paths.containers_file),
            ToldContainers(paths.state, node=choice.node, keeps=not choice.dry_run),
        )
        names = NETWORK_JOURNAL if choice.role == "network" else WriterSettings().journal_name
        writer_settings = WriterSettings(journal_name=names, page_bytes=page_bytes())
        self.host: Host = real_host(paths, settings=writer_settings)
        self.writer = NodeWriter(self.host, writer_settings, dry_run=choice.dry_run)
        self.socket = f"{paths.state}/{settings.agent.network_socket}"
        self.peer: NetworkPeer | None = None
        self.agent = NodeAgent(self.writer, node=choice.node, role=choice.role, known=self.known)
        self.loop: NodeLoop | None = None
        self.registry = CollectorRegistry()
        self.ready = False
        self.touch = toucher(choice.alive_file)
        self.grpc_port = self.http_port = 0

    async def run(self, *, on_ready: Callable[[], None] = lambda: None) -> None:
        """Work until cancelled; then give everything back, unless the settings say that leases shall run out.

        Raises CommandError for bad settings, another writer on this host, or a port that is not to be had.
        """
        async with AsyncExitStack() as opened:
            try:
                await self._start_writing(opened)
                await self._start_answering(opened)
            except BadInputError as error:
                raise CommandError(one_line(str(error))) from error
            except EnforcerError as error:
                raise CommandError(str(error), exit_code=1) from error
            async with asyncio.TaskGroup() as parts:
                parts.create_task(guarded("housekeeping", self._housekeeping()), name="housekeeping")
                if self.loop is not None:
                    parts.create_task(guarded("node loop", self.loop.run()), name="node-loop")
                self.ready = True
                log.info("ready: role %s, grpc on port %d, http on %d", self.agent.role, self.grpc_port, self.http_port)
                on_ready()

    @property
    def figures(self) -> LoopFigures | None:
        """What the loop has done; None where this role or strategy has none."""
        return None if self.loop is None else self.loop.figures

    # -- starting, in order; what is opened here is closed in reverse --------------------------------------------------

    async def _start_writing(self, opened: AsyncExitStack) -> None:
        self.host.know(self.known.load())
        _say(await self.writer.start())
        opened.push_async_callback(self._stop_writing)
        if self.agent.role == "cgroup":
            self.peer = NetworkPeer(self.socket)
            opened.push_async_callback(self.peer.close)
        self.agent = NodeAgent(
            self.writer, node=self.choice.node, role=self.choice.role, peer=self.peer, known=self.known
        )
        capabilities = (await self.agent.status()).capabilities
        for resource, said in sorted(capabilities.items()):
            log.info("capability %s: %s", resource, said)
        if self.agent.role != "network":
            self._make_loop(capabilities)
        AgentMetrics(self.agent, self.figures, capabilities).register(self.registry)

    def _make_loop(self, capabilities: Mapping[str, str]) -> None:
        settings = self.settings.agent
        if settings.strategy == NO_STRATEGY:
            return
        strategy = STRATEGIES[settings.strategy]
        extents = read_extents(self.host.paths)
        partitioning = NodePartitioning(
            strategy,
            divisibles(capabilities, extents, settings),
            least_ways=extents.least_ways,
            least_bandwidth_percent=extents.least_bandwidth_percent,
        )
        settings = replace(settings, tick_s=min(settings.tick_s, strategy.tick_s))
        self.loop = NodeLoop(self.agent, settings, listed=lambda: self.known.now, decide=partitioning.decide)

    async def _start_answering(self, opened: AsyncExitStack) -> None:
        measured = None if self.agent.role == "cgroup" else HostLinks(self.host)
        forward = None if self.peer is None else partial(passed_on, self.peer)
        service = NodeAgentService(
            self.agent, self.settings.api, observe=self._observe, measured=measured, forward=forward
        )
        made = server(service)
        if self.agent.role == "network":
            _listen_on_socket(made, self.socket)
        else:
            self.grpc_port = _listen_on_port(made, self.settings.api)
        await made.start()
        opened.push_async_callback(made.stop, 0.5)
        if self.agent.role != "network":
            await self._start_http(opened)

    async def _start_http(self, opened: AsyncExitStack) -> None:
        settings = self.settings.http
        token = TokenFile(settings.token_file) if settings.token_file else None
        if token is not None:
            token.load()
        pages = agent_pages.routes(self.agent, self.figures, self.registry, is_ready=lambda: self.ready)
        runner = await http_runner(pages, [access_rule(token)])
        opened.push_async_callback(runner.cleanup)
        try:
            await web.TCPSite(runner, settings.host, settings.port).start()
        except OSError as error:
            raise CannotListenError(
                f"--http: cannot listen on {settings.host}:{settings.port}: {error.strerror}"
            ) from error
        self.http_port = runner.addresses[0][1]

    # -- running -------------------------------------------------------------------------------------------------------

    async def _housekeeping(self) -> None:
        """End leases that have run out, yield to others, and follow the lists of containers."""
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            _say(await self.known.look(self.writer))
            _say(await self.agent.expire())
            self.touch()

    async def _observe(self) -> pb.ObserveResponse:
        names = [container.name for container in self.known.now]

        def look() -> pb.ObserveResponse:
            found = [self.host.find(name) for name in names]
            return observe(self.host, [one for one in found if one is not None], time_s=boot_clock_s())

        return await self.writer.run(look)

    async def _stop_writing(self) -> None:
        self.ready = False
        if not self.settings.agent.keep_on_stop:
            with suppress(EnforcerError):
                _say(await self.writer.revert())
        await self.writer.stop()


def _listen_on_port(made: grpc.aio.Server, settings: ApiSettings) -> int:
    address = f"[{settings.host}]:{settings.port}" if ":" in settings.host else f"{settings.host}:{settings.port}"
    try:
        if settings.is_mtls:
            return made.add_secure_port(address, ServerCertificates(settings).credentials())
        return made.add_insecure_port(address)
    except RuntimeError as error:
        raise CannotListenError(f"--grpc: cannot listen on {address}") from error


def _listen_on_socket(made: grpc.aio.Server, path: str) -> None:
    """Listen on a socket that only root can open; one that a dead process left is taken away first."""
    if _answers(path):
        raise CannotListenError(f"{path}: another process answers there")
    with suppress(FileNotFoundError):
        os.unlink(path)
    before = os.umask(0o177)
    try:
        made.add_insecure_port(f"unix:{path}")
    except RuntimeError as error:
        raise CannotListenError(f"cannot listen on {path}") from error
    finally:
        os.umask(before)


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0.2)
        try:
            probe.connect(path)
        except OSError:
            return False
        return True


def _say(restored: Restored) -> None:
    for write in restored.writes:
        log.info("given back: %s: %s -> %s", write.path, write.before, write.after)
    for conflict in restored.conflicts:
        log.warning("conflict: %s", conflict)
    for failed in restored.failed:
        log.warning("not given back yet: %s", failed)
