"""The watchdog: no replica of the control plane is ready for a while, so the EnvoyFilters go.

A running sidecar keeps what it was told, but one that starts, or whose cluster changes, waits for endpoints that nobody
sends. Without our EnvoyFilters istiod sends them, and all are free at once. It lives apart from the control plane, so
that it does not fall with it. Two may watch over one cluster: each deletes by uid, and what the
other has deleted is gone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from istio.apply import ObjectStore, Outcome, remove_all
from istio.difference import Ref
from istio.errors import IstioError, NotPermittedError
from istio.integration import Integration
from istio.kinds import DESTINATION_RULES, ENDPOINT_SLICES, ENVOY_FILTERS, VIRTUAL_SERVICES
from istio.service_events import EventStore, service_event, tell
from mesh.topology import ServiceName

log = logging.getLogger(__name__)

NATIVE = (DESTINATION_RULES, VIRTUAL_SERVICES)
"""Of the mode ``native``: their weights would go stale, and lead to nodes that have no endpoint any more."""


NEVER_LOOKED = -1


@dataclass(frozen=True, slots=True)
class WatchdogSettings:
    """How patient it is."""

    namespace: str = "askew-system"
    """Where the control plane is."""

    service: str = "askew-xds"
    """The Service whose ready endpoints are its replicas."""

    limit_s: float = 10.0
    """Without a ready replica for this long, the objects go; a rolling update is shorter."""

    poll_s: float = 1.0
    """How often it looks."""


class Store(ObjectStore, EventStore, Protocol):
    """What is needed of a client of the API."""


@dataclass(slots=True)
class Vigil:
    """Since when nobody is ready. Pure; the clock comes in as an argument.

    ``limit_s`` runs only while the API says so: where it does not answer, nothing is known, and nothing could be done.
    """

    limit_s: float
    since_s: float | None = None

    def observe(self, ready: int | None, *, now_s: float) -> bool:
        """Take in how many replicas are ready, None for unknown; say whether the objects must go now.

        >>> vigil = Vigil(limit_s=10.0)
        >>> [vigil.observe(ready, now_s=at) for at, ready in ((0.0, 2), (1.0, 0), (10.9, 0), (11.0, 0))]
        [False, False, False, True]
        """
        if ready is None or ready > 0:
            self.since_s = None
            return False
        if self.since_s is None:
            self.since_s = now_s
        return now_s - self.since_s >= self.limit_s


class Watchdog:
    """``run`` until cancelled."""

    def __init__(
        self,
        store: Store,
        to: Integration,
        settings: WatchdogSettings,
        *,
        now_s: Callable[[], float] = time.monotonic,
        wall_s: Callable[[], float] = time.time,
        on_look: Callable[[], None] = lambda: None,
    ) -> None:
        self._store, self._to, self._settings, self._on_look = store, to, settings, on_look
        self._now_s, self._wall_s = now_s, wall_s
        self._vigil = Vigil(settings.limit_s)
        self._seen: int | None = NEVER_LOOKED

    async def run(self) -> None:
        """Look until cancelled; ``on_look`` is called after each look, whatever it has found."""
        while True:
            await self.look()
            self._on_look()
            await asyncio.sleep(self._settings.poll_s)

    async def look(self) -> Outcome:
        """Look once; return what was taken back. Never raises for an API that is away."""
        try:
            slices = await self._store.list(
                ENDPOINT_SLICES,
                namespace=self._settings.namespace,
                label_selector=f"kubernetes.io/service-name={self._settings.service}",
            )
            ready = ready_replicas(slices)
            self._say(ready)
            if not self._vigil.observe(ready, now_s=self._now_s()):
                return Outcome()
            outcome = await remove_all(self._store, self._to, kinds=(ENVOY_FILTERS,))
            await self._remove_native(outcome)
        except IstioError as error:
            self._say(None, str(error))
            self._vigil.observe(None, now_s=self._now_s())
            return Outcome()
        if outcome.deleted:
            log.error("no replica of the control plane is ready for %.0f s: %s", self._settings.limit_s, _list(outcome))
        await self._tell(outcome)
        return outcome

    def _say(self, ready: int | None, why: str = "") -> None:
        """Log how many replicas are ready, when that is another number than before; None for unknown."""
        if ready == self._seen:
            return
        self._seen = ready
        service = f"{self._settings.namespace}/{self._settings.service}"
        if ready is None:
            log.warning("the API does not answer, nothing is known of the control plane: %s", why)
        elif ready:
            log.info("%d replicas of %s are ready", ready, service)
        else:
            log.warning("no replica of %s is ready; after %.0f s its objects go", service, self._settings.limit_s)

    async def _remove_native(self, outcome: Outcome) -> None:
        """Take back what the mode ``native`` has made; who does not use it need not grant the right to."""
        try:
            outcome.deleted += (await remove_all(self._store, self._to, kinds=NATIVE)).deleted
        except NotPermittedError as error:
            log.debug("objects of the mode native are not looked for: %s", error)

    async def _tell(self, outcome: Outcome) -> None:
        message = (
            f"no replica of {self._settings.namespace}/{self._settings.service} was ready for "
            f"{self._settings.limit_s:.0f} s: Istio's own endpoints and weights are back"
        )
        for service in steered_services(outcome.deleted):
            event = service_event(service, "AskewReverted", message, now_s=self._wall_s())
            try:
                await tell(self._store, event)
            except IstioError as error:  # what counts is done
                log.warning("no Event for %s: %s", service, error)


def ready_replicas(slices: Iterable[Mapping[str, Any]]) -> int:
    """Return how many endpoints of the slices are ready; an endpoint without a condition is (EndpointSlice v1)."""
    endpoints = [endpoint for one in slices for endpoint in one.get("endpoints") or ()]
    return sum((endpoint.get("conditions") or {}).get("ready") is not False for endpoint in endpoints)


def steered_services(removed: Sequence[Ref]) -> list[ServiceName]:
    """Return the Services that objects of ours were about, each once.

    >>> steered_services([Ref("EnvoyFilter", "istio-system", "askew.shop.reviews")])
    ['reviews.shop']
    """
    found: dict[ServiceName, None] = {}
    for ref in removed:
        parts = ref.name.split(".")
        if ref.kind == "EnvoyFilter" and len(parts) == 3:
            found[ServiceName(f"{parts[2]}.{parts[1]}")] = None
        elif ref.kind == "VirtualService" and len(parts) == 2:
            found[ServiceName(f"{parts[1]}.{ref.namespace}")] = None
    return list(found)


def _list(outcome: Outcome) -> str:
    return ", ".join(map(str, outcome.deleted))
