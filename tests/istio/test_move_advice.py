"""Advice to move a pod: an Event on it, once, by the leader; nothing else is done to the pod."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from istio.client import KubernetesClient, connect
from istio.kinds import PODS
from istio.move_advice import AGAIN_S, MoveAdvisor, message_of
from istio.objects import Pod
from istio.pruning import prune
from istio.settings import KubernetesSettings
from mesh.node_containers import MoveWish
from mesh.topology import ContainerName, NodeName
from tests.fakes.api_server import ApiServer
from tests.istio.cluster_objects import pod
from tests.istio.leads import Leads

KEY = ("default", "shop-0")
WISH = MoveWish(NodeName("n1"), ContainerName("shop-0.default"), "it needs 9 of 8 cores.", certain=True, since_s=0.0)


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    async with ApiServer() as server:
        server.put(pod("shop-0"))
        yield server


@pytest.fixture
async def client(api: ApiServer) -> AsyncIterator[KubernetesClient]:
    async with await connect(KubernetesSettings(api_server=api.url, deadline_s=2.0)) as connected:
        yield connected


def pods(api: ApiServer) -> dict[tuple[str, str], Pod]:
    known = prune(PODS, api.get("Pod", "shop-0"))
    assert isinstance(known, Pod)
    return {KEY: known}


async def test_a_wish_is_an_event_on_the_pod(api: ApiServer, client: KubernetesClient) -> None:
    """With its uid, by which ``kubectl describe`` finds it; the pod itself stays as it is."""
    before = api.get("Pod", "shop-0")
    is_open = await MoveAdvisor(client, Leads()).step([WISH], pods(api))

    (event,) = api.all_of("Event")
    assert (is_open, event["reason"], event["type"]) == (False, "AskewMoveAdvised", "Warning")
    assert event["involvedObject"]["kind"] == "Pod"
    assert event["involvedObject"]["uid"] == before["metadata"]["uid"]
    assert "node n1 cannot hold its latency target: it needs 9 of 8 cores. It would" in event["message"]
    assert api.get("Pod", "shop-0") == before


async def test_a_wish_that_comes_and_goes_is_told_once_in_ten_minutes(api: ApiServer, client: KubernetesClient) -> None:
    """Then it is counted up."""
    now_s = [1000.0]
    advisor = MoveAdvisor(client, Leads(), now_s=lambda: now_s[0])
    for wishes in ([WISH], [], [WISH]):
        await advisor.step(wishes, pods(api))
    counts = [api.all_of("Event")[0]["count"]]
    now_s[0] += AGAIN_S
    await advisor.step([WISH], pods(api))
    counts.append(api.all_of("Event")[0]["count"])

    assert counts == [1, 2]


async def test_only_the_leader_tells_and_a_failure_is_told_later(api: ApiServer, client: KubernetesClient) -> None:
    """Nothing is lost by an API server that is away."""
    leads = Leads()
    leads.is_leader = False
    advisor, known = MoveAdvisor(client, leads), pods(api)
    follower = await advisor.step([WISH], known), len(api.all_of("Event"))
    leads.is_leader = True
    await api.stop()
    away = await advisor.step([WISH], known)
    await api.start()
    back = await advisor.step([WISH], known)

    assert (follower, away, back, len(api.all_of("Event"))) == ((True, 0), True, False, 1)


async def test_an_agent_speaks_for_pods_of_its_own_node_alone(api: ApiServer, client: KubernetesClient) -> None:
    """One node that is taken over must not write Events on all the cluster's pods."""
    elsewhere = replace(WISH, node=NodeName("n2"))
    assert await MoveAdvisor(client, Leads()).step([elsewhere], pods(api)) is False
    assert api.all_of("Event") == []


def test_a_long_reason_is_cut() -> None:
    """The API server takes 1024 bytes, and what it refuses is told again and again."""
    message = message_of(replace(WISH, reason="é\n" * 5000))
    assert len(message.encode()) <= 1024
    assert "\n" not in message
