"""The surface of plain kernel files: cgroup v1, cgroup v2, cpufreq. What each file means stands in the registry."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence

from enforcer.cells import Cell, Change, Direction
from enforcer.host_files import HostFiles
from enforcer.kernel_files import KERNEL_FILES

GONE = frozenset((errno.ENOENT, errno.ENODEV, errno.ENOTDIR))


class FileSurface:
    """Cells that are files of :data:`~enforcer.kernel_files.KERNEL_FILES`.

    Parameters
    ----------
    roots:
        Directory above a cell's path, for each kind of this host.
    """

    def __init__(self, files: HostFiles, roots: Mapping[str, str]) -> None:
        self._files, self._roots = files, roots

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(self._roots)

    def read(self, cell: Cell) -> str | None:
        try:
            text = self._files.read(self.place(cell))
        except OSError as error:
            if error.errno in GONE:
                return None
            raise
        try:
            return KERNEL_FILES[cell.kind].parse(text, cell.key)
        except (ValueError, IndexError) as error:
            raise OSError(errno.EBADMSG, f"holds {text[:60]!r}", self.place(cell)) from error

    def write(self, changes: Sequence[Change]) -> None:
        for change in changes:
            line = self.line(change.cell, change.after)
            if line is not None:
                self._files.write(self.place(change.cell), line)

    def identity(self, cell: Cell) -> str:
        try:
            return self._files.identity(self.place(cell).rpartition("/")[0])
        except OSError as error:
            if error.errno in GONE:
                return "gone"
            raise

    def original(self, cell: Cell, found: str | None) -> str | None:
        return found

    def leftovers(self, held: frozenset[Cell]) -> tuple[Change, ...]:
        return ()  # none of these files is ours: they hold the host's values

    def same(self, cell: Cell, wanted: str | None, found: str | None) -> bool:
        return wanted == found  # drivers ask only for what the kernel holds unrounded

    def half_done(self, change: Change, found: str | None) -> bool:
        return False  # one write(2) is done or not

    def direction(self, change: Change) -> Direction:
        if change.before is None or change.after is None:
            return "move"
        size = KERNEL_FILES[change.cell.kind].size
        return compare_sizes(size(change.before), size(change.after))

    def rank(self, cell: Cell) -> int:
        return KERNEL_FILES[cell.kind].rank

    def together(self, cell: Cell) -> str:
        return ""

    def place(self, cell: Cell) -> str:
        group = f"/{cell.path}" if cell.path else ""
        return f"{self._roots[cell.kind]}{group}/{KERNEL_FILES[cell.kind].name}"

    def line(self, cell: Cell, value: str | None) -> str | None:
        return None if value is None else KERNEL_FILES[cell.kind].line(value, cell.key)


def compare_sizes(before: float | frozenset[int], after: float | frozenset[int]) -> Direction:
    """Return what going from one size to the other is. A set that is neither more nor less than another is a move.

    >>> compare_sizes(frozenset({0, 1}), frozenset({2}))
    'move'
    """
    if isinstance(before, frozenset) and isinstance(after, frozenset):
        if after >= before:
            return "widen"
        return "shrink" if after < before else "move"
    if isinstance(before, frozenset):
        return "widen"  # from a list to: all that the parent has
    if isinstance(after, frozenset):
        return "shrink"
    return "widen" if after >= before else "shrink"
