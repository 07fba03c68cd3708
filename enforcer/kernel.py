"""The kernel as the writer sees it: cells, whatever surface each of them is on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from enforcer.cells import Cell, Change, Surface
from enforcer.errors import KernelRefusalError


class Kernel:
    """Routes each cell to the surface of its kind. Only :mod:`enforcer.writer` calls :meth:`write`."""

    def __init__(self, surfaces: Iterable[tuple[Sequence[str], Surface]]) -> None:
        self._surfaces: Mapping[str, Surface] = {kind: surface for kinds, surface in surfaces for kind in kinds}
        self._seen: dict[Cell, str | None] | None = None

    def knows(self, cell: Cell) -> bool:
        """Whether this host has what the cell is a cell of."""
        return cell.kind in self._surfaces

    def surface(self, cell: Cell) -> Surface:
        return self._surfaces[cell.kind]

    def surfaces(self) -> tuple[Surface, ...]:
        return tuple(dict.fromkeys(self._surfaces.values()))

    def read(self, cell: Cell) -> str | None:
        """Return the cell's value, None where it is not there. Raises KernelRefusalError."""
        try:
            return self.look(cell)
        except OSError as error:
            raise KernelRefusalError(self.place(cell), None, error.errno or 0, error.strerror or "") from error

    def look(self, cell: Cell) -> str | None:
        """Return what :meth:`read` returns, for drivers. Raises OSError."""
        if self._seen is not None and cell in self._seen:
            return self._seen[cell]
        value = self.surface(cell).read(cell)
        if self._seen is not None:
            self._seen[cell] = value
        return value

    @contextmanager
    def looking_once(self) -> Iterator[None]:
        """Read each cell once inside the block, until something is written: a look at netlink takes a millisecond."""
        self._seen = {}
        try:
            yield
        finally:
            self._seen = None

    def write(self, step: Sequence[Change]) -> None:
        """Make the changes of one system call. Raises KernelRefusalError with what the kernel says."""
        surface = self.surface(step[0].cell)
        if self._seen is not None:
            self._seen.clear()
        try:
            surface.write(step)
        except OSError as error:
            first = step[0]
            line = surface.line(first.cell, first.after)
            raise KernelRefusalError(surface.place(first.cell), line, error.errno or 0, error.strerror or "") from error

    def same(self, cell: Cell, wanted: str | None, found: str | None) -> bool:
        return self.surface(cell).same(cell, wanted, found)

    def identity(self, cell: Cell) -> str:
        return self.surface(cell).identity(cell)

    def place(self, cell: Cell) -> str:
        return self.surface(cell).place(cell)
