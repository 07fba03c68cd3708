"""How much there is of what a host divides: CPUs, cache ways, frequencies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from enforcer.cpu_list import parse_cpus
from enforcer.errors import EnforcerError
from enforcer.host_paths import HostPaths


@dataclass(frozen=True, slots=True)
class Extents:
    """What there is; 0 where it is not known. ``least_ways`` is the fewest that a group of resctrl may have."""

    cpus: int = 1
    cache_ways: int = 0
    least_ways: int = 1
    lowest_mhz: float = 0.0
    highest_mhz: float = 0.0


def read_extents(paths: HostPaths) -> Extents:
    """Return a host's extents."""
    level = Path(paths.resctrl, "info/L3")
    policies = sorted(Path(paths.cpufreq).glob("policy*"))
    ranges = [(_number(p / "cpuinfo_min_freq"), _number(p / "cpuinfo_max_freq")) for p in policies]
    known = [(low, high) for low, high in ranges if low and high]
    return Extents(
        cpus=_cpus(paths),
        cache_ways=_bits(level / "cbm_mask"),
        least_ways=max(1, _number(level / "min_cbm_bits")),
        lowest_mhz=max((low for low, _ in known), default=0) / 1000.0,
        highest_mhz=min((high for _, high in known), default=0) / 1000.0,
    )


def _cpus(paths: HostPaths) -> int:
    try:
        return max(1, len(parse_cpus(_text(Path(paths.online_cpus)))))
    except (EnforcerError, ValueError):
        return 1


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
