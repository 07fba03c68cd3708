"""One writer a host: an flock(2) on a file of the state directory, which the kernel takes back however we end."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from enforcer.errors import JournalError, WriterBusyError


@contextmanager
def only_writer(state_directory: str, name: str) -> Iterator[None]:
    """Be this host's only writer of that name inside the block.

    Raises
    ------
    WriterBusyError
        where another process is.
    JournalError
        where the state directory cannot be made or written.
    """
    path = f"{state_directory}/{name}.lock"
    try:
        os.makedirs(state_directory, mode=0o700, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise JournalError(f"{path}: {error.strerror}, allowed: a state directory that can be written") from error
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(file, 20).decode(errors="replace").strip() or "unknown"
            raise WriterBusyError(f"{path}: process {holder} is writing") from error
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(file)
