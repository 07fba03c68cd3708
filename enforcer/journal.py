"""The journal: what the writer is about to change and what was there before, on disk before the first write.

A file of lines, ``CRC32 JSON``. A line that was torn by a crash can only be the last one, and then no write followed
it: it is dropped. Any other broken line means that someone else wrote here, and the writer stops.

    state    the whole state; the first line, and after compaction the only one
    begin    the changes that follow, and the state once they are done
    commit   they are done; with the values that the kernel holds instead of those asked for
    abort    they are undone; with the state that is left
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from enforcer.cells import Cell, Change, Demand
from enforcer.errors import JournalError
from mesh.actions import Action

VERSION = 1


@dataclass(frozen=True, slots=True)
class Holding:
    """A cell that is not as it was found."""

    cell: Cell
    identity: str
    original: str | None
    written: str | None
    reasserted: int = 0


@dataclass(frozen=True, slots=True)
class Lease:
    """An action in force until ``expires_at_s``, on the clock of this boot."""

    action: Action
    generation: int
    expires_at_s: float
    demands: tuple[Demand, ...]

    @property
    def key(self) -> tuple[str, str]:
        return self.action.container, self.action.resource


@dataclass(frozen=True, slots=True)
class WriterState:
    """All that the writer must remember."""

    boot_id: str = ""
    generation: int = 0
    holdings: Mapping[Cell, Holding] = field(default_factory=dict)
    leases: Mapping[tuple[str, str], Lease] = field(default_factory=dict)
    conflicts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Transaction:
    """Changes that were begun, with the identity of each cell, and the state once they are done."""

    changes: tuple[Change, ...]
    identities: tuple[str, ...]
    done: WriterState


class Storage(Protocol):
    """Where a journal's bytes are. Raises OSError."""

    def load(self) -> bytes: ...

    def append(self, data: bytes, *, durable: bool) -> None: ...

    def replace(self, data: bytes) -> None: ...


