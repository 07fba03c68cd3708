"""A leader and its followers over real ports: what is told, to whom, and who is not listened to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from askew.control_loop import Memory
from askew.replication import leader_side
from askew.replication import replicas_pb2 as pb
from askew.replication.asked import AskedReader, AskedWriter
from askew.replication.replicas import Replicas
from askew.replication.settings import ReplicationSettings
from askew.replication.tls_way import plain_channel
from askew.replication.wire import FOLLOW, MAJOR, Decided, StateEncoder
from estimators.client_rates import KnownRates
from istio.self_check import CheckMemory, TakenBack
from mesh.picture import Picture
from mesh.plan import Plan
from mesh.telemetry import LoadReport, Telemetry
from mesh.topology import ContainerName, ServiceName, ServicePort
from tests.fakes.authority import Authority
from xds_server.metrics import XdsMetrics
from xds_server.settings import XdsSettings

pytestmark = pytest.mark.timeout(60)
SHOP, TILL = ServiceName("shop.default"), ServiceName("till.default")
LOAD_1, LOAD_2, LOAD_3 = (ContainerName(f"load-{number}.default") for number in (1, 2, 3))
ASKEW = "URI:spiffe://cluster.local/ns/askew-system/sa/askew"


@dataclass
class Said:
    """An election that a test decides."""

    is_leader: bool = False
    holder: str = ""
    term: int = 0


@dataclass
class Member:
    """One replica, its election, and what it was told."""

    replicas: Replicas
    election: Said
    told: list[Decided] = field(default_factory=list)


async def until(found: Callable[[], object]) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(15):
        while not found():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@asynccontextmanager
async def member(name: str, xds: XdsSettings | None = None) -> AsyncIterator[Member]:
    """Run one replica."""
    told: list[Decided] = []
    settings = ReplicationSettings(port=0, name=name)
    metrics = XdsMetrics(CollectorRegistry())
    replicas = Replicas(settings, xds or XdsSettings(), metrics, on_decided=told.append)
    election = Said()
    replicas.take_part(election)
    await replicas.start()
    running = asyncio.create_task(replicas.run())
    try:
        yield Member(replicas, election, told)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


def elect(leader: Member, *others: Member, term: int) -> None:
    """Let one lead."""
    for one in (leader, *others):
        one.election.is_leader, one.election.holder, one.election.term = one is leader, leader.replicas.identity, term
        one.replicas.leadership_changed(one is leader)


def report(client: str, time_s: float) -> Telemetry:
    """Telemetry of one client."""
    return Telemetry(time_s=time_s, loads=(LoadReport(ContainerName(client), time_s, time_s, ()),))


def publish(leader: Member, rate: float = 1.0) -> Memory:
    """Publish a tick that is known by a rate in its memory."""
    memory = Memory(rates=KnownRates(changing_since_s={ServicePort(ServiceName("shop.default"), 80): rate}))
    leader.replicas.publish(plan=Plan(), picture=Picture(), memory=memory)
    return memory


@pytest.fixture
async def three() -> AsyncIterator[list[Member]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(member(name)) for name in ("a", "b", "c")]


async def followed(leader: Member, count: int) -> None:
    await until(lambda: len(leader.replicas.leader_side.followers) == count)


async def test_what_sidecars_tell_followers_the_leader_hears(three: list[Member]) -> None:
    """All replicas' telemetry is merged at the leader; what a follower says anew supersedes what it said."""
    a, b, c = three
    elect(a, b, c, term=1)
    for one, client in ((b, "web-1"), (c, "web-2")):
        one.replicas.report(report(client, 1.0))
    await until(lambda: len(a.replicas.merged(Telemetry(time_s=2.0)).loads) == 2)
    b.replicas.report(report("web-1", 3.0))
    await until(lambda: max(one.time_s for one in a.replicas.merged(Telemetry(time_s=4.0)).loads) == 3.0)


