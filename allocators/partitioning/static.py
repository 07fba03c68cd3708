"""The two baselines that do nothing: equal parts for ever, and no parts at all."""

from __future__ import annotations

from dataclasses import dataclass

from allocators.partitioning.ledger import equal_shares, grants, in_force
from allocators.partitioning.node_view import NodeView
from allocators.partitioning.step import Grant, Step


@dataclass(frozen=True, slots=True)
class Static:
    """Equal shares at the start, and what is in force after that; a newcomer gets its least part."""

    name: str = "static"
    tick_s: float = 0.5

    def start(self, view: NodeView, *, seed: int) -> Step[None]:
        """Return equal shares; ``seed`` is not used."""
        return Step(None, grants(equal_shares(view)), ("Equal shares of every resource.",))

    def step(self, memory: None, view: NodeView) -> Step[None]:
        """Return what is in force."""
        return Step(memory, grants(in_force(view)))


@dataclass(frozen=True, slots=True)
class Unmanaged:
    """No partition: the host's own scheduler and caches."""

    name: str = "unmanaged"
    tick_s: float = 0.5

    def start(self, view: NodeView, *, seed: int) -> Step[None]:
        """Return one pool of everything for everybody; ``seed`` is not used."""
        return self.step(None, view)

    def step(self, memory: None, view: NodeView) -> Step[None]:
        """Return the same."""
        return Step(memory, (Grant(tuple(tenant.container for tenant in view.tenants), None),))
