"""What survives a restart: performance tables, targets in force and who calls whom, in one JSON file, replaced whole.

A file that is not one of ours, or broken, is told of in one line and left alone: the control plane starts without it,
and saves nothing in this run, since the file may be somebody else's.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from allocators.target_document import targets_document, targets_from_document
from allocators.target_view import TargetMemory
from askew.cli.input_file import parse_file
from askew.control_loop import Memory
from askew.errors import CommandError
from askew.settings import MemorySettings
from estimators.calls_document import calls_document, calls_from_document
from estimators.known_calls import KnownCalls
from estimators.performance_document import from_document, to_document
from estimators.performance_table import PerformanceTable
from mesh.document import Fields, integer, load_document, matching, one_of
from mesh.errors import BadInputError
from mesh.topology import ServiceName, ServicePort

log = logging.getLogger(__name__)

FORM = 1
_service = matching(r"[^\s:]+\.[^\s:.]+", "a service as name.namespace")


class MemoryStore:
    """Loads at the start, saves every ``save_s`` and at the end; with an empty file name it does neither."""

    def __init__(self, settings: MemorySettings) -> None:
        self.settings = settings
        self.usable = bool(settings.file)
        self.on_error: Callable[[], None] = lambda: None

    def load(self, *, now_s: float) -> Memory:
        """Return the memory of the file, or an empty one where there is none or it is refused."""
        if not self.usable or not Path(self.settings.file).exists():
            return Memory()
        try:
            return parse_file(self.settings.file, lambda text: memory_of(text, now_s=now_s))
        except CommandError as error:
            self._gave_up(f"memory file refused, it is left as it is and nothing is remembered: {error}")
            return Memory()

    async def run(self, memory: Callable[[], Memory]) -> None:
        """Save what ``memory`` returns every ``save_s`` until cancelled, and once more then."""
        try:
            while True:
                await asyncio.sleep(self.settings.save_s)
                await asyncio.to_thread(self.save, memory())
        finally:
            self.save(memory())

    def save(self, memory: Memory) -> None:
        """Write the file anew beside the old one and rename it over: a reader sees the one or the other."""
        if not self.usable:
            return
        file = Path(self.settings.file)
        draft = file.with_name(f".{file.name}.draft")
        try:
            with open(draft, "w", encoding="utf-8") as out:
                out.write(text_of(memory))
                out.flush()
                os.fsync(out.fileno())
            draft.replace(file)
        except OSError as error:
            with suppress(OSError):
                draft.unlink()
            self.on_error()
            log.error("%s: %s, allowed: a file that can be written", file, error.strerror or error)

    def _gave_up(self, message: str) -> None:
        self.usable = False
        self.on_error()
        log.error("%s", message)


def text_of(memory: Memory) -> str:
    """Return the file's text."""
    tables = [_named(key) | {"table": to_document(table)} for key, table in memory.tables.items()]
    targets = [_named(key) | {"targets": targets_document(one)} for key, one in memory.targets.items()]
    document = {"form": FORM, "tables": tables, "targets": targets, "calls": calls_document(memory.calls)}
    return json.dumps(document, allow_nan=False) + "\n"


def memory_of(text: str, *, now_s: float = math.inf) -> Memory:
    """Return the memory in a file's text. Raises BadInputError for anything that ``text_of`` would not have written."""
    fields = Fields(load_document(text), "", allowed=("form", "tables", "targets", "calls"))
    fields.take("form", one_of((FORM,)))

    def table(value: object, path: str) -> tuple[ServicePort, PerformanceTable]:
        one = Fields(value, path, allowed=("service", "port", "table"))
        return _key(one), one.take("table", lambda found, at: from_document(found, path=at, latest_s=now_s))

    def targets(value: object, path: str) -> tuple[ServicePort, TargetMemory | None]:
        one = Fields(value, path, allowed=("service", "port", "targets"))
        return _key(one), one.take("targets", lambda found, at: targets_from_document(found, path=at, latest_s=now_s))

    tables, chosen = fields.items("tables", table), fields.items("targets", targets)
    for name, pairs in (("tables", tables), ("targets", chosen)):
        if len({key for key, _ in pairs}) != len(pairs):
            raise BadInputError(name, "a service port twice", "each once")
    calls = fields.take("calls", lambda found, at: calls_from_document(found, path=at), KnownCalls())
    return Memory(tables=dict(tables), targets={key: one for key, one in chosen if one is not None}, calls=calls)


def _named(key: ServicePort) -> dict[str, object]:
    return {"service": key.service, "port": key.port}


def _key(fields: Fields) -> ServicePort:
    return ServicePort(ServiceName(fields.take("service", _service)), fields.take("port", integer(1, 65535)))
