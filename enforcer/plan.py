"""The plan: from what is and what shall be to writes in an order that the kernel takes. Pure.

Widening goes first, parents before children; then what neither widens nor shrinks; then shrinking, children before
parents. So no child ever has more than its parent, which v1 refuses and v2 cuts in silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from enforcer.cells import Cell, Change, Demand, Surface
from enforcer.kernel import Kernel

Step = tuple[Change, ...]
_PHASES = {"widen": 0, "move": 1, "shrink": 2}


def wanted_cells(
    demands: Iterable[Demand], originals: Mapping[Cell, str | None], kernel: Kernel
) -> dict[Cell, str | None]:
    """Return what every held or demanded cell shall be.

    A cell that nobody demands goes back to its original. Floors only ever widen: the widest of the original and of all
    floors counts. ``originals`` holds every demanded cell. Cost O(demands + cells).
    """
    wanted: dict[Cell, str | None] = dict(originals)
    demands = tuple(demands)
    for demand in demands:
        if not demand.floor:
            wanted[demand.cell] = demand.value
    for demand in demands:
        if demand.floor:
            change = Change(demand.cell, before=wanted[demand.cell], after=demand.value)
            if kernel.surface(demand.cell).direction(change) == "widen":
                wanted[demand.cell] = demand.value
    return wanted


def order_steps(
    observed: Mapping[Cell, str | None], wanted: Mapping[Cell, str | None], kernel: Kernel
) -> tuple[Step, ...]:
    """Return the steps from ``observed`` to ``wanted``, one system call each; cells that are as wanted have none.

    Cost O(n log n) for n cells.
    """
    changes = [
        Change(cell, observed[cell], value)
        for cell, value in wanted.items()
        if not kernel.same(cell, value, observed[cell])
    ]
    changes.sort(key=lambda change: _key(change, kernel.surface(change.cell)))
    steps: list[list[Change]] = []
    for change in changes:
        name = kernel.surface(change.cell).together(change.cell)
        if name and steps and kernel.surface(steps[-1][0].cell).together(steps[-1][0].cell) == name:
            steps[-1].append(change)
        else:
            steps.append([change])
    return tuple(tuple(step) for step in steps)


def undo_steps(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Return the steps that take ``steps`` back, last first."""
    return tuple(tuple(change.reversed for change in step) for step in reversed(steps))


def _key(change: Change, surface: Surface) -> tuple[int, int, int, Cell]:
    direction = surface.direction(change)
    sign = -1 if direction == "shrink" else 1
    return _PHASES[direction], sign * change.cell.depth, sign * surface.rank(change.cell), change.cell
