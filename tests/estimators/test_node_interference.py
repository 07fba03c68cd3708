"""Counters of nodes to windows: restarts, gaps and what is unknown; and what of it is φ's key."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimators.node_interference import Nodes, interference_of, read_node_counters, windows_of
from estimators.performance_table import Interference
from mesh.node_interference import NodeCounters, NodeInterference
from mesh.topology import NodeName

N1 = NodeName("n1")
FIRST = NodeCounters(N1, 1000.0, 50.0, cpus=4, busy_cpu_s=100.0, waited_s={"cpu": 3.0}, memory_moved_bytes=10_000)
NEXT = replace(FIRST, time_s=1005.0, clock_s=55.0, busy_cpu_s=110.0, waited_s={"cpu": 4.0}, memory_moved_bytes=60_000)


def read(*samples: NodeCounters) -> Nodes:
    """Return what is known after these samples, each in a tick of its own."""
    nodes: Nodes = {}
    for sample in samples:
        nodes = read_node_counters(nodes, [sample], now_s=sample.time_s)
    return nodes


def window(*samples: NodeCounters) -> NodeInterference | None:
    return windows_of(read(*samples)).get(N1)


def test_a_window_is_what_was_between_two_samples() -> None:
    """Parts of the CPUs and of the time, bytes a second; its length by the node's clock, its time by ours."""
    assert window(FIRST) is None
    assert window(FIRST, NEXT) == NodeInterference(N1, 1005.0, 5.0, 0.5, {"cpu": 0.2}, 10_000.0, None)


def test_the_same_sample_again_keeps_the_window() -> None:
    """Ticks are more frequent than answers; a second at least makes a window."""
    soon = replace(NEXT, time_s=1005.5, clock_s=55.5, busy_cpu_s=112.0)
    assert window(FIRST, NEXT, NEXT, soon) == window(FIRST, NEXT)
    later = replace(soon, time_s=1007.0, clock_s=57.0, busy_cpu_s=114.0)
    after = window(FIRST, NEXT, soon, later)
    assert after is not None
    assert (after.window_s, after.cpu) == (2.0, 0.5)


@pytest.mark.parametrize("clock_s", [10.0, 200.0])
def test_a_restart_or_a_gap_begins_anew(clock_s: float) -> None:
    """The node's clock ran back, or a minute is missing: no window."""
    assert window(FIRST, replace(NEXT, clock_s=clock_s)) is None


def test_what_is_not_known_at_both_ends_is_none() -> None:
    """A counter that appears, goes or falls says nothing, and the others do."""
    bare = NodeCounters(N1, 1005.0, 55.0, cpus=4)
    assert window(FIRST, bare) == NodeInterference(N1, 1005.0, 5.0, None, {}, None, None)
    fallen = window(FIRST, replace(NEXT, busy_cpu_s=99.0))
    assert fallen is not None
    assert (fallen.cpu, fallen.waiting) == (None, {"cpu": 0.2})


def test_a_node_that_is_silent_for_a_minute_is_not_known() -> None:
    """It then counts as calm."""
    nodes = read(FIRST, NEXT)
    assert set(read_node_counters(nodes, [], now_s=1065.0)) == {N1}
    assert read_node_counters(nodes, [], now_s=1065.1) == {}


def test_only_the_cpu_is_a_key() -> None:
    """Bandwidths count as 0 everywhere, since what a node could move is not known; without CPU there is no key."""
    busy = NodeInterference(N1, 1005.0, 5.0, 0.5, {"cpu": 0.2}, 10_000.0, 5.0)
    blind = replace(busy, node=NodeName("n2"), cpu=None)
    assert interference_of({N1: busy, blind.node: blind}) == {N1: Interference(cpu=0.5)}


@given(st.lists(st.tuples(st.floats(0, 200), st.floats(0, 1e6)), max_size=8))
def test_parts_are_parts(samples: list[tuple[float, float]]) -> None:
    """Whatever comes, in whatever order, a part is between 0 and 1."""
    found = [
        replace(FIRST, time_s=1000.0 + clock, clock_s=clock, busy_cpu_s=value, waited_s={"io": value})
        for clock, value in samples
    ]
    seen = window(*found)
    if seen is not None:
        parts = [*seen.waiting.values(), *([] if seen.cpu is None else [seen.cpu])]
        assert all(0.0 <= part <= 1.0 for part in parts)
