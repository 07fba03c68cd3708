"""From a container's name to its groups, and which groups nobody may write."""

from __future__ import annotations

import pytest

from enforcer.container_paths import container_of_pid, find_group, groups_below, pod_groups, refuse_group, runtime_id
from mesh.topology import ContainerName
from tests.fakes.fake_host import ID, POD, FakeKernel, host_of, v1_host, v2_host

UID = POD.replace("-", "_")
SYSTEMD_POD = f"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID}.slice"
CGROUPFS_POD = f"kubepods/burstable/pod{POD}"


@pytest.mark.parametrize(
    "group",
    [
        f"{SYSTEMD_POD}/cri-containerd-{ID}.scope",
        f"{SYSTEMD_POD}/crio-{ID}.scope",
        f"kubepods.slice/kubepods-pod{UID}.slice/docker-{ID}.scope",
        f"{CGROUPFS_POD}/{ID}",
        f"kubepods/pod{POD}/{ID}",
        f"system.slice/docker-{ID}.scope",
    ],
)
def test_the_runtimes_id_ends_the_path(group: str) -> None:
    """systemd and cgroupfs drivers, containerd, CRI-O and Docker: the same id, and a group that may be written."""
    assert runtime_id(group) == ID
    assert refuse_group(group) is None


@pytest.mark.parametrize(
    ("group", "reason"),
    [
        ("", "the root group"),
        ("/", "the root group"),
        ("..", "escaping"),
        ("a/../b", "escaping"),
        ("a//b", "escaping"),
        ("a\nb", "escaping"),
        ("kubepods", "QoS"),
        ("kubepods.slice", "QoS"),
        ("kubepods/burstable", "QoS"),
        ("kubepods/besteffort", "QoS"),
        ("kubepods.slice/kubepods-besteffort.slice", "QoS"),
        ("kubelet.slice/kubelet-kubepods.slice", "QoS"),
        (CGROUPFS_POD, "whole pod"),
        (SYSTEMD_POD, "whole pod"),
        ("system.slice", "systemd"),
        ("system.slice/sshd.service", "systemd"),
        ("user.slice/user-0.slice", "systemd"),
        ("init.scope", "system"),
        ("kubelet", "system"),
        (f"{SYSTEMD_POD}/crio-conmon-{ID}.scope", "monitor"),
    ],
)
def test_groups_of_the_system_and_of_whole_pods_are_refused(group: str, reason: str) -> None:
    """Root, QoS, system groups, and every path that is empty or escapes."""
    assert reason in (refuse_group(group) or "")


def test_a_pods_groups_are_those_between_qos_and_container() -> None:
    """They belong to the pod alone, so they may be widened; what is above may not."""
    assert pod_groups(f"{CGROUPFS_POD}/{ID}") == (CGROUPFS_POD,)
    assert pod_groups(f"{SYSTEMD_POD}/crio-{ID}.scope") == (SYSTEMD_POD,)
    assert pod_groups("web") == ()


def test_proc_is_the_truth_for_a_pid() -> None:
    """v1 paths by controller, v2 under the empty key; a process that has gone is no container."""
    kernel = FakeKernel({"proc": {"42": {"cgroup": "3:cpu,cpuacct:/a\n0::/b"}}})
    found = container_of_pid(kernel, "/proc", ContainerName("c"), 42)

    assert found is not None
    assert (found.group("cpu"), found.group(""), found.group("memory")) == ("a", "b", None)
    assert container_of_pid(kernel, "/proc", ContainerName("c"), 43) is None


def test_a_name_is_a_path_an_id_or_a_last_part() -> None:
    """An id may be shortened to 12 digits; anything that fits twice is an error, not a guess."""
    groups = (f"{CGROUPFS_POD}/{ID}", "a/web", "b/db", "c/db")

    assert find_group(groups, ID[:12]) == groups[0]
    assert find_group(groups, "web") == "a/web"
    assert find_group(groups, "/a/web") == "a/web"
    assert find_group(groups, "nobody") is None
    with pytest.raises(LookupError, match="2 groups fit"):
        find_group(groups, "db")


def test_groups_are_walked_parents_first() -> None:
    """Every group of the tree, and no plain file."""
    groups = list(groups_below(v2_host(), "/sys/fs/cgroup"))

    assert groups.index("kubepods") < groups.index(CGROUPFS_POD) < groups.index(f"{CGROUPFS_POD}/{ID}")
    assert not any("cgroup.procs" in group for group in groups)


@pytest.mark.parametrize("kernel", [v1_host(), v2_host()])
def test_a_host_finds_the_same_container_on_v1_and_v2(kernel: FakeKernel) -> None:
    """By its runtime's id, in every hierarchy that has it, with a process of its own."""
    found = host_of(kernel).find(ContainerName(ID))

    assert found is not None
    assert set(found.groups.values()) == {f"{CGROUPFS_POD}/{ID}"}
    assert found.pid == 11
