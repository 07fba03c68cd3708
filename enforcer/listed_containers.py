"""The containers file, followed: a changed file counts within a look, one that cannot be used changes nothing."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from enforcer.containers_file import ListedContainer, parse_containers_file
from mesh.errors import BadInputError, one_line

log = logging.getLogger(__name__)


class ListedContainers:
    """``load`` once, then ``look`` again and again; ``now`` is the last good list."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._mark: tuple[int, int, int] | None = None
        self.now: tuple[ListedContainer, ...] = ()

    def load(self) -> tuple[ListedContainer, ...]:
        """Return the list; without a file it is empty.

        Raises
        ------
        BadInputError
            where there is a file that cannot be used; its path begins with the file's name.
        """
        self._mark = self._marked()
        try:
            self.now = () if self._mark is None else parse_containers_file(Path(self._file).read_text(encoding="utf-8"))
        except BadInputError as error:
            raise BadInputError(f"{self._file}: {error.path}".rstrip(": "), error.found, error.allowed) from error
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise BadInputError(self._file, one_line(str(why)), "a readable file of UTF-8 text") from error
        return self.now

    def look(self) -> bool:
        """Return whether the list has changed."""
        if self._marked() == self._mark:
            return False
        before = self.now
        try:
            return self.load() != before
        except BadInputError as error:
            log.error("the containers file is refused, the last one stays: %s", error)
            return False

    def _marked(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._file)
        except (OSError, ValueError):
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns
