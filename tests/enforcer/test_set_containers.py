"""``SetContainers`` over a real connection: what is told counts at once, what is refused changes nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from enforcer.api_messages import message_of_told_list, parse, told_list_of
from enforcer.containers_file import ListedContainer
from enforcer.proto import node_agent_pb2 as pb
from enforcer.told_containers import NEWEST, ToldList
from mesh.errors import BadInputError
from mesh.topology import ContainerName
from tests.enforcer.malformed import malformed
from tests.fakes.agent_service import RunningAgent, recorded_host, running_agent
from tests.fakes.recorded_tree import read_tree

SHOP = pb.ListedContainer(name="shop-0.default", cgroup="web", target_ms=50.0)
JOB = pb.ListedContainer(name="job-0.default", cgroup="batch", container_class="best-effort")


@pytest.fixture
def host(tmp_path: Path) -> Path:
    return recorded_host(tmp_path)


@pytest.fixture
async def agent(host: Path) -> AsyncIterator[RunningAgent]:
    async with running_agent(host) as made:
        yield made


def half(container: str) -> pb.Action:
    return pb.Action(container=container, resource="cpu", number=0.5, unit="cores")


async def refused(agent: RunningAgent, **fields: object) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await agent.tell(**fields)
    return error.value.code(), error.value.details() or ""


async def test_a_told_container_can_be_limited_by_its_name_at_once(agent: RunningAgent, host: Path) -> None:
    """When the answer is there, the list is in force: for others' actions, for the loop, and in the status."""
    answer = await agent.tell(node="n1", generation=5, containers=[SHOP, JOB])
    applied = await agent.apply(generation=1, ttl_s=60, actions=[half("shop-0.default")])

    assert (answer.containers, list(answer.ended)) == (2, [])
    assert applied.results[0].writes[0].path.endswith("/web/cpu.max")
    assert [(one.name, one.container_class, one.target_ms) for one in agent.known.now] == [
        ("shop-0.default", "latency-critical", 50.0),
        ("job-0.default", "best-effort", 0.0),
    ]
    assert (await agent.status()).containers_generation == 5


async def test_a_dropped_containers_leases_end_with_the_answer(agent: RunningAgent, host: Path) -> None:
    """Its values are what they were; the other's lease goes on."""
    await agent.tell(node="n1", generation=5, containers=[SHOP, JOB])
    await agent.apply(generation=1, ttl_s=60, actions=[half("shop-0.default"), half("job-0.default")])

    answer = await agent.tell(node="n1", generation=6, containers=[JOB])

    assert (answer.containers, list(answer.ended)) == (1, ["shop-0.default"])
    assert [one.action.container for one in (await agent.status()).actions] == ["job-0.default"]
    files = read_tree(host)
    assert files["sys/fs/cgroup/web/cpu.max"] == "max 100000\n"
    assert files["sys/fs/cgroup/batch/cpu.max"].strip() == "50000 100000"


async def test_a_container_that_started_anew_in_its_place_has_no_old_lease(agent: RunningAgent) -> None:
    """The name is the same, the runtime's id is another: what the old one had ends with it."""
    await agent.tell(node="n1", generation=5, containers=[SHOP])
    await agent.apply(generation=1, ttl_s=60, actions=[half("shop-0.default")])
    anew = pb.ListedContainer(name="shop-0.default", cgroup="batch", target_ms=50.0)

    assert list((await agent.tell(node="n1", generation=6, containers=[anew])).ended) == ["shop-0.default"]


async def test_an_empty_list_gives_all_back(agent: RunningAgent, host: Path) -> None:
    """File by file as the host was found."""
    before = read_tree(host)
    await agent.tell(node="n1", generation=5, containers=[SHOP, JOB])
    await agent.apply(generation=1, ttl_s=60, actions=[half("shop-0.default"), half("job-0.default")])

    answer = await agent.tell(node="n1", generation=6)

    assert (answer.containers, len(answer.ended), read_tree(host)) == (0, 2, before)


async def test_the_nodes_own_file_stays_in_force_beside_it(agent: RunningAgent, host: Path) -> None:
    """A person's entry for the same group counts, and outlives an empty list."""
    (host / "etc/askew").mkdir(parents=True)
    (host / "etc/askew/containers.json").write_text(json.dumps([{"name": "mine", "cgroup": "web", "target_ms": 5}]))
    await agent.known.look(agent.writer)
    await agent.tell(node="n1", generation=5, containers=[SHOP, JOB])
    both = [one.name for one in agent.known.now]
    await agent.tell(node="n1", generation=6)

    assert (both, [one.name for one in agent.known.now]) == (["mine", "job-0.default"], ["mine"])


@pytest.mark.parametrize("generation", [4, 5])
async def test_an_older_generation_is_refused(agent: RunningAgent, generation: int) -> None:
    """So is another list of the same one; and nobody is told that it counted."""
    await agent.tell(node="n1", generation=5, containers=[SHOP])

    code, said = await refused(agent, node="n1", generation=generation, containers=[JOB])

    assert (code, said.startswith("generation: found ")) == (grpc.StatusCode.FAILED_PRECONDITION, True)
    assert [one.name for one in agent.known.now] == ["shop-0.default"]


