"""Control groups, v1 and v2: where each controller is on this host, and what an action demands of its files.

The child may not have more than its parent: v1 refuses it, v2 takes the smaller one in silence. So a demand on a
container brings demands on its pod's groups with it, as floors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from enforcer.cells import Cell, Demand, NotDone
from enforcer.container_paths import UNIFIED, HostContainer, pod_groups, refuse_group
from enforcer.cpu_list import format_cpus, parse_cpus
from enforcer.file_surface import FileSurface
from enforcer.host_files import HostFiles
from enforcer.host_paths import HostPaths
from enforcer.kernel_files import KERNEL_FILES
from mesh.actions import Action

CONTROLLERS = ("cpu", "cpuset", "memory", "io", "blkio")
COUNT = "count="  # a relative demand: so many CPUs, whichever
_NOT_DISKS = re.compile(r"(loop|ram|zram|dm-|md|nbd|sr|fd)[0-9]+")


@dataclass(frozen=True, slots=True)
class Hierarchies:
    """Root of each controller's hierarchy, and which controllers are v2's. ``unified`` is the mount of v2, or empty."""

    roots: Mapping[str, str]
    in_v2: frozenset[str]
    unified: str = ""

    @classmethod
    def detect(cls, files: HostFiles, paths: HostPaths) -> Hierarchies:
        """Return what the host has mounted: v2 alone, v1 alone, or both (a controller is in one of them only)."""
        unified = next(
            (root for root in (paths.cgroup, f"{paths.cgroup}/unified") if files.exists(f"{root}/cgroup.controllers")),
            "",
        )
        roots: dict[str, str] = {}
        in_v2: set[str] = set()
        if unified:
            in_v2.update(set(files.read(f"{unified}/cgroup.controllers").split()) & set(CONTROLLERS))
            roots.update(dict.fromkeys(in_v2, unified))
        if unified != paths.cgroup and files.exists(paths.cgroup):
            for directory in files.names(paths.cgroup):  # "cpu", or "cpu,cpuacct" where they share a mount
                for controller in set(directory.split(",")) & set(CONTROLLERS) - in_v2:
                    roots.setdefault(controller, f"{paths.cgroup}/{directory}")
        return cls(roots, frozenset(in_v2), unified)

    def mounts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.roots.values(), *((self.unified,) if self.unified else ()))))

    def file_roots(self) -> dict[str, str]:
        """Return the root above each kind of cgroup file that this host may have."""
        return {
            file.kind: self.roots[file.controller]
            for file in KERNEL_FILES.values()
            if file.controller in self.roots and (file.hierarchy == "cgroup2") == (file.controller in self.in_v2)
        }

    def group_of(self, container: HostContainer, controller: str) -> str | None:
        """Return the container's group for a controller, or None where it or the controller is not there."""
        if controller not in self.roots:
            return None
        return container.group(UNIFIED if controller in self.in_v2 else controller)


