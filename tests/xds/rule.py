"""A rule of the specification that a server can be tried against, and the register of them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from tests.xds.control import Control
from tests.xds.messages import Message, name_of, type_of
from tests.xds.peer import ADS_DELTA, ADS_SOTW, SINGLE_DELTA, SINGLE_SOTW, Peer, Variant

SOTW = (ADS_SOTW, SINGLE_SOTW)
DELTA = (ADS_DELTA, SINGLE_DELTA)
ADS = (ADS_SOTW, ADS_DELTA)
SINGLE = (SINGLE_SOTW, SINGLE_DELTA)
ALL = (*SOTW, *DELTA)

SPECIFICATION = "Envoy's xDS protocol document (docs/root/api-docs/xds_protocol)"
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: what a server must do, where that stands, and how to try it."""

    name: str
    text: str
    place: str
    variants: tuple[Variant, ...]
    needs: str
    run: Callable[[Trial], Awaitable[None]]


RULES: dict[str, Rule] = {}


def rule(
    place: str, variants: tuple[Variant, ...] = ALL, *, needs: str = ""
) -> Callable[[Callable[[Trial], Awaitable[None]]], Callable[[Trial], Awaitable[None]]]:
    """Register a function as a rule; its docstring is the rule's text.

    Parameters
    ----------
    place:
        The section of the specification that it comes from.
    variants:
        Those of the four variants of the protocol that it binds.
    needs:
        A feature without which a server cannot be tried: "ttl", "errors" or "rest".
    """

    def register(function: Callable[[Trial], Awaitable[None]]) -> Callable[[Trial], Awaitable[None]]:
        name = function.__name__.replace("_", "-")
        text = " ".join((function.__doc__ or "").split())
        RULES[name] = Rule(name, text, place, variants, needs, function)
        return function

    return register


class Trial:
    """One rule tried on one variant: a node of its own, its resources, its peers."""

    def __init__(self, target: str, control: Control, variant: Variant, *, rest_url: str = "") -> None:
        self.variant, self.rest_url = variant, rest_url
        self.node = f"trial-{next(_numbers)}.conformance"
        self._target, self._control = target, control
        self._resources: dict[tuple[str, str], Message] = {}
        self._ttl_s: dict[str, float] = {}
        self._stack = AsyncExitStack()
        self._peers: list[Peer] = []

    async def set(self, *messages: Message, ttl_s: float | None = None) -> None:
        """Add or change resources of this trial's node, as one change."""
        for message in messages:
            self._resources[type_of(message), name_of(message)] = message
            self._ttl_s.pop(name_of(message), None)
            if ttl_s is not None:
                self._ttl_s[name_of(message)] = ttl_s
        await self._put()

    async def delete(self, type_url: str, *names: str, and_set: Iterable[Message] = ()) -> None:
        """Delete resources, and set others in the same change."""
        for name in names:
            del self._resources[type_url, name]
        for message in and_set:
            self._resources[type_of(message), name_of(message)] = message
        await self._put()

    async def _put(self) -> None:
        await self._control.put(self.node, list(self._resources.values()), self._ttl_s)

    async def open(self, *, features: Iterable[str] = ()) -> Peer:
        """Return a new peer of this trial's node."""
        peer = Peer(self._target, self.variant, self.node, features=features)
        self._peers.append(peer)
        return await self._stack.enter_async_context(peer)

    async def silence(self) -> None:
        """No peer hears anything more: no message was needless."""
        await asyncio.gather(*(peer.silence() for peer in self._peers))

    async def close(self) -> None:
        await self._stack.aclose()
        await self._control.delete(self.node)

    async def closed(self, peer: Peer) -> None:
        """End one peer's streams within the trial."""
        self._peers.remove(peer)
        await peer.close()


async def try_rule(one: Rule, target: str, control: Control, variant: Variant, *, rest_url: str = "") -> str | None:
    """Try one rule on one variant; return None if the server keeps it, else what it did instead."""
    trial = Trial(target, control, variant, rest_url=rest_url)
    try:
        async with asyncio.timeout(60):
            await one.run(trial)
            await trial.silence()
    except AssertionError as error:
        return str(error) or "an assertion failed"
    except TimeoutError:
        return "not done after 60 s"
    finally:
        await trial.close()
    return None


def expect(found: object, allowed: object, what: str) -> None:
    """Raise AssertionError unless both are equal."""
    if found != allowed:
        raise AssertionError(f"{what}: found {found!r}, allowed: {allowed!r}")