WRONG: list[tuple[dict[str, object], str]] = [
    ({"node": "n2", "containers": [SHOP]}, "node: found 'n2', allowed: n1"),
    ({"node": "", "containers": [SHOP]}, "node"),
    ({"generation": 0, "containers": [SHOP]}, "generation"),
    ({"generation": NEWEST + 1, "containers": [SHOP]}, "generation"),
    ({"containers": [SHOP, SHOP]}, "containers[1].name"),
    ({"containers": [pb.ListedContainer(name="a")]}, "either pid or cgroup"),
    ({"containers": [pb.ListedContainer(name="a", pid=0)]}, "containers[0].pid"),
    ({"containers": [pb.ListedContainer(name="", cgroup="x")]}, "containers[0].name"),
    ({"containers": [pb.ListedContainer(name="a", cgroup="x\n")]}, "containers[0].cgroup"),
    ({"containers": [pb.ListedContainer(name="a", cgroup="x", container_class="gold")]}, "containers[0].class"),
    ({"containers": [pb.ListedContainer(name="a", cgroup="x", target_ms=float("nan"))]}, "containers[0].target_ms"),
    ({"containers": [pb.ListedContainer(name="a", cgroup="x", percentile=101)]}, "containers[0].percentile"),
    ({"containers": [pb.ListedContainer(name="a", cgroup="x", latency="file:///etc/passwd")]}, "containers[0].latency"),
]


@pytest.mark.parametrize(("fields", "said"), WRONG, ids=[said for _, said in WRONG])
async def test_a_list_without_sense_is_refused_whole(
    agent: RunningAgent, host: Path, fields: dict[str, object], said: str
) -> None:
    """As containers.json is, with the place; the list in force stays."""
    await agent.tell(node="n1", generation=5, containers=[JOB])
    before = read_tree(host)

    code, found = await refused(agent, **({"node": "n1", "generation": 9} | fields))

    assert (code, said in found) == (grpc.StatusCode.INVALID_ARGUMENT, True), found
    assert ([one.name for one in agent.known.now], read_tree(host)) == (["job-0.default"], before)


async def test_the_network_role_takes_no_list(host: Path) -> None:
    """It follows the cgroup role's file: two takers could have two lists."""
    async with running_agent(host, role="network") as network:
        code, _ = await refused(network, node="n1", generation=5, containers=[SHOP])

    assert code == grpc.StatusCode.UNIMPLEMENTED


async def test_a_watcher_hears_of_a_new_list(agent: RunningAgent) -> None:
    """So that who tells lists knows that another has told a newer one."""
    stream = agent.channel.unary_stream("/askew.enforcer.v1.NodeAgent/Watch")(b"")
    first = pb.StatusResponse.FromString(await stream.read())
    await agent.tell(node="n1", generation=5, containers=[SHOP])
    second = pb.StatusResponse.FromString(await stream.read())
    stream.cancel()

    assert (first.containers_generation, second.containers_generation) == (0, 5)


def test_a_list_goes_through_a_message_unchanged() -> None:
    """What the control plane means is what the agent reads."""
    web = ListedContainer(ContainerName("a"), cgroup="x", target_ms=0.5, percentile=99.9, latency="http://[::1]:1/m#h")
    told = ToldList("n1", 7, (web, ListedContainer(ContainerName("b"), pid=4, container_class="best-effort")))

    assert told_list_of(parse(pb.SetContainersRequest, message_of_told_list(told).SerializeToString())) == told


def malformed_lists(count: int) -> list[bytes]:
    """Return messages that are torn, scrambled, random, or say what no containers file may say."""
    good = pb.SetContainersRequest(node="n1", generation=3, containers=[SHOP, JOB]).SerializeToString()
    wrong = [pb.SetContainersRequest(**({"node": "n1", "generation": 9} | fields)) for fields, _ in WRONG[1:]]  # type: ignore[arg-type]
    return malformed(good, [one.SerializeToString() for one in wrong], count=count, seed=11)


def test_ten_thousand_malformed_lists_are_refused_by_name() -> None:
    """Parsing ends in a list that the rules of files allow, or in the one typed refusal: nothing else."""
    refused = 0
    for message in malformed_lists(10_000):
        try:
            told = told_list_of(parse(pb.SetContainersRequest, message))
        except BadInputError:
            refused += 1
        else:
            assert 0 < told.generation <= NEWEST
            assert all(one.name and (one.pid is None) != (one.cgroup is None) for one in told.containers)

    assert refused > 5_000  # a flipped bit, or a message cut between its fields, may still mean something


async def test_malformed_lists_over_the_wire_change_nothing(agent: RunningAgent, host: Path) -> None:
    """Whatever bytes come, a message that is no list leaves the list, the leases and every file as they are."""
    await agent.tell(node="n1", generation=5, containers=[SHOP])
    await agent.apply(generation=1, ttl_s=60, actions=[half("shop-0.default")])
    before, told, refused = read_tree(host), agent.known.now, 0
    for message in malformed_lists(300):
        try:
            told_list_of(parse(pb.SetContainersRequest, message))
        except BadInputError:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await agent.ask("SetContainers", message)
            refused += error.value.code() == grpc.StatusCode.INVALID_ARGUMENT

    assert (read_tree(host), agent.known.now, refused == agent.service.refused, refused > 100) == (
        before, told, True, True,
    )  # fmt: skip
