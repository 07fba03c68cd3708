"""The one writer: nothing else in this program changes the host.

It keeps leases. An action holds until its lease runs out or is taken back; then every value that no other lease asks
for is again what it was before. How a change reaches the kernel and the disk stands in ``transactions.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from enforcer.cells import Cell, Demand, NotDone
from enforcer.container_paths import HostContainer
from enforcer.errors import KernelRefusalError, StaleGenerationError, UnknownContainerError
from enforcer.host import Host
from enforcer.journal import Holding, Journal, Lease, WriterState
from enforcer.layout import DoesNotFitError
from enforcer.plan import Step, order_steps, wanted_cells
from enforcer.results import ActionResult, Restored, WriteMade, action_results, failed_results, shown
from enforcer.settings import WriterSettings
from enforcer.transactions import Transactions
from mesh.actions import Action, ActionSet

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Decision:
    """An action set thought through: nothing has been written."""

    refused: Mapping[int, NotDone]
    steps: tuple[Step, ...]
    state: WriterState


class Writer:
    """Applies, renews and takes back actions on one host. Call :meth:`start` first, under ``only_writer``.

    Parameters
    ----------
    clock:
        Seconds that never jump and also pass while the machine sleeps (CLOCK_BOOTTIME).
    """

    def __init__(
        self, host: Host, journal: Journal, *, clock: Callable[[], float], settings: WriterSettings | None = None
    ) -> None:
        settings = settings or WriterSettings()
        self._host, self._kernel, self._clock = host, host.kernel, clock
        self._transactions = Transactions(host.kernel, journal, reasserts=settings.reasserts)

    @property
    def state(self) -> WriterState:
        return self._transactions.state

    def look(self) -> None:
        """Load the journal's state and change nothing: for ``status`` and ``--dry-run``. Raises JournalError."""
        self._transactions.look(self._host.boot_id())

    def start(self) -> Restored:
        """Recover from however the last writer ended, then end what has expired.

        Raises
        ------
        JournalError
            where the journal cannot be trusted: then nothing has been written.
        """
        return self._transactions.recover(self._host.boot_id()) + self.expire()

    def apply(self, action_set: ActionSet) -> tuple[ActionResult, ...]:
        """Make an action set true, all of what can be done or nothing, and return a result for each action in order.

        Raises
        ------
        StaleGenerationError, UnknownContainerError
            before anything is written.
        JournalError
            where the journal fails; what was written has been undone.
        """
        containers = self._check(action_set)
        with self._kernel.looking_once():
            self.expire()
            try:
                decision = self._decide(action_set, containers)
            except KernelRefusalError as error:
                return failed_results(action_set.actions, refused={}, reason=str(error))
            try:
                self._transactions.run(decision.steps, decision.state)
            except KernelRefusalError as error:
                return failed_results(action_set.actions, refused=decision.refused, reason=str(error))
        return self._results(action_set, decision)

    def preview(self, action_set: ActionSet) -> tuple[ActionResult, ...]:
        """Return what :meth:`apply` would return, and write nothing. Raises as it does."""
        containers = self._check(action_set)
        self._transactions.yield_to_others()
        return self._results(action_set, self._decide(action_set, containers))

    def expire(self) -> Restored:
        """Give back what leases have run out on, what others have changed, and what could not be given back before."""
        before = self.state
        conflicts = self._transactions.yield_to_others()
        ended = self._expired()
        waiting = self._transactions.unasked() or self._transactions.reset_cells()
        if not ended and not waiting and self.state == before:
            return Restored()
        return Restored(conflicts=conflicts) + self._end(ended)

    def release(self, containers: Collection[str]) -> Restored:
        """End the leases of these containers: of their values, those that no other asks for are given back."""
        conflicts = self._transactions.yield_to_others()
        return Restored(conflicts=conflicts) + self._end([key for key in self.state.leases if key[0] in containers])

    def revert(self) -> Restored:
        """Give back every original. What others have changed stays as they want it."""
        conflicts = self._transactions.yield_to_others()
        return Restored(conflicts=conflicts) + self._end(list(self.state.leases))

    # Deciding

    def _check(self, action_set: ActionSet) -> tuple[HostContainer, ...]:
        if action_set.generation < self.state.generation:
            raise StaleGenerationError(action_set.generation, self.state.generation)
        known: dict[str, HostContainer] = {}
        for index, action in enumerate(action_set.actions):
            if action.container in known:
                continue
            try:
                found = self._host.find(action.container)
            except LookupError as error:
                raise UnknownContainerError(f"actions[{index}].container", f"{action.container} ({error})") from error
            if found is None:
                raise UnknownContainerError(f"actions[{index}].container", action.container)
            known[action.container] = found
        return tuple(known[action.container] for action in action_set.actions)

    def _expired(self) -> list[Key]:
        now_s = self._clock()
        return [key for key, lease in self.state.leases.items() if lease.expires_at_s <= now_s]

    def _decide(self, action_set: ActionSet, containers: Sequence[HostContainer]) -> _Decision:
        expired = self._expired()
        old = {key: lease for key, lease in self.state.leases.items() if key not in expired}
        refused: dict[int, NotDone] = {}
        new: dict[int, Lease] = {}
        expires_at_s = self._clock() + action_set.ttl_s
        for index, (action, container) in enumerate(zip(action_set.actions, containers, strict=True)):
            demands = self._demands(action, container)
            if isinstance(demands, NotDone):
                refused[index] = demands
            else:
                new[index] = Lease(action, action_set.generation, expires_at_s, demands)
        leases = self._side_by_side(old, new, refused)
        steps, state = self._plan(leases)
        return _Decision(refused, steps, replace(state, generation=action_set.generation))

    def _demands(self, action: Action, container: HostContainer) -> tuple[Demand, ...] | NotDone:
        """Return what an action demands; a cell that cannot be looked at, or is another's, refuses it."""
        demands = self._host.demands(action, container)
        if isinstance(demands, NotDone):
            return demands
        try:
            for demand in demands:
                self._kernel.read(demand.cell)
        except KernelRefusalError as error:
            return NotDone("refused", error.detail or str(error))
        return demands

    def _side_by_side(
        self, old: Mapping[Key, Lease], new: Mapping[int, Lease], refused: dict[int, NotDone]
    ) -> dict[Key, Lease]:
        """Return the leases that can stand together, and put those that cannot into ``refused``.

        The order of actions does not matter where all of them fit: what one gives another takes. Where they do not, the
        later ones are refused, and what they wanted to replace goes on.
        """
        replaced = {lease.key for lease in new.values()}
        leases = {key: lease for key, lease in old.items() if key not in replaced}
        for index, lease in new.items():
            contested = _contested(lease.demands, leases.values())
            if contested is None:
                leases[lease.key] = lease
                continue
            refused[index] = NotDone("refused", contested)
            if lease.key in old:
                leases[lease.key] = old[lease.key]
        if self._misfit(leases.values()) is None:
            return leases
        leases = dict(old)
        for index, lease in new.items():
            misfit = None if index in refused else self._misfit(({**leases, lease.key: lease}).values())
            if misfit is not None:
                refused[index] = NotDone("refused", misfit)
            elif index not in refused:
                leases[lease.key] = lease
        return leases

    def _misfit(self, leases: Iterable[Lease]) -> str | None:
        try:
            self._settled([demand for lease in leases for demand in lease.demands])
        except DoesNotFitError as error:
            return str(error)
        return None

    def _settled(self, demands: Sequence[Demand]) -> tuple[Demand, ...]:
        held = {cell: holding.written for cell, holding in self.state.holdings.items() if holding.written is not None}
        return self._host.settle(demands, held)

    def _plan(self, leases: Mapping[Key, Lease]) -> tuple[tuple[Step, ...], WriterState]:
        """Return the steps to where exactly ``leases`` are in force, and the state once they are done.

        Cells that no lease asks for even now are left out: they could not be given back, and must not keep others from
        what they want.
        """
        demands = self._settled([demand for lease in leases.values() for demand in lease.demands])
        holdings, unasked = self.state.holdings, self._transactions.unasked()
        asked = {demand.cell for demand in demands}
        observed = {cell: self._kernel.read(cell) for cell in sorted(asked | (set(holdings) - unasked))}
        originals = {cell: self._original(cell, value) for cell, value in observed.items()}
        wanted = wanted_cells(demands, originals, self._kernel)
        exact = {demand.cell for demand in demands if not demand.floor}
        kept = {cell: holdings[cell] for cell in unasked - asked}
        for cell in sorted(asked):
            if cell in exact or not self._kernel.same(cell, originals[cell], wanted[cell]):
                old = holdings.get(cell)
                identity = old.identity if old else self._kernel.identity(cell)
                kept[cell] = Holding(cell, identity, originals[cell], wanted[cell], old.reasserted if old else 0)
        return order_steps(observed, wanted, self._kernel), replace(self.state, holdings=kept, leases=dict(leases))

    def _original(self, cell: Cell, found: str | None) -> str | None:
        holding = self.state.holdings.get(cell)
        return holding.original if holding else self._kernel.surface(cell).original(cell, found)

    def _results(self, action_set: ActionSet, decision: _Decision) -> tuple[ActionResult, ...]:
        cells_of = {
            key: frozenset(demand.cell for demand in lease.demands) for key, lease in decision.state.leases.items()
        }
        changes = [change for step in decision.steps for change in step]
        return action_results(
            action_set.actions, refused=decision.refused, cells_of=cells_of, changes=changes, kernel=self._kernel
        )

    # Giving back

    def _end(self, keys: Sequence[Key]) -> Restored:
        """End leases: all in one transaction, or, where the kernel will not have that, each by itself."""
        restored = Restored()
        try:
            restored += self._end_together(keys)
        except KernelRefusalError:
            for key in keys:
                try:
                    restored += self._end_together((key,))
                except KernelRefusalError:
                    self._let_go(key)
        return restored + self._give_back()

    def _end_together(self, keys: Sequence[Key]) -> Restored:
        leases = {key: lease for key, lease in self.state.leases.items() if key not in keys}
        steps, done = self._plan(leases)
        return Restored(writes=self._written(steps, done))

    def _let_go(self, key: Key) -> None:
        """End a lease whose cells cannot be given back now: they stay in the holdings, to be tried again."""
        leases = {other: lease for other, lease in self.state.leases.items() if other != key}
        self._transactions.run((), replace(self.state, leases=leases))

    def _give_back(self) -> Restored:
        """Give back what no lease asks for, each cell by itself: what fails keeps no other from its original."""
        unasked = self._transactions.unasked()
        observed: dict[Cell, str | None] = {}
        failed: list[str] = []
        for cell in unasked:
            try:
                observed[cell] = self._kernel.read(cell)
            except KernelRefusalError as error:
                failed.append(str(error))
        originals = {
            cell: self.state.holdings[cell].original if found is not None else None for cell, found in observed.items()
        }
        restored = Restored(failed=tuple(failed))
        as_found = set(observed)
        for step in order_steps(observed, originals, self._kernel):
            cells = {change.cell for change in step}
            as_found -= cells
            try:
                restored += Restored(writes=self._written((step,), self._without(cells)))
            except KernelRefusalError as error:
                restored += Restored(failed=(str(error),))
        if as_found:
            self._transactions.run((), self._without(as_found))
        return restored

    def _written(self, steps: Sequence[Step], done: WriterState) -> tuple[WriteMade, ...]:
        return tuple(shown(self._kernel, change) for change in self._transactions.run(steps, done))

    def _without(self, cells: set[Cell]) -> WriterState:
        holdings = {cell: held for cell, held in self.state.holdings.items() if cell not in cells}
        return replace(self.state, holdings=holdings)


def _contested(demands: Sequence[Demand], others: Iterable[Lease]) -> str | None:
    """Return who asks another value of one of the demanded cells, or None."""
    values = {demand.cell: demand.value for demand in demands if not demand.floor}
    for other in others:
        for demand in other.demands:
            if not demand.floor and values.get(demand.cell, demand.value) != demand.value:
                shared = f"{demand.cell.path} {demand.cell.key}".strip()
                return f"{other.action.container} shares {shared} and has {demand.value} of it"
    return None