async def test_what_sidecars_ask_followers_for_the_leader_knows(three: list[Member]) -> None:
    """Who asks for what, as each follower said last; what none asks for any more is no more among it."""
    leader, second, third = three
    elect(leader, second, third, term=1)
    side = leader.replicas.leader_side
    second.replicas.report(report("load-2", 1.0), {LOAD_2: frozenset((SHOP,))})
    third.replicas.report(report("load-3", 1.0), {LOAD_3: frozenset((SHOP, TILL))})
    await until(lambda: side.services() == {SHOP, TILL})
    assert leader.replicas.asked({LOAD_1: frozenset((TILL,))}) == {
        LOAD_1: {TILL},
        LOAD_2: {SHOP},
        LOAD_3: {SHOP, TILL},
    }
    third.replicas.report(report("load-3", 2.0))
    await until(lambda: side.services() == {SHOP})
    assert leader.replicas.asked({}) == {LOAD_2: {SHOP}}


async def test_another_sidecar_is_told_of_between_two_ticks(three: list[Member]) -> None:
    """Alone: what sidecars reported stays known, and is not sent again. Who is there as before is no news."""
    leader, second, _ = three
    elect(leader, second, term=1)
    second.replicas.report(report("load-2", 1.0), {LOAD_2: frozenset((SHOP,))})
    await until(lambda: leader.replicas.asked({}))
    now = {LOAD_2: frozenset((SHOP,)), LOAD_3: frozenset((SHOP,))}
    second.replicas.follower_side.note_asked(now)
    await until(lambda: len(leader.replicas.asked({})) == 2)
    second.replicas.follower_side.note_asked(dict(now))

    assert not second.replicas.follower_side._news.is_set()
    assert [one.loads[0].client for one in leader.replicas.leader_side.heard()] == ["load-2"]


