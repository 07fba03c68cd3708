"""Between the loop and the strategies: what a node divides, what a strategy sees, and what it gets done."""

from __future__ import annotations

from dataclasses import dataclass, replace

from allocators.partitioning.askew import Askew
from allocators.partitioning.node_view import NodeView
from allocators.partitioning.parties import Parties
from allocators.partitioning.step import Grant, Migration, Step
from askew.node_partitioning import WISHED_S, NodePartitioning
from askew.node_resources import divisibles
from enforcer.agent import AWAY
from enforcer.api_messages import MigrationWish
from enforcer.extents import Extents
from enforcer.latency_page import LatencySample
from enforcer.node_loop import ContainerReading, Decision, NodeReading
from enforcer.observe import ContainerUse
from enforcer.settings import AgentSettings
from mesh.topology import ContainerName

CPU = divisibles({"cpu": "supported"}, Extents(cpus=2), AgentSettings(resources="cpu"))
WEB, HOG = ContainerName("web"), ContainerName("hog")


def reading(time_s: float, requests: int, slow: int, held: dict[str, float], hog: dict[str, float]) -> NodeReading:
    """A server with ``requests`` so far, ``slow`` of them beyond its target of 10 ms, and a hog beside it."""
    sample = LatencySample(
        time_s,
        (5.0, 10.0, 11.0, 50.0),
        (requests - slow, requests - slow, requests - slow, requests),
        requests,
        requests * 1.0,
    )
    web = ContainerReading(WEB, "latency-critical", 10.0, 99.0, sample, use=ContainerUse(cpu_s=time_s), held=held)
    return NodeReading(
        time_s, (web, ContainerReading(HOG, "best-effort", 0.0, 99.0, use=ContainerUse(cpu_s=time_s), held=hog))
    )


def simulate(*, slow_part: float, steps: int = 12) -> tuple[dict[str, float], Decision]:
    """Let a server miss its target in ``slow_part`` of its requests, give what is asked, and return what holds."""
    node = NodePartitioning(Parties(), CPU)
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


@dataclass(frozen=True)
class Wishing:
    """A strategy that says at some steps that the server should leave, as all do: once, and again a minute later."""

    at: tuple[int, ...]
    name: str = "wishing"
    tick_s: float = 0.5

    def start(self, view: NodeView, *, seed: int) -> Step[int]:
        return Step(seed, (Grant((WEB, HOG), None),))

    def step(self, memory: int, view: NodeView) -> Step[int]:
        wishes = (Migration(WEB, "Too little of all.", certain=True),) if memory + 1 in self.at else ()
        return Step(memory + 1, (Grant((WEB, HOG), None),), (), wishes)


def test_a_wish_stands_until_it_would_have_been_said_anew() -> None:
    """Who looks at the node now and then, or scrapes it, must see it; one whose container has gone is over."""
    node = NodePartitioning(Wishing(at=(2, 122)), CPU)
    seen = [bool(node.decide(reading(step * 0.5, 0, 0, {}, {})).migrations) for step in range(300)]
    last = 122 + int(WISHED_S / 0.5) - 1
    assert [step for step in range(300) if seen[step]] == list(range(2, last + 1))

    again = NodePartitioning(Wishing(at=(2,)), CPU)
    for step in range(3):
        wished = again.decide(reading(step * 0.5, 0, 0, {}, {})).migrations
    hog_alone = NodeReading(2.0, reading(2.0, 0, 0, {}, {}).containers[1:])
    assert (wished, again.decide(hog_alone).migrations) == ((MigrationWish(WEB, "Too little of all.", True),), ())


def test_no_containers_no_decision() -> None:
    """An empty node is left alone."""
    node = NodePartitioning(Parties(), CPU)

    assert node.decide(NodeReading(0.0)) == Decision()


def test_a_page_that_stops_answering_counts_as_a_missed_target() -> None:
    """A server that is squeezed so far that its page stalls must get more, not be forgotten."""
    node = NodePartitioning(Parties(), CPU)
    held = {WEB: 0.3, HOG: 1.7}
    for step in range(8):
        now = reading(step * 0.5, step * 400, 0, {"cpu": held[WEB]}, {"cpu": held[HOG]})
        if step > 1:
            web = replace(now.containers[0], sample=None, stalled_s=(step - 1) * 0.5)
            now = replace(now, containers=(web, now.containers[1]))
        actions = node.decide(now).actions
        held = {action.container: float(action.value) for action in actions} if step > 1 else held

    assert held[WEB] > 0.5


