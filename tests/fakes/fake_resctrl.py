"""resctrl in memory: closids, masks, bandwidth, tasks, errno and ``last_cmd_status`` as the kernel has them.

Source: the kernel's fs/resctrl (ctrlmondata.c, rdtgroup.c) and Documentation/filesystems/resctrl.rst.
"""

from __future__ import annotations

import errno
import math
from dataclasses import dataclass, field

from enforcer.schemata import is_contiguous


@dataclass
class Group:
    """A control group: its masks and bandwidths by domain."""

    masks: dict[int, int]
    bandwidths: dict[int, int]


@dataclass
class FakeResctrl:
    """A machine with one L3 cache a domain. ``threads`` maps thread ids to their group's name; "" is the default."""

    domains: tuple[int, ...] = (0, 1)
    total_ways: int = 12
    min_bits: int = 1
    closids: int = 4
    min_bandwidth: int = 10
    step: int = 10
    threads: dict[str, str] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    status: str = "ok"

    def __post_init__(self) -> None:
        self.groups[""] = self._full()

    def _full(self) -> Group:
        mask = (1 << self.total_ways) - 1
        return Group(dict.fromkeys(self.domains, mask), dict.fromkeys(self.domains, 100))

    def fail(self, number: int, status: str = "") -> OSError:
        self.status = status or "ok"
        return OSError(number, "the kernel says no")

    def make(self, name: str) -> None:
        self.status = "ok"
        if name in self.groups:
            raise self.fail(errno.EEXIST)
        if len(self.groups) >= self.closids:
            raise self.fail(errno.ENOSPC, "Out of CLOSIDs")
        self.groups[name] = self._full()

    def remove(self, name: str) -> None:
        self.status = "ok"
        if name not in self.groups or not name:
            raise self.fail(errno.ENOENT)
        del self.groups[name]
        self.threads.update({thread: "" for thread, group in self.threads.items() if group == name})

    def read(self, name: str, file: str) -> str:
        if name not in self.groups:
            raise OSError(errno.ENOENT, "no such group")
        group = self.groups[name]
        if file == "tasks":
            return "".join(f"{thread}\n" for thread, inside in self.threads.items() if inside == name)
        masks = ";".join(f"{domain}={mask:03x}" for domain, mask in group.masks.items())
        bandwidths = ";".join(f"{domain}={value:4d}" for domain, value in group.bandwidths.items())
        return f"    MB:{bandwidths}\n    L3:{masks}\n"

    def write(self, name: str, file: str, text: str) -> None:
        self.status = "ok"
        if name not in self.groups:
            raise OSError(errno.ENOENT, "no such group")
        if file == "tasks":
            thread = text.strip()
            if thread not in self.threads:
                raise self.fail(errno.ESRCH, f"No task {thread}")
            self.threads[thread] = name
            return
        if not text.endswith("\n"):
            raise self.fail(errno.EINVAL)
        staged = Group(dict(self.groups[name].masks), dict(self.groups[name].bandwidths))
        for line in text.splitlines():
            self._stage(staged, line)
        self.groups[name] = staged  # all lines or none

    def _stage(self, staged: Group, line: str) -> None:
        resource, colon, domains = line.partition(":")
        if not colon:
            raise self.fail(errno.EINVAL, "Missing ':'")
        if resource.strip() not in ("L3", "MB"):
            raise self.fail(errno.EINVAL, f"Unknown or unsupported resource name '{resource.strip()}'")
        for pair in filter(None, domains.split(";")):
            domain, equals, value = pair.partition("=")
            if not equals or not domain.strip().isdigit():
                raise self.fail(errno.EINVAL, "Missing '=' or non-numeric domain")
            if int(domain) not in self.domains:
                raise self.fail(errno.EINVAL)
            if resource.strip() == "L3":
                staged.masks[int(domain)] = self._mask(value.strip())
            else:
                staged.bandwidths[int(domain)] = self._bandwidth(value.strip())

    def _mask(self, value: str) -> int:
        try:
            mask = int(value, 16)
        except ValueError:
            raise self.fail(errno.EINVAL, f"Non-hex character in the mask {value}") from None
        if mask == 0 or mask >> self.total_ways:
            raise self.fail(errno.EINVAL, "Mask out of range")
        if not is_contiguous(mask):
            raise self.fail(errno.EINVAL, f"The mask {value} has non-consecutive 1-bits")
        if mask.bit_count() < self.min_bits:
            raise self.fail(errno.EINVAL, f"Need at least {self.min_bits} bits in the mask")
        return mask

    def _bandwidth(self, value: str) -> int:
        if not value.isdigit():
            raise self.fail(errno.EINVAL, f"Invalid MB value {value}")
        if not self.min_bandwidth <= int(value) <= 100:
            raise self.fail(errno.EINVAL, f"MB value {value} out of range [{self.min_bandwidth},100]")
        return math.ceil(int(value) / self.step) * self.step
