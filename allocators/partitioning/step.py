"""What a step of a partitioning strategy returns, and the shape that all strategies have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from allocators.partitioning.node_view import NodeView, Units
from mesh.topology import ContainerName

Memory = TypeVar("Memory")


@dataclass(frozen=True, slots=True)
class Grant:
    """What some containers shall hold together: one container in a partition, several where they share a pool.

    ``units`` are in the order of ``NodeView.resources``; None: no partition at all, the host's own scheduling.
    """

    containers: tuple[ContainerName, ...]
    units: Units | None


@dataclass(frozen=True, slots=True)
class Migration:
    """A wish that a container leaves this node, because no partition is found on which all meet their targets.

    ``certain``: it was shown (within the model) that none exists; else none was found in time.
    """

    container: ContainerName
    reason: str
    certain: bool = False


@dataclass(frozen=True, slots=True)
class Step(Generic[Memory]):
    """One step's outcome.

    ``wanted`` has every tenant exactly once, changed or not. ``suspended`` containers get no CPU until a later step
    leaves them out. ``reasons`` are one sentence for each decision, empty when nothing was decided.
    """

    memory: Memory
    wanted: tuple[Grant, ...]
    reasons: tuple[str, ...] = ()
    migrations: tuple[Migration, ...] = ()
    suspended: tuple[ContainerName, ...] = ()


class Partitioner(Protocol[Memory]):
    """A named strategy; ``tick_s`` is how often it wants to be asked.

    ``start`` is called once, when the strategy takes the node over: what tenants hold then does not bind it. ``step``
    is called every ``tick_s`` with what they hold now, which is what the last step wanted unless somebody else changed
    it: the view is the truth. A tenant may come or go between any two steps.
    """

    @property
    def name(self) -> str: ...
    @property
    def tick_s(self) -> float: ...
    def start(self, view: NodeView, *, seed: int) -> Step[Memory]: ...
    def step(self, memory: Memory, view: NodeView) -> Step[Memory]: ...
