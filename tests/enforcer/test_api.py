"""The agent's gRPC service over a real connection, on a recorded host: typed answers and refusals, no stray write."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from enforcer.api_messages import action_set_of, parse
from enforcer.network_peer import NetworkPeer
from enforcer.proto import node_agent_pb2 as pb
from enforcer.tls import refusal
from mesh.errors import BadInputError
from tests.enforcer.malformed import malformed
from tests.fakes.agent_service import RunningAgent, recorded_host, running_agent
from tests.fakes.recorded_tree import read_tree

ROOT = Path(__file__).resolve().parents[2]
HALF = pb.Action(container="web", resource="cpu", number=0.5, unit="cores")


@pytest.fixture
def host(tmp_path: Path) -> Path:
    return recorded_host(tmp_path)


@pytest.fixture
async def agent(host: Path) -> AsyncIterator[RunningAgent]:
    async with running_agent(host) as made:
        yield made


def cpu_max(host: Path, group: str = "web") -> str:
    return (host / f"sys/fs/cgroup/{group}/cpu.max").read_text().strip()


async def refused(agent: RunningAgent, **fields: object) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await agent.apply(**fields)
    return error.value.code()


async def test_apply_writes_and_answers_each_action_in_order(agent: RunningAgent, host: Path) -> None:
    """A supported action is applied with its write; one that this host cannot do is a typed answer, not an error."""
    cache = pb.Action(container="web", resource="cache", number=4, unit="ways")

    answer = await agent.apply(generation=1, ttl_s=60, actions=[cache, HALF])

    assert [result.outcome for result in answer.results] == [pb.UNSUPPORTED, pb.APPLIED]
    assert answer.results[1].writes[0].path.endswith("/web/cpu.max")
    assert cpu_max(host) == "50000 100000"


async def test_a_dry_run_shows_the_writes_and_makes_none(agent: RunningAgent, host: Path) -> None:
    """``dry_run`` answers as an apply would, and the host stays as it is."""
    answer = await agent.apply(generation=1, ttl_s=60, actions=[HALF], dry_run=True)

    assert answer.results[0].writes[0].after == "50000 100000"
    assert cpu_max(host) == "max 100000"


async def test_an_older_generation_is_refused(agent: RunningAgent, host: Path) -> None:
    """The newest generation wins, whoever comes late."""
    await agent.apply(generation=9, ttl_s=60, actions=[HALF])
    other = pb.Action(container="web", resource="cpu", number=2, unit="cores")

    assert await refused(agent, generation=8, ttl_s=60, actions=[other]) == grpc.StatusCode.FAILED_PRECONDITION
    assert cpu_max(host) == "50000 100000"


async def test_an_unknown_container_is_refused_whole(agent: RunningAgent, host: Path) -> None:
    """One unknown name, and nothing of the set is written."""
    stranger = pb.Action(container="stranger", resource="cpu", number=1, unit="cores")

    code = await refused(agent, generation=1, ttl_s=60, actions=[HALF, stranger])

    assert (code, cpu_max(host)) == (grpc.StatusCode.INVALID_ARGUMENT, "max 100000")


async def test_what_the_loop_divides_is_refused_to_others(agent: RunningAgent, host: Path) -> None:
    """Two hands on one knob would fight: the loop's resources are its own while it runs."""
    agent.agent.governed = frozenset({("web", "cpu")})

    answer = await agent.apply(generation=1, ttl_s=60, actions=[HALF])

    assert (answer.results[0].outcome, cpu_max(host)) == (pb.REFUSED, "max 100000")


async def test_status_shows_capabilities_and_leases(agent: RunningAgent) -> None:
    """Every resource is supported or says why not; a lease shows what is left of it."""
    await agent.apply(generation=3, ttl_s=60, actions=[HALF])

    status = await agent.status()

    assert (status.node, status.role, status.generation) == ("n1", "all", 3)
    assert (status.capabilities["cpu"], "not mounted" in status.capabilities["cache"]) == ("supported", True)
    assert 59.0 < status.actions[0].expires_in_s <= 60.0


async def test_revert_gives_everything_back(agent: RunningAgent, host: Path) -> None:
    """After a revert the host is as it was found, file by file."""
    before = read_tree(host)
    await agent.apply(generation=1, ttl_s=60, actions=[HALF])

    answer = pb.RevertResponse.FromString(await agent.ask("Revert", b""))

    assert (len(answer.writes), read_tree(host)) == (1, before)


async def test_watch_tells_the_status_now_and_after_each_change(agent: RunningAgent) -> None:
    """A watcher hears of a lease without asking again, and not of time passing."""
    stream = agent.channel.unary_stream("/askew.enforcer.v1.NodeAgent/Watch")(b"")
    first = pb.StatusResponse.FromString(await stream.read())
    await agent.apply(generation=1, ttl_s=60, actions=[HALF])
    second = pb.StatusResponse.FromString(await stream.read())
    stream.cancel()

    assert (len(first.actions), len(second.actions)) == (0, 1)


async def test_observe_counts_the_node_and_its_containers(agent: RunningAgent, host: Path) -> None:
    """Counters that the host has are there; those that it has not are absent, never zero."""
    (host / "sys/fs/cgroup/web/cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")

    answer = pb.ObserveResponse.FromString(await agent.ask("Observe", b""))
    web, batch = answer.containers

    assert (web.cpu_s, web.HasField("memory_bytes"), batch.HasField("cpu_s")) == (2.5, False, False)


