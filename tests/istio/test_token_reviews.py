"""Whose a token is: by the API server's word, and how long that word holds."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from istio import token_reviews
from istio.client import KubernetesClient, connect
from istio.errors import IstioError, SourceUnavailableError, TokenRefusedError, UnreadableAnswerError
from istio.settings import KubernetesSettings
from istio.token_reviews import ACCEPTED_S, REFUSED_S, TokenOwner, TokenReviews
from tests.fakes.api_server import ApiServer
from tests.fakes.clock import FakeClock

WEB = TokenOwner("shop", "web", pod="web-0")


@pytest.fixture
async def api(clock: FakeClock) -> AsyncIterator[ApiServer]:
    """A stand-in that lives by the fake clock."""
    async with ApiServer(now=lambda: datetime.fromtimestamp(clock(), UTC)) as server:
        yield server


@pytest.fixture
async def client(api: ApiServer) -> AsyncIterator[KubernetesClient]:
    """A client."""
    async with await connect(KubernetesSettings(api_server=api.url, deadline_s=1.0)) as connected:
        yield connected


@pytest.fixture
async def reviews(client: KubernetesClient, clock: FakeClock) -> AsyncIterator[TokenReviews]:
    """Reviews of Istio's tokens."""
    found = TokenReviews(
        lambda token: client.review_token(token, audience="istio-ca"), audience="istio-ca", now_s=clock
    )
    yield found
    await found.close()


def asked(api: ApiServer) -> int:
    """Return how many TokenReviews there were."""
    return sum(request.kind.plural == "tokenreviews" for request in api.requests)


async def test_a_tokens_owner_is_asked_for_once(api: ApiServer, reviews: TokenReviews) -> None:
    """However many streams show it at once."""
    token = api.tokens.issue("web", namespace="shop", pod="web-0")

    assert await asyncio.gather(*(reviews.owner_of(token) for _ in range(20))) == [WEB] * 20
    assert await reviews.owner_of(token) == WEB
    assert asked(api) == 1


async def test_who_goes_away_takes_nothing_from_the_others(api: ApiServer, reviews: TokenReviews) -> None:
    """The first to ask is cancelled; the second gets the answer to the same question."""
    token = api.tokens.issue("web", namespace="shop", pod="web-0")
    first = asyncio.create_task(reviews.owner_of(token))
    await asyncio.sleep(0)
    second = asyncio.create_task(reviews.owner_of(token))
    await asyncio.sleep(0)
    first.cancel()

    assert await second == WEB
    assert asked(api) == 1


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("unknown", "token lookup failed"),
        ("expired", "has expired"),
        ("other audience", "audience"),
        ("no jwt", "found no JWT"),
        ("too long", "found no JWT"),
    ],
)
async def test_what_does_not_count(
    api: ApiServer, reviews: TokenReviews, clock: FakeClock, caplog: pytest.LogCaptureFixture, how: str, why: str
) -> None:
    """It is refused with a reason, and neither the reason nor the log says the token."""
    caplog.set_level(logging.DEBUG)
    other = ("api",) if how == "other audience" else ("istio-ca",)
    token = api.tokens.issue("web", audiences=other, ends_after_s=5.0)
    if how == "unknown":
        api.tokens.revoke(token)
    await clock.advance(6.0 if how == "expired" else 0.0)
    shown = {"no jwt": "s3cret", "too long": "a.b." + "c" * 20_000}.get(how, token)
    with pytest.raises(TokenRefusedError, match=why) as refused:
        await reviews.owner_of(shown)

    assert shown not in str(refused.value) + caplog.text


@pytest.mark.parametrize("username", ["jane", "system:node:n1", "system:serviceaccount:shop", None])
async def test_only_service_accounts_are_let_in(username: str | None) -> None:
    """A person's token, or a node's, is no sidecar's."""

    async def review(_: str) -> dict[str, object]:
        return {"authenticated": True, "audiences": ["istio-ca"], "user": {"username": username}}

    with pytest.raises(TokenRefusedError, match="service account"):
        await TokenReviews(review, audience="istio-ca").owner_of("a.b.c")