class FileStorage:
    """A journal in one file, replaced atomically."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: int | None = None

    def load(self) -> bytes:
        try:
            with open(self._path, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""

    def append(self, data: bytes, *, durable: bool) -> None:
        if self._file is None:
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.write(self._file, data) != len(data):
            raise OSError(f"{self._path}: short write")
        if durable:
            os.fdatasync(self._file)  # the data, and the length that is needed to find it

    def replace(self, data: bytes) -> None:
        self.close()
        temporary = f"{self._path}.new"
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            if os.write(file, data) != len(data):
                raise OSError(f"{temporary}: short write")
            os.fsync(file)
        finally:
            os.close(file)
        os.rename(temporary, self._path)
        directory = os.open(os.path.dirname(self._path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


class Journal:
    """Reads what an earlier writer left, then takes one record after another. Fails closed: JournalError."""

    def __init__(self, storage: Storage, *, limit_bytes: int = 256 * 1024) -> None:
        self._storage, self._limit_bytes = storage, limit_bytes
        self._bytes = 0
        self._broken = False

    def load(self) -> tuple[WriterState, Transaction | None]:
        """Return the last state, and the transaction that was begun after it and not ended."""
        state, pending = WriterState(), None
        for record in _records(self._load_bytes()):
            try:
                state, pending = _next(record, state, pending)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise JournalError(f"journal: a record of another shape: {error!r}") from error
        return state, pending

    def start(self, state: WriterState) -> None:
        """Begin a new journal with ``state`` alone; the old one is gone at once or not at all."""
        data = _line({"record": "state", "version": VERSION, "state": _state_out(state)})
        try:
            self._storage.replace(data)
        except OSError as error:
            raise JournalError(f"journal: {error}") from error
        self._bytes = len(data)

    def begin(self, transaction: Transaction) -> None:
        """Put a transaction on disk. Returns only when it is there; one that changes nothing is not waited for."""
        changes = [
            [*_cell_out(change.cell), change.before, change.after, identity]
            for change, identity in zip(transaction.changes, transaction.identities, strict=True)
        ]
        self._append(
            {"record": "begin", "changes": changes, "done": _state_out(transaction.done)}, durable=bool(changes)
        )

    def commit(self, state: WriterState, read_back: Mapping[Cell, str | None]) -> None:
        """Record that the transaction is done. Not waited for: without it the next writer undoes what was done."""
        if self._bytes > self._limit_bytes:
            self.start(state)
            return
        self._append(
            {"record": "commit", "read_back": [[*_cell_out(cell), value] for cell, value in read_back.items()]},
            durable=False,
        )

    def abort(self, state: WriterState) -> None:
        """Record that the transaction is undone, as far as ``state`` says."""
        self._append({"record": "abort", "state": _state_out(state)}, durable=True)

    def _append(self, record: Mapping[str, Any], *, durable: bool) -> None:
        data = _line(record)
        if self._broken:
            raise JournalError("journal: an earlier record was not written whole")
        try:
            self._storage.append(data, durable=durable)
        except OSError as error:
            self._broken = True  # half a line may stand there: nothing may follow it
            raise JournalError(f"journal: {error}") from error
        self._bytes += len(data)

    def _load_bytes(self) -> bytes:
        try:
            return self._storage.load()
        except OSError as error:
            raise JournalError(f"journal: {error}") from error


def with_read_back(state: WriterState, read_back: Mapping[Cell, str | None]) -> WriterState:
    """Return ``state`` with what the kernel holds instead of what was asked for."""
    holdings = {
        cell: replace(holding, written=read_back[cell]) if cell in read_back else holding
        for cell, holding in state.holdings.items()
    }
    return replace(state, holdings=holdings)


def _next(
    record: Mapping[str, Any], state: WriterState, pending: Transaction | None
) -> tuple[WriterState, Transaction | None]:
    kind = record["record"]
    if kind == "state":
        if record["version"] != VERSION:
            raise JournalError(f"journal: found version {record['version']}, allowed: {VERSION}")
        return _state_in(record["state"]), None
    if kind == "begin":
        changes = tuple(Change(Cell(*row[:3]), row[3], row[4]) for row in record["changes"])
        return state, Transaction(changes, tuple(row[5] for row in record["changes"]), _state_in(record["done"]))
    if kind == "commit" and pending is not None:
        return with_read_back(pending.done, {Cell(*row[:3]): row[3] for row in record["read_back"]}), None
    if kind == "abort":
        return _state_in(record["state"]), None
    raise JournalError(f"journal: a record {kind!r} out of order")


def _records(data: bytes) -> Iterable[Mapping[str, Any]]:
    lines = data.split(b"\n")
    for index, line in enumerate(lines[:-1]):  # what follows the last line break was torn, or is empty
        crc, _, text = line.partition(b" ")
        if crc != b"%08x" % zlib.crc32(text):
            if index == len(lines) - 2:
                return  # torn, though its line break was written
            raise JournalError(f"journal: line {index + 1} of {len(lines) - 1} is broken")
        yield json.loads(text)


def _line(record: Mapping[str, Any]) -> bytes:
    text = json.dumps(record, separators=(",", ":"), allow_nan=False).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _cell_out(cell: Cell) -> list[str]:
    return [cell.kind, cell.path, cell.key]


def _state_out(state: WriterState) -> dict[str, Any]:
    return {
        "boot_id": state.boot_id,
        "generation": state.generation,
        "holdings": [
            [*_cell_out(held.cell), held.identity, held.original, held.written, held.reasserted]
            for held in state.holdings.values()
        ],
        "leases": [_lease_out(lease) for lease in state.leases.values()],
        "conflicts": list(state.conflicts),
    }


def _lease_out(lease: Lease) -> dict[str, Any]:
    action = lease.action
    return {
        "action": [action.container, action.resource, action.value, action.unit],
        "generation": lease.generation,
        "expires_at_s": lease.expires_at_s,
        "demands": [[*_cell_out(demand.cell), demand.value, demand.floor] for demand in lease.demands],
    }


def _state_in(found: Mapping[str, Any]) -> WriterState:
    holdings = [Holding(Cell(*row[:3]), *row[3:]) for row in found["holdings"]]
    leases = [
        Lease(
            Action(*row["action"]),
            row["generation"],
            row["expires_at_s"],
            tuple(Demand(Cell(*demand[:3]), *demand[3:]) for demand in row["demands"]),
        )
        for row in found["leases"]
    ]
    return WriterState(
        boot_id=found["boot_id"],
        generation=found["generation"],
        holdings={holding.cell: holding for holding in holdings},
        leases={lease.key: lease for lease in leases},
        conflicts=tuple(found["conflicts"]),
    )
