"""A whole host in memory, from one nested literal, with a kernel that applies its own rules to every write."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from enforcer.cpu_list import format_cpus, parse_cpus
from enforcer.host import Host
from enforcer.host_paths import HostPaths
from tests.fakes.fake_kernel_rules import RULES
from tests.fakes.fake_resctrl import FakeResctrl

RESCTRL = "/sys/fs/resctrl"
ID = "ab" * 32
POD = "12345678-1234-1234-1234-123456789abc"


class Killed(BaseException):
    """The writer's process ends here: nobody catches it."""


class Directory(dict[str, Any]):
    """Names to text or to directories. ``number`` is the inode."""

    count = 100

    def __init__(self, tree: Mapping[str, Any]) -> None:
        super().__init__()
        Directory.count += 1
        self.number = Directory.count
        for name, value in tree.items():
            self[name] = Directory(value) if isinstance(value, Mapping) else value


class FakeKernel:
    """:class:`enforcer.host_files.HostFiles` in memory.

    Parameters
    ----------
    tree:
        The host's root: ``{"sys": {"fs": {"cgroup": {...}}}}``; a text is a file.
    before_write:
        Called with the path and the text before each write takes effect; may raise OSError or Killed.
    """

    def __init__(
        self,
        tree: Mapping[str, Any],
        *,
        resctrl: FakeResctrl | None = None,
        before_write: Callable[[str, str], None] = lambda path, text: None,
    ) -> None:
        self.root, self.resctrl, self.before_write = Directory(tree), resctrl, before_write
        self.written: list[tuple[str, str]] = []

    def snapshot(self) -> Any:
        """Return all values, comparable, without the inodes."""
        groups = (
            {name: (group.masks, group.bandwidths) for name, group in self.resctrl.groups.items()}
            if self.resctrl
            else {}
        )
        threads = dict(self.resctrl.threads) if self.resctrl else {}
        return _plain(self.root), groups, threads

    def read(self, path: str) -> str:
        if self._in_resctrl(path):
            return self._read_resctrl(path[len(RESCTRL) + 1 :])
        node = self._node(path)
        if isinstance(node, Directory):
            raise IsADirectoryError(errno.EISDIR, "a directory", path)
        if path.endswith("/cpuset.cpus.effective"):
            return self._effective(path.rpartition("/")[0]) + "\n"
        return str(node) + "\n"

    def write(self, path: str, text: str) -> None:
        self.before_write(path, text)
        self.written.append((path, text))
        if self._in_resctrl(path):
            assert self.resctrl is not None
            name, _, file = path[len(RESCTRL) + 1 :].rpartition("/")
            self.resctrl.write(name, file, text)
            return
        directory, name = self._split(path)
        if name not in directory:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        children = [child for child in directory.values() if isinstance(child, Directory) and name in child]
        parent = self._node(path.rsplit("/", 2)[0])
        directory[name] = RULES[name](text, directory[name], directory, parent, children)

    def set(self, path: str, value: str) -> None:
        """Write as a foreigner: no rule, no hook."""
        directory, name = self._split(path)
        directory[name] = value

    def exists(self, path: str) -> bool:
        try:
            if self._in_resctrl(path):
                self._read_resctrl(path[len(RESCTRL) + 1 :])
            else:
                self._node(path)
        except OSError:
            return False
        return True

    def names(self, path: str) -> tuple[str, ...]:
        if path == RESCTRL and self.resctrl is not None:
            return ("info", "schemata", "tasks", *filter(None, self.resctrl.groups))
        return tuple(sorted(self._node(path)))

    def directories(self, path: str) -> tuple[str, ...]:
        if path == RESCTRL and self.resctrl is not None:
            return ("info", *filter(None, self.resctrl.groups))
        return tuple(sorted(name for name, node in self._node(path).items() if isinstance(node, Directory)))

    def identity(self, path: str) -> str:
        node = self._node(path)
        return str(node.number if isinstance(node, Directory) else 0)

    def link(self, path: str) -> str:
        return str(self._node(path))

    def make_directory(self, path: str) -> None:
        self.before_write(path, "mkdir")
        assert self.resctrl is not None
        self.written.append((path, "mkdir"))
        self.resctrl.make(path[len(RESCTRL) + 1 :])

    def remove_directory(self, path: str) -> None:
        self.before_write(path, "rmdir")
        assert self.resctrl is not None
        self.written.append((path, "rmdir"))
        self.resctrl.remove(path[len(RESCTRL) + 1 :])

    @contextmanager
    def locked(self, path: str) -> Iterator[None]:
        yield

    def _effective(self, group: str) -> str:
        """What the group's list, or else its parent's, leaves it."""
        above = group.rpartition("/")[0]
        inherited = self._effective(above) if self.exists(f"{above}/cpuset.cpus.effective") else "0-7"
        own = parse_cpus(self._node(group)["cpuset.cpus"]) & parse_cpus(inherited)
        return format_cpus(own) or inherited

    def _in_resctrl(self, path: str) -> bool:
        return self.resctrl is not None and path.startswith(RESCTRL + "/")

    def _read_resctrl(self, inside: str) -> str:
        assert self.resctrl is not None
        info = {
            "info/last_cmd_status": self.resctrl.status,
            "info/L3/min_cbm_bits": str(self.resctrl.min_bits),
            "info/MB/min_bandwidth": str(self.resctrl.min_bandwidth),
            "info/MB/bandwidth_gran": str(self.resctrl.step),
        }
        if inside in info:
            return info[inside] + "\n"
        name, _, file = inside.rpartition("/")
        if file not in ("schemata", "tasks"):
            raise FileNotFoundError(errno.ENOENT, "no such file", inside)
        return self.resctrl.read(name, file)

    def _split(self, path: str) -> tuple[Directory, str]:
        above, _, name = path.rpartition("/")
        return self._node(above), name

    def _node(self, path: str) -> Any:
        node: Any = self.root
        for part in filter(None, path.split("/")):
            if not isinstance(node, Directory) or part not in node:
                raise FileNotFoundError(errno.ENOENT, "no such file", path)
            node = node[part]
        return node


