"""Leader election by a Lease, several replicas against one stand-in, on a clock that the test moves."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from istio.client import KubernetesClient, connect
from istio.errors import NotLeaderError
from istio.lease import LeaderElection, LeaseSettings
from istio.settings import KubernetesSettings
from istio.watch import Timing
from tests.fakes.api_server import ApiServer
from tests.fakes.clock import FakeClock


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    """A stand-in."""
    async with ApiServer() as server:
        yield server


@pytest.fixture
async def client(api: ApiServer) -> AsyncIterator[KubernetesClient]:
    """A client that gives up soon."""
    async with await connect(KubernetesSettings(api_server=api.url, deadline_s=0.5)) as connected:
        yield connected


class Replica(LeaderElection):
    """A replica with a clock of its own, which may run apart from the others'."""

    def __init__(self, client: KubernetesClient, name: str, clock: FakeClock, *, offset_s: float = 0.0) -> None:
        timing = Timing(lambda: clock.now_s + offset_s, clock.sleep, lambda: 0.5)
        self.changes: list[bool] = []
        self.changed = asyncio.Event()
        super().__init__(client, LeaseSettings(identity=name), timing=timing, on_change=self._note)

    def _note(self, leads: bool) -> None:
        self.changes.append(leads)
        self.changed.set()


async def test_the_first_leads_and_the_second_waits(client: KubernetesClient, clock: FakeClock) -> None:
    """One leader, and both know its name."""
    a, b = Replica(client, "a", clock), Replica(client, "b", clock)
    for replica in (a, b, a, b):
        await replica.step()

    assert (a.is_leader, b.is_leader) == (True, False)
    assert (a.holder, b.holder) == ("a", "a")


async def test_a_lease_that_is_not_renewed_is_taken(client: KubernetesClient, clock: FakeClock) -> None:
    """After its duration, counted from when the other has seen it last change."""
    a, b = Replica(client, "a", clock), Replica(client, "b", clock)
    await a.step()
    clock.now_s += 5.0
    await b.step()
    clock.now_s += 14.9
    await b.step()
    before = b.is_leader
    clock.now_s += 0.1
    await b.step()

    assert (before, b.is_leader, a.is_leader) == (False, True, False)


async def test_clocks_that_differ_by_hours_do_no_harm(client: KubernetesClient, clock: FakeClock) -> None:
    """Times of the lease are never compared with a clock."""
    a, b = Replica(client, "a", clock), Replica(client, "b", clock, offset_s=7200.0)
    for _ in range(5):
        await a.step()
        await b.step()
        clock.now_s += 2.0

    assert (a.is_leader, b.is_leader) == (True, False)


async def test_a_leader_without_the_server_steps_down_before_another_may_begin(
    api: ApiServer, client: KubernetesClient, clock: FakeClock
) -> None:
    """By time alone: no renewal for 10 s ends it, 5 s before the lease runs out."""
    a = Replica(client, "a", clock)
    await a.step()
    await api.stop()
    clock.now_s += 9.9
    await a.step()
    still = a.is_leader
    clock.now_s += 0.2
    ended = a.is_leader
    await a.step()

    assert (still, ended, a.changes) == (True, False, [True, False])


async def test_who_leads_no_more_cannot_write(client: KubernetesClient, clock: FakeClock) -> None:
    """The write is not begun."""
    a = Replica(client, "a", clock)
    await a.step()
    clock.now_s += 10.0

    with pytest.raises(NotLeaderError):
        await a.as_leader(lambda: asyncio.sleep(0))


async def test_a_write_is_cut_off_where_the_lease_runs_out(client: KubernetesClient, clock: FakeClock) -> None:
    """A write that hangs must not be done under another leader."""
    a = Replica(client, "a", clock)
    await a.step()
    clock.now_s += 9.9
    a._settings = LeaseSettings(identity="a", lease_s=10, renew_deadline_s=9.95)

    with pytest.raises(NotLeaderError, match="ran out"):
        await a.as_leader(asyncio.Event().wait)


async def test_the_lease_is_given_back_on_stop(client: KubernetesClient, clock: FakeClock) -> None:
    """The next leads at once."""
    a, b = Replica(client, "a", clock), Replica(client, "b", clock)
    running = asyncio.create_task(a.run())
    await asyncio.wait_for(a.changed.wait(), 5.0)
    await b.step()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await b.step()

    assert (a.is_leader, b.is_leader) == (False, True)


async def test_a_restart_under_the_same_name_waits(client: KubernetesClient, clock: FakeClock) -> None:
    """What the old life has begun may still be under way."""
    await Replica(client, "a", clock).step()
    again = Replica(client, "a", clock)
    await again.step()
    at_once = again.is_leader
    clock.now_s += 15.0
    await again.step()

    assert (at_once, again.is_leader) == (False, True)


async def test_there_are_never_two_leaders(api: ApiServer, clock: FakeClock) -> None:
    """Three replicas, whose clocks differ, under random failures, pauses and lost answers: at most one leads, ever."""
    chance = random.Random(7)
    leaders: set[str] = set()
    async with AsyncExitStack() as stack:
        replicas = []
        for number, name in enumerate("abc"):
            client = await stack.enter_async_context(
                await connect(KubernetesSettings(api_server=api.url, deadline_s=0.5))
            )
            replicas.append(Replica(client, name, clock, offset_s=1000.0 * number))
        for _ in range(400):
            if chance.random() < 0.3:
                api.faults.fail(chance.choice((409, 500, 503, 429)), verb=chance.choice(("get", "update", "")))
            stepping = chance.sample(replicas, chance.randint(0, 3))
            await asyncio.gather(*(replica.step() for replica in stepping))
            leading = [replica for replica in replicas if replica.is_leader]
            leaders |= {replica._settings.identity for replica in leading}
            assert len(leading) <= 1
            clock.now_s += chance.choice((0.5, 2.0, 2.0, 6.0, 12.0))
            assert sum(replica.is_leader for replica in replicas) <= 1

    assert leaders == {"a", "b", "c"}
