"""Lists of CPUs as the kernel writes them, and how many CPUs each of several containers gets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

K = TypeVar("K")


def parse_cpus(text: str) -> frozenset[int]:
    """Return the CPUs of a kernel list. Raises ValueError for text that is none.

    >>> sorted(parse_cpus("0-2,8"))
    [0, 1, 2, 8]
    """
    cpus: set[int] = set()
    for part in text.strip().split(","):
        if not part:
            continue
        first, dash, last = part.partition("-")
        cpus.update(range(int(first), int(last if dash else first) + 1))
    return frozenset(cpus)


def format_cpus(cpus: Iterable[int]) -> str:
    """Return the shortest kernel list of ``cpus``.

    >>> format_cpus({8, 0, 1, 2})
    '0-2,8'
    """
    ranges: list[list[int]] = []
    for cpu in sorted(set(cpus)):
        if ranges and ranges[-1][1] == cpu - 1:
            ranges[-1][1] = cpu
        else:
            ranges.append([cpu, cpu])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)


def share_out(
    counts: Mapping[K, int],
    held: Mapping[K, frozenset[int]],
    allowed: Mapping[K, frozenset[int]],
    taken: frozenset[int],
) -> dict[K, frozenset[int]] | None:
    """Return disjoint CPUs for each claimant, or None where a greedy choice finds none.

    A claimant keeps what it holds as far as it may (moving a thread costs its cache), then takes the lowest free ones.
    ``taken`` is given to nobody. Cost O(claimants × CPUs).

    >>> share_out({"a": 1, "b": 2}, {"a": frozenset({1})}, dict.fromkeys("ab", frozenset(range(4))), frozenset())
    {'a': frozenset({1}), 'b': frozenset({0, 2})}
    """
    chosen: dict[K, set[int]] = {}
    used = set(taken)
    for name, count in counts.items():
        kept = sorted((held.get(name, frozenset()) & allowed[name]) - used)[:count]
        chosen[name] = set(kept)
        used.update(kept)
    for name in sorted(counts, key=lambda each: len(allowed[each])):  # who may have few chooses first
        missing = counts[name] - len(chosen[name])
        free = sorted(allowed[name] - used)[:missing]
        if len(free) < missing:
            return None
        chosen[name].update(free)
        used.update(free)
    return {name: frozenset(cpus) for name, cpus in chosen.items()}
