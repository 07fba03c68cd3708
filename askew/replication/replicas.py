"""One replica among several: leads or follows, as a Lease says."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

import grpc.aio

from askew.control_loop import Memory
from askew.errors import CommandError
from askew.guard import guarded
from askew.replication.asked import Asked, all_asked
from askew.replication.follower_side import NOBODY, FollowerSide
from askew.replication.leader_side import Context, LeaderSide
from askew.replication.merging import merged
from askew.replication.settings import ReplicationSettings
from askew.replication.tls_way import OwnFiles, plain_channel, tls_channel
from askew.replication.wire import OPTIONS, Decided, Reign
from istio.self_check import CheckMemory
from mesh.picture import Picture
from mesh.plan import Plan
from mesh.telemetry import Telemetry
from xds_server.errors import BadSettingsError
from xds_server.identity import peer_identity
from xds_server.metrics import XdsMetrics
from xds_server.server import HANDSHAKE_S
from xds_server.settings import XdsSettings
from xds_server.tls import CertificateFiles

log = logging.getLogger(__name__)


class Election(Protocol):
    """What says who leads."""

    @property
    def is_leader(self) -> bool: ...
    @property
    def holder(self) -> str: ...
    @property
    def term(self) -> int: ...


class Replicas:
    """``start``, then ``run`` until cancelled; ``port`` is known after ``start``.

    Parameters
    ----------
    on_decided:
        Is told each tick of the leader while we follow.
    """

    def __init__(
        self,
        settings: ReplicationSettings,
        xds: XdsSettings,
        metrics: XdsMetrics,
        *,
        on_decided: Callable[[Decided], None],
    ) -> None:
        self._settings, self._xds = settings, xds
        self.name = settings.name or socket.gethostname()
        self._certificates = CertificateFiles(xds, metrics) if xds.is_mtls else None
        self._election: Election | None = None
        self._sequence = 0
        self._server: grpc.aio.Server | None = None
        self.port = settings.port
        self.check: Callable[[], CheckMemory] = CheckMemory  # what else a new leader should go on from
        self.leader_side = LeaderSide(lambda: self.leads, refusal=self._refusal, now_s=time.monotonic)
        self.follower_side = FollowerSide(
            self.name, leader=self._leader_address, term=self._term, dial=self._dial, on_decided=on_decided
        )

    @property
    def identity(self) -> str:
        """What stands in the Lease while we lead: our name, and where the others reach us."""
        host = self._settings.address or self._xds.host
        return f"{self.name}/{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def leads(self) -> bool:
        """Whether we decide, at this very moment."""
        return self._election is not None and self._election.is_leader

    @property
    def has_followed(self) -> bool:
        """Whether a leader has ever told us what it decided."""
        return self.follower_side.reign > Reign()

    def take_part(self, election: Election) -> None:
        """Let an election say who leads; it stands under ``identity``."""
        self._election = election

    def leadership_changed(self, leads: bool) -> None:
        """Act on a gain or a loss at once. Ticks are counted on: who leads again in the same term is still newer."""
        if not leads:
            self.leader_side.step_down()
        self.follower_side.leader_changed()

    def merged(self, own: Telemetry) -> Telemetry:
        """Return what all replicas' sidecars have reported."""
        return merged(own, self.leader_side.heard())

    def report(self, own: Telemetry, asked: Asked = NOBODY) -> None:
        """Tell the leader what our sidecars have reported, and which services' endpoints each asks for."""
        self.follower_side.report(own, asked)

    def asked(self, own: Asked) -> Asked:
        """Return who asks for what, on this replica and on all that follow. O(sidecars)."""
        return all_asked((own, *self.leader_side.asked().values()))

    def silent(self, ready: frozenset[str]) -> frozenset[str]:
        """Return those of the ``ready`` replicas, by name, that do not tell us who asks them for what.

        None where we are not among them: then replicas are not named as their pods are.
        """
        if self.name not in ready:
            return frozenset()
        return ready - {self.name} - (self.leader_side.asked().keys() & set(self.leader_side.followers))

    def publish(self, *, plan: Plan, picture: Picture, memory: Memory) -> None:
        """Tell the followers a tick, if we still lead."""
        if self._election is None or not self.leads:
            return
        self._sequence += 1
        reign = Reign(self._election.term, self._sequence)
        followed = bool(self.leader_side.followers)
        decided = Decided(self.name, reign, plan, picture, memory, self.check()) if followed else None
        self.leader_side.publish(decided)

    async def start(self) -> None:
        """Listen. Raises CommandError where the port is not to be had, or for certificates that cannot be used."""
        handshake = ("grpc.server_handshake_timeout_ms", int(HANDSHAKE_S * 1000))
        server = grpc.aio.server(options=[*OPTIONS, handshake, ("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers([self.leader_side.handler()])
        host = self._xds.host
        address = f"{f'[{host}]' if ':' in host else host}:{self._settings.port}"
        try:
            if self._certificates is None:
                self.port = server.add_insecure_port(address)
            else:
                self._certificates.load()
                self.port = server.add_secure_port(address, self._certificates.credentials())
        except RuntimeError as error:
            raise CommandError(f"replication.port: cannot listen on {address}", exit_code=1) from error
        except BadSettingsError as error:
            raise CommandError(str(error)) from error
        await server.start()
        self._server = server

    async def run(self) -> None:
        """Serve followers and follow, until cancelled."""
        assert self._server is not None
        try:
            async with asyncio.TaskGroup() as parts:
                parts.create_task(guarded("follower", self.follower_side.run()), name="follower")
                if self._certificates is not None:
                    parts.create_task(guarded("certificates", self._certificates.run()), name="replica-certificates")
        finally:
            self.leader_side.step_down()
            await self._server.stop(0.1)

    def page(self) -> dict[str, Any]:
        """Return what ``/debug/replicaz`` shows."""
        side = self.follower_side
        return {
            "replica": self.identity,
            "leads": self.leads,
            "leader": "" if self._election is None else self._election.holder,
            "term": side.reign.term if self._election is None else self._election.term,
            "followers": list(self.leader_side.followers),
            "followers_of_another_version": list(self.leader_side.unread),
            "follows": side.follows,
            "not_taken_over": list(side.unread),
            "last_heard": {"term": side.reign.term, "sequence": side.reign.sequence},
            "error": side.error,
        }

    def _term(self) -> int:
        return -1 if self._election is None else self._election.term

    def _leader_address(self) -> str:
        if self._election is None or self._election.is_leader:
            return ""
        name, _, address = self._election.holder.rpartition("/")
        return "" if name == self.name else address

    @asynccontextmanager
    async def _dial(self, address: str) -> AsyncIterator[grpc.aio.Channel]:
        xds = self._xds
        if not xds.is_mtls:
            way = plain_channel(address)
        else:
            files = OwnFiles(xds.certificate_file, xds.key_file, xds.client_ca_file)
            way = tls_channel(address, files, self._settings.peer_names)
        async with way as channel:
            yield channel

    def _refusal(self, context: Context) -> str:
        if not self._xds.is_mtls:
            return ""
        peer = peer_identity(context.auth_context())
        if {*peer.uris, *peer.dns_names} & self._settings.peer_names:
            return ""
        return f"replica: found a certificate of {peer}, allowed: {', '.join(sorted(self._settings.peer_names))}"
