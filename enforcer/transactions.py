"""Transactions on the kernel: journal, write, read back, commit; on any error, or at the next start, undo in reverse.

What another has changed meanwhile is never overwritten: it is let go of, and said.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

from enforcer.cells import Cell, Change
from enforcer.errors import JournalError, KernelRefusalError
from enforcer.journal import Holding, Journal, Transaction, WriterState, with_read_back
from enforcer.kernel import Kernel
from enforcer.plan import Step, undo_steps
from enforcer.results import Restored, shown

MOST_CONFLICTS = 100


class Transactions:
    """The writer's state, in memory and on disk, and the only calls of :meth:`Kernel.write`."""

    def __init__(self, kernel: Kernel, journal: Journal, *, reasserts: int) -> None:
        self._kernel, self._journal, self._reasserts = kernel, journal, reasserts
        self.state = WriterState()

    def look(self, boot_id: str) -> None:
        """Load the state that an earlier writer left, and change nothing. Raises JournalError."""
        self.state, _ = self._load(boot_id)

    def recover(self, boot_id: str) -> Restored:
        """Undo what an earlier writer began and did not commit; begin a new journal. Raises JournalError."""
        self.state, pending = self._load(boot_id)
        restored = self._roll_back(pending) if pending is not None else Restored()
        self._journal.start(self.state)
        return restored + self._remove_leftovers()

    def run(self, steps: Sequence[Step], done: WriterState) -> tuple[Change, ...]:
        """Do ``steps`` and be in state ``done``, or undo them and raise.

        Raises
        ------
        KernelRefusalError
            what the kernel did not take; all is as it was.
        JournalError
            the journal cannot be written: all is as it was, and nothing more can be done.
        """
        changes = tuple(change for step in steps for change in step)
        identities = tuple(self._identity(change.cell, done) for change in changes)
        self._journal.begin(Transaction(changes, identities, done))
        begun: list[Step] = []
        read_back: dict[Cell, str | None] = {}
        try:
            for step in steps:
                begun.append(step)  # before it is done: a failing one may be half done
                self._kernel.write(step)
                read_back |= self._read_back(step)
            self._journal.commit(with_read_back(done, read_back), read_back)
        except (KernelRefusalError, JournalError) as error:
            self._undo(begun, done)
            if isinstance(error, KernelRefusalError):
                self._journal.abort(self.state)
            raise
        self.state = with_read_back(done, read_back)
        return changes

    def yield_to_others(self) -> tuple[str, ...]:
        """Let go of every cell that is not as we left it, and of the leases on it; return what to tell a person.

        A value that was set back to its original (systemd does that when it reloads) is ours to write again, a few
        times. Only the state in memory changes: the next transaction puts it on disk.
        """
        conflicts: list[str] = []
        lost: list[Cell] = []
        holdings = dict(self.state.holdings)
        for cell, holding in self.state.holdings.items():
            verdict = self._compare(holding)
            if verdict == "reset":
                holdings[cell] = replace(holding, reasserted=holding.reasserted + 1)
            elif verdict == "foreign":
                conflicts.append(self._conflict(cell, holding.written))
            if verdict in ("foreign", "gone"):
                lost.append(cell)
        self.state = replace(self.state, holdings=holdings)
        if lost:
            self._drop(lost, conflicts)
        return tuple(conflicts)

    def unasked(self) -> set[Cell]:
        """Return the cells that are not as found and that no lease asks for: to be given back."""
        asked = {demand.cell for lease in self.state.leases.values() for demand in lease.demands}
        return set(self.state.holdings) - asked

    def reset_cells(self) -> bool:
        """Whether a cell was set back to its original by another and waits to be written again."""
        return any(
            not self._kernel.same(cell, holding.written, self._kernel.read(cell))
            for cell, holding in self.state.holdings.items()
            if holding.reasserted
        )

    def _load(self, boot_id: str) -> tuple[WriterState, Transaction | None]:
        state, pending = self._journal.load()
        if state.boot_id == boot_id:
            return state, pending
        return WriterState(boot_id, state.generation), None  # the kernel's values went with the old boot

    def _identity(self, cell: Cell, done: WriterState) -> str:
        holding = done.holdings.get(cell) or self.state.holdings.get(cell)
        return holding.identity if holding else self._kernel.identity(cell)

    def _read_back(self, step: Step) -> dict[Cell, str | None]:
        """Return what the kernel holds where it differs in form. Raises KernelRefusalError where it differs in kind."""
        differing: dict[Cell, str | None] = {}
        for change in step:
            found = self._kernel.read(change.cell)
            if not self._kernel.same(change.cell, change.after, found):
                raise KernelRefusalError(self._kernel.place(change.cell), change.after, 0, f"it holds {found}")
            if found != change.after:
                differing[change.cell] = found
        return differing

    def _undo(self, begun: Sequence[Step], done: WriterState) -> None:
        for step in undo_steps(begun):
            for undoing in step:
                identity = self._identity(undoing.cell, done)
                self._note(undoing.reversed, self._take_back(undoing.reversed, identity), identity, done)

    def _roll_back(self, pending: Transaction) -> Restored:
        restored = Restored()
        for change, identity in reversed(tuple(zip(pending.changes, pending.identities, strict=True))):
            if not self._kernel.knows(change.cell):
                continue
            outcome = self._take_back(change, identity)
            self._note(change, outcome, identity, pending.done)
            if outcome == "undone":
                restored += Restored(writes=(shown(self._kernel, change.reversed),))
            elif outcome == "foreign":
                restored += Restored(conflicts=self.state.conflicts[-1:])
            elif outcome == "stuck":
                restored += Restored(failed=(self._kernel.place(change.cell),))
        return restored

    def _take_back(self, change: Change, identity: str) -> Literal["clean", "undone", "foreign", "stuck"]:
        """Bring a cell from ``change.after`` back to ``change.before``, if it is still there and still ours."""
        surface = self._kernel.surface(change.cell)
        try:
            if surface.identity(change.cell) != identity:
                return "clean"  # the object has gone; another of its name was never ours
            found = self._kernel.read(change.cell)
            half_done = surface.half_done(change, found)
            if surface.same(change.cell, change.before, found) and not half_done:
                return "clean"
            if not half_done and not surface.same(change.cell, change.after, found):
                return "foreign"
            self._kernel.write((change.reversed,))
        except (KernelRefusalError, OSError):
            return "clean" if self._gone(change.cell) else "stuck"
        return "undone"

    def _gone(self, cell: Cell) -> bool:
        try:
            return self._kernel.read(cell) is None
        except KernelRefusalError:
            return False

    def _note(self, change: Change, outcome: str, identity: str, done: WriterState) -> None:
        """Remember what could not be taken back: to try again, or to leave to whoever changed it."""
        if outcome == "stuck":
            target = done.holdings.get(change.cell) or self.state.holdings.get(change.cell)
            original = target.original if target else change.before
            held = Holding(change.cell, identity, original, change.after)
            self.state = replace(self.state, holdings={**self.state.holdings, change.cell: held})
        elif outcome == "foreign":
            self._drop((change.cell,), (self._conflict(change.cell, change.after),))

    def _compare(self, holding: Holding) -> Literal["ours", "reset", "foreign", "gone"]:
        if not self._kernel.knows(holding.cell):
            return "gone"
        surface = self._kernel.surface(holding.cell)
        try:
            if surface.identity(holding.cell) != holding.identity:
                return "gone"
            found = self._kernel.read(holding.cell)
        except (KernelRefusalError, OSError):
            return "foreign"
        if surface.same(holding.cell, holding.written, found):
            return "ours"
        if found is None:
            return "gone"
        if surface.same(holding.cell, holding.original, found) and holding.reasserted < self._reasserts:
            return "reset"
        return "foreign"

    def _drop(self, cells: Iterable[Cell], conflicts: Sequence[str]) -> None:
        """Forget cells and end the leases that need them. What such a lease alone held is then asked for by nobody."""
        dropped = set(cells)
        leases = {
            key: lease
            for key, lease in self.state.leases.items()
            if not any(demand.cell in dropped for demand in lease.demands)
        }
        self.state = replace(
            self.state,
            holdings={cell: held for cell, held in self.state.holdings.items() if cell not in dropped},
            leases=leases,
            conflicts=(*self.state.conflicts, *conflicts)[-MOST_CONFLICTS:],
        )

    def _conflict(self, cell: Cell, written: str | None) -> str:
        try:
            found = self._kernel.read(cell)
        except KernelRefusalError as error:
            return f"{error}: left as it is"
        return f"{self._kernel.place(cell)}: wrote {written}, found {found}: left as it is"

    def _remove_leftovers(self) -> Restored:
        """Remove what is ours by name and in no journal: its writer's state directory has been lost."""
        held = frozenset(self.state.holdings)
        restored = Restored()
        for surface in self._kernel.surfaces():
            for change in surface.leftovers(held):
                try:
                    self._kernel.write((change,))
                    restored += Restored(writes=(shown(self._kernel, change),))
                except KernelRefusalError as error:
                    restored += Restored(failed=(str(error),))
        return restored
