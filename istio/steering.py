"""Keeps our objects in a cluster as they are wanted.

Only the leader of the control plane runs it, and only while its xDS port is open: an EnvoyFilter that leads to nobody
would hold new pods up.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from istio.apply import Outcome, reconcile
from istio.difference import KubeObject, Ref, ref_of
from istio.errors import IstioError
from istio.integration import Integration
from istio.native import SHORTEST_INTERVAL_S
from istio.native_pace import NativePace
from istio.watchdog import Store, steered_services
from mesh.topology import ServiceName

log = logging.getLogger(__name__)

RESYNC_S = 30.0
"""Objects are looked at again after this long though nothing has changed: someone may have edited or deleted one."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
MOST_NEW = 100
"""EnvoyFilters that one look adds: only when it is over is it known since when sidecars have had to come for them."""


@dataclass(frozen=True, slots=True)
class Desired:
    """What a cluster should hold of ours."""

    objects: Sequence[KubeObject] = ()


async def _tell_nobody(applied: frozenset[ServiceName]) -> None:
    """Keep it to ourselves."""


AsLeader = Callable[[Callable[[], Awaitable[Outcome]]], Awaitable[Outcome]]
"""Does what only the leader may do, and cuts it off where another may begin; raises IstioError where we do not lead."""


class Steering:
    """``run`` until cancelled; ``note_change`` whenever ``desired()`` may be another.

    ``as_leader`` is given where several replicas run: each keeps what is desired in mind, one writes. ``on_done`` hears
    after each look for which Services our objects are in the cluster.
    """

    def __init__(
        self,
        store: Store,
        to: Integration,
        desired: Callable[[], Desired],
        *,
        as_leader: AsLeader | None = None,
        on_done: Callable[[frozenset[ServiceName]], Awaitable[None]] = _tell_nobody,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._to, self._desired, self._as_leader = store, to, desired, as_leader
        self._on_done, self._now_s = on_done, now_s
        self._changed = asyncio.Event()
        self._changed.set()
        self._pace = NativePace(now_s)
        self._native: dict[Ref, tuple[float, KubeObject]] = {}
        self._refused: Mapping[Ref, str] = {}
        self._later: frozenset[Ref] = frozenset()
        self.written: frozenset[ServiceName] = frozenset()  # whose filters we wrote ourselves, not a leader before us

    def note_change(self) -> None:
        """Look at what is desired soon."""
        self._changed.set()

    async def run(self) -> None:
        """Reconcile after every change and every ``RESYNC_S``; try again, ever later, while the API is away."""
        wait_s = FIRST_WAIT_S
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._next_look_s()):
                    await self._changed.wait()
            self._changed.clear()
            try:
                await (self.step() if self._as_leader is None else self._as_leader(self.step))
                wait_s = FIRST_WAIT_S
            except IstioError as error:
                log.warning("objects in the cluster stay as they are: %s", error)
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
                self._changed.set()

    def _next_look_s(self) -> float:
        due_s = self._pace.wake_s
        return RESYNC_S if due_s is None else min(RESYNC_S, max(0.0, due_s - self._now_s()))

    async def step(self) -> Outcome:
        """Reconcile once. Raises IstioError while the API is away."""
        desired = self._desired()
        wanted = [self._steady(one) for one in desired.objects]
        outcome = Outcome()
        try:
            await reconcile(self._store, self._to, wanted, pace=self._paced, outcome=outcome)
        finally:  # who was broken off finds them there the next time, and must not take them for another's
            sent = [ref for ref in outcome.tried if ref not in outcome.refused]
            self.written |= frozenset(steered_services(sent))
        for ref, why in sorted(outcome.refused.items() - self._refused.items(), key=str):
            log.error("%s stays as it is (another's, or not ours to write): %s", ref, why)
        self._refused = outcome.refused
        if self._later and outcome.applied:
            self._changed.set()
        await self._tell(desired, outcome)
        return outcome

    def _paced(self, wanted: Sequence[KubeObject], present: Sequence[KubeObject]) -> list[KubeObject]:
        """Return what should be there after this look: of many new filters some, those last that were refused."""
        found = self._pace.paced(wanted, present)
        there = set(map(ref_of, present))
        filters = [ref_of(one) for one in found if one["kind"] == "EnvoyFilter"]
        new = [ref for ref in filters if ref not in there]
        self._later = frozenset(sorted(new, key=lambda ref: ref in self._refused)[MOST_NEW:])
        return [one for one in found if ref_of(one) not in self._later]

    def _steady(self, wanted: KubeObject) -> KubeObject:
        """Return an object of mode native as it was, while its weights alone are other and it was written just now.

        A change of nodes does not wait: a route to a node without endpoints would answer 503.
        """
        if wanted["kind"] not in ("DestinationRule", "VirtualService"):
            return wanted
        ref, now_s = ref_of(wanted), self._now_s()
        known = self._native.get(ref)
        if (
            known is not None
            and now_s - known[0] < SHORTEST_INTERVAL_S
            and _without_weights(known[1]) == _without_weights(wanted)
        ):
            return known[1]
        if known is None or known[1] != wanted:
            self._native[ref] = (now_s, wanted)
        return wanted

    async def _tell(self, desired: Desired, outcome: Outcome) -> None:
        absent = outcome.refused.keys() | self._pace.held | self._later
        there = [ref for ref in map(ref_of, desired.objects) if ref not in absent]
        try:
            await self._on_done(frozenset(steered_services(there)))
        except IstioError as error:  # what counts is done
            log.warning("Services are not told: %s", error)


def _without_weights(found: object) -> object:
    if isinstance(found, dict):
        return {key: _without_weights(one) for key, one in found.items() if key != "weight"}
    if isinstance(found, list):
        return [_without_weights(one) for one in found]
    return found
