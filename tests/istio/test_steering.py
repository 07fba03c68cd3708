"""Our objects are kept as they are wanted, and each Service hears of it."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from typing import Any

import pytest

from istio.client import KubernetesClient, connect
from istio.envoy_filters import render
from istio.errors import NotPermittedError, SourceUnavailableError
from istio.integration import Integration, SteeredService
from istio.native import render_native
from istio.native_pace import REST_S
from istio.settings import KubernetesSettings
from istio.steering import MOST_NEW, Desired, Steering
from mesh.topology import ServiceName
from tests.fakes.api_server import ApiServer
from tests.fakes.clock import FakeClock
from tests.istio.test_native import SHOP, TOPOLOGY, plan
from tests.real.sidecar_mesh import until

TO = Integration()


class World:
    """A stand-in of the API, and a steering whose wish a test may change."""

    def __init__(self, api: ApiServer, client: KubernetesClient, clock: FakeClock) -> None:
        self.api, self.client, self.clock = api, client, clock
        self.desired = Desired()
        self.done: list[set[str]] = []
        self.silenced = False
        self.steering = Steering(client, TO, lambda: self.desired, now_s=clock, on_done=self._done)

    async def _done(self, applied: frozenset[ServiceName]) -> None:
        self.done.append(set(applied))
        if self.silenced:
            raise NotPermittedError("Events")

    def want(self, *services: str) -> None:
        objects = render(TO, [SteeredService(ServiceName(f"{name}.default")) for name in services])
        self.desired = Desired(objects)
        self.steering.note_change()


@pytest.fixture
async def world(clock: FakeClock) -> AsyncIterator[World]:
    async with ApiServer() as api, await connect(KubernetesSettings(api_server=api.url, deadline_s=2.0)) as client:
        yield World(api, client, clock)


async def test_it_is_told_what_is_in_the_cluster(world: World) -> None:
    """After each look: the Services whose objects are there, not those that another has in hand."""
    world.want("shop", "till")
    await world.steering.step()
    world.want("till")
    await world.steering.step()

    assert world.done == [{"shop.default", "till.default"}, {"till.default"}]


async def test_what_is_another_s_is_not_told_as_ours(world: World) -> None:
    """Somebody made an object of our name without our label: it stays, and the Service is not steered."""
    filters = render(TO, [SteeredService(ServiceName("shop.default"))])
    theirs = copy.deepcopy(next(one for one in filters if "shop" in one["metadata"]["name"]))
    theirs["metadata"]["labels"] = {}
    theirs["spec"] = {"priority": 7}
    world.api.put(theirs)
    world.want("shop")
    await world.steering.step()

    assert world.done == [set()]


async def test_a_refusal_is_said_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Each change in the cluster is a look; what stays refused is no news."""
    filters = render(TO, [SteeredService(ServiceName("shop.default"))])
    theirs = copy.deepcopy(next(one for one in filters if "shop" in one["metadata"]["name"]))
    theirs["metadata"]["labels"] = {}
    world.api.put(theirs)
    world.want("shop")
    for _ in range(5):
        await world.steering.step()

    assert len([one for one in caplog.records if "stays as it is" in one.getMessage()]) == 1


async def test_what_a_leader_before_us_wrote_is_not_ours(world: World) -> None:
    """Its filters stand already, so sidecars have them; what we add is written by us."""
    world.want("shop")
    await world.steering.step()
    after = Steering(world.client, TO, lambda: world.desired, now_s=world.clock)
    await after.step()
    world.want("shop", "till")
    await after.step()

    assert (world.steering.written, after.written) == ({"shop.default"}, {"till.default"})


class BreaksOff:
    """A store that takes one object, and then is away with the second on its way."""

    def __init__(self, client: KubernetesClient) -> None:
        self._client, self.applied = client, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def apply(self, *args: Any, **kwargs: Any) -> Any:
        done = await self._client.apply(*args, **kwargs)
        self.applied += 1
        if self.applied == 2:
            raise SourceUnavailableError("no answer")
        return done


