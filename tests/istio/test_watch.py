"""Keeping up with a cluster over real HTTP: what is seen is what is there, whatever breaks on the way."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from istio.client import connect
from istio.errors import SourceUnavailableError, StartOverError, TryLaterError
from istio.kinds import DESTINATION_RULES, SERVICES, Kind
from istio.objects import Key, Pruned, Service
from istio.settings import KubernetesSettings
from istio.watch import Reflector, Timing
from tests.fakes.api_server import ApiServer
from tests.fakes.clock import FakeClock
from tests.istio.cluster_objects import destination_rule, service

FAST = {"deadline_s": 2.0, "page_objects": 3, "backoff_s": 0.01, "longest_backoff_s": 0.05, "absent_retry_s": 0.05}


class Seen:
    """A reflector that runs, and what it has told."""

    def __init__(self, reflector: Reflector, api: ApiServer) -> None:
        self.reflector, self.api = reflector, api
        self.told: list[tuple[Key, Pruned | None]] = []
        self.news = asyncio.Event()

    def note(self, kind: Kind, key: Key, new: Pruned | None) -> None:
        self.told.append((key, new))
        self.news.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something is true, looking after each change and every few milliseconds."""
        async with asyncio.timeout(10.0):
            while not holds():
                self.news.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.news.wait(), 0.02)

    def names(self) -> set[str]:
        return {name for _, name in self.reflector.objects}

    async def until_equal(self) -> None:
        """Wait until the reflector has what the API server has."""
        await self.until(lambda: self.names() == {body["metadata"]["name"] for body in self.api.all_of("Service")})


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    """A stand-in with ten Services."""
    async with ApiServer() as server:
        for number in range(10):
            server.put(service(f"s{number}"))
        yield server


@asynccontextmanager
async def watching(api: ApiServer, kind: Kind = SERVICES, **changed: float) -> AsyncIterator[Seen]:
    """Run a reflector with short waits."""
    settings = KubernetesSettings(api_server=api.url, **(FAST | changed))  # type: ignore[arg-type]
    timing = Timing(asyncio.get_running_loop().time, asyncio.sleep, random.Random(1).random)
    async with await connect(settings) as client:
        seen: Seen
        reflector = Reflector(client, kind, settings, timing=timing, on_change=lambda *args: seen.note(*args))
        seen = Seen(reflector, api)
        task = asyncio.create_task(reflector.run(), name="reflector")
        await asyncio.wait_for(reflector.synced.wait(), 10.0)
        try:
            yield seen
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_a_list_then_a_watch(api: ApiServer) -> None:
    """All pages of the list, then creations, changes and deletions as they happen."""
    async with watching(api) as seen:
        await seen.until_equal()
        api.put(service("new"))
        api.remove("Service", "s3")
        await seen.until_equal()

        assert seen.reflector.status.lists == 1


async def test_a_change_of_nothing_that_is_kept_is_no_news(api: ApiServer) -> None:
    """A heartbeat in a status wakes nobody; the version moves on."""
    async with watching(api) as seen:
        before = len(seen.told)
        api.edit("Service", "s1", lambda body: body["metadata"].update(labels={}) or body.update(status={"x": 1}))
        api.put(service("last"))
        await seen.until_equal()

        assert [key[1] for key, _ in seen.told[before:]] == ["last"]


@pytest.mark.parametrize("as_status", [True, False], ids=["HTTP status", "ERROR event"])
async def test_a_watch_gap_is_closed_by_a_new_list(api: ApiServer, as_status: bool) -> None:
    """Events that were compacted away while the connection was broken: 410 Gone, then everything is compared."""
    api.faults.gone_as_status = as_status
    async with watching(api) as seen:
        await seen.until(lambda: bool(api.watches))
        api.faults.stalled = True
        api.remove("Service", "s1")
        api.put(service("s2", routing="uniform"))
        api.put(service("new"))
        api.compact()
        api.faults.stalled = False
        api.cut_watches()
        await seen.until_equal()
        changed = seen.reflector.objects["default", "s2"]

        assert seen.reflector.status.lists == 2
        assert isinstance(changed, Service)
        assert changed.annotations == {"askew.mesh/routing": "uniform"}


