"""How busy a node is: its counters as they come, and what they say of a window. What is not known is None."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh.topology import NodeName


@dataclass(frozen=True, slots=True)
class NodeCounters:
    """Counters of a node, cumulative since it started.

    ``time_s`` is the reader's clock, for ages; ``clock_s`` the node's own, for lengths of windows. ``waited_s`` is by
    resource (cpu, memory, io): the time in which some task waited for it (PSI); empty where the kernel has none.
    """

    node: NodeName
    time_s: float
    clock_s: float
    cpus: int
    busy_cpu_s: float | None = None
    waited_s: Mapping[str, float] = field(default_factory=dict)
    memory_moved_bytes: int | None = None
    network_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class NodeInterference:
    """What a node did in the window that ended at ``time_s``.

    Attributes
    ----------
    cpu:
        The part of its CPUs that was busy, 0..1.
    waiting:
        By resource: the part of the time in which some task waited for it, 0..1.
    memory_bytes_per_s:
        Moved between caches and memory, where the hardware counts it (resctrl's monitor).
    network_bytes_per_s:
        Received and sent, where it is read.
    """

    node: NodeName
    time_s: float
    window_s: float
    cpu: float | None
    waiting: Mapping[str, float] = field(default_factory=dict)
    memory_bytes_per_s: float | None = None
    network_bytes_per_s: float | None = None
