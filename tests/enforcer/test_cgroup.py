"""Where each controller is: v2, v1, both at once, and v1 mounts that two controllers share."""

from __future__ import annotations

from typing import Any

import pytest

from enforcer.cgroup import Hierarchies
from enforcer.host_paths import HostPaths
from tests.fakes.fake_host import FakeKernel, host_tree


def detect(cgroup: dict[str, Any]) -> Hierarchies:
    return Hierarchies.detect(FakeKernel(host_tree(cgroup)), HostPaths())


def test_v2_alone_has_one_root() -> None:
    """Every controller that ``cgroup.controllers`` names, and no other."""
    found = detect({"cgroup.controllers": "cpu io memory pids"})

    assert found.roots == dict.fromkeys(("cpu", "io", "memory"), "/sys/fs/cgroup")
    assert "cgroup2/cpu.max" in found.file_roots()
    assert "cgroup2/cpuset.cpus" not in found.file_roots()


def test_v1_may_share_a_mount() -> None:
    """``cpu,cpuacct`` without the usual link is cpu's root."""
    found = detect({"cpu,cpuacct": {}, "memory": {}, "systemd": {}})

    assert found.roots == {"cpu": "/sys/fs/cgroup/cpu,cpuacct", "memory": "/sys/fs/cgroup/memory"}
    assert found.in_v2 == frozenset()
    assert found.file_roots()["cgroup1/cpu.cfs_quota_us"] == "/sys/fs/cgroup/cpu,cpuacct"


def test_a_controller_is_in_one_of_them_only() -> None:
    """Hybrid hosts have v2 beside v1: what v2 has, v1 has not."""
    found = detect({"unified": {"cgroup.controllers": "memory"}, "cpu": {}, "memory": {}})

    assert found.roots == {"memory": "/sys/fs/cgroup/unified", "cpu": "/sys/fs/cgroup/cpu"}
    assert found.in_v2 == frozenset({"memory"})
    assert found.mounts() == ("/sys/fs/cgroup/unified", "/sys/fs/cgroup/cpu")


def test_a_host_without_cgroups_has_none() -> None:
    """Nothing mounted: nothing supported, no error."""
    assert Hierarchies.detect(FakeKernel({"sys": {}}), HostPaths()).roots == {}


@pytest.mark.parametrize("root", ["/", "/host", "/host/"])
def test_all_paths_stand_below_the_hosts_root(root: str) -> None:
    """A pod sees the host's root somewhere else."""
    paths = HostPaths(root)
    prefix = root.rstrip("/")

    assert paths.cgroup == f"{prefix}/sys/fs/cgroup"
    assert all(
        value.startswith(f"{prefix}/")
        for value in (paths.resctrl, paths.cpufreq, paths.proc, paths.state, paths.boot_id, paths.containers_file)
    )
