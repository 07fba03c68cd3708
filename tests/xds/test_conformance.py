"""Askew's own server keeps every rule of the conformance suite; a server that breaks one is found out."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.xds.askew_target import StoreControl, controlled, polled, serving
from tests.xds.control import HttpControl
from tests.xds.peer import Variant
from tests.xds.rule import RULES, Rule
from tests.xds.suite import Outcome, cases, main, run
from xds_server import stream, subscription
from xds_server.subscription import NO_CHANGES, Changes, Request, Subscription

CASES = cases()


@pytest.fixture(scope="module")
def outcomes() -> dict[str, str | None]:
    """All rules, tried once, side by side."""

    async def try_all() -> list[Outcome]:
        control = StoreControl()
        async with serving(control) as target, polled(control) as rest_url:
            return await run(target, control, CASES, rest_url=rest_url)

    return {outcome.id: outcome.failure for outcome in asyncio.run(try_all())}


@pytest.mark.parametrize(("rule", "variant"), CASES, ids=[f"{one.name}-{variant}" for one, variant in CASES])
def test_askew_keeps(rule: Rule, variant: Variant, outcomes: dict[str, str | None]) -> None:
    """Every rule, on every variant of the protocol that it binds."""
    failure = outcomes[f"{rule.name}[{variant}]"]

    assert failure is None, f"{rule.text} ({rule.place}): {failure}"


async def test_over_http(capsys: pytest.CaptureFixture[str]) -> None:
    """The control over HTTP does what the one in this process does: a server in another language can be tried."""
    control = StoreControl()
    async with serving(control) as target, controlled(control) as url:
        chosen = cases("a-deleted-resource-*") + cases("a-resource-with-a-ttl*")
        outcomes = await run(target, HttpControl(url), chosen)

    assert len(outcomes) > 4
    assert [outcome.failure for outcome in outcomes if outcome.failure] == []


def test_the_suite_is_a_program(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """It prints a line for each rule, writes JSON, and its exit code says whether all are kept."""
    path = tmp_path / "outcomes.json"

    assert main(["--only", "the-star-is-all*", "--json", str(path)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("ok   the-star-is-all[") == 4
    assert printed.endswith("4 of 4 kept\n")
    assert '"failure": null' in path.read_text()


def test_a_control_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and one line."""
    assert main(["--target", "127.0.0.1:9", "--admin", "http://127.0.0.1:9", "--only", "the-star-is-all*"]) == 2
    assert capsys.readouterr().err.startswith("--admin http://127.0.0.1:9: ")


def test_every_rule_says_what_it_asks() -> None:
    """A rule has a text, a place and variants."""
    assert [one.name for one in RULES.values() if not (one.text.endswith(".") and one.place and one.variants)] == []


# -- the suite can fail -----------------------------------------------------------------------------------------------


def _resend_after_nack(self: Subscription, *_: object) -> None:
    self.nacks += 1  # go-control-plane's hot loop: nothing is parked


def _no_resubscription(self: Subscription, one: object) -> bool:
    return self.known.get(one.name) != one.version  # type: ignore[attr-defined]


def _everything(self: Subscription, resources: dict[str, object]) -> Changes:
    found = _real_changes(self, resources)  # type: ignore[arg-type]
    return Changes(tuple(resources[name] for name in sorted(resources) if self.wants(name))) if found else NO_CHANGES  # type: ignore[misc]


def _stale_is_answered(self: Subscription, request: Request, *, first: bool) -> str:
    request = Request(request.subscribe, nonce=self.last_nonce, version=request.version, error=request.error)
    return _real_sotw(self, request, first=first)


def _ignores_stale(self: Subscription, request: Request, *, first: bool) -> str:
    if not first and request.nonce and request.nonce != self.last_nonce:
        return "stale"
    return _real_delta(self, request, first=first)


_real_changes = Subscription.changes
_real_sotw, _real_delta = Subscription._receive_sotw, Subscription._receive_delta
Break = tuple[object, str, object, str]
BREAKS: dict[str, Break] = {
    "resends after a NACK": (Subscription, "_rejected", _resend_after_nack, "a-nack-is-not-answered"),
    "answers no re-subscription": (Subscription, "lacks", _no_resubscription, "a-name-subscribed-again-is-sent-again"),
    "sends everything in delta": (Subscription, "changes", _everything, "one-of-a-hundred"),
    "answers stale requests": (Subscription, "_receive_sotw", _stale_is_answered, "a-stale-request-is-not-answered"),
    "drops subscriptions of stale requests": (
        Subscription, "_receive_delta", _ignores_stale, "a-stale-nonce-does-not-stop-a-subscription"
    ),
    "lets clusters warm": (
        stream, "clusters_changed", lambda *_: [], "endpoints-of-a-changed-cluster-are-sent-again"
    ),
    "knows no wildcard": (subscription, "WILDCARD_TYPES", frozenset(), "no-names-at-first-are-all-clusters"),
}  # fmt: skip


@pytest.mark.parametrize("what", BREAKS)
async def test_a_server_that(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A suite that cannot fail proves nothing: each break is found by the rule that forbids it."""
    owner, attribute, broken, name = BREAKS[what]
    monkeypatch.setattr(owner, attribute, broken)
    control = StoreControl()
    async with serving(control) as target:
        outcomes = await run(target, control, cases(f"{name}(*"))

    assert outcomes
    assert [outcome.id for outcome in outcomes if outcome.failure is None] == []
