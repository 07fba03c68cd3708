"""Cells: everything in the kernel that has one value, and what a writer must know about each kind of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Direction = Literal["widen", "move", "shrink"]


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One value in the kernel.

    Attributes
    ----------
    kind:
        Which surface knows it, and as what: ``cgroup2/cpu.max``, ``resctrl/schemata``, ``htb``.
    path:
        Where: a group below its hierarchy's mount, a cpufreq policy, a network namespace.
    key:
        What inside of it, where one file holds several: ``254:0 rbps``, ``L3``, ``eth0 egress``.
    """

    kind: str
    path: str
    key: str = ""

    @property
    def depth(self) -> int:
        return self.path.count("/")


@dataclass(frozen=True, slots=True)
class Demand:
    """What a lease wants of a cell.

    ``value`` may be relative (``count=2``): then the writer lays all demands of that kind out together. ``floor``: at
    least this wide, so that what stands below it is allowed; the original stays where it is wider.
    """

    cell: Cell
    value: str
    floor: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """A cell from ``before`` to ``after``; None is: not there."""

    cell: Cell
    before: str | None
    after: str | None

    @property
    def reversed(self) -> Change:
        return Change(self.cell, before=self.after, after=self.before)


@dataclass(frozen=True, slots=True)
class NotDone:
    """Why an action has no demands: the host cannot do it, or will not."""

    result: Literal["unsupported", "refused"]
    detail: str


class Surface(Protocol):
    """One way into the kernel: files, resctrl, or netlink. Foreign exceptions leave it as OSError only."""

    def read(self, cell: Cell) -> str | None:
        """Return the canonical value, or None where the cell is not there. Raises OSError."""

    def write(self, changes: Sequence[Change]) -> None:
        """Make changes that share one system call, or one. Raises OSError."""

    def identity(self, cell: Cell) -> str:
        """Return what tells this object from a later one of the same name; empty where ownership is by name."""

    def original(self, cell: Cell, found: str | None) -> str | None:
        """Return what a cell first seen as ``found`` goes back to. What is ours by name goes away."""

    def leftovers(self, held: frozenset[Cell]) -> tuple[Change, ...]:
        """Return the changes that remove what is ours by name and not ``held``."""

    def same(self, cell: Cell, wanted: str | None, found: str | None) -> bool:
        """Whether ``found`` is how the kernel shows ``wanted``."""

    def half_done(self, change: Change, found: str | None) -> bool:
        """Whether ``found`` can only be what a writer left who ended in the middle of ``change``."""

    def direction(self, change: Change) -> Direction:
        """Whether the change gives, takes, or does neither."""

    def rank(self, cell: Cell) -> int:
        """Order among widening changes of one depth; shrinking ones go the other way."""

    def together(self, cell: Cell) -> str:
        """Return a name that neighbouring changes of one system call share; empty: a call of its own."""

    def place(self, cell: Cell) -> str:
        """Return where a person finds the cell: an absolute path, or netlink's names."""

    def line(self, cell: Cell, value: str | None) -> str | None:
        """Return exactly what is written for ``value``."""
