"""The loop on a recorded host: it reads, applies what is decided, renews its leases, and says what it cannot do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from enforcer.agent import NodeAgent
from enforcer.api_messages import NodeStatus
from enforcer.containers_file import ListedContainer
from enforcer.latency_source import LatencySource
from enforcer.node_loop import Decision, NodeLoop, NodeReading
from enforcer.results import ActionResult, Restored
from enforcer.settings import AgentSettings
from mesh.actions import Action, ActionSet
from mesh.topology import ContainerName
from tests.fakes.agent_service import RunningAgent, recorded_host, running_agent

WEB = ContainerName("web")


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[RunningAgent]:
    async with running_agent(recorded_host(tmp_path)) as made:
        yield made


@pytest.fixture
async def page() -> AsyncIterator[str]:
    """The URL of a page with one histogram; ``/coarse`` has Istio's buckets."""

    async def fine(request: web.Request) -> web.Response:
        return web.Response(text='rq_ms_bucket{le="10"} 3\nrq_ms_bucket{le="11"} 4\nrq_ms_count 4\n')

    async def coarse(request: web.Request) -> web.Response:
        name = "istio_request_duration_milliseconds"
        return web.Response(text=f'{name}_bucket{{le="5"}} 3\n{name}_bucket{{le="25"}} 4\n{name}_count 4\n')

    app = web.Application()
    app.add_routes([web.get("/", fine), web.get("/coarse", coarse)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def cores(value: float) -> Decision:
    return Decision(actions=(Action(WEB, "cpu", value, "cores"),))


async def steps(
    agent: RunningAgent, decisions: list[Decision], *listed: ListedContainer
) -> tuple[NodeLoop, list[NodeReading]]:
    """Run a step for each decision; return the loop and what was read."""
    seen: list[NodeReading] = []

    def decide(reading: NodeReading) -> Decision:
        seen.append(reading)
        return decisions[len(seen) - 1]

    settings = AgentSettings(scrape_deadline_s=5.0, scrape_give_up_s=5.0)
    loop = NodeLoop(agent.agent, settings, listed=lambda: listed, decide=decide)
    source = LatencySource(settings)
    for _ in decisions:
        await loop.step(source)
    await source.close()
    return loop, seen


async def test_a_decision_is_applied_and_the_next_reading_shows_it(agent: RunningAgent) -> None:
    """What the loop gave is what the next step starts from, and others may not touch it."""
    _, seen = await steps(agent, [cores(0.5), Decision()], ListedContainer(WEB, cgroup="web"))

    assert (dict(seen[0].containers[0].held), dict(seen[1].containers[0].held)) == ({}, {"cpu": 0.5})


async def test_nothing_is_written_while_nothing_changes(agent: RunningAgent) -> None:
    """The same decision again is neither a change nor yet a renewal."""
    loop, _ = await steps(agent, [cores(0.5)] * 3, ListedContainer(WEB, cgroup="web"))

    assert (loop.figures.steps, loop.figures.changes, agent.agent.counts) == (3, 1, {("cpu", "applied"): 1})


async def test_a_container_that_has_gone_is_not_read(agent: RunningAgent) -> None:
    """Listed but not on the host: left out, not an error."""
    _, seen = await steps(agent, [Decision()], ListedContainer(ContainerName("gone"), cgroup="gone"))

    assert seen[0].containers == ()


async def test_latency_is_read_from_the_page(agent: RunningAgent, page: str) -> None:
    """The cumulative histogram goes to who decides, as it is."""
    container = ListedContainer(WEB, cgroup="web", target_ms=10.5, latency=page + "/")

    _, seen = await steps(agent, [Decision()], container)

    assert seen[0].containers[0].sample is not None
    assert seen[0].containers[0].sample.counts == (3, 4)


@pytest.mark.parametrize(("path", "why"), [("/coarse", "buckets of 5 and 25 ms"), ("/none", "status 404")])
async def test_a_page_of_no_use_is_said_and_the_loop_goes_on(
    agent: RunningAgent, page: str, path: str, why: str
) -> None:
    """Istio's coarse buckets are refused with the reason, as is a page that is not there."""
    container = ListedContainer(WEB, cgroup="web", target_ms=10.5, latency=page + path)

    _, seen = await steps(agent, [Decision()], container)

    assert seen[0].containers[0].sample is None
    assert why in seen[0].containers[0].why


async def test_an_action_that_was_not_done_is_kept_for_people_to_see(agent: RunningAgent) -> None:
    """Unsupported is an answer that the pages show."""
    decision = Decision(actions=(Action(WEB, "cache", 4.0, "ways"),))

    loop, _ = await steps(agent, [decision], ListedContainer(WEB, cgroup="web"))

    assert [result.result for result in loop.figures.not_done] == ["unsupported"]


class OtherRole:
    """The network role as the loop sees it: does what it is asked, or is said to answer ``result``."""

    def __init__(self) -> None:
        self.asked: list[ActionSet] = []
        self.results = ["applied"]

    async def apply(self, action_set: ActionSet, *, dry_run: bool) -> tuple[ActionResult, ...]:
        self.asked.append(action_set)
        result = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        return tuple(ActionResult(one.container, one.resource, result, "") for one in action_set.actions)  # type: ignore[arg-type]

    async def status(self) -> NodeStatus:
        raise NotImplementedError

    async def revert(self) -> Restored:
        return Restored()


EGRESS = Decision(actions=(Action(WEB, "network_egress", 1e9, "bits_per_s"), *cores(0.5).actions))


@pytest.mark.parametrize(
    ("results", "held"), [(["applied"], {"cpu": 0.5, "network_egress": 1e9}), (["unsupported"], {"cpu": 0.5})]
)
async def test_what_the_other_role_holds_is_read_and_not_asked_again(
    agent: RunningAgent, results: list[str], held: dict[str, float]
) -> None:
    """A limit of the network role counts as held; one that it cannot give waits. Either is asked once."""
    other = OtherRole()
    other.results = results
    agent.agent = NodeAgent(agent.writer, node="n1", role="cgroup", peer=other)

    _, seen = await steps(agent, [EGRESS] * 3, ListedContainer(WEB, cgroup="web"))

    assert dict(seen[2].containers[0].held) == held
    assert len(other.asked) == 1


async def test_what_failed_is_asked_again_at_once(agent: RunningAgent) -> None:
    """A failure may pass; only what is unsupported or refused waits."""
    other = OtherRole()
    other.results = ["failed", "applied"]
    agent.agent = NodeAgent(agent.writer, node="n1", role="cgroup", peer=other)

    await steps(agent, [EGRESS] * 3, ListedContainer(WEB, cgroup="web"))

    assert len(other.asked) == 2
