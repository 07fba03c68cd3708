"""Who is told of what was looked at, and that nobody who is told holds up what has to be taken back."""

from __future__ import annotations

import asyncio
from typing import Any

from askew.beside_kubernetes import BesideKubernetes
from askew.kubernetes_source import KubernetesSource
from askew.settings import ServeSettings
from istio.service_piece import TopologySettings
from istio.settings import KubernetesSettings
from mesh.topology import ServiceName
from tests.real.sidecar_mesh import until

SHOP, TILL = frozenset((ServiceName("shop.default"),)), frozenset((ServiceName("till.default"),))


class Check:
    """Knows what it was told, and finds what a test says."""

    def __init__(self) -> None:
        self.seen: list[frozenset[ServiceName]] = []
        self.changed = False
        self.check, self.missing = self, dict[str, str]()

    def applied(self, services: frozenset[ServiceName]) -> None:
        self.seen.append(services)

    def look(self, *, written: frozenset[ServiceName]) -> bool:
        assert not written
        return self.changed


class Steering:
    """Counts who wants another look."""

    written: frozenset[ServiceName] = frozenset()
    looks = 0

    def note_change(self) -> None:
        self.looks += 1


class SlowTeller:
    """An API server that does not answer writes of Events."""

    def __init__(self) -> None:
        self.told: list[frozenset[ServiceName]] = []
        self.answers = asyncio.Event()

    async def step(self, *_: object, applied: frozenset[ServiceName], **__: object) -> None:
        self.told.append(applied)
        await self.answers.wait()

    async def tell_missing(self, *_: object) -> None:
        """Nobody is."""


def replica() -> tuple[Any, Check, Steering]:
    """Return one that does not run, and what it asks."""
    root: Any = BesideKubernetes(ServeSettings())
    root.check, root.steering = Check(), Steering()
    return root, root.check, root.steering


async def test_what_a_look_finds_is_acted_on_at_once() -> None:
    """The look after a write finds that the time of another filter is over: it goes now, not with the next change."""
    root, check, steering = replica()
    await root._note_applied(SHOP)
    before = steering.looks
    check.changed = True
    await root._note_applied(SHOP)

    assert (before, steering.looks) == (0, 1)


async def test_events_that_are_written_slowly_hold_up_no_look() -> None:
    """What is new is taken in meanwhile, and told when there is time."""
    root, check, _ = replica()
    teller = SlowTeller()
    source = KubernetesSource(KubernetesSettings(), TopologySettings())
    telling = asyncio.create_task(root._keep_told(source, teller))
    async with asyncio.timeout(10):
        await root._note_applied(SHOP)
        await until(lambda: bool(teller.told))
        await root._note_applied(TILL)
        assert check.seen == [SHOP, TILL]
        teller.answers.set()
        await until(lambda: len(teller.told) == 2)
    telling.cancel()
    await asyncio.wait((telling,))

    assert teller.told == [SHOP, TILL]
