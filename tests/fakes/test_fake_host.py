"""The fake kernel says what the real one said: the table of values and errors, tried out once, held here."""

from __future__ import annotations

import errno

import pytest

from tests.fakes.fake_host import ID, POD, FakeKernel, v1_host, v2_host

V2, V1 = "/sys/fs/cgroup", "/sys/fs/cgroup"
POD_GROUP = f"kubepods/burstable/pod{POD}"


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("web/cpu.max", "20000 100000", "20000 100000"),
        ("web/cpu.max", "20000", "20000 100000"),
        ("web/cpu.max", "max", "max 100000"),
        ("web/cpu.max", "999 100000", errno.EINVAL),
        ("web/cpu.max", "max 1000001", errno.EINVAL),
        ("web/cpu.max", "-1", errno.EINVAL),
        (f"{POD_GROUP}/{ID}/cpu.max", "900000 100000", "900000 100000"),
        ("web/cpu.weight", "0", errno.ERANGE),
        ("web/cpu.weight", "x", errno.EINVAL),
        ("web/memory.max", "33554433", "33554432"),
        ("web/memory.max", "-1", errno.EINVAL),
        ("web/io.max", "8:0 rbps=2097152", "8:0 rbps=2097152 wbps=max riops=max wiops=max"),
        ("web/io.max", "8:0 rbps=max", ""),
        ("web/io.max", "8:0 rbps=0", errno.ERANGE),
        ("web/io.max", "8:0 rbps=1", errno.EINVAL),
        ("web/io.max", "8:0", errno.EINVAL),
        ("web/io.max", "9:9 rbps=2097152", errno.ENODEV),
        ("web/cpuset.cpus", "0-1", "0-1"),
        ("web/cpuset.cpus", "\n", ""),
        ("web/cpuset.cpus", "9", errno.ERANGE),
        ("web/cpuset.cpus", "x", errno.EINVAL),
    ],
)
def test_v2(path: str, text: str, expected: str | int) -> None:
    """A value as it reads back, or the errno."""
    check(v2_host(), f"{V2}/{path}", text, expected)


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("cpu/web/cpu.cfs_quota_us", "1000", "1000"),
        ("cpu/web/cpu.cfs_quota_us", "-7", "-1"),
        ("cpu/web/cpu.cfs_quota_us", "999", errno.EINVAL),
        ("cpu/web/cpu.cfs_quota_us", "max", errno.EINVAL),
        (f"cpu/{POD_GROUP}/{ID}/cpu.cfs_quota_us", "160000", errno.EINVAL),
        ("cpu/web/cpu.shares", "0", "2"),
        ("cpu/web/cpu.shares", "999999", "262144"),
        ("cpuset/web/cpuset.cpus", "9", errno.ERANGE),
        (f"cpuset/{POD_GROUP}/cpuset.cpus", "0", errno.EBUSY),
        ("memory/web/memory.limit_in_bytes", "4096", errno.EBUSY),
        ("memory/web/memory.limit_in_bytes", "-1", "9223372036854771712"),
        ("blkio/web/blkio.throttle.read_bps_device", "8:0 4194304", "8:0 4194304"),
        ("blkio/web/blkio.throttle.read_bps_device", "8:0 0", ""),
        ("blkio/web/blkio.throttle.read_bps_device", "9:9 1", errno.ENODEV),
        ("blkio/web/blkio.throttle.read_bps_device", "x", errno.EINVAL),
    ],
)
def test_v1(path: str, text: str, expected: str | int) -> None:
    """The same for v1, whose parents bind their children."""
    check(v1_host(), f"{V1}/{path}", text, expected)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("L3:0=f7\n", "The mask f7 has non-consecutive 1-bits"),
        ("L3:0=x\n", "Non-hex character in the mask x"),
        ("L3:0=1fff\n", "Mask out of range"),
        ("MB:0=5\n", "MB value 5 out of range [10,100]"),
        ("MB:0=x\n", "Invalid MB value x"),
        ("L9:0=1\n", "Unknown or unsupported resource name 'L9'"),
        ("L3\n", "Missing ':'"),
        ("L3:x\n", "Missing '=' or non-numeric domain"),
        ("L3:7=f\n", "ok"),
        ("L3:0=f", "ok"),
        ("L3:0=f\nMB:0=5\n", "MB value 5 out of range [10,100]"),
    ],
)
def test_resctrl_takes_a_write_whole_or_not_at_all(text: str, status: str) -> None:
    """EINVAL, the words of ``last_cmd_status``, and nothing changed, not even by a good first line."""
    kernel = v2_host()
    kernel.make_directory("/sys/fs/resctrl/askew-x")
    before = kernel.snapshot()
    with pytest.raises(OSError, match="no") as caught:
        kernel.write("/sys/fs/resctrl/askew-x/schemata", text)

    assert caught.value.errno == errno.EINVAL
    assert kernel.read("/sys/fs/resctrl/info/last_cmd_status") == status + "\n"
    assert kernel.snapshot() == before


def test_resctrl_counts_classes_and_rounds_bandwidth() -> None:
    """ENOSPC beyond the closids; 35 % reads back 40; a class that goes sends its threads home."""
    kernel = v2_host()
    resctrl = kernel.resctrl
    assert resctrl is not None
    for name in "abc":
        kernel.make_directory(f"/sys/fs/resctrl/{name}")
    with pytest.raises(OSError, match="no") as caught:
        kernel.make_directory("/sys/fs/resctrl/d")
    assert (caught.value.errno, resctrl.status) == (errno.ENOSPC, "Out of CLOSIDs")
    kernel.write("/sys/fs/resctrl/a/schemata", "MB:0=35\n")
    kernel.write("/sys/fs/resctrl/a/tasks", "31\n")
    assert "0=  40" in kernel.read("/sys/fs/resctrl/a/schemata")
    kernel.remove_directory("/sys/fs/resctrl/a")

    assert resctrl.threads["31"] == ""
    with pytest.raises(OSError, match="no"):
        kernel.write("/sys/fs/resctrl/b/tasks", "999\n")
    assert resctrl.status == "No task 999"


def check(kernel: FakeKernel, path: str, text: str, expected: str | int) -> None:
    if isinstance(expected, str):
        kernel.write(path, text)
        assert kernel.read(path) == expected + "\n"
        return
    with pytest.raises(OSError, match="no") as caught:
        kernel.write(path, text)
    assert caught.value.errno == expected
