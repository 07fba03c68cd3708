"""Counters of nodes to what they did in the last window, and that to φ's key."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from estimators.performance_table import Interference
from mesh.node_interference import NodeCounters, NodeInterference
from mesh.topology import NodeName

SHORTEST_WINDOW_S = 1.0  # CPU time is counted in hundredths of a second
LONGEST_WINDOW_S = 60.0  # of longer ago, or over longer, it says nothing of now


@dataclass(frozen=True, slots=True)
class KnownNode:
    """The counters that the next window starts from, and the last window; None before there is one."""

    last: NodeCounters
    window: NodeInterference | None = None


Nodes = Mapping[NodeName, KnownNode]


def read_node_counters(known: Nodes, samples: Iterable[NodeCounters], *, now_s: float) -> Nodes:
    """Return what is known of nodes after these samples; who was silent for 60 s is forgotten. O(nodes).

    A sample that is less than a second younger than the last waits for the next; a restart, or a gap of more than a
    minute, begins anew.

    >>> one = NodeCounters(NodeName("n1"), 100.0, 7.0, cpus=2, busy_cpu_s=50.0)
    >>> two = NodeCounters(NodeName("n1"), 105.0, 12.0, cpus=2, busy_cpu_s=56.0)
    >>> nodes = read_node_counters(read_node_counters({}, [one], now_s=100.0), [two], now_s=105.0)
    >>> nodes[NodeName("n1")].window.cpu
    0.6
    """
    nodes = dict(known)
    for sample in samples:
        before = nodes.get(sample.node)
        nodes[sample.node] = KnownNode(sample) if before is None else _next(before, sample)
    return {name: one for name, one in nodes.items() if now_s - one.last.time_s <= LONGEST_WINDOW_S}


def windows_of(nodes: Nodes) -> Mapping[NodeName, NodeInterference]:
    """Return the last window of each node that has one."""
    return {name: one.window for name, one in nodes.items() if one.window is not None}


def interference_of(windows: Mapping[NodeName, NodeInterference]) -> Mapping[NodeName, Interference]:
    """Return φ's key for each node: how busy its CPUs are.

    Bandwidths count as 0 at every node: how much a node could move at most nobody tells, so that bytes are no part of
    it. What is 0 everywhere tells nothing apart. O(nodes).
    """
    return {name: Interference(cpu=one.cpu) for name, one in windows.items() if one.cpu is not None}


def _next(before: KnownNode, now: NodeCounters) -> KnownNode:
    last, seconds = before.last, now.clock_s - before.last.clock_s
    if 0.0 <= seconds < SHORTEST_WINDOW_S:
        return before
    if not 0.0 < seconds <= LONGEST_WINDOW_S:
        return KnownNode(now)
    busy_s = _grown(last.busy_cpu_s, now.busy_cpu_s)
    waited = {name: _grown(last.waited_s.get(name), value) for name, value in now.waited_s.items()}
    return KnownNode(
        now,
        NodeInterference(
            node=now.node,
            time_s=now.time_s,
            window_s=seconds,
            cpu=None if busy_s is None or now.cpus < 1 else min(1.0, busy_s / (seconds * now.cpus)),
            waiting={name: min(1.0, one / seconds) for name, one in waited.items() if one is not None},
            memory_bytes_per_s=_per_s(_grown(last.memory_moved_bytes, now.memory_moved_bytes), seconds),
            network_bytes_per_s=_per_s(_grown(last.network_bytes, now.network_bytes), seconds),
        ),
    )


def _grown(before: float | None, now: float | None) -> float | None:
    """Return by how much a counter grew; None where it fell, is no number, or is not known at both ends."""
    if before is None or now is None or not before <= now < math.inf:
        return None
    return now - before


def _per_s(grown: float | None, seconds: float) -> float | None:
    return None if grown is None else grown / seconds
