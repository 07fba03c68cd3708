"""Links that a Prometheus tells of: Istio's bytes between services, and what whole pods count where nobody tells more.

Both are means over one window, asked for a few times in it; a failure of one takes nothing from the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from askew.control_loop import Memory
from estimators.live_links import busiest_first, counted
from estimators.pod_links import OpenLinks, PodLinks, open_links, pod_links
from estimators.told_links import held, told_links
from istio.byte_metrics import ByteSource, FoundBytes
from istio.errors import IstioError
from istio.network_counters import NetworkCounters, PodRates
from istio.prometheus import Prometheus
from mesh.picture import Link, Picture
from mesh.telemetry import ToldLinks
from mesh.topology import ContainerName, Topology

READINGS_A_WINDOW = 5  # a mean over minutes need not be asked for with every scrape
MEASURED = ("measured", "agent")
Seen = Callable[[], tuple[Memory, Picture]]
"""Returns what the last tick remembers and shows."""


class LinkReading:
    """Reads links from one Prometheus; ``told`` is what it knows, ``note`` what that rests on and what is left out.

    Parameters
    ----------
    window_s:
        Length of the means; > 0.
    on_error:
        Called each time that it could not be asked.
    """

    def __init__(self, prometheus: Prometheus, *, window_s: float, seen: Seen, on_error: Callable[[], None]) -> None:
        self._window_s, self._seen, self._on_error = window_s, seen, on_error
        self._bytes, self._counters = (
            ByteSource(prometheus, window_s=window_s),
            NetworkCounters(prometheus, window_s=window_s),
        )
        self._read_s = 0.0
        self._flows: tuple[Link, ...] = ()
        self._pods: tuple[Link, ...] = ()
        self.told, self.note = ToldLinks(), ""

    async def read(self, topology: Topology, *, now_s: float) -> None:
        """Take what is new, if it is time."""
        if 0.0 <= now_s - self._read_s < self._window_s / READINGS_A_WINDOW:
            return
        self._read_s = now_s
        note = await self._read_flows(topology, now_s=now_s)
        self._flows, self._pods = (
            held(ToldLinks(now_s, self._window_s, links), now_s=now_s) for links in (self._flows, self._pods)
        )
        self.note = note + await self._read_pods(topology, now_s=now_s)
        links = await asyncio.to_thread(_joined, self._flows, self._pods) if self._pods else self._flows
        self.told = ToldLinks(now_s, self._window_s, links)

    async def _read_flows(self, topology: Topology, *, now_s: float) -> str:
        """Read what Istio's sidecars count for each pair of workloads."""
        try:
            found = await self._bytes.read(topology, time_s=now_s)
        except IstioError as error:
            self._on_error()
            return f"; no bytes between services: {error}"
        if found.exchanges:  # one that begins anew knows nothing at first; old news ends
            self._flows = await asyncio.to_thread(told_links, found.exchanges)
        return _flows_in_use(found)

    async def _read_pods(self, topology: Topology, *, now_s: float) -> str:
        """Read pods' own counters where a link of a planned service is open; nothing is asked for where none is."""
        memory, picture = self._seen()
        own = counted(memory.sidecars, now_s=now_s)
        known = [*self._flows, *(link for link in picture.links if link.method in MEASURED)]
        wanted = await asyncio.to_thread(open_links, topology, memory.calls.calls, own, known)
        if wanted is None or not wanted.containers:
            self._pods = ()
            return ""
        try:
            counted_pods = await self._counters.read(_pods_of(topology, wanted), time_s=now_s)
        except IstioError as error:
            self._on_error()
            return f"; no counters of pods: {error}"
        found = await asyncio.to_thread(pod_links, topology, wanted, own, counted_pods.pods)
        self._pods = found.links
        return _pods_in_use(found, counted_pods)


def _joined(flows: Iterable[Link], pods: Iterable[Link]) -> tuple[Link, ...]:
    told = {(link.source, link.target): link for link in (*pods, *flows)}
    return busiest_first(told.values())


def _pods_of(topology: Topology, wanted: OpenLinks) -> dict[tuple[str, str], ContainerName]:
    """Return the wanted containers by namespace and name of their pod."""
    found = {}
    for name in wanted.containers:
        pod, _, namespace = topology.container_by_name[name].proxy_id.rpartition(".")
        found[namespace, pod] = name
    return found


def _flows_in_use(found: FoundBytes) -> str:
    known = (
        f"bytes between services by reporter {' and '.join(found.using)}"
        if found.using
        else "no bytes between services"
    )
    return f"; {known}" + _reasons([*found.left_out, *found.warnings])


def _pods_in_use(found: PodLinks, rates: PodRates) -> str:
    known = "links by what pods received and sent" if found.links else "no links by what pods received and sent"
    missing = ["no series of the mesh's pods"] if not rates.pods and not rates.left_out else []
    return f"; {known}" + _reasons([*rates.left_out, *rates.warnings, *found.left_out, *missing])


def _reasons(found: Iterable[str]) -> str:
    reasons = "; ".join(sorted(set(found)))
    return f"; left out: {reasons}" if reasons else ""
