"""The watchdog takes the EnvoyFilters back when nobody serves endpoints, and only then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from istio.apply import reconcile
from istio.client import KubernetesClient, connect
from istio.envoy_filters import render
from istio.errors import SourceUnavailableError
from istio.integration import Integration, SteeredService
from istio.settings import KubernetesSettings
from istio.watchdog import Vigil, Watchdog, WatchdogSettings
from mesh.topology import ServiceName
from tests.fakes.api_server import ApiServer
from tests.fakes.clock import FakeClock

TO = Integration()
WANTED = render(TO, [SteeredService(ServiceName("reviews.default"))])


def replicas(*ready: bool | None) -> dict[str, Any]:
    """Return the EndpointSlice of the control plane."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "askew-xds-x",
            "namespace": "askew-system",
            "labels": {"kubernetes.io/service-name": "askew-xds"},
        },
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": [f"10.0.0.{i}"], "conditions": {} if one is None else {"ready": one}}
            for i, one in enumerate(ready)
        ],
    }


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    async with ApiServer() as running:
        yield running


@pytest.fixture
async def client(api: ApiServer) -> AsyncIterator[KubernetesClient]:
    async with await connect(KubernetesSettings(api_server=api.url, deadline_s=2.0)) as connected:
        await reconcile(connected, TO, WANTED)
        yield connected


@pytest.fixture
def watchdog(client: KubernetesClient, clock: FakeClock) -> Watchdog:
    return Watchdog(client, TO, WatchdogSettings(), now_s=clock, wall_s=clock)


def filters(api: ApiServer) -> int:
    return len(api.all_of("EnvoyFilter"))


async def test_ten_seconds_without_a_ready_replica_take_the_filters(
    api: ApiServer, watchdog: Watchdog, clock: FakeClock
) -> None:
    """Not earlier; and an Event on the Service says it."""
    api.put(replicas(False, False))
    await watchdog.look()
    await clock.advance(9.9)
    await watchdog.look()
    assert filters(api) == 2
    await clock.advance(0.1)
    await watchdog.look()

    assert filters(api) == 0
    (event,) = api.all_of("Event")
    assert (event["reason"], event["involvedObject"]["name"]) == ("AskewReverted", "reviews")


async def test_one_ready_replica_is_enough(api: ApiServer, watchdog: Watchdog, clock: FakeClock) -> None:
    """It starts to count anew; an endpoint without a condition counts as ready."""
    for state in ((False,), (False, True), (False,), (None,), (False,)):
        api.put(replicas(*state))
        await watchdog.look()
        await clock.advance(9.0)

    assert filters(api) == 2


async def test_no_slice_at_all_counts_as_nobody(api: ApiServer, watchdog: Watchdog, clock: FakeClock) -> None:
    """The control plane was uninstalled, or never came."""
    await watchdog.look()
    await clock.advance(10.0)
    await watchdog.look()

    assert filters(api) == 0


async def test_an_api_that_is_away_says_nothing(api: ApiServer, watchdog: Watchdog, clock: FakeClock) -> None:
    """A minute's outage of the API is none of the control plane: sidecars obey on, and nothing is taken back."""
    api.put(replicas(True))
    await watchdog.look()
    await api.stop()
    for _ in range(6):
        await clock.advance(10.0)
        await watchdog.look()
    await api.start()
    await watchdog.look()

    assert filters(api) == 2


async def test_a_removal_that_failed_is_tried_again(api: ApiServer, watchdog: Watchdog, clock: FakeClock) -> None:
    """At the next look that is allowed to act."""
    api.faults.fail(500, verb="delete", times=1)
    for _ in range(4):
        await watchdog.look()
        await clock.advance(10.0)

    assert filters(api) == 0


