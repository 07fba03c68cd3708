"""What the kernel does with one write to one file: the value that it then holds, or an errno.

Source: tried out on Linux 6.18 (cgroup v1) and 6.1 (cgroup v2); the kernel's documents.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from typing import NoReturn

from enforcer.cpu_list import format_cpus, parse_cpus

PAGE = 4096
UNLIMITED = 9223372036854771712
Siblings = Mapping[str, str]  # the other files of the group
Rule = Callable[[str, str, Siblings, Siblings | None, list[Siblings]], str]
DISKS = ("8:0", "8:16")


def refuse(number: int) -> NoReturn:
    raise OSError(number, "the kernel says no")


def integer(text: str, *, number: int = errno.EINVAL) -> int:
    try:
        return int(text)
    except ValueError:
        refuse(number)


def cpu_max(text: str, old: str, own: Siblings, parent: Siblings | None, children: list[Siblings]) -> str:
    words = text.split()
    if not 1 <= len(words) <= 2:
        refuse(errno.EINVAL)
    quota, period = words[0], words[1] if len(words) == 2 else old.split()[1]
    if not 1000 <= integer(period) <= 1_000_000 or (quota != "max" and integer(quota) < 1000):
        refuse(errno.EINVAL)
    return f"{quota} {period}"  # more than the parent's is taken in silence


def weight(text: str, old: str, own: Siblings, parent: Siblings | None, children: list[Siblings]) -> str:
    if not 1 <= integer(text) <= 10000:
        refuse(errno.ERANGE)
    return str(int(text))


def shares(text: str, old: str, own: Siblings, parent: Siblings | None, children: list[Siblings]) -> str:
    return str(min(262144, max(2, integer(text))))


def _ratio(group: Siblings) -> float:
    quota = int(group["cpu.cfs_quota_us"])
    return float("inf") if quota < 0 else quota / int(group["cpu.cfs_period_us"])


def cfs_quota(text: str, old: str, own: Siblings, parent: Siblings | None, children: list[Siblings]) -> str:
    quota = max(-1, integer(text))
    if -1 < quota < 1000:
        refuse(errno.EINVAL)
    ratio = float("inf") if quota < 0 else quota / int(own["cpu.cfs_period_us"])
    above = _ratio(parent) if parent and "cpu.cfs_quota_us" in parent else float("inf")
    if quota >= 0 and ratio > above:
        refuse(errno.EINVAL)
    if any(_ratio(child) > ratio and _ratio(child) != float("inf") for child in children):
        refuse(errno.EINVAL)
    return str(quota)


def cpus(text: str, old: str, own: Siblings, parent: Siblings | None, children: list[Siblings]) -> str:
    try:
        wanted = parse_cpus(text)
    except ValueError:
        refuse(errno.EINVAL)
    if not wanted <= frozenset(range(8)):
        refuse(errno.ERANGE)
    v1 = "cpuset.mems" in own
    if v1 and parent and "cpuset.cpus" in parent and not wanted <= parse_cpus(parent["cpuset.cpus"]):
        refuse(errno.EACCES)
    if v1 and any(not parse_cpus(child["cpuset.cpus"]) <= wanted for child in children):
        refuse(errno.EBUSY)
    return format_cpus(wanted)


def memory(text: str, old: str, own: Siblings, parent: Siblings | None, children: list[Siblings]) -> str:
    if text.strip() == "max":
        return "max"
    if integer(text) < 0:
        refuse(errno.EINVAL)
    return str(int(text) // PAGE * PAGE)


def _memory_v1(text: str) -> int:
    return UNLIMITED if integer(text) < 0 else min(UNLIMITED, int(text) // PAGE * PAGE)


def memory_limit(text: str, old: str, own: Siblings, parent: Siblings | None, children: list[Siblings]) -> str:
    limit = _memory_v1(text)
    if limit > int(own.get("memory.memsw.limit_in_bytes", UNLIMITED)):
        refuse(errno.EINVAL)
    if limit < int(own.get("memory.usage_in_bytes", 0)):
        refuse(errno.EBUSY)
    return str(limit)


def memory_and_swap(text: str, old: str, own: Siblings, parent: Siblings | None, children: list[Siblings]) -> str:
    limit = _memory_v1(text)
    if limit < int(own["memory.limit_in_bytes"]):
        refuse(errno.EINVAL)
    return str(limit)


def io_max(text: str, old: str, own: Siblings, parent: Siblings | None, children: list[Siblings]) -> str:
    device, *pairs = text.split() or refuse(errno.EINVAL)
    if device not in DISKS:
        refuse(errno.ENODEV)
    lines = {line.split()[0]: dict(pair.split("=") for pair in line.split()[1:]) for line in old.splitlines()}
    limits = lines.setdefault(device, dict.fromkeys(("rbps", "wbps", "riops", "wiops"), "max"))
    if not pairs:
        refuse(errno.EINVAL)
    for pair in pairs:
        key, _, value = pair.partition("=")
        if key not in limits or (value != "max" and integer(value) == 1):
            refuse(errno.EINVAL)
        if value == "0":
            refuse(errno.ERANGE)
        limits[key] = value
    kept = {device: limits for device, limits in lines.items() if set(limits.values()) != {"max"}}
    return "\n".join(f"{device} " + " ".join(f"{k}={v}" for k, v in limits.items()) for device, limits in kept.items())


def throttle(text: str, old: str, own: Siblings, parent: Siblings | None, children: list[Siblings]) -> str:
    words = text.split()
    if len(words) != 2:
        refuse(errno.EINVAL)
    if words[0] not in DISKS:
        refuse(errno.ENODEV)
    limits = dict(line.split() for line in old.splitlines())
    limits[words[0]] = str(integer(words[1]))
    return "\n".join(f"{device} {rate}" for device, rate in limits.items() if rate != "0")


def frequency(text: str, old: str, own: Siblings, parent: Siblings | None, children: list[Siblings]) -> str:
    low, high = int(own["cpuinfo_min_freq"]), int(own["cpuinfo_max_freq"])
    return str(min(high, max(low, integer(text))))


RULES: Mapping[str, Rule] = {
    "cpu.max": cpu_max,
    "cpu.weight": weight,
    "cpu.shares": shares,
    "cpu.cfs_quota_us": cfs_quota,
    "cpuset.cpus": cpus,
    "memory.max": memory,
    "memory.high": memory,
    "memory.limit_in_bytes": memory_limit,
    "memory.memsw.limit_in_bytes": memory_and_swap,
    "io.max": io_max,
    "blkio.throttle.read_bps_device": throttle,
    "blkio.throttle.write_bps_device": throttle,
    "scaling_max_freq": frequency,
    "scaling_min_freq": frequency,
}
