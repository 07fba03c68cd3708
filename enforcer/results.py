"""What a person or a controller hears of actions: results, and the writes that made them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from enforcer.cells import Cell, Change, NotDone
from enforcer.kernel import Kernel
from mesh.actions import Action
from mesh.topology import ContainerName

Outcome = Literal["applied", "unchanged", "unsupported", "refused", "failed"]


@dataclass(frozen=True, slots=True)
class WriteMade:
    """One write as a person sees it: exactly what went where, and what stood there."""

    path: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class ActionResult:
    """What became of one action."""

    container: ContainerName
    resource: str
    result: Outcome
    detail: str = ""
    writes: tuple[WriteMade, ...] = ()


@dataclass(frozen=True, slots=True)
class Restored:
    """What a revert, an expiry or a recovery did. ``failed`` is tried again next time."""

    writes: tuple[WriteMade, ...] = ()
    conflicts: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()

    def __add__(self, other: Restored) -> Restored:
        return Restored(self.writes + other.writes, self.conflicts + other.conflicts, self.failed + other.failed)


def shown(kernel: Kernel, change: Change) -> WriteMade:
    """Return a change as a write: the line without its line break, None where there is nothing."""
    surface = kernel.surface(change.cell)
    before, after = surface.line(change.cell, change.before), surface.line(change.cell, change.after)
    return WriteMade(
        surface.place(change.cell),
        None if before is None else before.removesuffix("\n"),
        None if after is None else after.removesuffix("\n"),
    )


def action_results(
    actions: Sequence[Action],
    *,
    refused: Mapping[int, NotDone],
    cells_of: Mapping[tuple[str, str], frozenset[Cell]],
    changes: Iterable[Change],
    kernel: Kernel,
) -> tuple[ActionResult, ...]:
    """Return a result for each action in order; each change stands with the first action that asks for its cell.

    A change that no action asks for made room, or gave back what had run out: it stands with the first that was done.
    """
    left = list(changes)
    results: list[ActionResult] = []
    for index, action in enumerate(actions):
        if index in refused:
            results.append(
                ActionResult(action.container, action.resource, refused[index].result, refused[index].detail)
            )
            continue
        cells = cells_of[action.container, action.resource]
        own = tuple(shown(kernel, change) for change in left if change.cell in cells)
        left = [change for change in left if change.cell not in cells]
        results.append(ActionResult(action.container, action.resource, "applied" if own else "unchanged", writes=own))
    return _with_others(results, tuple(shown(kernel, change) for change in left))


def failed_results(
    actions: Sequence[Action], *, refused: Mapping[int, NotDone], reason: str
) -> tuple[ActionResult, ...]:
    """Return the results of a set that the kernel refused: what could have been done failed as one."""
    return tuple(
        ActionResult(action.container, action.resource, refused[index].result, refused[index].detail)
        if index in refused
        else ActionResult(action.container, action.resource, "failed", reason)
        for index, action in enumerate(actions)
    )


def _with_others(results: list[ActionResult], writes: tuple[WriteMade, ...]) -> tuple[ActionResult, ...]:
    for index, result in enumerate(results):
        if writes and result.result in ("applied", "unchanged"):
            results[index] = replace(result, result="applied", writes=result.writes + writes)
            break
    return tuple(results)
