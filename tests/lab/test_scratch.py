"""The directory of a run: gone at its end, and a killed run's is removed by the next."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab.scratch import LEFTOVER_AGE_S, PREFIX, scratch_directory


@pytest.fixture(autouse=True)
def _temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.scratch.tempfile.tempdir", str(tmp_path))


def make_old(directory: Path) -> None:
    stamp = directory.stat().st_mtime - 2 * LEFTOVER_AGE_S
    os.utime(directory, (stamp, stamp))


def test_it_is_gone_at_the_end_whatever_happened(tmp_path: Path) -> None:
    """Also when the run failed."""

    def failing_run() -> None:
        with scratch_directory() as directory:
            (directory / "envoy.log").write_text("x")
            raise KeyError

    with pytest.raises(KeyError):
        failing_run()

    assert list(tmp_path.iterdir()) == []


def test_a_leftover_is_removed_by_the_next_run(tmp_path: Path) -> None:
    """A killed run cannot clean up; the kernel has released its lock, and that tells the next one."""
    left = tmp_path / f"{PREFIX}killed"
    left.mkdir()
    (left / "mesh.yaml").write_text("x")
    make_old(left)
    with scratch_directory():
        assert not left.exists()


def test_a_running_labs_directory_stays() -> None:
    """However old it is: it is locked."""
    with scratch_directory() as one:
        make_old(one)
        with scratch_directory() as other:
            assert one.exists()
            assert one != other


def test_a_fresh_directory_without_a_lock_stays(tmp_path: Path) -> None:
    """Between making and locking there is a moment; nobody may take the directory away in it."""
    fresh = tmp_path / f"{PREFIX}fresh"
    fresh.mkdir()
    with scratch_directory():
        assert fresh.exists()
