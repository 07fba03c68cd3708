"""What an action on a container's network demands: which namespace, which interface, which limit."""

from __future__ import annotations

from typing import Any

from enforcer.cells import Cell, Demand, NotDone
from enforcer.container_paths import UNIFIED, HostContainer
from enforcer.host_files import HostFiles
from enforcer.host_paths import HostPaths
from enforcer.htb import KIND, LOWEST_BITS_PER_S, HtbSurface
from mesh.actions import Action

NEEDED_CAPABILITIES = {"NET_ADMIN": 12, "SYS_PTRACE": 19, "SYS_ADMIN": 21}
DEFAULT_ROUTE_MASK = "00000000"


class NetworkDriver:
    """Turns network_egress and network_ingress into demands on HTB inside the container's own namespace."""

    RESOURCES: tuple[str, ...] = ("network_egress", "network_ingress")

    def __init__(self, files: HostFiles, paths: HostPaths, surface: HtbSurface) -> None:
        self._files, self._paths, self._surface = files, paths, surface

    def capability(self, resource: str) -> str:
        """Return ``supported``, or why not."""
        del resource
        if not self._files.exists(f"{self._paths.proc}/net/psched"):
            return f"no packet scheduler in {self._paths.proc}/net"
        missing = [name for name, bit in NEEDED_CAPABILITIES.items() if not self._capabilities() >> bit & 1]
        return f"this process lacks {', '.join(missing)}" if missing else "supported"

    def demands(self, action: Action, container: HostContainer) -> tuple[Demand, ...] | NotDone:
        """Return the limit on the interface of the container's default route. Raises OSError."""
        capability = self.capability(action.resource)
        if capability != "supported":
            return NotDone("unsupported", capability)
        if container.pid is None:
            return NotDone("unsupported", f"{container.name} has no process whose network namespace could be entered")
        if float(action.value) < LOWEST_BITS_PER_S:
            return NotDone("refused", f"{action.value} bits/s: {LOWEST_BITS_PER_S} or more is allowed")
        namespace = self._surface.namespace_of(container.pid)
        if namespace == host_network(self._files, self._paths):
            return NotDone("refused", f"{container.name} uses the host's own network")
        interface = self._interface(container.pid)
        if interface is None:
            return NotDone("refused", f"{container.name} has no interface, or several and no default route")
        side = action.resource.removeprefix("network_")
        cell = Cell(KIND, namespace, f"{interface} {side}")
        return (Demand(cell, str(int(float(action.value)) // 8 * 8)),)

    def _interface(self, pid: int) -> str | None:
        """Return the interface of the default route, else the only one that is not loopback."""
        for line in self._files.read(f"{self._paths.proc}/{pid}/net/route").splitlines()[1:]:
            columns = line.split()
            if len(columns) > 7 and columns[1] == columns[7] == DEFAULT_ROUTE_MASK:
                return columns[0]
        lines = self._files.read(f"{self._paths.proc}/{pid}/net/dev").splitlines()[2:]
        names = [line.partition(":")[0].strip() for line in lines]
        own = [name for name in names if name != "lo" and not name.startswith("askew-ifb")]
        return own[0] if len(own) == 1 else None

    def _capabilities(self) -> int:
        for line in self._files.read("/proc/self/status").splitlines():
            if line.startswith("CapEff:"):
                return int(line.split()[1], 16)
        return 0


def host_network(files: HostFiles, paths: HostPaths) -> str:
    """Return the first process's network namespace; where a sandbox hides it, ours: then we run outside of a pod."""
    try:
        return files.link(f"{paths.proc}/1/ns/net")
    except PermissionError:
        return files.link(f"{paths.proc}/self/ns/net")


def first_pid(files: HostFiles, root: str, container: HostContainer, controller: str = UNIFIED) -> int | None:
    """Return a process of a container's group, or None where it has none."""
    group: Any = container.group(controller)
    try:
        pids = files.read(f"{root}/{group}/cgroup.procs").split()
    except OSError:
        return None
    return int(pids[0]) if pids else None
