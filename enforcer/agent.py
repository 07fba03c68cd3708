"""One node's agent as others see it: this role's writer, the other role beside it, and what the loop has taken over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, Protocol

from enforcer.api_messages import MigrationWish, NodeStatus
from enforcer.errors import PeerUnavailableError, UnsupportedError
from enforcer.known_containers import KnownContainers, Taken
from enforcer.node_writer import NodeWriter
from enforcer.results import ActionResult, Restored
from enforcer.told_containers import ToldList
from mesh.actions import RESOURCES, Action, ActionSet

Role = Literal["all", "cgroup", "network"]
ROLES: tuple[Role, ...] = ("all", "cgroup", "network")
AWAY = "the network role does not answer"
NETWORK_RESOURCES = frozenset(resource for resource in RESOURCES if resource.startswith("network_"))


class Peer(Protocol):
    """The network role, as the cgroup role speaks to it. Every method raises PeerUnavailableError."""

    async def apply(self, action_set: ActionSet, *, dry_run: bool) -> tuple[ActionResult, ...]: ...

    async def status(self) -> NodeStatus: ...

    async def revert(self) -> Restored: ...


class NodeAgent:
    """Answers ``Apply``, ``Status`` and ``Revert`` for the whole node.

    Parameters
    ----------
    role:
        ``cgroup`` and ``network`` each write only their own resources; ``all`` writes both.
    peer:
        The network role, for ``cgroup``.
    known:
        Takes the lists that are told. The network role follows the cgroup role's file, and takes none.
    """

    def __init__(
        self,
        writer: NodeWriter,
        *,
        node: str,
        role: Role,
        peer: Peer | None = None,
        known: KnownContainers | None = None,
    ) -> None:
        self.writer, self.node, self.role, self._peer, self._known = writer, node, role, peer, known
        self.migrations: tuple[MigrationWish, ...] = ()
        self.governed: frozenset[tuple[str, str]] = frozenset()
        """(container, resource) that the loop divides; others' actions on them are refused."""
        self.counts: dict[tuple[str, str], int] = {}

    def writes(self, resource: str) -> bool:
        """Return whether this role itself writes a resource."""
        return self.role == "all" or (resource in NETWORK_RESOURCES) == (self.role == "network")

    async def apply(
        self, action_set: ActionSet, *, dry_run: bool = False, from_loop: bool = False
    ) -> tuple[ActionResult, ...]:
        """Apply (or preview) a set: each role does its part as one transaction; return a result for each action.

        The network role goes first, because it may be away; a set that a role refuses whole (an older generation, an
        unknown container) raises before this role has written.

        Raises
        ------
        StaleGenerationError, UnknownContainerError, JournalError
            as ``Writer.apply``.
        """
        results: dict[int, ActionResult] = {}
        own: dict[int, Action] = {}
        others: dict[int, Action] = {}
        for index, action in enumerate(action_set.actions):
            if not from_loop and (action.container, action.resource) in self.governed:
                results[index] = _not_done(action, "refused", "the agent's loop divides it; strategy none leaves it")
            elif self.writes(action.resource):
                own[index] = action
            elif self._peer is not None:
                others[index] = action
            else:
                results[index] = _not_done(action, "unsupported", f"the role {self.role} does not write it")
        await self._check_first(action_set, own)
        if others:
            results |= await self._by_peer(action_set, others, dry_run=dry_run)
        part = replace(action_set, actions=tuple(own.values()))
        done = await (self.writer.preview(part) if dry_run else self.writer.apply(part))
        results |= dict(zip(own, done, strict=True))
        ordered = tuple(results[index] for index in range(len(action_set.actions)))
        if not dry_run:
            self._count(ordered)
        return ordered

    async def status(self) -> NodeStatus:
        """Return what this node can do and what holds, the other role's part with it."""
        state = self.writer.state
        capabilities = await self.writer.capabilities()
        mine = NodeStatus(
            node=self.node,
            role=self.role,
            is_dry_run=self.writer.is_dry_run,
            generation=state.generation,
            capabilities={
                resource: said if self.writes(resource) else f"the role {self.role} does not write it"
                for resource, said in capabilities.items()
            },
            leases=tuple(state.leases.values()),
            conflicts=tuple(state.conflicts),
            migrations=self.migrations,
            containers_generation=0 if self._known is None else self._known.generation,
        )
        return mine if self._peer is None else await self._with_peer(mine, self._peer)

    async def revert(self) -> Restored:
        """Give back every original of both roles."""
        restored = await self.writer.revert()
        if self._peer is not None:
            try:
                restored += await self._peer.revert()
            except PeerUnavailableError as error:
                restored += Restored(failed=(f"network: {error}; it gives back at its leases' ends",))
        return restored

    async def set_containers(self, told: ToldList) -> Taken:
        """Put a told list of containers in force; the leases of those that it drops have ended then.

        Raises
        ------
        UnsupportedError
            where this role takes no lists.
        BadInputError, StaleListError, ListNotKeptError
            as ``ToldContainers.take``.
        """
        if self._known is None or self.role == "network":
            raise UnsupportedError(f"the role {self.role} takes no list of containers")
        return await self._known.take(told, self.writer)

    async def expire(self) -> Restored:
        """Give back what has run out in this role."""
        return await self.writer.expire()

    async def _check_first(self, action_set: ActionSet, own: Mapping[int, Action]) -> None:
        """Raise what the own part would raise, before the other role has written its part."""
        if len(own) < len(action_set.actions):
            await self.writer.preview(replace(action_set, actions=tuple(own.values())))

    async def _by_peer(
        self, action_set: ActionSet, actions: Mapping[int, Action], *, dry_run: bool
    ) -> dict[int, ActionResult]:
        assert self._peer is not None
        try:
            done = await self._peer.apply(replace(action_set, actions=tuple(actions.values())), dry_run=dry_run)
        except PeerUnavailableError as error:
            reason = f"{AWAY}: {error}"
            return {index: _not_done(action, "unsupported", reason) for index, action in actions.items()}
        return dict(zip(actions, done, strict=True))

    async def _with_peer(self, mine: NodeStatus, peer: Peer) -> NodeStatus:
        try:
            theirs = await peer.status()
        except PeerUnavailableError as error:
            away: dict[str, str] = dict.fromkeys(NETWORK_RESOURCES, f"{AWAY}: {error}")
            return replace(mine, capabilities={**mine.capabilities, **away})
        network: dict[str, str] = {name: theirs.capabilities.get(name, "not known") for name in NETWORK_RESOURCES}
        return replace(
            mine,
            capabilities={**mine.capabilities, **network},
            leases=mine.leases + theirs.leases,
            conflicts=mine.conflicts + theirs.conflicts,
        )

    def _count(self, results: Sequence[ActionResult]) -> None:
        for result in results:
            key = (result.resource, result.result)
            self.counts[key] = self.counts.get(key, 0) + 1


def _not_done(action: Action, result: Literal["unsupported", "refused"], detail: str) -> ActionResult:
    return ActionResult(action.container, action.resource, result, detail)
