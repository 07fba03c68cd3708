"""Schemata: cache ways and memory bandwidth as resctrl writes them. Pure text and bits.

Source: the kernel's Documentation/filesystems/resctrl.rst.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeVar

K = TypeVar("K")


def parse_schemata(text: str) -> dict[str, dict[int, str]]:
    """Return resource to domain to value from the text of a ``schemata`` file, whose lines are padded.

    >>> parse_schemata("    L3:0=0ff;1=fff\\n    MB:0= 50;1=100\\n")
    {'L3': {0: 'ff', 1: 'fff'}, 'MB': {0: '50', 1: '100'}}
    """
    found: dict[str, dict[int, str]] = {}
    for line in text.splitlines():
        resource, colon, domains = line.partition(":")
        if not colon:
            continue
        values = {}
        for pair in domains.split(";"):
            domain, _, value = pair.partition("=")
            if domain.strip():
                values[int(domain)] = canonical(resource.strip(), value.strip())
        found[resource.strip()] = values
    return found


def canonical(resource: str, value: str) -> str:
    """Return a mask without leading zeros in lower case, or a bandwidth as a plain integer. Raises ValueError."""
    return f"{int(value, 16):x}" if resource.startswith("L") else str(int(value))


def format_domains(values: Mapping[int, str]) -> str:
    """Return ``0=ff;1=ff``: a line of schemata without its resource."""
    return ";".join(f"{domain}={value}" for domain, value in sorted(values.items()))


def is_contiguous(mask: int) -> bool:
    """Whether the set bits stand together; Intel refuses others.

    >>> is_contiguous(0b0110), is_contiguous(0b0101)
    (True, False)
    """
    if mask <= 0:
        return False
    shifted = mask >> ((mask & -mask).bit_length() - 1)
    return shifted & (shifted + 1) == 0


def lay_out_ways(ways: Mapping[K, int], held: Mapping[K, int], *, total_ways: int) -> dict[K, int] | None:
    """Return disjoint contiguous masks from the lowest way up, or None where the ways do not suffice.

    Claimants stay in the order of the masks that they hold, so that a way that moves between neighbours moves alone;
    new ones come last. Low ways first, because the highest are those that devices share. Cost O(n log n).

    >>> lay_out_ways({"a": 2, "b": 3}, {"b": 0b1}, total_ways=8)
    {'b': 7, 'a': 24}
    """
    if sum(ways.values()) > total_ways:
        return None
    masks: dict[K, int] = {}
    position = 0
    for name in sorted(ways, key=lambda each: ((held[each] & -held[each]) if held.get(each) else 1 << 64, str(each))):
        masks[name] = ((1 << ways[name]) - 1) << position
        position += ways[name]
    return masks


def round_up_percent(percent: float, *, lowest: int, step: int) -> int:
    """Return what the kernel makes of a bandwidth in percent: up to the next step, from ``lowest`` to 100.

    >>> round_up_percent(35, lowest=10, step=10)
    40
    """
    return min(100, max(lowest, math.ceil(percent / step) * step))