async def test_who_asks_for_what_is_put_together_beside_the_loop(
    three: list[Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While thousands come back at once it is megabytes; sidecars are served meanwhile, on both sides."""
    a, b, _ = three
    threads: list[threading.Thread] = []
    changes, take = AskedWriter.changes, AskedReader.take
    for kind, name, method in ((AskedWriter, "changes", changes), (AskedReader, "take", take)):
        noting = lambda self, what, method=method: threads.append(threading.current_thread()) or method(self, what)  # type: ignore[func-returns-value]  # noqa: E731
        monkeypatch.setattr(kind, name, noting)
    elect(a, b, term=1)
    b.replicas.report(Telemetry(), {LOAD_1: frozenset((SHOP,))})
    await until(lambda: a.replicas.asked({}))

    assert (len(threads) >= 2, threading.main_thread() in threads) == (True, False)


async def test_a_ready_replica_that_does_not_follow_is_known(three: list[Member]) -> None:
    """The leader cannot know who came to it: it must have reported, and have a stream."""
    leader, second, _ = three
    elect(leader, second, term=1)
    second.replicas.report(report("load-2", 1.0))
    await until(lambda: leader.replicas.silent(frozenset("abc")) == {"c"})
    assert leader.replicas.silent(frozenset("xyz")) == frozenset()  # other names than their pods'
    second.election.holder = ""
    second.replicas.leadership_changed(False)
    await until(lambda: leader.replicas.silent(frozenset("abc")) == {"b", "c"})


async def test_a_replica_of_an_older_version_tells_services_alone(three: list[Member]) -> None:
    """Its sidecars are not known one by one, and that is known of it."""
    leader, *_ = three
    elect(leader, term=1)
    async with plain_channel(leader.replicas.identity.partition("/")[2]) as channel:
        follow = channel.stream_stream(
            FOLLOW, request_serializer=pb.Report.SerializeToString, response_deserializer=pb.State.FromString
        )
        call = follow()
        await call.write(pb.Report(major=MAJOR, replica="old", asked=[SHOP]))
        await until(leader.replicas.leader_side.services)

        assert leader.replicas.asked({}) == {}
        assert leader.replicas.silent(frozenset(("a", "old"))) == {"old"}
        call.cancel()


async def test_replicas_of_two_versions_say_what_they_cannot_read(
    three: list[Member], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While an upgrade rolls: the plan holds on both sides, the rest is said once and shown, and is over with it."""
    a, b, _ = three
    monkeypatch.setattr(StateEncoder, "_state", of_another_version(StateEncoder._state))
    monkeypatch.setattr(leader_side, "reported", lambda *_: (None, None))
    elect(a, b, term=1)
    await followed(a, 1)
    for count in (1, 2):
        b.replicas.report(Telemetry(time_s=float(count)))
        publish(a)
        await until(lambda count=count: len(b.told) == count)  # type: ignore[misc]
    await until(lambda: a.replicas.page()["followers_of_another_version"] == ["b"])
    first, shown = b.told[-1], b.replicas.page()["not_taken_over"]
    monkeypatch.undo()
    b.replicas.report(Telemetry(time_s=3.0))
    await until(lambda: not a.replicas.leader_side.unread)
    elect(b, term=2)
    await until(lambda: not b.replicas.follower_side.unread)

    assert (first.plan is not None, first.picture, shown) == (True, None, ["picture"])
    assert [caplog.text.count(one) for one in ("not taken over: picture", "b is of another version")] == [1, 1]


def of_another_version(state: Callable[..., pb.State]) -> Callable[..., pb.State]:
    """Return what makes a state whose picture has other types."""

    def other(*args: object) -> pb.State:
        made = state(*args)
        made.picture.form = "other"
        return made

    return other


async def test_a_new_leader_knows_what_the_last_one_checked(three: list[Member]) -> None:
    """It comes with the ticks, whole and as changes."""
    a, b, _ = three
    elect(a, b, term=1)
    await followed(a, 1)
    for memory in (
        CheckMemory(began_at_s={SHOP: 5.0}, came={SHOP: frozenset((LOAD_1,))}),
        CheckMemory(settled=frozenset((SHOP,)), taken_back={TILL: TakenBack(9.0, "why")}),
    ):
        a.replicas.check = lambda memory=memory: memory  # type: ignore[misc]
        publish(a)
        await until(lambda memory=memory: b.told and b.told[-1].check == memory)  # type: ignore[misc]


async def test_what_the_leader_decides_all_know(three: list[Member]) -> None:
    """Plan, picture and memory come whole, in order, and never to the leader itself."""
    a, b, c = three
    elect(a, b, c, term=1)
    await followed(a, 2)
    memory = publish(a, rate=7.0)
    await until(lambda: b.told and c.told)

    assert [one.memory for one in (*b.told, *c.told)] == [memory, memory]
    assert b.replicas.has_followed
    assert a.told == []


async def test_a_new_leader_is_followed_and_an_old_one_is_not_believed(three: list[Member]) -> None:
    """The lease's transitions say who is newer, whatever comes later over which wire."""
    a, b, c = three
    elect(a, b, c, term=1)
    await followed(a, 2)
    publish(a)
    await until(lambda: c.told)
    elect(b, a, c, term=2)
    await followed(b, 2)
    publish(b, rate=2.0)
    await until(lambda: c.told[-1].leader == "b")
    # `a` missed it all: it still takes itself for the leader, and `c` comes to it.
    a.election.is_leader, a.election.term, c.election.holder = True, 1, a.replicas.identity
    a.replicas.leadership_changed(True)
    c.replicas.leadership_changed(False)
    await until(lambda: "c" in a.replicas.leader_side.followers or len(a.replicas.leader_side.followers) == 1)
    for _ in range(5):
        publish(a, rate=3.0)
        await asyncio.sleep(0.02)
    assert c.told[-1].leader == "b"


async def test_who_leads_again_in_the_same_term_is_heard(three: list[Member]) -> None:
    """The API was away for longer than the lease is renewed without, and nobody else took it: the leader goes on."""
    a, b, _ = three
    elect(a, b, term=3)
    await followed(a, 1)
    for rate in (1.0, 2.0, 3.0):
        publish(a, rate)
    await until(lambda: b.told)
    heard = b.told[-1].reign
    a.election.is_leader = False
    a.replicas.leadership_changed(False)
    await followed(a, 0)
    elect(a, b, term=3)
    await followed(a, 1)
    memory = publish(a, rate=4.0)
    await until(lambda: b.told[-1].memory == memory)

    assert b.told[-1].reign > heard


async def test_a_lease_that_is_made_anew_begins_from_the_beginning(three: list[Member]) -> None:
    """Somebody deleted the Lease: its transitions are 0 again. What we see in it ourselves is believed."""
    a, b, _ = three
    elect(a, b, term=5)
    await followed(a, 1)
    publish(a)
    await until(lambda: b.told)
    elect(a, b, term=0)
    await followed(a, 1)
    memory = publish(a, rate=2.0)
    await until(lambda: b.told[-1].memory == memory)


async def test_who_comes_late_is_told_nothing_old(three: list[Member]) -> None:
    """While nobody followed the leader decided on: what it said to the last follower is not the plan any more."""
    a, b, c = three
    elect(a, b, term=1)
    await followed(a, 1)
    publish(a, rate=1.0)
    await until(lambda: b.told)
    b.election.is_leader, b.election.holder = False, ""
    b.replicas.leadership_changed(False)
    await followed(a, 0)
    publish(a, rate=2.0)
    c.election.holder, c.election.term = a.replicas.identity, 1
    c.replicas.leadership_changed(False)
    await followed(a, 1)
    memory = publish(a, rate=3.0)
    await until(lambda: c.told)

    assert [one.memory for one in c.told] == [memory]


async def test_who_comes_between_two_ticks_is_told_the_whole(three: list[Member]) -> None:
    """One follower hears changes, another comes late: both end up with the same, tick after tick."""
    a, b, c = three
    elect(a, b, term=1)
    await followed(a, 1)
    for rate in (1.0, 2.0):
        memory = publish(a, rate)
        await until(lambda memory=memory: b.told and b.told[-1].memory == memory)  # type: ignore[misc]
    c.election.holder, c.election.term = a.replicas.identity, 1
    c.replicas.leadership_changed(False)
    await until(lambda: c.told and c.told[-1].memory == memory)
    memory = publish(a, rate=3.0)
    await until(lambda: b.told[-1].memory == c.told[-1].memory == memory)


async def test_who_leads_no_more_says_no_more(three: list[Member]) -> None:
    """A leader that steps down ends its followers' streams; what it publishes then goes nowhere."""
    a, b, _ = three
    elect(a, b, term=1)
    await followed(a, 1)
    a.election.is_leader = False
    a.replicas.leadership_changed(False)
    publish(a)
    await followed(a, 0)
    await until(
        lambda: "does not lead" in b.replicas.follower_side.error or "no more" in b.replicas.follower_side.error
    )
    assert b.told == []


def mtls(authority: Authority, name: str, san: str) -> XdsSettings:
    """Settings of a replica with this name in its certificate."""
    issued = authority.issue(name, san)
    return XdsSettings(
        certificate_file=str(issued.certificate), key_file=str(issued.key), client_ca_file=str(authority.certificate)
    )


async def test_over_mtls_a_spiffe_id_is_enough(tmp_path: Path) -> None:
    """Istio's certificates name no host: the id is what is checked, on both sides."""
    authority = Authority(tmp_path)
    async with member("a", mtls(authority, "a", ASKEW)) as a, member("b", mtls(authority, "b", ASKEW)) as b:
        elect(a, b, term=1)
        await followed(a, 1)
        publish(a)
        await until(lambda: b.told)


@pytest.mark.parametrize("wrong", ["leader", "follower"])
async def test_a_workload_is_no_replica(tmp_path: Path, wrong: str) -> None:
    """A certificate of the same authority, but another name: neither is it led, nor does it lead."""
    authority, other = Authority(tmp_path), "URI:spiffe://cluster.local/ns/shop/sa/web"
    of_a, of_b = (other, ASKEW) if wrong == "leader" else (ASKEW, other)
    async with member("a", mtls(authority, "a", of_a)) as a, member("b", mtls(authority, "b", of_b)) as b:
        elect(a, b, term=1)
        await until(lambda: b.replicas.follower_side.error)
        publish(a)
        assert b.told == []
        assert a.replicas.leader_side.followers == ()
        if wrong == "follower":
            assert "PERMISSION_DENIED" in b.replicas.follower_side.error