async def test_what_was_written_before_the_api_went_away_is_ours(world: World) -> None:
    """The next look finds it there; taken for a leader's before us, its known callers would not be waited for."""
    way, *_ = render(TO, [SteeredService(ServiceName("shop.default"))])
    world.api.put(copy.deepcopy(way))
    world.want("shop", "till", "zoo")
    broken: Any = BreaksOff(world.client)
    steering = Steering(broken, TO, lambda: world.desired, now_s=world.clock)
    with pytest.raises(SourceUnavailableError):
        await steering.step()
    found = steering.written
    await steering.step()

    assert (found, steering.written) == (
        {"shop.default", "till.default"},
        {"shop.default", "till.default", "zoo.default"},
    )


async def test_many_new_filters_come_some_at_a_time(world: World) -> None:
    """Since the time of each counts from the end of the look; those that were refused do not hold up the others."""
    names = [f"s{number:03}" for number in range(MOST_NEW + 20)]
    filters = render(TO, [SteeredService(ServiceName(f"{name}.default")) for name in names])
    for one in filters[1:4]:
        world.api.put(copy.deepcopy(one) | {"metadata": one["metadata"] | {"labels": {}}})
    world.want(*names)
    running = asyncio.create_task(world.steering.run())
    try:
        await until(lambda: len(world.done[-1:] and world.done[-1]) == len(names) - 3)
    finally:
        running.cancel()
        await asyncio.wait((running,))

    assert len(world.done[0]) == MOST_NEW - 1 - 3  # and the way to us
    assert len(world.done) == 2


async def test_no_word_is_worth_an_objects_application(world: World) -> None:
    """Where Events may not be written, Services are steered all the same."""
    world.silenced = True
    world.want("shop")
    outcome = await world.steering.step()

    assert len(outcome.applied) == 2


async def test_it_goes_on_when_the_api_is_back(world: World) -> None:
    """What was wanted in the meantime is applied then."""
    running = asyncio.create_task(world.steering.run())
    try:
        await world.api.stop()
        world.want("shop")
        await world.api.start()
        await until(lambda: len(world.api.all_of("EnvoyFilter")) == 2)
    finally:
        running.cancel()
        await asyncio.wait((running,))


async def test_weights_of_mode_native_wait(world: World) -> None:
    """Each change is a push of routes to all proxies: at most one in 45 s."""
    objects = render_native(TOPOLOGY, plan(), SHOP, cluster_domain="cluster.local")
    world.desired = Desired(objects)
    await steered_natively(world)
    changed: list[dict[str, Any]] = copy.deepcopy(objects)
    changed[1]["spec"]["http"][1]["route"][0]["weight"] = 26
    world.desired = Desired(changed)
    assert (await world.steering.step()).applied == []
    await world.clock.advance(45.0)

    assert [ref.kind for ref in (await world.steering.step()).applied] == ["VirtualService"]


async def test_nodes_of_mode_native_do_not_wait(world: World) -> None:
    """A route to a node that has no endpoint any more would answer 503; its subset goes when no proxy needs it."""
    objects = render_native(TOPOLOGY, plan(), SHOP, cluster_domain="cluster.local")
    world.desired = Desired(objects)
    await steered_natively(world)
    changed: list[dict[str, Any]] = copy.deepcopy(objects)
    del changed[0]["spec"]["subsets"][0]
    del changed[1]["spec"]["http"][0]
    del changed[1]["spec"]["http"][0]["route"][0]
    world.desired = Desired(changed)
    first = await world.steering.step()
    await world.clock.advance(REST_S)
    then = await world.steering.step()

    assert [ref.kind for ref in first.applied] == ["VirtualService"]
    assert [ref.kind for ref in then.applied] == ["DestinationRule"]


async def steered_natively(world: World) -> None:
    """Let the rule rest, and the routes follow."""
    assert [ref.kind for ref in (await world.steering.step()).applied] == ["DestinationRule"]
    assert world.done[-1] == set()
    await world.clock.advance(REST_S)
    assert [ref.kind for ref in (await world.steering.step()).applied] == ["VirtualService"]
    assert world.done[-1] == {"shop.default"}
