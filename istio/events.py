"""Tell people in the cluster: Events and conditions of annotated Services, written by the leader alone."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from istio.client import KubernetesClient
from istio.errors import IstioError
from istio.kinds import SERVICES
from istio.objects import Service
from istio.preflight import Finding
from istio.self_check import SelfCheck
from istio.service_events import service_event, tell
from istio.standing import Standing, condition_body, event_of, is_taken_back, missing_event, standing_of, told_of
from mesh.policy import PREFIX
from mesh.topology import ContainerName, ServiceName, Topology

log = logging.getLogger(__name__)
T = TypeVar("T")
NO_CHECK = SelfCheck()  # knows of nothing


class Leadership(Protocol):
    """Who may write; ``istio/lease.py`` has one."""

    @property
    def is_leader(self) -> bool:
        """Whether we may write now."""

    async def as_leader(self, write: Callable[[], Awaitable[T]]) -> T:
        """Do a write; raises NotLeaderError."""


class ServiceTeller:
    """Writes conditions where they are other than they should be, and an Event for each such change."""

    def __init__(
        self,
        client: KubernetesClient,
        leadership: Leadership,
        *,
        wall_time: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client, self._leadership, self._wall_time = client, leadership, wall_time
        self._written: dict[ServiceName, Standing | None] = {}
        self._missed: set[ServiceName] = set()

    async def step(
        self,
        services: Iterable[Service],
        topology: Topology,
        findings: Mapping[ServiceName, tuple[Finding, ...]],
        *,
        applied: frozenset[ServiceName],
        check: SelfCheck = NO_CHECK,
    ) -> int:
        """Bring all conditions up to date; return how many Services were written to. Not the leader: does nothing.

        ``check`` knows for which of the ``applied`` sidecars have come.

        A Service that cannot be written (it has gone, the server is away) is tried again at the next step.
        """
        written = 0
        for service in tuple(services):  # of a cluster that changes while we write
            if not self._leadership.is_leader:
                return written
            name = ServiceName(f"{service.name}.{service.namespace}")
            is_annotated = any(key.startswith(PREFIX) for key in service.annotations)
            noun = topology.service_by_name.get(name)
            if noun is None or not (is_annotated or told_of(service) or self._written.get(name)):
                continue
            now = standing_of(
                noun.policy,
                findings.get(name, ()),
                is_annotated=is_annotated,
                is_applied=name in applied,
                taken_back=check.why(name) if name in check.unheard else "",
            )
            before = self._written.get(name, told_of(service))
            # While it is tried anew, or by a new leader: what was found out before holds meanwhile.
            still_silent = is_taken_back(before) and name in check.waiting
            under_way = (now is None and noun.policy.managed) or still_silent
            if now == before or under_way:
                continue
            try:
                await self._leadership.as_leader(lambda service=service, now=now: self._condition(service, now))  # type: ignore[misc]
                self._written[name] = now
                event = event_of(before, now)
                if event is not None:
                    await self._leadership.as_leader(lambda service=service, event=event: self.tell(service, event))  # type: ignore[misc]
            except IstioError as error:
                log.warning("%s: not told: %s", name, error)
                continue
            written += 1
        return written

    async def tell_missing(
        self, services: Iterable[Service], missing: Mapping[ServiceName, Sequence[ContainerName]]
    ) -> None:
        """Tell of each Service in ``missing`` once, until nobody is missing any more; the leader does."""
        self._missed &= missing.keys()
        for service in tuple(services):
            name = ServiceName(f"{service.name}.{service.namespace}")
            if name not in missing or name in self._missed or not self._leadership.is_leader:
                continue
            event = missing_event(missing[name])
            try:
                await self._leadership.as_leader(lambda service=service, event=event: self.tell(service, event))  # type: ignore[misc]
                self._missed.add(name)
            except IstioError as error:
                log.warning("%s: not told: %s", name, error)

    async def _condition(self, service: Service, now: Standing | None) -> None:
        body = condition_body(service, now, time=self._time())
        await self._client.apply(SERVICES, body, force=True, subresource="status")

    async def tell(self, service: Service, what: Standing) -> None:
        """Write an Event of a Service; one that says the same is counted up, as ``kubectl`` shows it (``x3``)."""
        name = ServiceName(f"{service.name}.{service.namespace}")
        now_s = self._wall_time().timestamp()
        await tell(self._client, service_event(name, what.reason, what.message, now_s=now_s, uid=service.uid))

    def _time(self) -> str:
        return self._wall_time().strftime("%Y-%m-%dT%H:%M:%SZ")