async def test_what_others_own_stays(api: ApiServer, watchdog: Watchdog, clock: FakeClock) -> None:
    """Only what carries our label."""
    api.put(
        {"kind": "EnvoyFilter", "metadata": {"name": "lua", "namespace": "istio-system"}, "spec": {"configPatches": []}}
    )
    await watchdog.look()
    await clock.advance(10.0)
    await watchdog.look()

    assert [one["metadata"]["name"] for one in api.all_of("EnvoyFilter")] == ["lua"]


def test_what_is_unknown_starts_the_count_anew() -> None:
    """Half of the time nobody was seen ready, half of it nothing was seen."""
    vigil = Vigil(limit_s=10.0)

    assert [vigil.observe(seen, now_s=at) for at, seen in ((0, 0), (9, None), (10, 0), (19, 0), (20, 0))] == [
        False,
        False,
        False,
        False,
        True,
    ]


async def test_it_needs_no_right_to_the_rules_of_mode_native(
    api: ApiServer, watchdog: Watchdog, clock: FakeClock
) -> None:
    """Nor to write Events: what counts is that the EnvoyFilters go."""
    api.faults.forbidden |= {("list", "destinationrules"), ("list", "virtualservices"), ("create", "events")}
    await watchdog.look()
    await clock.advance(10.0)
    await watchdog.look()

    assert filters(api) == 0


async def test_the_log_says_what_changes_and_nothing_twice(
    api: ApiServer, watchdog: Watchdog, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever reads it sees that somebody watches; an outage of an hour is one line, not one a second."""
    caplog.set_level("INFO", logger="istio.watchdog")
    api.put(replicas(True, True))
    await watchdog.look()
    await watchdog.look()
    await api.stop()
    for _ in range(3):
        await watchdog.look()
    await api.start()
    api.put(replicas(False, False))
    for _ in range(3):
        await watchdog.look()

    first, second, third = (record.getMessage() for record in caplog.records)
    assert first == "2 replicas of askew-system/askew-xds are ready"
    assert second.startswith("the API does not answer, nothing is known of the control plane: ")
    assert third == "no replica of askew-system/askew-xds is ready; after 10 s its objects go"


async def test_two_take_the_same_away_and_stand_in_nobodys_way(
    api: ApiServer, watchdog: Watchdog, clock: FakeClock
) -> None:
    """Both see it in the same second: what the other has deleted is gone, the Event is one, and a new filter stays."""
    async with await connect(KubernetesSettings(api_server=api.url, deadline_s=2.0)) as client:
        both = (watchdog, Watchdog(client, TO, WatchdogSettings(), now_s=clock, wall_s=clock))
        for _ in range(2):
            outcomes = await asyncio.gather(*(one.look() for one in both))
            await clock.advance(10.0)
        left, events = filters(api), api.all_of("Event")
        api.put(replicas(True))
        await reconcile(client, TO, WANTED)
        await asyncio.gather(*(one.look() for one in both))

    assert {ref.name for outcome in outcomes for ref in outcome.deleted} == {one["metadata"]["name"] for one in WANTED}
    assert (left, len(events), filters(api)) == (0, 1, 2)


async def test_every_look_that_ends_is_told_of(api: ApiServer, client: KubernetesClient) -> None:
    """Also where the API does not answer; a look that hangs is none."""
    looks, hangs = asyncio.Event(), asyncio.Event()

    class Hanging:
        """A client whose first answer is a refusal, and whose second never comes."""

        def __init__(self) -> None:
            self.asked = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(client, name)

        async def list(self, *_: Any, **__: Any) -> list[Any]:
            self.asked += 1
            if self.asked == 1:
                raise SourceUnavailableError("away")
            looks.clear()
            hangs.set()
            await asyncio.Event().wait()
            return []

    settings = WatchdogSettings(poll_s=0.0)
    watching = asyncio.create_task(Watchdog(Hanging(), TO, settings, on_look=looks.set).run())
    await looks.wait()
    await hangs.wait()
    for _ in range(100):
        await asyncio.sleep(0)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)

    assert not looks.is_set()
