"""What a host has and what its containers have used, read from recorded files of the kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from enforcer.extents import read_extents
from enforcer.host import real_host
from enforcer.host_paths import HostPaths
from enforcer.observe import ContainerUse, container_use
from mesh.topology import ContainerName
from tests.fakes.agent_service import recorded_host
from tests.fakes.fake_host import host_tree, v1_group
from tests.fakes.recorded_tree import write_tree

WEB = ContainerName("web")


def use_on(root: Path) -> ContainerUse:
    host = real_host(HostPaths(str(root)))
    container = host.find(WEB)
    assert container is not None
    return container_use(host, container)


def test_use_on_cgroup_v2(tmp_path: Path) -> None:
    """Memory that is kept is without inactive file pages; disks are added up; without a process no network."""
    root = recorded_host(tmp_path)
    group = root / "sys/fs/cgroup/web"
    (group / "cpu.stat").write_text("usage_usec 1500000\n")
    (group / "memory.current").write_text("1000\n")
    (group / "memory.stat").write_text("anon 600\nfile 400\ninactive_file 300\n")
    (group / "io.stat").write_text("8:0 rbytes=10 wbytes=5 rios=1\n8:16 rbytes=1 wbytes=2\n")

    assert use_on(root) == ContainerUse(1.5, 1000, 700, (11, 7), None)


def test_use_on_cgroup_v1(tmp_path: Path) -> None:
    """There the whole use is kept: v1's limit is hard."""
    groups = {"cpu": {}, "memory": {"memory.usage_in_bytes": "1000"}, "blkio": {}}
    cgroup = {name: {"web": v1_group(name, procs="31", **more)} for name, more in groups.items()}
    cgroup["blkio"]["web"]["blkio.throttle.io_service_bytes"] = "8:0 Read 10\n8:0 Write 5\n8:0 Total 15\nTotal 15"
    write_tree(tmp_path, host_tree(cgroup))

    assert use_on(tmp_path) == ContainerUse(None, 1000, 1000, (10, 5), None)


def test_a_container_that_has_done_no_io_has_read_nothing(tmp_path: Path) -> None:
    """An empty io.stat is zero; no io.stat is not known."""
    root = recorded_host(tmp_path)
    assert use_on(root).disk_bytes is None
    (root / "sys/fs/cgroup/web/io.stat").write_text("")

    assert use_on(root).disk_bytes == (0, 0)


@pytest.mark.parametrize(
    ("line", "step"), [("MB:0= 100;1= 100", 10), ("MB:0=4294967295", 0), ("MB:0=2048", 0), ("L3:0=f", 0)]
)
def test_memory_bandwidth_is_known_where_it_is_in_percent(tmp_path: Path, line: str, step: int) -> None:
    """mba_MBps and AMD count bytes, of which no file says how many there are."""
    root = recorded_host(tmp_path)
    info = root / "sys/fs/resctrl/info/MB"
    info.mkdir(parents=True)
    (info / "bandwidth_gran").write_text("10\n")
    (info / "min_bandwidth").write_text("20\n")
    (root / "sys/fs/resctrl/schemata").write_text(f"    {line}\n")

    found = read_extents(HostPaths(str(root)))

    assert (found.bandwidth_step_percent, found.least_bandwidth_percent) == (step, 2 * step)


def test_memory_is_what_the_kernel_manages(tmp_path: Path) -> None:
    """MemTotal, in KiB; without the file it is not known."""
    root = recorded_host(tmp_path)
    assert read_extents(HostPaths(str(root))).memory_bytes == 0
    (root / "proc/meminfo").write_text("MemTotal:       8000 kB\nMemFree: 1 kB\n")

    assert read_extents(HostPaths(str(root))).memory_bytes == 8_192_000
