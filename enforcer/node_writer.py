"""The one writer in a thread of its own: the loop and the API await it, and no two of its calls ever overlap."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import TypeVar

from enforcer.host import Host
from enforcer.journal import FileStorage, Journal, WriterState
from enforcer.observe import ContainerUse, container_use
from enforcer.results import ActionResult, Restored
from enforcer.settings import WriterSettings
from enforcer.writer import Writer
from enforcer.writer_lock import only_writer
from mesh.actions import ActionSet
from mesh.topology import ContainerName

T = TypeVar("T")


def boot_clock_s() -> float:
    """Return seconds that never jump and also pass while the machine sleeps: the clock of leases."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class NodeWriter:
    """A host's writer from ``start`` to ``stop``. With ``dry_run`` it looks and previews, and writes nothing."""

    def __init__(self, host: Host, settings: WriterSettings, *, dry_run: bool = False) -> None:
        self.host, self.is_dry_run = host, dry_run
        self._settings = settings
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="writer")
        self._open = ExitStack()
        self._writer: Writer | None = None

    async def start(self) -> Restored:
        """Take the lock, recover, and return what was given back.

        Raises
        ------
        WriterBusyError, JournalError
            where another process writes, or the journal cannot be trusted.
        """
        return await self._call(self._start)

    @property
    def state(self) -> WriterState:
        return self._made.state

    async def apply(self, action_set: ActionSet) -> tuple[ActionResult, ...]:
        """Apply, or preview in a dry run. Raises as ``Writer.apply`` does."""
        work = self._made.preview if self.is_dry_run else self._made.apply
        return await self._call(lambda: work(action_set))

    async def preview(self, action_set: ActionSet) -> tuple[ActionResult, ...]:
        """Return what ``apply`` would do. Raises as it does."""
        return await self._call(lambda: self._made.preview(action_set))

    async def expire(self) -> Restored:
        """Give back what has run out, and yield to others."""
        return Restored() if self.is_dry_run else await self._call(self._made.expire)

    async def revert(self) -> Restored:
        """Give everything back."""
        return Restored() if self.is_dry_run else await self._call(self._made.revert)

    async def release(self, containers: Collection[str]) -> Restored:
        """End the leases of these containers, and give back what no other asks for."""
        return Restored() if self.is_dry_run else await self._call(lambda: self._made.release(containers))

    async def uses(self, names: Iterable[ContainerName]) -> dict[ContainerName, ContainerUse]:
        """Return what containers have used; those that have gone are left out."""
        return await self._call(lambda: self._uses(tuple(names)))

    async def run(self, work: Callable[[], T]) -> T:
        """Return what ``work``, which reads this host, returns in the writer's thread."""
        return await self._call(work)

    async def capabilities(self) -> dict[str, str]:
        """Return ``supported``, or why not, for every resource."""
        return await self._call(self.host.capabilities)

    async def stop(self) -> None:
        """Let go of the lock, the journal and the namespaces. Leases stay in the journal."""
        await self._call(self._stop)
        self._thread.shutdown()

    @property
    def _made(self) -> Writer:
        assert self._writer is not None, "start() first"
        return self._writer

    def _uses(self, names: Iterable[ContainerName]) -> dict[ContainerName, ContainerUse]:
        found = {}
        for name in names:
            with suppress(LookupError, OSError):
                container = self.host.find(name)
                if container is not None:
                    found[name] = container_use(self.host, container)
        return found

    def _start(self) -> Restored:
        settings, state = self._settings, self.host.paths.state
        if not self.is_dry_run:
            self._open.enter_context(only_writer(state, settings.journal_name))
        try:
            storage = FileStorage(f"{state}/{settings.journal_name}.journal")
            self._open.callback(storage.close)
            journal = Journal(storage, limit_bytes=settings.journal_limit_bytes)
            writer = Writer(self.host, journal, clock=boot_clock_s, settings=settings)
            if self.is_dry_run:
                writer.look()
                restored = Restored()
            else:
                restored = writer.start()
        except BaseException:
            self._open.close()
            raise
        self._writer = writer
        return restored

    def _stop(self) -> None:
        self._open.close()
        self.host.close()

    async def _call(self, work: Callable[[], T]) -> T:
        """Run ``work`` in the writer's thread to its end, even if the caller is cancelled: a write is never cut."""
        future = asyncio.get_running_loop().run_in_executor(self._thread, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            if not future.cancelled():
                future.exception()  # the caller has gone: what the work met is in the journal
            raise


def page_bytes() -> int:
    """Return the kernel's page size, to which memory limits are rounded."""
    return os.sysconf("SC_PAGE_SIZE")
