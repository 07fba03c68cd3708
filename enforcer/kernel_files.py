"""The registry: every kernel file that is written as text, declared once.

Formats and limits: the kernel's Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/ and pm/cpufreq.rst; what the
documents leave open was tried out on Linux 6.18.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from enforcer.cpu_list import format_cpus, parse_cpus

Hierarchy = Literal["cgroup2", "cgroup1", "cpufreq"]
MAX = "max"
UNLIMITED_V1 = 2**62  # a v1 memory limit of -1 reads back as the largest page multiple below 2^63
DISK_KEYS = ("rbps", "wbps", "riops", "wiops")


@dataclass(frozen=True, slots=True)
class KernelFile:
    """One kernel file.

    Attributes
    ----------
    hierarchy, controller, name:
        Where it is. The support check is that the group has the file: the kernel makes it with its controller.
    parse:
        (text of the file, key) to the canonical value. Raises ValueError.
    line:
        (canonical value, key) to exactly what one write(2) carries.
    refuse:
        Why the kernel would not take the canonical value, or None. Raises ValueError for what is no value at all.
    size:
        How much a value allows, for the order of writes; sets compare as sets.
    rank:
        Order among widening writes of one group: the limit that another may not exceed goes first.
    """

    hierarchy: Hierarchy
    controller: str
    name: str
    parse: Callable[[str, str], str]
    line: Callable[[str, str], str]
    refuse: Callable[[str], str | None]
    size: Callable[[str], float | frozenset[int]]
    rank: int = 0

    @property
    def kind(self) -> str:
        return f"{self.hierarchy}/{self.name}"


def _whole(text: str, key: str) -> str:
    del key
    return text.strip()


def _plain(value: str, key: str) -> str:
    del key
    return value + "\n"


def _between(low: int, high: int) -> Callable[[str], str | None]:
    def refuse(value: str) -> str | None:
        return None if low <= int(value) <= high else f"{value}: from {low} to {high} is allowed"

    return refuse


def _bytes_or_max(value: str) -> str | None:
    return None if value == MAX or int(value) >= 0 else f"{value}: bytes >= 0 or max are allowed"


def _amount(value: str) -> float:
    return float("inf") if value in (MAX, "-1") else float(value)


# cpu.max: "QUOTA PERIOD" in µs; QUOTA may be max. One word keeps the period, so both are always written.
def _refuse_cpu_max(value: str) -> str | None:
    quota, _, period = value.partition(" ")
    if not 1000 <= int(period) <= 1_000_000:
        return f"period {period} us: from 1000 to 1000000 is allowed"
    if quota != MAX and int(quota) < 1000:
        return f"quota {quota} us: 1000 or more is allowed"
    return None


def _cpu_max_cores(value: str) -> float:
    quota, _, period = value.partition(" ")
    return _amount(quota) / float(period)


def _refuse_quota(value: str) -> str | None:
    return None if value == "-1" or int(value) >= 1000 else f"quota {value} us: 1000 or more, or -1, is allowed"


def _negative_is_one(text: str, key: str) -> str:
    del key
    return str(max(-1, int(text)))


# cpuset: an empty list means the parent's CPUs; Python's write('') would be no write(2) at all.
def _cpus(text: str, key: str) -> str:
    del key
    return format_cpus(parse_cpus(text))


def _refuse_cpus(value: str) -> str | None:
    parse_cpus(value)
    return None


def _cpu_set(value: str) -> float | frozenset[int]:
    return parse_cpus(value) if value else float("inf")


def _limit_v1(text: str, key: str) -> str:
    del key
    return MAX if int(text) >= UNLIMITED_V1 or int(text) < 0 else str(int(text))


def _limit_v1_line(value: str, key: str) -> str:
    del key
    return ("-1" if value == MAX else value) + "\n"


# io.max: "MAJ:MIN rbps=N wbps=max ..." a line per device with a limit; the cell's key is "MAJ:MIN rbps".
def _io_max(text: str, key: str) -> str:
    device, _, wanted = key.partition(" ")
    for line in text.splitlines():
        name, *pairs = line.split() or [""]
        if name == device:
            return dict(pair.split("=", 1) for pair in pairs).get(wanted, MAX)
    return MAX


def _io_max_line(value: str, key: str) -> str:
    return f"{key}={value}\n"


# blkio.throttle: "MAJ:MIN N" a line per device; writing 0 takes the line away.
def _throttle(text: str, key: str) -> str:
    limits = dict(line.split()[:2] for line in text.splitlines() if len(line.split()) >= 2)
    return limits.get(key, MAX)


def _throttle_line(value: str, key: str) -> str:
    return f"{key} {'0' if value == MAX else value}\n"


def _rate(value: str) -> str | None:
    return None if value == MAX or int(value) >= 2 else f"{value} bytes/s: 2 or more, or max, is allowed"


def _file(
    hierarchy: Hierarchy, controller: str, name: str, refuse: Callable[[str], str | None], **more: object
) -> KernelFile:
    settings: dict[str, object] = {"parse": _whole, "line": _plain, "size": _amount}
    return KernelFile(hierarchy, controller, name, refuse=refuse, **(settings | more))  # type: ignore[arg-type]


_V1_LIMIT: dict[str, object] = {"parse": _limit_v1, "line": _limit_v1_line}
_CPU_SETS: dict[str, object] = {"parse": _cpus, "size": _cpu_set}
_IO: dict[str, object] = {"parse": _io_max, "line": _io_max_line}
_THROTTLE: dict[str, object] = {"parse": _throttle, "line": _throttle_line}

_ALL = (
    _file("cgroup2", "cpu", "cpu.max", _refuse_cpu_max, size=_cpu_max_cores),
    _file("cgroup2", "cpu", "cpu.weight", _between(1, 10000)),
    _file("cgroup2", "cpuset", "cpuset.cpus", _refuse_cpus, **_CPU_SETS),
    _file("cgroup2", "memory", "memory.max", _bytes_or_max),
    _file("cgroup2", "memory", "memory.high", _bytes_or_max, rank=1),
    _file("cgroup2", "io", "io.max", _rate, **_IO),
    _file("cgroup1", "cpu", "cpu.cfs_quota_us", _refuse_quota, parse=_negative_is_one),
    _file("cgroup1", "cpu", "cpu.shares", _between(2, 262144)),
    _file("cgroup1", "cpuset", "cpuset.cpus", _refuse_cpus, **_CPU_SETS),
    _file("cgroup1", "memory", "memory.memsw.limit_in_bytes", _bytes_or_max, **_V1_LIMIT),
    _file("cgroup1", "memory", "memory.limit_in_bytes", _bytes_or_max, rank=1, **_V1_LIMIT),
    _file("cgroup1", "blkio", "blkio.throttle.read_bps_device", _rate, **_THROTTLE),
    _file("cgroup1", "blkio", "blkio.throttle.write_bps_device", _rate, **_THROTTLE),
    _file("cpufreq", "cpufreq", "scaling_max_freq", _between(1, 100_000_000)),
    _file("cpufreq", "cpufreq", "scaling_min_freq", _between(1, 100_000_000)),
)
KERNEL_FILES: Mapping[str, KernelFile] = {file.kind: file for file in _ALL}