async def test_bookmarks_spare_a_list(api: ApiServer) -> None:
    """After a bookmark a watch may break and the past be compacted: nothing was missed."""
    async with watching(api) as seen:
        await seen.until(lambda: bool(api.watches))
        for _ in range(5):
            api.put({"kind": "ConfigMap", "metadata": {"name": "other"}, "data": {"n": str(_)}})
        version = str(api.objects.version)
        api.send_bookmarks()
        await seen.until(lambda: seen.reflector._version == version)
        api.compact()
        api.cut_watches()
        api.put(service("new"))
        await seen.until_equal()

        assert seen.reflector.status.lists == 1


async def test_an_outage_keeps_the_last_state(api: ApiServer) -> None:
    """Nothing is told while the server is away; afterwards what has changed is."""
    async with watching(api) as seen:
        before = len(seen.told)
        await api.stop()
        await seen.until(lambda: seen.reflector.status.failures > 3)
        during = (len(seen.told), len(seen.reflector.objects), bool(seen.reflector.status.error))
        api.remove("Service", "s1")
        await api.start()
        await seen.until_equal()

        assert during == (before, 10, True)
        assert seen.told[before:] == [(("default", "s1"), None)]


async def test_a_kind_that_is_not_installed_is_no_error(api: ApiServer) -> None:
    """No Istio: synced with nothing; when it is installed, it is found."""
    kind = api.uninstall("destinationrules")
    async with watching(api, DESTINATION_RULES) as seen:
        absent = seen.reflector.status.absent
        api.install(kind)
        api.put(destination_rule({}))
        await seen.until(lambda: len(seen.reflector.objects) == 1)

        assert (absent, seen.reflector.status.absent, seen.reflector.status.failures) == (True, False, 0)


async def test_a_kind_that_is_taken_away_is_forgotten_at_the_second_look(api: ApiServer) -> None:
    """One 404 may be an API server that has just started."""
    api.put(destination_rule({}))
    async with watching(api, DESTINATION_RULES) as seen:
        api.uninstall("destinationrules")
        await seen.until(lambda: seen.reflector.status.absent)

        assert seen.told[-1] == (("default", "reviews"), None)


async def test_everything_is_listed_again_now_and_then(api: ApiServer) -> None:
    """Against a server that has lost an event."""
    async with watching(api, resync_s=0.01, watch_s=1.0) as seen:
        await seen.until(lambda: seen.reflector.status.lists >= 2)

        assert len(seen.told) == 10


@pytest.mark.slow
async def test_random_faults_leave_what_is_there(api: ApiServer) -> None:
    """Cut, compacted, failing, slow: in the end the objects are the server's."""
    chance = random.Random(3)
    async with watching(api, watch_s=1.0) as seen:
        for step in range(150):
            name = f"s{chance.randrange(12)}"
            if chance.random() < 0.3 and any(body["metadata"]["name"] == name for body in api.all_of("Service")):
                api.remove("Service", name)
            else:
                api.put(service(name, labels={"step": str(step)}))
            fault = chance.random()
            if fault < 0.1:
                api.cut_watches()
            elif fault < 0.2:
                api.compact()
            elif fault < 0.3:
                api.faults.fail(chance.choice((429, 500, 503, 504)), times=2)
            elif fault < 0.4:
                api.faults.cut_after_bytes = chance.choice((0, 500, 5000))
            await asyncio.sleep(chance.choice((0.0, 0.0, 0.01)))
        api.faults.cut_after_bytes = 0
        await seen.until_equal()
        labels = {key[1]: one.labels for key, one in seen.reflector.objects.items() if isinstance(one, Service)}
        await seen.until(
            lambda: labels == {body["metadata"]["name"]: body["metadata"]["labels"] for body in api.all_of("Service")}
        )


def test_waits_grow_with_jitter_and_heed_the_server(clock: FakeClock) -> None:
    """Half a second, doubling up to 30 s; the first 410 is answered at once; 429 waits as told."""
    timing = Timing(clock, clock.sleep, lambda: 1.0)
    reflector = Reflector(
        None,  # type: ignore[arg-type]
        SERVICES,
        KubernetesSettings(),
        timing=timing,
        on_change=lambda kind, key, new: None,
    )
    waits = [reflector._wait_after(SourceUnavailableError("away")) for _ in range(8)]

    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    reflector._failures_in_row = 0
    assert [reflector._wait_after(StartOverError("gone")) for _ in range(3)] == [0.0, 1.0, 2.0]
    assert reflector._wait_after(TryLaterError("busy", retry_s=60.0)) == 60.0