async def test_an_authenticator_that_knows_no_audiences_is_not_believed() -> None:
    """Then the token may be meant for anybody (TokenReview, ``status.audiences``)."""

    async def review(_: str) -> dict[str, object]:
        return {"authenticated": True, "user": {"username": "system:serviceaccount:shop:web"}}

    with pytest.raises(TokenRefusedError, match="another audience"):
        await TokenReviews(review, audience="istio-ca").owner_of("a.b.c")


async def test_an_acceptance_holds_for_minutes(api: ApiServer, reviews: TokenReviews, clock: FakeClock) -> None:
    """Then it is asked for again: what was revoked meanwhile counts no more."""
    token = api.tokens.issue("web", namespace="shop", pod="web-0")
    await reviews.owner_of(token)
    api.tokens.revoke(token)
    await clock.advance(ACCEPTED_S - 1.0)
    assert await reviews.owner_of(token) == WEB
    await clock.advance(2.0)

    with pytest.raises(TokenRefusedError):
        await reviews.owner_of(token)


async def test_an_acceptance_ends_with_the_token(api: ApiServer, reviews: TokenReviews, clock: FakeClock) -> None:
    """Its ``exp`` is nearer than the time that an acceptance holds."""
    token = api.tokens.issue("web", ends_after_s=20.0)
    await reviews.owner_of(token)
    await clock.advance(21.0)

    with pytest.raises(TokenRefusedError, match="expired"):
        await reviews.owner_of(token)


async def test_a_refusal_holds_for_seconds(api: ApiServer, reviews: TokenReviews, clock: FakeClock) -> None:
    """A sidecar that comes again and again costs one question each ten seconds."""
    token = api.tokens.issue("web")
    api.tokens.revoke(token)
    for _ in range(5):
        with pytest.raises(TokenRefusedError):
            await reviews.owner_of(token)
    assert asked(api) == 1
    await clock.advance(REFUSED_S + 1.0)
    with pytest.raises(TokenRefusedError):
        await reviews.owner_of(token)

    assert asked(api) == 2


async def test_who_is_unknown_stays_outside_while_nobody_can_be_asked(api: ApiServer, reviews: TokenReviews) -> None:
    """No answer is no acceptance; and it is no refusal either, so the next try asks again."""
    token = api.tokens.issue("web")
    api.faults.fail(503, times=1, plural="tokenreviews")
    with pytest.raises(SourceUnavailableError):
        await reviews.owner_of(token)

    assert (await reviews.owner_of(token)).service_account == "web"