class CgroupDriver:
    """Turns actions on cpu, cpuset, memory and disk into demands on files."""

    RESOURCES: tuple[str, ...] = ("cpu", "cpuset", "memory", "disk_read", "disk_write")

    def __init__(
        self,
        files: HostFiles,
        paths: HostPaths,
        hierarchies: Hierarchies,
        surface: FileSurface,
        *,
        page_bytes: int = 4096,
    ) -> None:
        self._files, self._paths, self._hierarchies, self._surface = files, paths, hierarchies, surface
        self._page_bytes = page_bytes

    def capability(self, resource: str) -> str:
        """Return ``supported``, or why not."""
        controllers = {"disk_read": ("io", "blkio"), "disk_write": ("io", "blkio")}.get(resource, (resource,))
        if not any(controller in self._hierarchies.roots for controller in controllers):
            return f"no cgroup controller {' or '.join(controllers)} under {self._paths.cgroup}"
        if resource.startswith("disk") and not self.disks():
            return f"no whole disk in {self._paths.block}"
        return "supported"

    def demands(self, action: Action, container: HostContainer) -> tuple[Demand, ...] | NotDone:
        """Return what ``action`` wants of which cells, container first, then its pod's groups. Raises OSError."""
        capability = self.capability(action.resource)
        if capability != "supported":
            return NotDone("unsupported", capability)
        controller = self._controller(action.resource)
        group = self._hierarchies.group_of(container, controller)
        if group is None:
            return NotDone("unsupported", f"{container.name} has no group of the controller {controller}")
        reason = refuse_group(group)
        if reason is not None:
            return NotDone("refused", f"{self._hierarchies.roots[controller]}/{group}: {reason}")
        make = {"cpu": self._cpu, "cpuset": self._cpuset, "memory": self._memory}.get(action.resource, self._disk)
        found = make(action, group)
        return found if isinstance(found, NotDone) else self._checked(found)

    def disks(self) -> tuple[str, ...]:
        """Return MAJ:MIN of every whole disk: a limit on a partition or on a mapped device is refused or escapes."""
        if not self._files.exists(self._paths.block):
            return ()
        names = [name for name in self._files.names(self._paths.block) if not _NOT_DISKS.fullmatch(name)]
        return tuple(self._files.read(f"{self._paths.block}/{name}/dev").strip() for name in names)

    def _controller(self, resource: str) -> str:
        if resource.startswith("disk"):
            return "io" if "io" in self._hierarchies.in_v2 else "blkio"
        return resource

    def _kind(self, controller: str, v2: str, v1: str) -> str:
        return f"cgroup2/{v2}" if controller in self._hierarchies.in_v2 else f"cgroup1/{v1}"

    def _checked(self, demands: tuple[Demand, ...]) -> tuple[Demand, ...] | NotDone:
        kept = []
        for demand in demands:
            if self._surface.read(demand.cell) is None:
                if demand.floor:
                    continue  # no such limit above: nothing to widen
                return NotDone("unsupported", f"no file {self._surface.place(demand.cell)}")
            if not demand.value.startswith(COUNT):
                reason = KERNEL_FILES[demand.cell.kind].refuse(demand.value)
                if reason is not None:
                    return NotDone("refused", f"{self._surface.place(demand.cell)}: {reason}")
            kept.append(demand)
        return tuple(kept)

    def _cpu(self, action: Action, group: str) -> tuple[Demand, ...]:
        kind = self._kind("cpu", "cpu.max", "cpu.cfs_quota_us")
        cells = [Cell(kind, group), *(Cell(kind, above) for above in pod_groups(group))]
        return tuple(
            Demand(cell, self._quota(cell, float(action.value)), floor=index > 0) for index, cell in enumerate(cells)
        )

    def _quota(self, cell: Cell, cores: float) -> str:
        if cell.kind == "cgroup2/cpu.max":
            found = self._surface.read(cell)
            period_us = int(found.split()[1]) if found is not None else 100_000
            return f"{round(cores * period_us)} {period_us}"
        root = self._hierarchies.roots["cpu"]
        try:
            period_us = int(self._files.read(f"{root}/{cell.path}/cpu.cfs_period_us"))
        except FileNotFoundError:
            period_us = 100_000
        return str(round(cores * period_us))

    def _cpuset(self, action: Action, group: str) -> tuple[Demand, ...] | NotDone:
        kind = self._kind("cpuset", "cpuset.cpus", "cpuset.cpus")
        allowed = self.cpus_above(Cell(kind, group))
        if not isinstance(action.value, str):
            count = int(action.value)
            if count > len(allowed):
                return NotDone("refused", f"{count} CPUs: the group above has {len(allowed)} ({format_cpus(allowed)})")
            return (Demand(Cell(kind, group), f"{COUNT}{count}"),)
        wanted = parse_cpus(action.value)
        if not wanted <= allowed:
            return NotDone("refused", f"CPUs {action.value}: the group above has {format_cpus(allowed)}")
        return (Demand(Cell(kind, group), format_cpus(wanted)),)

    def cpus_above(self, cell: Cell) -> frozenset[int]:
        """Return the CPUs that a group of the cell's kind may choose from: those of its parent that are online."""
        online = parse_cpus(self._files.read(self._paths.online_cpus))
        parent = self._surface.place(cell).rsplit("/", 2)[0]
        for name in ("cpuset.cpus.effective", "cpuset.effective_cpus", "cpuset.cpus"):
            if self._files.exists(f"{parent}/{name}"):
                return online & parse_cpus(self._files.read(f"{parent}/{name}"))
        return online  # v2's root group has no such file

    def _memory(self, action: Action, group: str) -> tuple[Demand, ...] | NotDone:
        """v2: memory.high, which slows down and never kills; memory.max only makes room. v1 has a hard limit only."""
        rounded = int(float(action.value)) // self._page_bytes * self._page_bytes
        groups = (group, *pod_groups(group))
        if "memory" in self._hierarchies.in_v2:
            room = [Demand(Cell("cgroup2/memory.max", each), str(rounded), floor=True) for each in groups]
            high = [Demand(Cell("cgroup2/memory.high", each), str(rounded), floor=True) for each in groups[1:]]
            return (Demand(Cell("cgroup2/memory.high", group), str(rounded)), *room, *high)
        used_bytes = self._used_v1(group)
        if rounded < used_bytes:
            return NotDone("refused", f"{rounded} bytes: {used_bytes} are in use, and v1 would not let go of them")
        room = [Demand(Cell("cgroup1/memory.memsw.limit_in_bytes", each), str(rounded), floor=True) for each in groups]
        above = [Demand(Cell("cgroup1/memory.limit_in_bytes", each), str(rounded), floor=True) for each in groups[1:]]
        return (Demand(Cell("cgroup1/memory.limit_in_bytes", group), str(rounded)), *room, *above)

    def _used_v1(self, group: str) -> int:
        try:
            return int(self._files.read(f"{self._hierarchies.roots['memory']}/{group}/memory.usage_in_bytes"))
        except FileNotFoundError:
            return 0

    def _disk(self, action: Action, group: str) -> tuple[Demand, ...]:
        rate = str(int(float(action.value)))
        reads = action.resource == "disk_read"
        if "io" in self._hierarchies.in_v2:
            key = "rbps" if reads else "wbps"
            return tuple(Demand(Cell("cgroup2/io.max", group, f"{disk} {key}"), rate) for disk in self.disks())
        name = f"blkio.throttle.{'read' if reads else 'write'}_bps_device"
        return tuple(Demand(Cell(f"cgroup1/{name}", group, disk), rate) for disk in self.disks())
