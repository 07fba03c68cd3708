"""PARTIES' two wheels: which resource an application tries next (ASPLOS'19, section 4.2, Fig. 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from allocators.partitioning.draws import draw
from allocators.partitioning.ledger import Held, can_give, can_take
from allocators.partitioning.node_view import NodeView, Tenant
from mesh.actions import Resource

Direction = Literal["up", "down"]
COMPUTE: tuple[Resource, ...] = ("cpu", "cpuset", "cache", "memory_bandwidth", "cpu_frequency")
STORAGE: tuple[Resource, ...] = ("memory", "disk_read", "disk_write")
SCARCE_MEMORY_BYTES = 1e9


@dataclass(frozen=True, slots=True)
class Turn:
    """What an application tries: a direction, a resource (its place in the view), and useless tries in a row."""

    direction: Direction
    index: int
    useless: int = 0


def memory_slack_bytes(view: NodeView, tenant: Tenant, held: Held) -> float:
    """Return memory held and not used; NaN where it is not measured or not divided here."""
    index = view.index_of("memory")
    if index is None:
        return float("nan")
    return view.resources[index].amount(held[tenant.container][index]) - tenant.memory_bytes


def on_wheel(view: NodeView, wheel: tuple[Resource, ...]) -> list[int]:
    """Return the places of a wheel's resources, in the wheel's order, that this node can divide."""
    return [index for resource in wheel if (index := view.index_of(resource)) is not None]


def may_turn(view: NodeView, tenant: Tenant, held: Held, *, direction: Direction, index: int) -> bool:
    """Whether a resource is worth a try: not at its bound; no memory from an in-memory application that needs it."""
    if direction == "up":
        return can_take(tenant, held, index)
    scarce = tenant.in_memory and not memory_slack_bytes(view, tenant, held) >= SCARCE_MEMORY_BYTES
    if view.resources[index].resource == "memory" and scarce:
        return False
    return can_give(tenant, held, index)


def first_turn(
    view: NodeView, tenant: Tenant, held: Held, *, direction: Direction, seed: int
) -> tuple[Turn | None, int]:
    """Return a random entry into the wheels, None where nothing can move in this direction; and the next seed."""
    both = on_wheel(view, COMPUTE) + on_wheel(view, STORAGE)
    open_ = [i for i in both if may_turn(view, tenant, held, direction=direction, index=i)]
    if not open_:
        return None, seed
    at, seed = draw(seed, len(open_))
    return Turn(direction, open_[at]), seed


def next_turn(view: NodeView, tenant: Tenant, held: Held, turn: Turn, *, seed: int) -> tuple[Turn | None, int]:
    """Return what is tried after a try without benefit, and the next seed.

    Up: from storage to compute; round the compute wheel; to storage after a whole turn without benefit if memory is
    short. Down: to the other wheel. A new wheel is entered at random; what is at its bound is skipped.
    """
    compute, storage = on_wheel(view, COMPUTE), on_wheel(view, STORAGE)
    here, there = (compute, storage) if turn.index in compute else (storage, compute)
    useless = turn.useless + 1
    leaves = turn.direction == "down" or turn.index in storage
    if turn.direction == "up" and turn.index in compute and useless >= len(compute):
        slack = memory_slack_bytes(view, tenant, held)
        leaves, useless = slack < SCARCE_MEMORY_BYTES, 0
    if leaves:
        entry, seed = _entry(view, tenant, held, turn.direction, there, seed)
        if entry is not None:
            return entry, seed
    for offset in range(1, len(here) + 1):
        index = here[(here.index(turn.index) + offset) % len(here)]
        if may_turn(view, tenant, held, direction=turn.direction, index=index):
            return Turn(turn.direction, index, useless), seed
    return _entry(view, tenant, held, turn.direction, there, seed)


def _entry(
    view: NodeView, tenant: Tenant, held: Held, direction: Direction, wheel: list[int], seed: int
) -> tuple[Turn | None, int]:
    open_ = [index for index in wheel if may_turn(view, tenant, held, direction=direction, index=index)]
    if not open_:
        return None, seed
    at, seed = draw(seed, len(open_))
    return Turn(direction, open_[at]), seed
