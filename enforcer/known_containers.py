"""Which containers this node has: those of its own file, and those that the control plane has told.

Both count. Where they name one container, or one place, the file's entry does: a person put it on this very node, and
can so overrule what comes from far away. A container that leaves the list, or is found elsewhere now, has its leases
ended at once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from enforcer.containers_file import ListedContainer
from enforcer.listed_containers import ListedContainers
from enforcer.node_writer import NodeWriter
from enforcer.results import Restored
from enforcer.told_containers import ToldContainers, ToldList
from mesh.topology import ContainerName

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Taken:
    """A list is in force: how many containers there are now, whose leases ended, and what that gave back."""

    containers: int
    ended: tuple[ContainerName, ...]
    restored: Restored


class KnownContainers:
    """``load`` once; then ``look`` again and again, and ``take`` what is told. ``now`` is what counts."""

    def __init__(self, listed: ListedContainers, told: ToldContainers) -> None:
        self._listed, self._told = listed, told
        self.now: tuple[ListedContainer, ...] = ()

    @property
    def generation(self) -> int:
        """The generation of the list that was told last; 0 for none."""
        return self._told.now.generation

    def load(self) -> tuple[ListedContainer, ...]:
        """Read both. Raises BadInputError for a file that cannot be used."""
        self._listed.load()
        self._told.load()
        self.now = joined(self._listed.now, self._told.now.containers)
        return self.now

    async def look(self, writer: NodeWriter) -> Restored:
        """Look at both files, and follow what has changed."""
        changed = [await writer.run(self._listed.look), await writer.run(self._told.look)]
        return (await self._follow(writer)).restored if any(changed) else Restored()

    async def take(self, told: ToldList, writer: NodeWriter) -> Taken:
        """Put a list in force and return what that changed. Raises as ``ToldContainers.take``."""
        before = len(self._told.now.containers)
        await writer.run(lambda: self._told.take(told))
        taken = await self._follow(writer)
        if len(told.containers) != before or taken.ended:
            log.info("told %d containers, generation %d", len(told.containers), told.generation)
        return taken

    async def _follow(self, writer: NodeWriter) -> Taken:
        before, self.now = self.now, joined(self._listed.now, self._told.now.containers)
        now = self.now
        await writer.run(lambda: writer.host.know(now))
        places = {container.name: container.place for container in now}
        left = frozenset(one.name for one in before if places.get(one.name) != one.place)
        ended = tuple(sorted({lease.action.container for lease in writer.state.leases.values()} & left))
        return Taken(len(now), ended, await writer.release(left) if ended else Restored())


def joined(first: Sequence[ListedContainer], more: Sequence[ListedContainer]) -> tuple[ListedContainer, ...]:
    """Return ``first``, and of ``more`` what is neither by name nor by place in it.

    >>> a, b = (ListedContainer(ContainerName(name), cgroup=group) for name, group in (("a", "x"), ("b", "/x")))
    >>> [one.name for one in joined((a,), (b,))]
    ['a']
    """
    names, places = {one.name for one in first}, {_place(one) for one in first}
    return (*first, *(one for one in more if one.name not in names and _place(one) not in places))


def _place(container: ListedContainer) -> tuple[int | None, str]:
    return container.pid, (container.cgroup or "").strip("/")
