"""Leader election by a Lease: one replica writes, the others wait until its lease has run out before their own eyes.

Clocks of machines differ, so the times in a Lease are never compared with ours: a lease is alive until it has not
changed for its own duration *since we saw it change*. The leader counts from before it sent its last renewal and
stops earlier than any other may begin:

    leader    sends renewal ├── renew_deadline_s ──┤ steps down
    another        sees it    ├──────── lease_s ───────────┤ may take it

Source: client-go, ``tools/leaderelection``; Kubernetes API reference, Lease.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from istio.client import KubernetesClient, Object
from istio.errors import ChangedMeanwhileError, ExistsAlreadyError, IstioError, NoSuchObjectError, NotLeaderError
from istio.kinds import LEASES
from istio.watch import Timing

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LeaseSettings:
    """Which lease, and its times; client-go's defaults."""

    identity: str
    """Who we are: the pod's name, unique among the replicas."""
    namespace: str = "askew-system"
    name: str = "askew-leader"
    lease_s: int = 15
    """Others wait this long after our last sign of life."""
    renew_deadline_s: float = 10.0
    """Without a renewal for this long we are leader no more; the rest of ``lease_s`` is for writes under way."""
    retry_s: float = 2.0
    """Between two renewals, and between two looks at another's lease."""


@dataclass(frozen=True, slots=True)
class Observed:
    """A lease, and when, by our own clock, it was first seen as it is."""

    body: Object
    since_s: float

    @property
    def holder(self) -> str:
        return str(self.body.get("spec", {}).get("holderIdentity") or "")

    def is_free(self, now_s: float) -> bool:
        """Whether nobody holds it: given back, or not renewed for its own duration."""
        duration_s = float(self.body.get("spec", {}).get("leaseDurationSeconds") or 0)
        return not self.holder or now_s >= self.since_s + duration_s


class LeaderElection:
    """Takes part in an election while it runs; ``on_change`` is told of each gain and loss."""

    def __init__(
        self,
        client: KubernetesClient,
        settings: LeaseSettings,
        *,
        timing: Timing,
        wall_time: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_change: Callable[[bool], None] = lambda leads: None,
    ) -> None:
        if not settings.retry_s < settings.renew_deadline_s < settings.lease_s:
            raise ValueError("lease: allowed: retry_s < renew_deadline_s < lease_s")
        self._client, self._settings, self._timing = client, settings, timing
        self._wall_time, self._on_change = wall_time, on_change
        self._observed: Observed | None = None
        self._renewed_s: float | None = None
        self._told = False

    @property
    def is_leader(self) -> bool:
        """Whether we may write now. Time alone ends it: no task has to run for that."""
        return self._renewed_s is not None and self._timing.now_s() < self._renewed_s + self._settings.renew_deadline_s

    @property
    def holder(self) -> str:
        """Who holds the lease as far as is known; empty for nobody."""
        return "" if self._observed is None else self._observed.holder

    @property
    def term(self) -> int:
        """How often the lease has changed hands, as far as is known: grows with every new leader."""
        return (
            0 if self._observed is None else int((self._observed.body.get("spec") or {}).get("leaseTransitions") or 0)
        )

    async def as_leader(self, write: Callable[[], Awaitable[T]]) -> T:
        """Do a write that only the leader may do, cut off where another may begin.

        Raises NotLeaderError where we are not, or are no more before it is done; whether it was done is then open.
        """
        if not self.is_leader or self._renewed_s is None:
            raise NotLeaderError(f"lease {self._settings.name}: held by {self.holder or 'nobody'}")
        left_s = self._renewed_s + self._settings.lease_s - self._timing.now_s()
        try:
            async with asyncio.timeout(left_s):
                return await write()
        except TimeoutError as error:
            raise NotLeaderError(f"lease {self._settings.name}: it ran out while writing") from error

    async def run(self) -> None:
        """Stand for election until cancelled, then give the lease back."""
        try:
            while True:
                await self.step()
                await self._timing.sleep(self._timing.about(self._settings.retry_s))
        finally:
            await self._give_back()

    async def step(self) -> None:
        """Renew, try to take over, or look: once."""
        began_s = self._timing.now_s()
        try:
            async with asyncio.timeout(self._settings.renew_deadline_s):
                held = await self._take_or_renew()
        except TimeoutError:
            held = None
        except IstioError as error:
            log.warning("lease %s: %s", self._settings.name, error)
            held = None
        if held:
            self._renewed_s = began_s
        elif held is False:
            self._renewed_s = None  # someone else has it
        self._tell()

    async def _take_or_renew(self) -> bool:
        """Return whether we hold the lease now. Raises IstioError where that cannot be said."""
        settings = self._settings
        try:
            body = await self._client.get(LEASES, settings.name, namespace=settings.namespace)
        except NoSuchObjectError:
            return await self._create()
        self._observe(body)
        assert self._observed is not None
        ours = self._observed.holder == settings.identity
        # A lease with our name from before a restart is another life's: it is renewed only by who has renewed it.
        if ours and self._renewed_s is None:
            ours = False
        if not ours and not self._observed.is_free(self._timing.now_s()):
            return False
        try:
            self._observe(await self._client.replace(LEASES, {**body, "spec": self._spec(body, keeps=ours)}))
        except ChangedMeanwhileError:
            return False  # another was faster
        return True

    async def _create(self) -> bool:
        settings = self._settings
        metadata = {"name": settings.name, "namespace": settings.namespace}
        body = {"apiVersion": LEASES.api_version, "kind": LEASES.name, "metadata": metadata}
        try:
            created = await self._client.create(
                LEASES, {**body, "spec": self._spec({}, keeps=False)}, namespace=settings.namespace
            )
        except ExistsAlreadyError:
            return False
        self._observe(created)
        return True

    def _spec(self, body: Object, *, keeps: bool) -> dict[str, Any]:
        now = self._wall_time().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        old = body.get("spec") or {}
        transitions = int(old.get("leaseTransitions") or 0)
        return {
            "holderIdentity": self._settings.identity,
            "leaseDurationSeconds": self._settings.lease_s,
            "acquireTime": old.get("acquireTime", now) if keeps else now,
            "renewTime": now,
            "leaseTransitions": transitions if keeps or not old else transitions + 1,
        }

    def _observe(self, body: Object) -> None:
        if self._observed is None or self._observed.body.get("spec") != body.get("spec"):
            self._observed = Observed(body, self._timing.now_s())

    def _tell(self) -> None:
        leads = self.is_leader
        if leads != self._told:
            self._told = leads
            log.info(
                "lease %s: %s", self._settings.name, "we lead" if leads else f"we do not lead ({self.holder} does)"
            )
            self._on_change(leads)

    async def _give_back(self) -> None:
        """Let another take over at once; whoever holds it by then is left alone."""
        if not self.is_leader or self._observed is None:
            return
        self._renewed_s = None
        self._tell()
        spec = {**self._observed.body["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
        with suppress(IstioError, TimeoutError):
            async with asyncio.timeout(self._settings.retry_s):
                await self._client.replace(LEASES, {**self._observed.body, "spec": spec})
