"""The port for tokens with the API server behind it: what one address can make us ask. A real server, a stand-in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from askew.token_access import token_check
from istio import asking_peers
from istio.asking_peers import WINDOW_S, AskingPeers
from istio.client import connect
from istio.errors import TooManyAskedError
from istio.settings import KubernetesSettings
from istio.token_reviews import TokenReviews
from tests.fakes.api_server import ApiServer
from tests.fakes.clock import FakeClock
from tests.xds_server.proxy_stream import Proxy
from tests.xds_server.test_tokens import TokenPort, bearer, serving
from xds_server.metrics import XdsMetrics
from xds_server.server import XdsServer


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    async with ApiServer() as running:
        yield running


@pytest.fixture
async def port(tmp_path: Path, api: ApiServer) -> AsyncIterator[TokenPort]:
    """A server whose tokens the stand-in of the API server judges."""
    async with await connect(KubernetesSettings(api_server=api.url, deadline_s=5.0)) as client:
        reviews = TokenReviews(lambda token: client.review_token(token, audience="istio-ca"), audience="istio-ca")
        running = TokenPort(tmp_path)
        metrics = XdsMetrics(running.registry_anew())
        running.server = XdsServer(running.store, running.settings, metrics, check_token=token_check(reviews))
        async with serving(running):
            yield running
        await reviews.close()


async def refused(port: TokenPort, token: str) -> grpc.StatusCode:
    """Return how a stream ends that shows this token and says nothing more."""
    async with port.channel() as channel:
        return await Proxy(channel, "web-0.shop", metadata=bearer(token)).ended()


async def test_bad_tokens_of_one_address_are_asked_about_a_bounded_number_of_times(
    port: TokenPort, api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it is told to come again later, and costs no question; who is known comes in from there all the same."""
    monkeypatch.setattr(asking_peers, "MOST_REFUSED_OF_ONE", 3)
    good = bearer(api.tokens.issue("web", namespace="shop"))
    assert await port.tried(good) == ["shop"]
    answers = [await refused(port, f"a.b.{number}") for number in range(6)]

    assert answers == [grpc.StatusCode.UNAUTHENTICATED] * 3 + [grpc.StatusCode.RESOURCE_EXHAUSTED] * 3
    assert sum(request.kind.plural == "tokenreviews" for request in api.requests) == 4
    assert await port.tried(good) == ["shop"]
    assert port.count("token_refusals", reason="too-many") == 3


async def test_one_bad_token_on_many_streams_is_one_question(port: TokenPort, api: ApiServer) -> None:
    """A sidecar with a thousand steered Services and a token that has just ended is far from the bound."""
    answers = {await refused(port, "a.b.c") for _ in range(20)}

    assert answers == {grpc.StatusCode.UNAUTHENTICATED}
    assert sum(request.kind.plural == "tokenreviews" for request in api.requests) == 1


async def test_the_bounds_are_each_addresss_own_and_end(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    """After a minute it may try again; another address never noticed; what is remembered is bounded."""
    monkeypatch.setattr(asking_peers, "MOST_REFUSED_OF_ONE", 2)
    monkeypatch.setattr(asking_peers, "MOST_UNDER_WAY_OF_ONE", 2)
    monkeypatch.setattr(asking_peers, "MOST_ADDRESSES", 10)
    peers = AskingPeers(clock)
    for _ in range(2):
        peers.note_refusal("a")
        peers.began("b")
    for address in ("a", "b"):
        with pytest.raises(TooManyAskedError):
            peers.check(address)
    peers.check("c")
    peers.ended("b")
    peers.check("b")
    clock.now_s += WINDOW_S
    peers.check("a")
    for number in range(100):
        peers.note_refusal(f"flood-{number}")

    assert len(peers._refused) == 10
