"""The journal: what is on disk is enough, a torn end is dropped, anything else stops the writer."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from enforcer.cells import Cell, Change, Demand
from enforcer.errors import JournalError
from enforcer.journal import FileStorage, Holding, Journal, Lease, Transaction, WriterState
from mesh.actions import Action
from mesh.topology import ContainerName
from tests.fakes.fake_storage import FakeStorage

CELL = Cell("cgroup2/cpu.max", "web")
LEASE = Lease(Action(ContainerName("web"), "cpu", 0.5, "cores"), 3, 99.5, (Demand(CELL, "50000 100000"),))
DONE = WriterState("boot", 3, {CELL: Holding(CELL, "7", "max 100000", "50000 100000")}, {LEASE.key: LEASE}, ("c",))
BEGUN = Transaction((Change(CELL, "max 100000", "50000 100000"),), ("7",), DONE)


def begun(storage: FakeStorage) -> Journal:
    journal = Journal(storage)
    journal.start(WriterState("boot", 2))
    journal.begin(BEGUN)
    return journal


def test_an_empty_journal_is_an_empty_state() -> None:
    """The first start of all."""
    assert Journal(FakeStorage()).load() == (WriterState(), None)


def test_a_begun_transaction_is_pending_until_it_is_committed() -> None:
    """Between the two the next writer knows what to undo."""
    storage = FakeStorage()
    journal = begun(storage)
    pending = Journal(storage).load()
    journal.commit(DONE, {})

    assert pending == (WriterState("boot", 2), BEGUN)
    assert Journal(storage).load() == (DONE, None)


def test_an_abort_says_what_is_left() -> None:
    """After it nothing is pending."""
    storage = FakeStorage()
    begun(storage).abort(WriterState("boot", 2, conflicts=("left",)))

    assert Journal(storage).load() == (WriterState("boot", 2, conflicts=("left",)), None)


def test_what_the_kernel_holds_is_what_is_remembered() -> None:
    """A rounded value is the one to compare with later."""
    storage = FakeStorage()
    begun(storage).commit(DONE, {CELL: "49000 100000"})

    assert Journal(storage).load()[0].holdings[CELL].written == "49000 100000"


def test_any_torn_end_is_as_if_it_was_never_written() -> None:
    """Cut anywhere inside the last record, the record before it counts."""
    storage = FakeStorage()
    begun(storage)
    whole = storage.data
    first = whole.index(b"\n") + 1
    for length in range(first, len(whole)):
        storage.data = whole[:length]
        assert Journal(storage).load() == (WriterState("boot", 2), None)


def test_a_last_line_of_holes_is_torn_too() -> None:
    """Disks write sectors in any order: the line break may be there and the middle not."""
    storage = FakeStorage()
    begun(storage)
    storage.data = storage.data.replace(b'"begin"', b"\0" * 7)

    assert Journal(storage).load() == (WriterState("boot", 2), None)


def test_a_broken_line_in_the_middle_stops_the_writer() -> None:
    """No crash does that: someone else wrote here."""
    storage = FakeStorage()
    begun(storage)
    storage.data = storage.data.replace(b'"boot"', b'"boat"', 1)

    with pytest.raises(JournalError, match="line 1 of 2 is broken"):
        Journal(storage).load()


def test_another_version_stops_the_writer() -> None:
    """What it means is not known, so nothing is written on its strength."""
    import json
    import zlib

    text = json.dumps({"record": "state", "version": 99, "state": {}}).encode()
    storage = FakeStorage()
    storage.data = b"%08x %s\n" % (zlib.crc32(text), text)

    with pytest.raises(JournalError, match="version 99"):
        Journal(storage).load()


def test_after_a_failed_append_nothing_follows() -> None:
    """Half a line may stand there, and a second record behind it would be lost or worse."""

    def full(step: str) -> None:
        if step == "append":
            raise OSError(errno.ENOSPC, "No space left on device")

    storage = FakeStorage()
    journal = Journal(storage)
    journal.start(WriterState())
    storage.before = full
    storage.torn = lambda length: 10
    with pytest.raises(JournalError, match="No space left"):
        journal.begin(BEGUN)
    storage.before = lambda step: None
    with pytest.raises(JournalError, match="not written whole"):
        journal.begin(BEGUN)

    assert Journal(storage).load() == (WriterState(), None)


def test_a_long_journal_becomes_its_state() -> None:
    """It does not grow without end, and says the same."""
    storage = FakeStorage()
    journal = Journal(storage, limit_bytes=2000)
    journal.start(WriterState("boot", 2))
    longest = 0
    for _ in range(50):
        journal.begin(BEGUN)
        journal.commit(DONE, {})
        longest = max(longest, len(storage.data))

    assert longest < 4000
    assert Journal(storage).load() == (DONE, None)


def test_files_hold_it_too(tmp_path: Path) -> None:
    """Append, replace and read on a real disk; only root may read it."""
    path = tmp_path / "journal"
    storage = FileStorage(str(path))
    journal = Journal(storage)
    journal.start(WriterState("boot", 2))
    journal.begin(BEGUN)
    storage.close()

    assert Journal(FileStorage(str(path))).load() == (WriterState("boot", 2), BEGUN)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["journal"]
