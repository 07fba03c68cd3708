"""The registry: each file's form, its limits, and how the kernel shows what it took."""

from __future__ import annotations

import pytest

from enforcer.file_surface import compare_sizes
from enforcer.kernel_files import KERNEL_FILES


@pytest.mark.parametrize(
    ("kind", "text", "key", "value"),
    [
        ("cgroup2/cpu.max", "max 100000\n", "", "max 100000"),
        ("cgroup2/cpuset.cpus", "0-1,2,3\n", "", "0-3"),
        ("cgroup2/cpuset.cpus", "\n", "", ""),
        ("cgroup2/memory.high", "33554432\n", "", "33554432"),
        ("cgroup2/io.max", "", "254:0 rbps", "max"),
        ("cgroup2/io.max", "\n", "254:0 rbps", "max"),
        ("cgroup2/io.max", "254:0 rbps=2097152 wbps=max riops=max wiops=max\n", "254:0 rbps", "2097152"),
        ("cgroup2/io.max", "254:0 rbps=2097152 wbps=max riops=max wiops=max\n", "254:16 rbps", "max"),
        ("cgroup1/cpu.cfs_quota_us", "-1\n", "", "-1"),
        ("cgroup1/memory.limit_in_bytes", "9223372036854771712\n", "", "max"),
        ("cgroup1/blkio.throttle.read_bps_device", "254:0 4194304\n", "254:0", "4194304"),
        ("cgroup1/blkio.throttle.read_bps_device", "\n", "254:0", "max"),
        ("cpufreq/scaling_max_freq", "3000000\n", "", "3000000"),
    ],
)
def test_a_file_is_read_into_its_canonical_value(kind: str, text: str, key: str, value: str) -> None:
    """What the kernel shows, and the one spelling that we compare and keep in the journal."""
    assert KERNEL_FILES[kind].parse(text, key) == value


@pytest.mark.parametrize(
    ("kind", "value", "key", "line"),
    [
        ("cgroup2/cpu.max", "20000 100000", "", "20000 100000\n"),
        ("cgroup2/cpuset.cpus", "", "", "\n"),
        ("cgroup2/io.max", "1048576", "254:0 wbps", "254:0 wbps=1048576\n"),
        ("cgroup2/io.max", "max", "254:0 wbps", "254:0 wbps=max\n"),
        ("cgroup1/memory.limit_in_bytes", "max", "", "-1\n"),
        ("cgroup1/blkio.throttle.write_bps_device", "max", "254:0", "254:0 0\n"),
    ],
)
def test_a_value_is_written_as_the_kernel_takes_it(kind: str, value: str, key: str, line: str) -> None:
    """Exactly the bytes of one write(2): an empty list of CPUs is a line break, no limit on a v1 disk is a zero."""
    assert KERNEL_FILES[kind].line(value, key) == line


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("cgroup2/cpu.max", "999 100000"),
        ("cgroup2/cpu.max", "max 999"),
        ("cgroup2/cpu.max", "max 1000001"),
        ("cgroup2/cpu.weight", "0"),
        ("cgroup2/cpu.weight", "10001"),
        ("cgroup2/memory.max", "-1"),
        ("cgroup2/io.max", "1"),
        ("cgroup1/cpu.cfs_quota_us", "999"),
        ("cgroup1/cpu.shares", "1"),
        ("cgroup1/cpu.shares", "262145"),
        ("cpufreq/scaling_max_freq", "0"),
    ],
)
def test_what_the_kernel_would_refuse_is_refused_before(kind: str, value: str) -> None:
    """The reason names the value and the bounds. v1's shares would be clamped in silence."""
    reason = KERNEL_FILES[kind].refuse(value)

    assert reason is not None
    assert value.split()[0] in reason or value.split()[-1] in reason


@pytest.mark.parametrize(
    ("before", "after", "direction"),
    [
        (1.0, 2.0, "widen"),
        (2.0, 1.0, "shrink"),
        (float("inf"), 1.0, "shrink"),
        (frozenset({0}), frozenset({0, 1}), "widen"),
        (frozenset({0, 1}), frozenset({1}), "shrink"),
        (frozenset({0}), frozenset({1}), "move"),
        (frozenset({0}), float("inf"), "widen"),
        (float("inf"), frozenset({0}), "shrink"),
    ],
)
def test_sizes_compare_as_amounts_and_as_sets(before: object, after: object, direction: str) -> None:
    """A list of CPUs that neither holds the other nor is held by it is a move."""
    assert compare_sizes(before, after) == direction  # type: ignore[arg-type]


def test_every_kind_is_declared_once() -> None:
    """The registry's keys are the files' own names."""
    assert [file.kind for file in KERNEL_FILES.values()] == list(KERNEL_FILES)
