"""The surface of resctrl: groups of our own, their schemata, and the threads in them.

Ownership is by name: a group that begins with ``askew-`` is ours, any other is left alone. All lines of one group's
schemata go in one write(2), because the kernel takes one write whole or not at all. Everything is done under flock(2)
on the mount, as resctrl's other users do: ``last_cmd_status`` is one for the whole machine.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from enforcer.cells import Cell, Change, Direction
from enforcer.container_paths import groups_below
from enforcer.file_surface import GONE
from enforcer.host_files import HostFiles
from enforcer.schemata import canonical, format_domains, parse_schemata

PREFIX = "askew-"
GROUP, SCHEMATA, TASKS = KINDS = ("resctrl/group", "resctrl/schemata", "resctrl/tasks")
PRESENT = "present"
DEFAULT_GROUP = ""
NO_THREADS = "-"
_NOT_GROUPS = frozenset(("info", "mon_groups", "mon_data"))
_RESCANS = 16


class ResctrlSurface:
    """Cells ``resctrl/group`` (present or not), ``resctrl/schemata`` (key L3 or MB) and ``resctrl/tasks``.

    Parameters
    ----------
    mount:
        Where resctrl is mounted.
    threads_root, threads_file:
        The hierarchy in which a ``resctrl/tasks`` cell's path is a container's group, and the file with its thread ids.
    """

    def __init__(self, files: HostFiles, mount: str, *, threads_root: str, threads_file: str) -> None:
        self._files, self._mount = files, mount
        self._threads_root, self._threads_file = threads_root, threads_file

    @property
    def kinds(self) -> tuple[str, ...]:
        return KINDS

    def groups(self) -> tuple[str, ...]:
        """Return the names of all control groups, ours and foreign."""
        if not self._files.exists(f"{self._mount}/schemata"):
            return ()
        names = [name for name in self._files.directories(self._mount) if name not in _NOT_GROUPS]
        return tuple(name for name in names if self._files.exists(f"{self._mount}/{name}/schemata"))

    def leftovers(self, held: frozenset[Cell]) -> tuple[Change, ...]:
        """Return the changes that remove what is ours by name and in no journal."""
        cells = (Cell(GROUP, name) for name in self.groups() if name.startswith(PREFIX))
        return tuple(Change(cell, PRESENT, None) for cell in cells if cell not in held)

    def read(self, cell: Cell) -> str | None:
        try:
            if cell.kind == GROUP:
                return PRESENT if self._files.exists(f"{self._mount}/{cell.path}/schemata") else None
            if cell.kind == TASKS:
                return self._group_of_threads(cell)
            lines = parse_schemata(self._files.read(f"{self._mount}/{cell.path}/schemata"))
        except OSError as error:
            if error.errno in GONE:
                return None
            raise
        except ValueError as error:
            raise OSError(errno.EBADMSG, str(error), self.place(cell)) from error
        return format_domains(lines[cell.key]) if cell.key in lines else None

    def write(self, changes: Sequence[Change]) -> None:
        with self._locked():
            first = changes[0]
            if first.cell.kind == SCHEMATA:
                text = "".join(filter(None, (self.line(change.cell, change.after) for change in changes)))
                if text:
                    self._files.write(self.place(first.cell), text)
            elif first.cell.kind == TASKS:
                self._move(first.cell.path, first.after or DEFAULT_GROUP)
            elif first.after is None:
                self._files.remove_directory(f"{self._mount}/{first.cell.path}")
            else:
                self._files.make_directory(f"{self._mount}/{first.cell.path}")

    def identity(self, cell: Cell) -> str:
        if cell.kind != TASKS:
            return ""  # ownership is by name
        try:
            return self._files.identity(f"{self._threads_root}/{cell.path}")
        except OSError as error:
            if error.errno in GONE:
                return "gone"
            raise

    def original(self, cell: Cell, found: str | None) -> str | None:
        """Return what a cell goes back to: no group of ours, full shares, the default group."""
        if cell.kind == TASKS:
            return DEFAULT_GROUP
        return None if cell.kind == GROUP else self.read(Cell(SCHEMATA, "", cell.key))

    def same(self, cell: Cell, wanted: str | None, found: str | None) -> bool:
        if cell.kind == TASKS and found == NO_THREADS:
            return wanted is not None
        return wanted == found

    def half_done(self, change: Change, found: str | None) -> bool:
        if change.cell.kind == TASKS:  # some threads have moved, some not
            return set((found or "").split("|")) <= {change.before or "", change.after or ""}
        return change.cell.kind == SCHEMATA and change.before is None  # the group is new, and ours

    def direction(self, change: Change) -> Direction:
        if change.cell.kind == SCHEMATA:
            return "widen" if change.before is None else "move"
        return "shrink" if change.after in (None, DEFAULT_GROUP) else "widen"

    def rank(self, cell: Cell) -> int:
        return KINDS.index(cell.kind)

    def together(self, cell: Cell) -> str:
        return f"{SCHEMATA} {cell.path}" if cell.kind == SCHEMATA else ""

    def place(self, cell: Cell) -> str:
        if cell.kind == TASKS:
            return f"{self._mount}: threads of {self._threads_root}/{cell.path}"
        return f"{self._mount}/{cell.path}" + ("/schemata" if cell.kind == SCHEMATA else "")

    def line(self, cell: Cell, value: str | None) -> str | None:
        return f"{cell.key}:{value}\n" if cell.kind == SCHEMATA and value is not None else value

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock; what the kernel refuses leaves with its ``last_cmd_status``."""
        with self._files.locked(self._mount):  # type: ignore[attr-defined]
            try:
                yield
            except OSError as error:
                raise OSError(error.errno, self._status() or error.strerror, error.filename) from error

    def _status(self) -> str:
        try:
            status = self._files.read(f"{self._mount}/info/last_cmd_status").strip()
        except OSError:
            return ""
        return "" if status == "ok" else status

    def _threads(self, group: str) -> set[str]:
        """Return the thread ids of a container: of its group and of those below (kata keeps its threads there)."""
        own = f"{self._threads_root}/{group}"
        threads = set(self._files.read(f"{own}/{self._threads_file}").split())
        for below in groups_below(self._files, own):
            try:
                threads.update(self._files.read(f"{own}/{below}/{self._threads_file}").split())
            except OSError as error:
                if error.errno not in GONE:
                    raise
        return threads

    def _group_of_threads(self, cell: Cell) -> str:
        threads = self._threads(cell.path)
        if not threads:
            return NO_THREADS
        found = set()
        left = set(threads)
        for name in self.groups():
            inside = left & set(self._files.read(f"{self._mount}/{name}/tasks").split())
            if inside:
                found.add(name)
                left -= inside
        return "|".join(sorted(found | ({DEFAULT_GROUP} if left else set())))

    def _move(self, group: str, target: str) -> None:
        """Move every thread, one a write, until a look finds no new one. Children inherit at fork."""
        tasks = f"{self._mount}/{target}/tasks" if target else f"{self._mount}/tasks"
        moved: set[str] = set()
        for _ in range(_RESCANS):
            new = self._threads(group) - moved
            if not new:
                return
            for thread in sorted(new, key=int):
                self._move_thread(tasks, thread)
            moved |= new
        raise OSError(errno.EAGAIN, f"new threads after {_RESCANS} looks", tasks)

    def _move_thread(self, tasks: str, thread: str) -> None:
        try:
            self._files.write(tasks, thread + "\n")
        except OSError as error:
            if error.errno != errno.ESRCH:  # it ended meanwhile
                raise


def full_mask(look: Callable[[Cell], str | None]) -> dict[int, int]:
    """Return domain to the default group's L3 mask; empty without cache allocation."""
    line = look(Cell(SCHEMATA, DEFAULT_GROUP, "L3"))
    pairs = (pair.split("=") for pair in (line or "").split(";") if pair)
    return {int(domain): int(canonical("L3", mask), 16) for domain, mask in pairs}
