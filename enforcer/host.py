"""A host: its files, the surfaces that it has, and the drivers that turn actions into demands on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from enforcer.cells import Cell, Demand, NotDone, Surface
from enforcer.cgroup import CgroupDriver, Hierarchies
from enforcer.container_paths import UNIFIED, HostContainer, container_of_pid, find_group, groups_below
from enforcer.containers_file import ListedContainer
from enforcer.cpufreq import KIND as CPUFREQ
from enforcer.cpufreq import CpufreqDriver
from enforcer.file_surface import FileSurface
from enforcer.host_files import HostFiles, RealFiles
from enforcer.host_paths import HostPaths
from enforcer.htb import HtbSurface
from enforcer.kernel import Kernel
from enforcer.layout import settle
from enforcer.network_limits import NetworkDriver, first_pid, host_network
from enforcer.resctrl import ResctrlSurface
from enforcer.resctrl_classes import ResctrlDriver, ThreadsOf
from enforcer.settings import WriterSettings
from mesh.actions import RESOURCES, Action
from mesh.topology import ContainerName


class Driver(Protocol):
    """Turns actions on some resources into demands on cells."""

    RESOURCES: tuple[str, ...]

    def capability(self, resource: str) -> str: ...

    def demands(self, action: Action, container: HostContainer) -> tuple[Demand, ...] | NotDone: ...


class Host:
    """The composition of one host. Looks once, when it is made, at what is mounted.

    Parameters
    ----------
    files:
        The system calls; tests give a fake kernel.
    listed:
        Containers by name; any other name is looked for among the host's groups.
    """

    def __init__(
        self,
        files: HostFiles,
        paths: HostPaths,
        *,
        settings: WriterSettings | None = None,
        listed: Sequence[ListedContainer] = (),
    ) -> None:
        settings = settings or WriterSettings()
        self._files, self.paths = files, paths
        self._found: dict[str, dict[str, str]] = {}
        self._listed = {container.name: container for container in listed}
        self._hierarchies = hierarchies = Hierarchies.detect(files, paths)
        roots = hierarchies.file_roots()
        if files.exists(paths.cpufreq):
            roots[CPUFREQ] = paths.cpufreq
        plain = FileSurface(files, roots)
        self._htb = HtbSurface(files, paths.proc)
        surfaces: list[tuple[Sequence[str], Surface]] = [(plain.kinds, plain), (self._htb.kinds, self._htb)]
        self._cgroup = CgroupDriver(files, paths, hierarchies, plain, page_bytes=settings.page_bytes)
        drivers: list[Driver] = [
            self._cgroup,
            CpufreqDriver(files, paths, hierarchies),
            NetworkDriver(files, paths, self._htb),
        ]
        self._resctrl: ResctrlDriver | None = None
        threads = ThreadsOf.detect(hierarchies)
        if threads is not None:
            classes = ResctrlSurface(files, paths.resctrl, threads_root=threads.root, threads_file=threads.file)
            surfaces.append((classes.kinds, classes))
            self._resctrl = ResctrlDriver(files, paths, threads, lambda cell: self.kernel.look(cell))
            drivers.append(self._resctrl)
        self.kernel = Kernel(surfaces)
        self._drivers: Mapping[str, Driver] = {resource: driver for driver in drivers for resource in driver.RESOURCES}

    def capabilities(self) -> dict[str, str]:
        """Return ``supported``, or why not, for every resource."""
        return {resource: self._capability(resource) for resource in RESOURCES}

    def demands(self, action: Action, container: HostContainer) -> tuple[Demand, ...] | NotDone:
        """Return what an action wants of which cells. A container that has gone is refused."""
        driver = self._drivers.get(action.resource)
        if driver is None:
            return NotDone("unsupported", "this host has no control groups")
        try:
            return driver.demands(action, container)
        except (FileNotFoundError, ProcessLookupError) as error:
            return NotDone("refused", f"{container.name} has gone: no {error.filename}")
        except OSError as error:
            return NotDone("unsupported", f"{error.filename}: {error.strerror}")

    def settle(self, demands: Sequence[Demand], held: Mapping[Cell, str]) -> tuple[Demand, ...]:
        """Return demands with absolute values. Raises DoesNotFitError."""
        return settle(demands, held, cgroup=self._cgroup, resctrl=self._resctrl)

    def find(self, name: ContainerName) -> HostContainer | None:
        """Return a container by its listed name, its group's path, its runtime's id, or its group's last part.

        Raises
        ------
        LookupError
            where a name fits several groups.
        """
        listed = self._listed.get(name)
        if listed is not None and listed.pid is not None:
            return container_of_pid(
                self._files, self.paths.proc, name, listed.pid, container_class=listed.container_class
            )
        wanted = listed.cgroup if listed is not None and listed.cgroup is not None else name
        groups = self._groups_at(wanted) or self._groups_named(wanted)
        if not groups:
            return None
        container = HostContainer(name, groups, None, listed.container_class if listed else "latency-critical")
        return replace(container, pid=self._pid_of(container))

    def is_on_host_network(self, pid: int) -> bool:
        """Whether a process has no network namespace of its own. Raises OSError for one that has gone."""
        return self._files.link(f"{self.paths.proc}/{pid}/ns/net") == host_network(self._files, self.paths)

    def know(self, listed: Sequence[ListedContainer]) -> None:
        """Take another list of containers by name."""
        self._listed = {container.name: container for container in listed}
        places = {container.cgroup for container in listed}
        self._found = {name: groups for name, groups in self._found.items() if name in places}  # ids come and go

    def group_roots(self) -> dict[str, str]:
        """Return where control groups are mounted, by v1 controller; the key "" is cgroup v2."""
        return self._all_roots()

    def boot_id(self) -> str:
        """Return what changes with every boot; empty where the host does not say."""
        try:
            return self._files.read(self.paths.boot_id).strip()
        except OSError:
            return ""

    def close(self) -> None:
        """Close what is open into namespaces."""
        self._htb.close()

    def _capability(self, resource: str) -> str:
        driver = self._drivers.get(resource)
        return driver.capability(resource) if driver is not None else "this host has no control groups"

    def _all_roots(self) -> dict[str, str]:
        v1 = {name: root for name, root in self._hierarchies.roots.items() if name not in self._hierarchies.in_v2}
        return ({UNIFIED: self._hierarchies.unified} if self._hierarchies.unified else {}) | v1

    def _groups_at(self, wanted: str) -> dict[str, str]:
        """Return the group by hierarchy where ``wanted`` is a path, without a look at all groups."""
        path = wanted.strip("/")
        if not path or {"", ".", ".."} & set(path.split("/")):
            return {}
        roots = self._all_roots().items()
        return {name: path for name, root in roots if self._files.exists(f"{root}/{path}/cgroup.procs")}

    def _groups_named(self, wanted: str) -> dict[str, str]:
        """Return the group by hierarchy that ``wanted`` is the id or the last part of; the last find is tried first."""
        roots = self._all_roots()
        known = self._found.get(wanted, {})
        if known and all(self._files.exists(f"{roots[name]}/{group}/cgroup.procs") for name, group in known.items()):
            return known
        found = {name: find_group(tuple(groups_below(self._files, root)), wanted) for name, root in roots.items()}
        groups = {name: group for name, group in found.items() if group is not None}
        self._found[wanted] = groups
        return groups

    def _pid_of(self, container: HostContainer) -> int | None:
        pids = (
            first_pid(self._files, root, container, controller)
            for controller, root in self._all_roots().items()
            if container.group(controller)
        )
        return next((pid for pid in pids if pid is not None), None)


def real_host(
    paths: HostPaths, *, settings: WriterSettings | None = None, listed: Sequence[ListedContainer] = ()
) -> Host:
    """Return the host below ``paths``, on its own files."""
    looking = RealFiles(())
    mounts = Hierarchies.detect(looking, paths).mounts()
    files = RealFiles((*mounts, paths.resctrl, paths.cpufreq))
    return Host(files, paths, settings=settings, listed=listed)
