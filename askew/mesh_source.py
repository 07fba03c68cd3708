"""The mesh file as a source: watch it, read it when it rests, keep the last good one."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from askew.cli.input_file import parse_file
from askew.errors import CommandError
from askew.pod_placing import names_in_mesh
from istio.objects import Pod
from mesh.mesh_file import parse_mesh_file
from mesh.topology import Topology

log = logging.getLogger(__name__)

Fingerprint = tuple[int, int, int] | None


@dataclass(slots=True)
class SourceStatus:
    """What ``/debug/sourcez`` tells of a source. Times in seconds since the epoch."""

    kind: str
    name: str
    loaded_at_s: float = 0.0
    loads: int = 0
    refusals: int = 0
    error: str = ""


class TopologySource(Protocol):
    """Where a topology comes from. ``start`` returns when there is a first one; ``run`` hands on what changes."""

    topology: Topology | None
    on_change: Callable[[Topology], None]
    on_error: Callable[[], None]

    @property
    def status(self) -> SourceStatus:
        """What ``/debug/sourcez`` tells."""

    async def start(self) -> None:
        """Get the first topology. Raises CommandError where a person must mend something."""

    async def run(self) -> None:
        """Hand on changes until cancelled."""

    async def stop(self) -> None:
        """Let go of what ``start`` took."""

    def page(self) -> dict[str, Any]:
        """Return what ``/debug/sourcez`` adds to the status."""

    def services_of_new(self, pod: Pod) -> Sequence[str]:
        """Return what the topology will call a pod that does not run yet: its services and its workload."""


class MeshFileSource:
    """Hands a new topology to ``on_change`` whenever the file says another one; a bad file is refused and reported."""

    def __init__(self, file: str, *, poll_s: float) -> None:
        self._file, self._poll_s = file, poll_s
        self.on_change: Callable[[Topology], None] = lambda topology: None
        self._seen: Fingerprint = None
        self.topology: Topology | None = None
        self.status = SourceStatus("mesh-file", file)
        self.on_error: Callable[[], None] = lambda: None

    def load(self) -> Topology:
        """Read the file for the first time. Raises CommandError for a bad one."""
        self._seen = _fingerprint(self._file)
        self._accept(parse_file(self._file, parse_mesh_file))
        assert self.topology is not None
        return self.topology

    async def start(self) -> None:
        """Read the file for the first time. Raises CommandError for a bad one."""
        self.load()

    async def stop(self) -> None:
        """Do nothing: a file needs no goodbye."""

    def page(self) -> dict[str, Any]:
        """Return what ``/debug/sourcez`` adds: nothing."""
        return {}

    def services_of_new(self, pod: Pod) -> Sequence[str]:
        """Return the service that a new pod belongs to; a file knows no selectors, only names."""
        return names_in_mesh(self.topology or Topology(), pod)

    async def run(self) -> None:
        """Watch until cancelled. A file that is still being written is left until two looks see the same."""
        resting = self._seen
        while True:
            await asyncio.sleep(self._poll_s)
            now = _fingerprint(self._file)
            if now != self._seen and now == resting:
                self._seen = now
                await self._reload()
            resting = now

    async def _reload(self) -> None:
        try:
            topology = await asyncio.to_thread(parse_file, self._file, parse_mesh_file)
        except CommandError as error:
            self.status.refusals += 1
            self.status.error = str(error)
            self.on_error()
            log.error("mesh file refused, the last good one stays: %s", error)
            return
        changed = topology != self.topology
        self._accept(topology)
        if changed:
            log.info("mesh file read again: %d services", len(topology.services))
            self.on_change(topology)

    def _accept(self, topology: Topology) -> None:
        if topology != self.topology:
            self.topology = topology
        self.status.loads += 1
        self.status.loaded_at_s = time.time()
        self.status.error = ""


def _fingerprint(file: str) -> Fingerprint:
    """Return what changes when a file is rewritten or renamed over: inode, size, time of change in ns."""
    try:
        found = os.stat(file)
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