GIB = 2**30
TEN_GBIT = AgentSettings(resources="network_egress", network_bits_per_s=10e9)
NET = divisibles({"network_egress": "supported"}, Extents(), TEN_GBIT)


def using(
    time_s: float, use: dict[ContainerName, ContainerUse], held: dict[ContainerName, dict[str, float]]
) -> NodeReading:
    """A server and a hog that use and hold this, without a latency."""
    web = ContainerReading(WEB, "latency-critical", 10.0, 99.0, use=use[WEB], held=held.get(WEB, {}))
    return NodeReading(
        time_s, (web, ContainerReading(HOG, "best-effort", 0.0, 99.0, use=use[HOG], held=held.get(HOG, {})))
    )


def follow(node: NodePartitioning, uses: list[dict[ContainerName, ContainerUse]]) -> list[dict[str, float]]:
    """Give what is asked, step by step; return what each container holds of the one resource after each step."""
    held: dict[ContainerName, dict[str, float]] = {}
    after = []
    for step, use in enumerate(uses):
        actions = node.decide(using(step * 0.5, use, held)).actions
        held = {}
        for action in actions:
            held.setdefault(action.container, {})[action.resource] = float(action.value)
        after.append({str(action.container): float(action.value) for action in actions})
    return after


def test_a_server_that_fills_its_part_of_the_network_gets_more_of_the_hogs() -> None:
    """The namespace's counters tell how much is used: nearly all of 5 Gbit/s at first, so the hog gives way."""
    sent = [{WEB: ContainerUse(network_bytes=(0, step * 306_250_000)), HOG: ContainerUse()} for step in range(4)]

    after = follow(NodePartitioning(Askew(), NET), sent)

    assert [round(one["web"] / 1e9, 3) for one in after] == [5.0, 5.5, 5.5, 5.5]  # 4.9 used: 0.6 spare is enough
    assert after[-1]["hog"] == 4.5e9


def test_memory_that_a_container_cannot_drop_is_never_taken_from_it() -> None:
    """A hog that keeps 6 of 7 GiB has what it keeps, and a block more; the server gets the rest."""
    extents = Extents(memory_bytes=8 * GIB)
    memory = divisibles({"memory": "supported"}, extents, AgentSettings(resources="memory"))
    keeps = ContainerUse(memory_bytes=7 * GIB, kept_memory_bytes=6 * GIB)

    after = follow(NodePartitioning(Parties(), memory), [{WEB: ContainerUse(), HOG: keeps}] * 3)

    assert all(one["hog"] >= 6.25 * GIB and one["web"] + one["hog"] <= 7.2 * GIB for one in after)


def test_what_is_too_little_for_all_is_left_alone_and_said() -> None:
    """Eleven ways for twelve containers cannot be divided; their CPU time still is, and nothing ends."""
    both = AgentSettings(resources="cpu,cache")
    resources = divisibles({"cpu": "supported", "cache": "supported"}, Extents(cpus=2, cache_ways=11), both)
    node = NodePartitioning(Askew(), resources)
    crowd = tuple(ContainerReading(ContainerName(f"c{n}"), "best-effort", 0.0, 99.0) for n in range(12))

    first, second = node.decide(NodeReading(0.0, crowd)), node.decide(NodeReading(0.5, crowd))

    assert {action.resource for action in first.actions} == {"cpu"}
    assert "cache is not divided: its containers need 12 of 11 ways at the least." in first.reasons
    assert second.reasons == ()  # said once
    assert second.actions == first.actions


def test_a_resource_that_the_host_refuses_makes_nobody_a_newcomer() -> None:
    """The network role is away: CPU time goes on from what is held, not from the least part."""
    both = AgentSettings(resources="cpu,network_egress", network_bits_per_s=10e9)
    resources = divisibles({"cpu": "supported", "network_egress": AWAY}, Extents(cpus=2), both)
    node = NodePartitioning(Askew(), resources)
    idle = {WEB: ContainerUse(), HOG: ContainerUse()}
    node.decide(using(0.0, idle, {}))

    decision = node.decide(using(0.5, idle, {WEB: {"cpu": 1.0}, HOG: {"cpu": 1.0}}))

    assert [action.value for action in decision.actions if action.resource == "cpu"] == [1.0, 1.0]
