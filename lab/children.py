"""Child processes that cannot outlive us: own process groups, killed by the kernel when we die, ended when we stop.

Three nets, one below the other: ``stop`` ends every group; the kernel kills a child whose parent is gone
(``PR_SET_PDEATHSIG``), so that even ``kill -9`` of the lab leaves no process; a child's death is noticed at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.errors import StartError

PR_SET_PDEATHSIG = 1  # prctl(2)
GRACE_S = 3.0
_LIBC = ctypes.CDLL(None, use_errno=True)  # loaded here: between fork and exec there may be no imports


@dataclass(frozen=True, slots=True)
class Child:
    """A started process. ``pidfd`` becomes readable when it ends; ``log`` holds what it wrote."""

    name: str
    process: subprocess.Popen[bytes]
    pidfd: int
    log: Path

    def last_words(self, *, lines: int = 3) -> str:
        """Return the end of its log, for a message."""
        text = self.log.read_text("utf-8", errors="replace") if self.log.exists() else ""
        kept = [line.strip() for line in text.splitlines() if line.strip()][-lines:]
        return " | ".join(kept)[-600:] or "nothing in its log"


class Children:
    """All processes that a lab has started; start them from the main thread (the kernel watches the thread)."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.all: list[Child] = []

    def start(self, name: str, command: Sequence[str], *, environment: Mapping[str, str] | None = None) -> Child:
        """Start a process whose output goes to ``<directory>/<name>.log``. Raises StartError where it cannot start."""
        log = self._directory / f"{name}.log"
        with log.open("wb") as output:
            try:
                process = subprocess.Popen(
                    list(command),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=None if environment is None else dict(environment),
                    start_new_session=True,  # a Ctrl-C on the terminal is for us alone; we end them in order
                    preexec_fn=_die_with(os.getpid()),
                )
            except OSError as error:
                raise StartError(f"{name}: cannot start {command[0]}: {error.strerror or error}") from error
        child = Child(name, process, os.pidfd_open(process.pid), log)
        self.all.append(child)
        return child

    async def first_death(self) -> Child:
        """Return the first child that ends; wait for ever while all live."""
        loop = asyncio.get_running_loop()
        dead: asyncio.Future[Child] = loop.create_future()

        def note(child: Child) -> None:
            if not dead.done():
                dead.set_result(child)

        watched = list(self.all)
        for child in watched:
            loop.add_reader(child.pidfd, note, child)
        try:
            return await dead
        finally:
            for child in watched:
                loop.remove_reader(child.pidfd)

    def memory_bytes(self) -> int:
        """Return the proportional set size of all children: what is shared, such as Envoy's code, counts once."""
        return sum(_memory_bytes(child.process.pid) for child in self.all)

    def stop(self) -> None:
        """End all children: SIGTERM to each group, after ``GRACE_S`` SIGKILL, and reap them.

        Not a coroutine on purpose: nothing can cancel it half-way.
        """
        self._signal(signal.SIGTERM)
        self._wait(GRACE_S)
        self._signal(signal.SIGKILL)
        for child in self.all:
            child.process.wait()
            os.close(child.pidfd)
        self.all.clear()

    def _signal(self, number: signal.Signals) -> None:
        for child in self.all:
            if child.process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.process.pid, number)

    def _wait(self, deadline_s: float) -> None:
        until = time.monotonic() + deadline_s
        for child in self.all:
            poll = select.poll()
            poll.register(child.pidfd, select.POLLIN)
            poll.poll(max(0.0, until - time.monotonic()) * 1000.0)


def _die_with(parent: int) -> Callable[[], None]:
    def before_exec() -> None:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died between fork and prctl
            os._exit(1)

    return before_exec


def _memory_bytes(pid: int) -> int:
    # /proc/PID/smaps_rollup, proc(5): kB.
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
