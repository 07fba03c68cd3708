"""How much there is of what a host divides: CPUs, memory, cache ways, memory bandwidth, frequencies."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from enforcer.cpu_list import parse_cpus
from enforcer.errors import EnforcerError
from enforcer.host_paths import HostPaths


@dataclass(frozen=True, slots=True)
class Extents:
    """What there is; 0 where it is not known.

    ``least_ways`` is the fewest that a group of resctrl may have; ``bandwidth_step_percent`` and
    ``least_bandwidth_percent`` are of memory bandwidth, on machines that throttle it in percent.
    """

    cpus: int = 1
    cache_ways: int = 0
    least_ways: int = 1
    lowest_mhz: float = 0.0
    highest_mhz: float = 0.0
    memory_bytes: int = 0
    bandwidth_step_percent: int = 0
    least_bandwidth_percent: int = 0


def read_extents(paths: HostPaths) -> Extents:
    """Return a host's extents."""
    level = Path(paths.resctrl, "info/L3")
    policies = sorted(Path(paths.cpufreq).glob("policy*"))
    ranges = [(_number(p / "cpuinfo_min_freq"), _number(p / "cpuinfo_max_freq")) for p in policies]
    in_percent = _counts_in_percent(paths)
    known = [(low, high) for low, high in ranges if low and high]
    return Extents(
        cpus=_cpus(paths),
        cache_ways=_bits(level / "cbm_mask"),
        least_ways=max(1, _number(level / "min_cbm_bits")),
        lowest_mhz=max((low for low, _ in known), default=0) / 1000.0,
        highest_mhz=min((high for _, high in known), default=0) / 1000.0,
        memory_bytes=_memory_bytes(paths),
        bandwidth_step_percent=_number(Path(paths.resctrl, "info/MB/bandwidth_gran")) if in_percent else 0,
        least_bandwidth_percent=_number(Path(paths.resctrl, "info/MB/min_bandwidth")) if in_percent else 0,
    )


def _cpus(paths: HostPaths) -> int:
    try:
        return max(1, len(parse_cpus(_text(Path(paths.online_cpus)))))
    except (EnforcerError, ValueError):
        return 1


def _memory_bytes(paths: HostPaths) -> int:
    for line in _text(Path(paths.proc, "meminfo")).splitlines():
        if line.startswith("MemTotal:"):
            with suppress(ValueError, IndexError):
                return int(line.split()[1]) * 1024
    return 0


def _counts_in_percent(paths: HostPaths) -> bool:
    """Whether MB is in percent: neither mounted with mba_MBps, nor AMD's eighths of a GB/s, whose most is above 100."""
    for line in _text(Path(paths.resctrl, "schemata")).splitlines():
        name, _, domains = line.strip().partition(":")
        if name == "MB":
            values = [pair.partition("=")[2].strip() for pair in domains.split(";")]
            return all(value.isdigit() and int(value) <= 100 for value in values)
    return False


def _bits(path: Path) -> int:
    try:
        return int(_text(path), 16).bit_count()
    except ValueError:
        return 0


def _number(path: Path) -> int:
    text = _text(path)
    return int(text) if text.isdigit() else 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