@pytest.mark.parametrize("asked", [{"limit_s": 0.0}, {"limit_s": 1e9}, {"limit_s": 1.0, "method": "guess"}])
async def test_a_measurement_without_sense_is_refused(agent: RunningAgent, asked: dict[str, object]) -> None:
    """The window and the method are bounded before anything opens a socket."""
    request = pb.MeasureRequest(container="web", **asked).SerializeToString()  # type: ignore[arg-type]

    with pytest.raises(grpc.aio.AioRpcError) as error:
        await agent.ask("Measure", request)

    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def malformed_messages(count: int) -> list[bytes]:
    """Return messages that are torn, scrambled, random, or say what no action file may say."""
    good = pb.ApplyRequest(generation=1, ttl_s=60, actions=[HALF]).SerializeToString()
    wrong = [
        {"ttl_s": 60, "actions": [pb.Action(container="web", resource="cpu", number=value, unit="cores")]}
        for value in (float("nan"), float("inf"), -1.0, 0.0, 1e9)
    ]
    wrong += [{"ttl_s": ttl_s, "actions": [HALF]} for ttl_s in (0.0, -5.0, float("nan"), 1e12)]
    wrong += [
        {"ttl_s": 60, "actions": [pb.Action(container=name, resource=resource, number=1, unit=unit)]}
        for name, resource, unit in (("", "cpu", "cores"), ("web", "gold", "cores"), ("web", "cpu", "ways"))
    ]
    wrong += [{"ttl_s": 60, "actions": [HALF, HALF]}, {"ttl_s": 60, "actions": [pb.Action(container="web")]}]
    messages = [pb.ApplyRequest(**fields).SerializeToString() for fields in wrong]  # type: ignore[arg-type]
    return malformed(good, messages, count=count, seed=7)


def test_ten_thousand_malformed_messages_are_refused_by_name() -> None:
    """Parsing ends in an action set that the rules of files allow, or in the one typed refusal: nothing else."""
    refused = 0
    for message in malformed_messages(10_000):
        try:
            action_set = action_set_of(parse(pb.ApplyRequest, message))
        except BadInputError:
            refused += 1
        else:
            assert 0 < action_set.ttl_s <= 86400
            assert all(action.resource and action.container for action in action_set.actions)

    assert refused > 6_000  # a flipped bit, or a message cut between its fields, may still mean something


async def test_malformed_messages_over_the_wire_write_nothing(agent: RunningAgent, host: Path) -> None:
    """Whatever bytes come, the answer is a typed refusal or a result, and unless a set was valid no file changes."""
    before, refused = read_tree(host), 0
    for message in malformed_messages(300):
        try:
            action_set_of(parse(pb.ApplyRequest, message))
        except BadInputError:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await agent.ask("Apply", message)
            refused += error.value.code() == grpc.StatusCode.INVALID_ARGUMENT

    assert (read_tree(host), refused == agent.service.refused, refused > 150) == (before, True, True)


async def test_two_roles_answer_as_one_node(host: Path) -> None:
    """The cgroup role passes network actions to the network role's socket, and the status is of both."""
    egress = pb.Action(container="web", resource="network_egress", number=1e7, unit="bits_per_s")
    async with running_agent(host, role="network", socket="network.sock") as network:
        peer = NetworkPeer(network.socket)
        async with running_agent(host, role="cgroup", peer=peer) as cgroup:
            answer = await cgroup.apply(generation=1, ttl_s=60, actions=[egress, HALF])
            status = await cgroup.status()
            generations = (cgroup.writer.state.generation, network.writer.state.generation)
        await peer.close()

    assert answer.results[0].resource == "network_egress"
    assert answer.results[0].outcome in (pb.REFUSED, pb.UNSUPPORTED)  # no such process in a recorded tree
    assert answer.results[1].outcome == pb.APPLIED
    assert (generations, "does not write" in status.capabilities["network_egress"]) == ((1, 1), False)


async def test_without_its_network_role_network_actions_are_unsupported(host: Path) -> None:
    """The other half being away is a typed answer, and this half goes on."""
    egress = pb.Action(container="web", resource="network_egress", number=1e7, unit="bits_per_s")
    peer = NetworkPeer(str(host / "nobody.sock"))
    async with running_agent(host, role="cgroup", peer=peer) as cgroup:
        answer = await cgroup.apply(generation=1, ttl_s=60, actions=[egress, HALF])
    await peer.close()

    assert [result.outcome for result in answer.results] == [pb.UNSUPPORTED, pb.APPLIED]
    assert "does not answer" in answer.results[0].detail


def test_only_named_clients_may_ask() -> None:
    """A certificate of the right authorities is not enough where the settings name who may ask."""
    mine, other = ({"peer_uri": [uri]} for uri in (b"spiffe://x/ns/a/sa/askew", b"spiffe://x/ns/b/sa/web"))
    allowed = "spiffe://x/ns/a/sa/askew"

    assert (refusal(mine, allowed), "allowed: " + allowed in refusal(other, allowed)) == ("", True)


def test_generated_code_is_what_the_proto_says(tmp_path: Path) -> None:
    """Generating again gives the committed files: nobody edited them, nobody forgot to."""
    pytest.importorskip("grpc_tools")
    where = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi")]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", *where, "enforcer/proto/node_agent.proto"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=60)

    for name in ("node_agent_pb2.py", "node_agent_pb2.pyi"):
        assert (tmp_path / "enforcer/proto" / name).read_text() == (ROOT / "enforcer/proto" / name).read_text()
