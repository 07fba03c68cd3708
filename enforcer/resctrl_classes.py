"""Cache ways and memory bandwidth of containers, by classes.

A machine has about 16 classes (CLOSIDs). Best-effort containers share one; each latency-critical container that asks
for cache or memory bandwidth has one, made when it asks and removed with its lease, never ahead of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from enforcer.cells import Cell, Demand, NotDone
from enforcer.cgroup import Hierarchies
from enforcer.container_paths import UNIFIED, HostContainer, refuse_group
from enforcer.host_files import HostFiles
from enforcer.host_paths import HostPaths
from enforcer.resctrl import (
    DEFAULT_GROUP,
    GROUP,
    NO_THREADS,
    PREFIX,
    PRESENT,
    SCHEMATA,
    TASKS,
    full_mask,
)
from enforcer.schemata import format_domains, parse_schemata, round_up_percent
from mesh.actions import Action

WAYS = "ways="  # a relative demand: so many ways, wherever
BEST_EFFORT = PREFIX + "best-effort"
MIB = 2**20
_AMD_STEP_BYTES_PER_S = 125_000_000  # AMD counts memory bandwidth in eighths of a GB/s


@dataclass(frozen=True, slots=True)
class ThreadsOf:
    """Where a container's thread ids stand: the hierarchy's root, its key in ``HostContainer.groups``, the file."""

    root: str
    controller: str
    file: str

    @classmethod
    def detect(cls, hierarchies: Hierarchies) -> ThreadsOf | None:
        """Return v2's place where v2 rules the CPUs, else v1's, else None."""
        if "cpu" in hierarchies.roots and "cpu" not in hierarchies.in_v2:
            return cls(hierarchies.roots["cpu"], "cpu", "tasks")
        return cls(hierarchies.unified, UNIFIED, "cgroup.threads") if hierarchies.unified else None


class ResctrlDriver:
    """Turns cache and memory_bandwidth into demands on a class. ``look`` reads a cell of resctrl, or raises OSError."""

    RESOURCES: tuple[str, ...] = ("cache", "memory_bandwidth")

    def __init__(
        self, files: HostFiles, paths: HostPaths, threads: ThreadsOf, look: Callable[[Cell], str | None]
    ) -> None:
        self._files, self._paths, self._threads, self._look = files, paths, threads, look

    def capability(self, resource: str) -> str:
        """Return ``supported``, or why not."""
        if not self._files.exists(f"{self._paths.resctrl}/schemata"):
            return f"resctrl is not mounted at {self._paths.resctrl}"
        lines = self._root_lines()
        wanted = "L3" if resource == "cache" else "MB"
        if wanted in lines:
            return "supported"
        if "L3CODE" in lines and wanted == "L3":
            return "resctrl is mounted with cdp, which splits the ways of code and data"
        return f"this machine has no {wanted} in {self._paths.resctrl}/schemata"

    def demands(self, action: Action, container: HostContainer) -> tuple[Demand, ...] | NotDone:
        """Return: the class is there, has its line, and holds the container's threads. Raises OSError."""
        capability = self.capability(action.resource)
        if capability != "supported":
            return NotDone("unsupported", capability)
        group = container.group(self._threads.controller)
        if group is None:
            return NotDone("unsupported", f"{container.name} has no group below {self._threads.root}")
        reason = refuse_group(group)
        if reason is not None:
            return NotDone("refused", f"{self._threads.root}/{group}: {reason}")
        tasks, name = Cell(TASKS, group), class_name(container)
        found = self._look(tasks)
        foreign = [part for part in (found or "").split("|") if part not in (DEFAULT_GROUP, NO_THREADS)]
        if any(not part.startswith(PREFIX) for part in foreign):
            return NotDone("refused", f"its threads are in resctrl's group {foreign[0]}, which is not ours")
        value = self._ways(action) if action.resource == "cache" else self._bandwidth(action)
        if isinstance(value, NotDone):
            return value
        key = "L3" if action.resource == "cache" else "MB"
        return (Demand(Cell(GROUP, name), PRESENT), Demand(Cell(SCHEMATA, name, key), value), Demand(tasks, name))

    def total_ways(self) -> int:
        """Return how many ways every domain has."""
        return min((mask.bit_length() for mask in full_mask(self._look).values()), default=0)

    def masks_line(self, mask: int) -> str:
        """Return the L3 line that gives ``mask`` in every domain."""
        return format_domains(dict.fromkeys(full_mask(self._look), f"{mask:x}"))

    def _root_lines(self) -> dict[str, dict[int, str]]:
        return parse_schemata(self._files.read(f"{self._paths.resctrl}/schemata"))

    def _info(self, name: str, default: int) -> int:
        try:
            return int(self._files.read(f"{self._paths.resctrl}/info/{name}"))
        except (FileNotFoundError, ValueError):
            return default

    def _ways(self, action: Action) -> str | NotDone:
        ways, lowest, total = int(float(action.value)), self._info("L3/min_cbm_bits", 1), self.total_ways()
        if not lowest <= ways <= total:
            return NotDone("refused", f"{ways} ways: this cache gives from {lowest} to {total}")
        return f"{WAYS}{ways}"

    def _bandwidth(self, action: Action) -> str | NotDone:
        root = self._root_lines()["MB"]
        in_mib = "mba_MBps" in self._mount_options()
        in_eighths = not in_mib and max(int(value) for value in root.values()) > 100
        amount = float(action.value)
        if action.unit == "percent":
            if in_mib or in_eighths:
                return NotDone("unsupported", "this machine limits memory bandwidth in bytes_per_s, not in percent")
            lowest, step = self._info("MB/min_bandwidth", 10), self._info("MB/bandwidth_gran", 10)
            value = round_up_percent(amount, lowest=lowest, step=step)
        elif in_mib:
            value = math.ceil(amount / MIB)
        elif in_eighths:
            value = max(1, math.ceil(amount / _AMD_STEP_BYTES_PER_S))
        else:
            return NotDone(
                "unsupported", "this machine limits memory bandwidth in percent, unless mounted with mba_MBps"
            )
        return format_domains(dict.fromkeys(root, str(value)))

    def _mount_options(self) -> str:
        try:
            lines = self._files.read(self._paths.mounts).splitlines()
        except OSError:
            return ""
        return next((line.split()[3] for line in lines if len(line.split()) > 3 and line.split()[2] == "resctrl"), "")


def class_name(container: HostContainer) -> str:
    """Return the name of a container's class: a directory's name, 200 characters or fewer.

    >>> class_name(HostContainer("cart-0"))
    'askew-lc-cart-0'
    """
    if container.container_class == "best-effort":
        return BEST_EFFORT
    return f"{PREFIX}lc-" + re.sub(r"[^-._A-Za-z0-9]", "_", container.name)[-180:]
