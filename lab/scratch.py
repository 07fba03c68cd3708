"""A directory for one run: removed at its end, and by the next run if this one was killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "askew-lab-"
LEFTOVER_AGE_S = 60.0  # between its making and its locking a new one stands unlocked


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """Yield a new directory that nobody else uses; its lock is held while we live, so a leftover is known as one."""
    _remove_leftovers(Path(tempfile.gettempdir()))
    directory = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def _remove_leftovers(parent: Path) -> None:
    for directory in parent.glob(PREFIX + "*"):
        with contextlib.suppress(OSError):  # in use, somebody else's, or just removed
            _remove_if_left(directory)


def _remove_if_left(directory: Path) -> None:
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        made = os.fstat(lock)
        if made.st_uid == os.getuid() and time.time() - made.st_mtime > LEFTOVER_AGE_S:
            shutil.rmtree(directory, ignore_errors=True)
    finally:
        os.close(lock)
