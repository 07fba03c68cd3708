"""Between the loop and the strategies: what a node divides, what a strategy sees, and what it gets done."""

from __future__ import annotations

from dataclasses import replace

import pytest

from allocators.partitioning.parties import Parties
from askew.node_partitioning import NodePartitioning, divisibles
from enforcer.extents import Extents
from enforcer.latency_page import LatencySample
from enforcer.node_loop import ContainerReading, Decision, NodeReading
from mesh.errors import BadInputError
from mesh.topology import ContainerName

ALL = dict.fromkeys(("cpu", "cpuset", "cache", "cpu_frequency"), "supported")
WEB, HOG = ContainerName("web"), ContainerName("hog")


def test_a_small_node_divides_cpu_time_and_a_large_one_cpus() -> None:
    """Two CPUs cannot be given out whole to three containers; twenty can."""
    small = divisibles(ALL, Extents(cpus=2), wanted="auto", reserve_cores=0.0)
    large = divisibles(ALL, Extents(cpus=20, cache_ways=11), wanted="auto", reserve_cores=2.0)

    assert [(one.resource, one.total) for one in small] == [("cpu", 20)]
    assert [(one.resource, one.total) for one in large] == [("cpuset", 18), ("cache", 11)]


def test_a_resource_that_the_node_lacks_is_refused_by_name() -> None:
    """Asked for by name, what cannot be divided here is bad input, not silence."""
    with pytest.raises(BadInputError, match=r"agent\.resources.*not mounted"):
        divisibles({"cache": "resctrl is not mounted"}, Extents(cpus=2), wanted="cache", reserve_cores=0.0)


def reading(time_s: float, requests: int, slow: int, held: dict[str, float], hog: dict[str, float]) -> NodeReading:
    """A server with ``requests`` so far, ``slow`` of them beyond its target of 10 ms, and a hog beside it."""
    sample = LatencySample(
        time_s,
        (5.0, 10.0, 11.0, 50.0),
        (requests - slow, requests - slow, requests - slow, requests),
        requests,
        requests * 1.0,
    )
    web = ContainerReading(WEB, "latency-critical", 10.0, 99.0, sample, cpu_s=time_s, held=held)
    return NodeReading(time_s, (web, ContainerReading(HOG, "best-effort", 0.0, 99.0, cpu_s=time_s, held=hog)))


def simulate(*, slow_part: float, steps: int = 12) -> tuple[dict[str, float], Decision]:
    """Let a server miss its target in ``slow_part`` of its requests, give what is asked, and return what holds."""
    node = NodePartitioning(Parties(), divisibles(ALL, Extents(cpus=2), wanted="cpu", reserve_cores=0.0))
    held: dict[str, float] = {}
    decision = Decision()
    for step in range(steps):
        requests = step * 400
        given = [{"cpu": held[name]} if name in held else {} for name in (WEB, HOG)]
        decision = node.decide(reading(step * 0.5, requests, round(requests * slow_part), given[0], given[1]))
        held = {action.container: float(action.value) for action in decision.actions}
    return held, decision


def test_a_server_that_misses_its_target_gets_cpu_from_the_hog() -> None:
    """PARTIES upsizes the one with the least slack, and the best-effort job pays."""
    held, decision = simulate(slow_part=0.1)

    assert held[WEB] > 1.3
    assert held[WEB] + held[HOG] <= 2.0 + 1e-9
    assert decision.slack[WEB] < 0


def test_a_server_far_below_its_target_gives_cpu_back() -> None:
    """With slack to spare the hog gets what the server does not need."""
    held, decision = simulate(slow_part=0.0)

    assert held[HOG] > 1.0
    assert decision.slack[WEB] > 0.2


def test_no_containers_no_decision() -> None:
    """An empty node is left alone."""
    node = NodePartitioning(Parties(), divisibles(ALL, Extents(cpus=2), wanted="cpu", reserve_cores=0.0))

    assert node.decide(NodeReading(0.0)) == Decision()


def test_a_page_that_stops_answering_counts_as_a_missed_target() -> None:
    """A server that is squeezed so far that its page stalls must get more, not be forgotten."""
    node = NodePartitioning(Parties(), divisibles(ALL, Extents(cpus=2), wanted="cpu", reserve_cores=0.0))
    held = {WEB: 0.3, HOG: 1.7}
    for step in range(8):
        now = reading(step * 0.5, step * 400, 0, {"cpu": held[WEB]}, {"cpu": held[HOG]})
        if step > 1:
            web = replace(now.containers[0], sample=None, stalled_s=(step - 1) * 0.5)
            now = replace(now, containers=(web, now.containers[1]))
        actions = node.decide(now).actions
        held = {action.container: float(action.value) for action in actions} if step > 1 else held

    assert held[WEB] > 0.5