async def test_who_may_not_ask_lets_nobody_in(
    api: ApiServer, reviews: TokenReviews, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the right to create TokenReviews (403) no token is accepted, and the log says which right is missing."""
    api.faults.forbidden.add(("create", "tokenreviews"))
    for _ in range(3):
        with pytest.raises(SourceUnavailableError):
            await reviews.owner_of(api.tokens.issue("web"))

    assert caplog.text.count('cannot create resource "tokenreviews"') == 1


async def test_who_is_known_stays_in_while_nobody_can_be_asked(
    api: ApiServer, reviews: TokenReviews, clock: FakeClock
) -> None:
    """Until the token itself ends; and the API server is not asked for each stream."""
    token = api.tokens.issue("web", namespace="shop", pod="web-0", ends_after_s=2 * ACCEPTED_S)
    await reviews.owner_of(token)
    api.faults.fail(503, times=1000, plural="tokenreviews")
    await clock.advance(ACCEPTED_S + 1.0)
    before = asked(api)
    assert [await reviews.owner_of(token) for _ in range(5)] == [WEB] * 5
    assert asked(api) - before == 1
    await clock.advance(ACCEPTED_S)

    with pytest.raises(SourceUnavailableError):
        await reviews.owner_of(token)


TROUBLES = (
    "etcdserver: request timed out",
    'Get "https://[::1]:6443/api/v1/namespaces/shop/serviceaccounts/web": context deadline exceeded',
    '[invalid bearer token, Post "https://idp.example/review": dial tcp 10.0.0.9:443: connect: connection refused]',
    "Internal error occurred: authentication failed unexpectedly",
    "Timeout: request did not complete within requested timeout - context deadline exceeded",
)


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_an_api_server_that_says_that_it_could_not_judge_has_refused_nobody(
    api: ApiServer, reviews: TokenReviews, clock: FakeClock, trouble: str
) -> None:
    """It says so in a TokenReview, with 201: who is known stays in, others come again at once and are not refused."""
    known, new = (api.tokens.issue("web", namespace="shop", pod=pod) for pod in ("web-0", "web-1"))
    await reviews.owner_of(known)
    await clock.advance(ACCEPTED_S + 1.0)
    api.tokens.trouble = trouble
    assert await reviews.owner_of(known) == WEB
    with pytest.raises(SourceUnavailableError):
        await reviews.owner_of(new)
    api.tokens.trouble = ""

    assert (await reviews.owner_of(new)).pod == "web-1"


@pytest.mark.parametrize("fault", [500, 502, 503, 504, 429, "hang"])
async def test_an_api_server_in_trouble_has_refused_nobody(
    api: ApiServer, reviews: TokenReviews, clock: FakeClock, fault: int | str
) -> None:
    """Whatever its status is, or none: the next question is asked, and what was accepted holds to the token's end."""
    known, new = (api.tokens.issue("web", namespace="shop", pod=pod) for pod in ("web-0", "web-1"))
    await reviews.owner_of(known)
    await clock.advance(ACCEPTED_S + 1.0)
    if isinstance(fault, int):
        api.faults.fail(fault, times=1000, plural="tokenreviews")
    api.faults.hang = fault == "hang"
    with pytest.raises(SourceUnavailableError):
        await reviews.owner_of(new)
    assert await reviews.owner_of(known) == WEB
    api.faults.failures.clear()
    api.faults.hang = False

    assert (await reviews.owner_of(new)).pod == "web-1"


async def test_who_is_known_does_not_wait_for_an_api_server_that_hangs(clock: FakeClock) -> None:
    """One question finds it out; a thousand sidecars that come back meanwhile are not let in sixteen at a time."""
    silent, questions = False, 0

    async def review(_: str) -> dict[str, object]:
        nonlocal questions
        questions += 1
        if silent:
            await asyncio.sleep(0)
            raise SourceUnavailableError("no answer")
        return {"authenticated": True, "audiences": ["istio-ca"], "user": {"username": "system:serviceaccount:a:b"}}

    payload = base64.urlsafe_b64encode(json.dumps({"exp": clock() + 3600.0}).encode()).decode().rstrip("=")
    tokens = [f"a.{payload}.{number}" for number in range(200)]
    reviews = TokenReviews(review, audience="istio-ca", now_s=clock)
    await asyncio.gather(*map(reviews.owner_of, tokens))
    silent, questions = True, 0
    clock.now_s += ACCEPTED_S
    owners = await asyncio.gather(*map(reviews.owner_of, tokens))

    assert set(owners) == {TokenOwner("a", "b")}
    assert questions <= token_reviews.MOST_AT_ONCE


async def test_what_is_kept_is_bounded(api: ApiServer, reviews: TokenReviews, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of bad tokens drives out no good one; of good ones the oldest goes, and is asked for again."""
    monkeypatch.setattr(token_reviews, "MOST_ACCEPTED", 2)
    monkeypatch.setattr(token_reviews, "MOST_REFUSED", 2)
    good = [api.tokens.issue(f"web-{number}") for number in range(3)]
    bad = [f"a.b.{number}" for number in range(5)]
    for token in (good[0], *bad):
        await asyncio.gather(reviews.owner_of(token), return_exceptions=True)
    before = asked(api)
    await reviews.owner_of(good[0])
    assert (asked(api) - before, len(reviews._refused)) == (0, 2)
    for token in (good[1], good[2], good[0]):
        await reviews.owner_of(token)

    assert (asked(api) - before, len(reviews._accepted)) == (3, 2)


async def test_those_who_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the API server hangs, a flood of new tokens is told to come again; what waits is given up at the end."""
    monkeypatch.setattr(token_reviews, "MOST_WAITING", 3)

    async def review(_: str) -> dict[str, object]:
        await asyncio.Event().wait()
        return {}

    reviews = TokenReviews(review, audience="istio-ca")
    waiting = [asyncio.create_task(reviews.owner_of(f"a.b.{number}")) for number in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(SourceUnavailableError, match="more than 3"):
        await reviews.owner_of("a.b.x")
    await reviews.close()

    assert all(
        isinstance(one, asyncio.CancelledError) for one in await asyncio.gather(*waiting, return_exceptions=True)
    )


async def test_a_crowd_of_unknown_tokens_puts_no_known_one_out(
    monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    """Anybody may show tokens that mean nothing: whose acceptance is due meanwhile stays in, as its token allows."""
    monkeypatch.setattr(token_reviews, "MOST_WAITING", 3)
    hangs = False

    async def review(_: str) -> dict[str, object]:
        if hangs:
            await asyncio.Event().wait()
        user = {"username": "system:serviceaccount:shop:web"}
        return {"authenticated": True, "audiences": ["istio-ca"], "user": user}

    payload = base64.urlsafe_b64encode(json.dumps({"exp": clock() + 3600.0}).encode()).decode().rstrip("=")
    reviews = TokenReviews(review, audience="istio-ca", now_s=clock)
    await reviews.owner_of(f"a.{payload}.c")
    hangs = True
    clock.now_s += ACCEPTED_S
    waiting = [asyncio.create_task(reviews.owner_of(f"a.b.{number}")) for number in range(3)]
    await asyncio.sleep(0)
    owner = await reviews.owner_of(f"a.{payload}.c")
    await reviews.close()
    await asyncio.gather(*waiting, return_exceptions=True)

    assert owner == TokenOwner("shop", "web")


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"authenticated": "true"},
        {"authenticated": True, "audiences": "istio-ca", "user": {"username": "system:serviceaccount:a:b"}},
        {"authenticated": True, "audiences": ["istio-ca"], "user": ["x"]},
        {"authenticated": True, "audiences": ["istio-ca"], "user": {"extra": []}},
    ],
)
async def test_an_odd_answer_lets_nobody_in(status: dict[str, object]) -> None:
    """Whatever stands where the API server should."""

    async def review(_: str) -> dict[str, object]:
        return status

    with pytest.raises(IstioError):
        await TokenReviews(review, audience="istio-ca").owner_of("a.b.c")


async def test_an_answer_that_is_none_says_no_token(api: ApiServer, client: KubernetesClient) -> None:
    """The API server's answer holds the token; an error about the answer must not."""
    token = api.tokens.issue("web")
    api.tokens.review = lambda body: {"spec": body["spec"], "status": "none"}  # type: ignore[method-assign]
    with pytest.raises(UnreadableAnswerError) as error:
        await client.review_token(token, audience="istio-ca")

    assert token not in str(error.value)
    assert error.value.__cause__ is None


@pytest.mark.parametrize("payload", ["e30", "bnVsbA", "W10", "eyJleHAiOiJ4In0", "eyJleHAiOnRydWV9", "!", "x"])
async def test_a_token_without_an_end_holds_no_longer_than_an_acceptance(payload: str) -> None:
    """Only a number is an end; nothing else breaks."""
    assert token_reviews._expiry_s(f"a.{payload.replace('!', '-')}.c") is None
