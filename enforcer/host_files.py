"""The system calls on files: one write a call, and no link followed below a mount. Tests put a fake kernel here."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol


class HostFiles(Protocol):
    """What the surfaces need of a host's files. Paths are absolute. Everything raises OSError."""

    def read(self, path: str) -> str: ...

    def write(self, path: str, text: str) -> None: ...

    def exists(self, path: str) -> bool: ...

    def names(self, path: str) -> tuple[str, ...]: ...

    def directories(self, path: str) -> tuple[str, ...]: ...

    def identity(self, path: str) -> str: ...

    def link(self, path: str) -> str: ...

    def make_directory(self, path: str) -> None: ...

    def remove_directory(self, path: str) -> None: ...

    def locked(self, path: str) -> object: ...


class RealFiles:
    """The host's own files.

    Parameters
    ----------
    mounts:
        Directories that are trusted as they are (a cgroup v1 mount may be a link: ``cpu`` to ``cpu,cpuacct``). Writes,
        and what becomes part of an identity, go only below one of them, component by component, through no link and
        into no other mount.
    """

    def __init__(self, mounts: Sequence[str]) -> None:
        self._mounts = sorted((mount.rstrip("/") for mount in mounts), key=len, reverse=True)

    def read(self, path: str) -> str:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def write(self, path: str, text: str) -> None:
        """Write ``text`` with one write(2)."""
        directory, name = self._walk(path)
        try:
            file = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            try:
                _write_whole(file, text.encode(), path)
            finally:
                os.close(file)
        finally:
            os.close(directory)

    def exists(self, path: str) -> bool:
        return os.path.lexists(path)

    def names(self, path: str) -> tuple[str, ...]:
        return tuple(sorted(os.listdir(path)))

    def directories(self, path: str) -> tuple[str, ...]:
        with os.scandir(path) as entries:
            return tuple(sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False)))

    def identity(self, path: str) -> str:
        directory, name = self._walk(path)
        try:
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        finally:
            os.close(directory)
        return f"{found.st_dev}:{found.st_ino}"

    def link(self, path: str) -> str:
        return os.readlink(path)

    def make_directory(self, path: str) -> None:
        directory, name = self._walk(path)
        try:
            os.mkdir(name, 0o755, dir_fd=directory)
        finally:
            os.close(directory)

    def remove_directory(self, path: str) -> None:
        directory, name = self._walk(path)
        try:
            os.rmdir(name, dir_fd=directory)
        finally:
            os.close(directory)

    @contextmanager
    def locked(self, path: str) -> Iterator[None]:
        """Hold an exclusive flock(2) on a directory: the protocol of resctrl's users."""
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield
        finally:
            os.close(directory)

    def _walk(self, path: str) -> tuple[int, str]:
        """Return an open directory and the name inside it that ``path`` means. Raises PermissionError for an escape."""
        mount = next((mount for mount in self._mounts if path.startswith(mount + "/")), None)
        if mount is None:
            raise PermissionError(errno.EPERM, "outside of the mounts that may be written", path)
        parts = path[len(mount) + 1 :].split("/")
        if any(part in ("", ".", "..") or "\0" in part for part in parts):
            raise PermissionError(errno.EPERM, "an empty or escaping path", path)
        directory = os.open(os.path.realpath(mount), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            device = os.fstat(directory).st_dev
            for part in parts[:-1]:
                inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
                os.close(directory)
                directory = inner
                if os.fstat(directory).st_dev != device:
                    raise PermissionError(errno.EXDEV, "another mount stands inside of this one", path)
        except BaseException:
            os.close(directory)
            raise
        return directory, parts[-1]


def _write_whole(file: int, data: bytes, path: str) -> None:
    """Write to a kernel's file; or to a recorded one, whose old text must go without being empty for a moment.

    The kernel's files have no blocks. A recorded one is overwritten up to its old length with empty lines, then cut:
    who is killed between the two leaves the new value.
    """
    found = os.fstat(file)
    recorded = found.st_blocks > 0 or found.st_size not in (0, 4096)
    padded = data.ljust(found.st_size, b"\n") if recorded else data
    if os.write(file, padded) != len(padded):
        raise OSError(errno.EIO, "short write", path)
    if recorded:
        os.ftruncate(file, len(data))