def _plain(node: Any) -> Any:
    return {name: _plain(value) for name, value in node.items()} if isinstance(node, Directory) else node


def v2_group(*, procs: str = "", **inside: Any) -> dict[str, Any]:
    """Return a cgroup v2 group as the kernel makes it, with groups below it."""
    return {
        "cgroup.procs": procs,
        "cgroup.threads": procs,
        "cpu.max": "max 100000",
        "cpu.weight": "100",
        "cpuset.cpus": "",
        "cpuset.cpus.effective": "0-7",
        "memory.max": "max",
        "memory.high": "max",
        "io.max": "",
        **inside,
    }


def v1_group(controller: str, *, procs: str = "", **inside: Any) -> dict[str, Any]:
    """Return a group of one v1 controller as the kernel makes it."""
    files = {
        "cpu": {"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000", "cpu.shares": "1024"},
        "cpuset": {"cpuset.cpus": "0-7", "cpuset.mems": "0"},
        "memory": {
            "memory.limit_in_bytes": "9223372036854771712",
            "memory.memsw.limit_in_bytes": "9223372036854771712",
            "memory.usage_in_bytes": "1048576",
        },
        "blkio": {"blkio.throttle.read_bps_device": "", "blkio.throttle.write_bps_device": ""},
    }[controller]
    return {"cgroup.procs": procs, "tasks": procs, **files, **inside}


def host_tree(cgroup: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Return a host of 8 CPUs, two disks, cpufreq policies of two CPUs each, around a cgroup tree."""
    policies = {
        f"policy{first}": {
            "affected_cpus": f"{first} {first + 1}",
            "cpuinfo_min_freq": "800000",
            "cpuinfo_max_freq": "3000000",
            "scaling_max_freq": "3000000",
            "scaling_min_freq": "800000",
        }
        for first in (0, 2, 4, 6)
    }
    return {
        "sys": {
            "fs": {"cgroup": cgroup},
            "devices": {"system": {"cpu": {"online": "0-7", "cpufreq": policies}}},
            "block": {"sda": {"dev": "8:0"}, "sdb": {"dev": "8:16"}, "loop0": {"dev": "7:0"}},
        },
        "proc": {"sys": {"kernel": {"random": {"boot_id": "boot-1"}}}},
        **more,
    }


def v2_host(**options: Any) -> FakeKernel:
    """Return a host with a pod of two containers (cgroupfs driver, v2), two plain groups, and resctrl."""
    pod = {
        f"pod{POD}": v2_group(
            **{
                "cpu.max": "150000 100000",
                "memory.max": "104857600",
                ID: v2_group(procs="11\n12", **{"cpu.max": "100000 100000"}),
                "cd" * 32: v2_group(procs="21"),
            }
        )
    }
    cgroup = {
        "cgroup.controllers": "cpuset cpu io memory pids",
        "cgroup.procs": "1",
        "kubepods": v2_group(burstable=v2_group(**pod)),
        "web": v2_group(procs="31"),
        "batch": v2_group(procs="41"),
        "system.slice": v2_group(),
    }
    resctrl = FakeResctrl(threads=dict.fromkeys(("1", "11", "12", "21", "31", "41"), ""))
    return FakeKernel(host_tree(cgroup), resctrl=resctrl, **options)


def v1_host(**options: Any) -> FakeKernel:
    """Return the same pod and the groups ``web`` and ``batch`` on cgroup v1, without resctrl."""

    def tree(controller: str) -> dict[str, Any]:
        limits = {"cpu": {"cpu.cfs_quota_us": "150000"}, "memory": {"memory.limit_in_bytes": "104857600"}}
        inside = v1_group(controller, procs="11\n12")
        pod = v1_group(controller, **{**limits.get(controller, {}), ID: inside})
        return v1_group(
            controller,
            kubepods=v1_group(controller, burstable=v1_group(controller, **{f"pod{POD}": pod})),
            web=v1_group(controller, procs="31"),
            batch=v1_group(controller, procs="41"),
        )

    return FakeKernel(host_tree({each: tree(each) for each in ("cpu", "cpuset", "memory", "blkio")}), **options)


def host_of(kernel: FakeKernel) -> Host:
    """Return the host on a fake kernel."""
    return Host(kernel, HostPaths())
