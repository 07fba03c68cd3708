"""Events and conditions of Services: once for each change, by the leader alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import pytest

from istio.client import KubernetesClient, connect
from istio.events import NO_CHECK, ServiceTeller
from istio.kinds import SERVICES
from istio.objects import Service
from istio.pruning import prune
from istio.self_check import LIMIT_S, RETRY_S, SelfCheck
from istio.settings import KubernetesSettings
from mesh.topology import ContainerName, ServiceName
from tests.fakes.api_server import ApiServer
from tests.istio.cluster_objects import Body, endpoint, endpoint_slice, pod, service
from tests.istio.leads import Leads
from tests.istio.seen import seen

REVIEWS = ServiceName("reviews.default")
T = TypeVar("T")


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    """A stand-in."""
    async with ApiServer() as server:
        yield server


@pytest.fixture
async def client(api: ApiServer) -> AsyncIterator[KubernetesClient]:
    """A client."""
    async with await connect(KubernetesSettings(api_server=api.url)) as connected:
        yield connected


async def told(
    api: ApiServer, teller: ServiceTeller, asked: Body | None, *, applied: bool = False, check: SelfCheck = NO_CHECK
) -> list[str]:
    """Put the Service (None: as it is), let the teller look, and return status and reason of all conditions."""
    if asked is not None:
        api.put(asked)
    body = api.get("Service", "reviews")
    found = seen(body, pod("a"), endpoint_slice(endpoint("10.0.0.1", "a")))
    known = prune(SERVICES, body)
    assert isinstance(known, Service)
    done = frozenset((REVIEWS,)) if applied else frozenset[ServiceName]()
    await teller.step([known], found.topology, found.findings, applied=done, check=check)
    conditions: list[dict[str, Any]] = api.get("Service", "reviews").get("status", {}).get("conditions", [])
    return [f"{one['status']} {one['reason']}" for one in conditions]


def events(api: ApiServer) -> list[tuple[str, int]]:
    """Return reason and count of all Events."""
    return [(one["reason"], one["count"]) for one in api.all_of("Event")]


async def test_a_services_way(api: ApiServer, client: KubernetesClient) -> None:
    """Asked for, applied, not asked for: nothing, True, nothing; an Event for each turn."""
    teller = ServiceTeller(client, Leads())
    way = [
        await told(api, teller, service(routing="uniform")),
        await told(api, teller, None, applied=True),
        await told(api, teller, None, applied=True),
        await told(api, teller, service()),
    ]

    assert way == [[], ["True AskewApplied"], ["True AskewApplied"], []]
    assert events(api) == [("AskewApplied", 1), ("AskewReverted", 1)]


async def test_a_refusal_is_told_once_whoever_leads(api: ApiServer, client: KubernetesClient) -> None:
    """The condition tells a new leader that it has been said."""
    for _ in range(3):
        found = await told(api, ServiceTeller(client, Leads()), service(routing="nearest") if not _ else None)

    assert found == ["False AskewUnsupported"]
    assert events(api) == [("AskewUnsupported", 1)]
    assert "allowed: off | uniform" in api.all_of("Event")[0]["message"]


async def test_the_same_news_again_is_counted(api: ApiServer, client: KubernetesClient) -> None:
    """One Event, twice."""
    teller = ServiceTeller(client, Leads())
    for asked in (service(routing="wrong"), service(), service(routing="wrong")):
        await told(api, teller, asked)

    assert events(api) == [("AskewUnsupported", 2)]


async def test_observe_is_shown_and_makes_no_event(api: ApiServer, client: KubernetesClient) -> None:
    """Nothing has been changed."""
    found = await told(api, ServiceTeller(client, Leads()), service(routing="uniform", mode="observe"), applied=True)

    assert (found, events(api)) == (["False AskewObserving"], [])


async def test_who_does_not_lead_writes_nothing(api: ApiServer, client: KubernetesClient) -> None:
    """Not even what everyone can see."""
    leads = Leads()
    leads.is_leader = False
    await told(api, ServiceTeller(client, leads), service(routing="wrong"))

    assert api.writes() == []


async def test_silence_of_sidecars_is_told_once_whoever_leads(api: ApiServer, client: KubernetesClient) -> None:
    """Applied; its time without a sidecar: not steered. A new leader waits, and says nothing; one comes: steered."""
    way: list[str] = []
    asked: Body | None = service(routing="uniform")
    check = SelfCheck()
    for now_s in (0.0, LIMIT_S, LIMIT_S + 30.0):
        check.look([REVIEWS], frozenset((REVIEWS,)), frozenset(), now_s=now_s)
        way += await told(api, ServiceTeller(client, Leads()), asked, applied=True, check=check)
        asked = None
    check = SelfCheck()  # of a new leader
    for now_s, came in ((0.0, frozenset[ServiceName]()), (5.0, frozenset((REVIEWS,)))):
        check.look([REVIEWS], frozenset((REVIEWS,)), came, now_s=now_s)
        way += await told(api, ServiceTeller(client, Leads()), None, applied=True, check=check)

    assert way == ["True AskewApplied", *["False AskewUnsupported"] * 3, "True AskewApplied"]
    assert events(api) == [("AskewApplied", 2), ("AskewUnsupported", 1)]
    assert "istio.root_namespace" in api.all_of("Event")[1]["message"]


async def test_who_is_missing_is_told_once_though_another_is_missing_later(
    api: ApiServer, client: KubernetesClient
) -> None:
    """The condition names who it is now; while it is tried anew nothing is said, whoever leads."""
    steered, check = frozenset((REVIEWS,)), SelfCheck()
    way: list[str] = []
    asked: Body | None = service(routing="uniform")
    for missing, now_s in (("web-1", 0.0), ("web-1", LIMIT_S), ("web-2", LIMIT_S + RETRY_S), ("web-2", RETRY_S + 30.0)):
        check.look([REVIEWS], steered, steered, now_s=now_s, absent=lambda *_, name=missing: (f"{name}.shop",))  # type: ignore[misc]
        way += await told(api, ServiceTeller(client, Leads()), asked, applied=True, check=check)
        asked = None
    (condition,) = api.get("Service", "reviews")["status"]["conditions"]

    assert way == ["True AskewApplied", *["False AskewUnsupported"] * 3]
    assert events(api) == [("AskewApplied", 1), ("AskewUnsupported", 1)]
    assert "Missing: shop/web-1." in api.all_of("Event")[1]["message"]
    assert "Missing: shop/web-2." in condition["message"]


async def test_sidecars_that_are_missing_are_told_of_once_until_none_is(
    api: ApiServer, client: KubernetesClient
) -> None:
    """As a warning, by the leader."""
    known, leads = prune(SERVICES, service()), Leads()
    assert isinstance(known, Service)
    teller, other = ServiceTeller(client, leads), ServiceName("other.default")
    missing = {REVIEWS: [ContainerName(f"web-{number}.shop") for number in range(5)]}
    leads.is_leader = False
    await teller.tell_missing([known], missing)
    assert events(api) == []
    leads.is_leader = True
    for now in (missing, missing, {other: missing[REVIEWS]}, missing):
        await teller.tell_missing([known], now)

    (event,) = api.all_of("Event")
    assert (event["reason"], event["type"], event["count"]) == ("AskewSidecarsMissing", "Warning", 2)
    assert "shop/web-0, shop/web-1, shop/web-2 and 2 more" in event["message"]


class LeadsWhileThingsChange(Leads):
    """Each write takes time, in which the cluster's Services are others."""

    def __init__(self, services: dict[str, Service]) -> None:
        self._services = services

    async def as_leader(self, write: Callable[[], Awaitable[T]]) -> T:
        one = next(iter(self._services.values()))
        self._services[f"more-{len(self._services)}"] = one
        return await write()


