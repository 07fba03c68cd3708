"""The containers that the control plane has told, kept in the state directory: a restart begins with the last list.

The state directory goes with a boot, and so do the containers that were told. One process takes lists (``take``); the
other role of the agent follows the file (``look``).
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from enforcer.containers_file import ListedContainer, entry_of, read_containers
from enforcer.errors import ListNotKeptError, StaleListError
from mesh.document import Fields, integer, load_document, matching
from mesh.errors import BadInputError, one_line

log = logging.getLogger(__name__)
FILE_NAME = "told-containers.json"
NEWEST = 2**63 - 1
_node = matching(r"[-._A-Za-z0-9]{1,253}", "a node's name")


@dataclass(frozen=True, slots=True)
class ToldList:
    """What one node's containers are, by the control plane. Generation 0 is: nothing was told yet."""

    node: str
    generation: int
    containers: tuple[ListedContainer, ...] = ()


def read_told_list(document: object) -> ToldList:
    """Return the list in a document, read as strictly as a containers file.

    Raises
    ------
    BadInputError
        names the place, what was found and what is allowed.

    Examples
    --------
    >>> read_told_list({"node": "n1", "generation": 7, "containers": [{"name": "a", "pid": 1}]}).generation
    7
    """
    fields = Fields(document, "", allowed=("node", "generation", "containers"))
    return ToldList(
        node=fields.take("node", _node),
        generation=fields.take("generation", integer(1, NEWEST)),
        containers=fields.take("containers", read_containers),
    )


def text_of(told: ToldList) -> str:
    """Return the file's text: what :func:`read_told_list` reads as this list."""
    containers = [entry_of(container) for container in told.containers]
    document = {"node": told.node, "generation": told.generation, "containers": containers}
    return json.dumps(document, allow_nan=False) + "\n"


class ToldContainers:
    """``now`` is the list in force. Call ``load`` once, then ``take`` or ``look``, from one thread.

    Parameters
    ----------
    node:
        Whose lists are taken; another node's are refused.
    keeps:
        False for a dry run, which writes nothing: a list then lasts as long as the process.
    """

    def __init__(self, directory: str, *, node: str, keeps: bool = True) -> None:
        self._file, self._keeps = Path(directory, FILE_NAME), keeps
        self._mark: tuple[int, int, int] | None = None
        self.now = ToldList(node, 0)

    def load(self) -> None:
        """Read the file; one that is not there, or cannot be used, is none: the control plane tells its list again."""
        self._mark = self._marked()
        if self._mark is None:
            return
        try:
            found = read_told_list(load_document(self._file.read_text(encoding="utf-8")))
            self._check(found)
        except (BadInputError, StaleListError, OSError, ValueError) as error:
            log.error("%s", one_line(f"{self._file}: {error}; the list in force stays"))
            return
        self.now = found

    def look(self) -> bool:
        """Follow the file that another process keeps; return whether the list is another."""
        if self._marked() == self._mark:
            return False
        before = self.now
        self.load()
        return self.now.containers != before.containers

    def take(self, told: ToldList) -> None:
        """Put a list in force, on disk first.

        Raises
        ------
        BadInputError
            for another node's list.
        StaleListError
            for a generation older than the one in force, or the same with another list.
        ListNotKeptError
            where it cannot be written.
        """
        self._check(told)
        if told == self.now:
            return
        if self._keeps:
            self._keep(text_of(told))
            self._mark = self._marked()
        self.now = told

    def _check(self, told: ToldList) -> None:
        if told.node != self.now.node:
            raise BadInputError("node", told.node, f"{self.now.node}, which this agent is of")
        same = told.generation == self.now.generation and told != self.now
        if told.generation < self.now.generation or same:
            raise StaleListError(told.generation, self.now.generation)

    def _keep(self, text: str) -> None:
        draft = self._file.with_name(f".{self._file.name}.draft")
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(draft, "w", encoding="utf-8", opener=_private) as out:
                out.write(text)
                out.flush()
                os.fsync(out.fileno())
            draft.replace(self._file)
        except OSError as error:
            with suppress(OSError):
                draft.unlink()
            raise ListNotKeptError(f"{self._file}: {error.strerror or error}") from error

    def _marked(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._file)
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