async def test_a_service_that_comes_while_others_are_told_ends_nothing(
    api: ApiServer, client: KubernetesClient
) -> None:
    """What is gone through is the cluster's own, which the watch changes meanwhile."""
    api.put(service(routing="wrong"))
    known = prune(SERVICES, api.get("Service", "reviews"))
    assert isinstance(known, Service)
    services = {"reviews": known}
    teller = ServiceTeller(client, LeadsWhileThingsChange(services))
    found = seen(api.get("Service", "reviews"), pod("a"), endpoint_slice(endpoint("10.0.0.1", "a")))
    await teller.step(services.values(), found.topology, found.findings, applied=frozenset())
    await teller.tell_missing(services.values(), {REVIEWS: [ContainerName("web-0.shop")]})

    assert events(api) == [("AskewUnsupported", 1), ("AskewSidecarsMissing", 1)]


async def test_conditions_of_others_stay(api: ApiServer, client: KubernetesClient) -> None:
    """A load balancer's controller has its own."""
    other = {"type": "LoadBalancerReady", "status": "True", "reason": "Ready", "message": ""}
    api.put(service(routing="wrong"))
    api.put(service(routing="wrong") | {"status": {"conditions": [other]}})
    teller = ServiceTeller(client, Leads())
    both = await told(api, teller, None)
    alone = await told(api, teller, service())

    assert (both, alone) == (["True Ready", "False AskewUnsupported"], ["True Ready"])
