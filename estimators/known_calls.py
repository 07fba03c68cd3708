"""Who calls whom, learnt: where a mesh does not say it, only those who call a service are planned for.

A plan over everybody grows with pods times managed services, and gives shares to clients that never call. What is
learnt counts for a workload (all containers of a client's service): its replicas do the same, and a new one of them is
planned for at once. Nothing here takes anything away from a client: who is not planned for is answered with all ready
endpoints, equal weights, and is learnt with its first request.

Two things must be known before a workload is left out of a service's plan: that it was not seen to call, and that it
would have been: either its own sidecars report (load reports name every service that was called), or the sidecars in
front of the service name who called (Istio's metrics). Of the others nobody knows, and they count as clients.

Time is counted by a clock that stands still while nobody watches, so that neither a restart nor a silent Prometheus
makes anything old. It moves in steps of a minute: what is remembered changes as seldom.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from estimators.load_reports import Requests
from estimators.sidecar_counters import Sidecars
from estimators.steady_rate import SteadyRate
from mesh.telemetry import Telemetry
from mesh.topology import Call, ContainerName, ServiceName, ServicePort, Topology

STEP_S = 60.0
LEARN_S = 300.0  # watched for this long without a call: it does not call
FORGET_S = 24 * 3600.0  # of watching; what calls once a day stays known
OLD_NEWS_S = 300.0  # what a Prometheus said this long ago tells nothing of now
SEEN_REQUESTS = 0.5  # of a count that halves every 30 s: a single request shows for one interval at least


class Span(NamedTuple):
    """The clock when watching began and when it was last so."""

    since_s: float
    last_s: float

    def tells(self, clock_s: float) -> bool:
        """Whether what was not seen in it does not happen: it is long, and goes on until now."""
        return self.last_s - self.since_s >= LEARN_S and not self.is_over(clock_s)

    def is_over(self, clock_s: float) -> bool:
        """Whether others were watched for so long without it that it would have to be learnt anew."""
        return clock_s - self.last_s > LEARN_S


Spans = Mapping[ServiceName, Span]


@dataclass(frozen=True)
class KnownCalls:
    """What was learnt.

    Attributes
    ----------
    clock_s:
        For how long anybody's calls were watched, in whole steps.
    stepped_at_s:
        When the clock last moved, by the telemetry's time; 0 before.
    calls:
        Of each call the clock when it was last seen.
    clients, counted:
        Workloads whose sidecars report all their requests; and all their connections, too.
    servers:
        Services whose own sidecars name all their callers.
    """

    clock_s: float = 0.0
    stepped_at_s: float = 0.0
    calls: Mapping[Call, float] = field(default_factory=dict)
    clients: Spans = field(default_factory=dict)
    counted: Spans = field(default_factory=dict)
    servers: Spans = field(default_factory=dict)


def learn_calls(
    known: KnownCalls, topology: Topology, telemetry: Telemetry, *, requests: Requests, sidecars: Sidecars
) -> KnownCalls:
    """Return what is known after a tick, ``requests`` and ``sidecars`` being its reports as they were read.

    ``known`` itself where nothing is new; nothing is learnt of a mesh that says itself who calls whom.
    O(containers + calls seen).
    """
    if topology.calls is not None:
        return known
    now_s = telemetry.time_s
    homes = {name: container.service for name, container in topology.container_by_name.items() if container.is_client}
    heard = {name for name in homes.keys() & requests.keys() if requests[name].heard.is_fresh(now_s)}
    counted = {name for name in heard & sidecars.keys() if sidecars[name].heard.is_fresh(now_s)}
    told = [one for one in telemetry.callers if now_s - one.time_s <= OLD_NEWS_S]
    known = _stepped(known, now_s, is_watched=bool(heard or told))
    calls = _reported(homes, requests, sidecars) | {Call(client, one.service) for one in told for client in one.clients}
    clock_s, services = known.clock_s, topology.service_by_name
    seen = dict.fromkeys((call for call in calls if call.client in services and call.server in services), clock_s)
    parts = {
        "clients": _watched(known.clients, {homes[name] for name in heard}, clock_s),
        "counted": _watched(known.counted, {homes[name] for name in counted}, clock_s),
        "servers": _watched(known.servers, {one.service for one in told if one.is_whole}, clock_s),
        "calls": known.calls if seen.items() <= known.calls.items() else {**known.calls, **seen},
    }
    changed = {name: part for name, part in parts.items() if part is not getattr(known, name)}
    return replace(known, **changed) if changed else known  # type: ignore[arg-type]


def as_called(topology: Topology, known: KnownCalls) -> Topology:
    """Return the topology with the calls that plans are made for; the same where it says itself who calls whom.

    Of a service that gets a plan: who is known to call it, and of whom nothing is known; of others only the former.
    Cost: O(services · workloads that nobody watches + calls).
    """
    if topology.calls is not None:
        return topology
    callers = seen_callers(topology, known)
    clock_s = known.clock_s
    workloads = [one.name for one in topology.services if any(container.is_client for container in one.containers)]
    place = {name: i for i, name in enumerate(workloads)}
    unheard = {name for name in workloads if not _is_known(known.clients, name, clock_s)}
    uncounted = {name for name in workloads if not _is_known(known.counted, name, clock_s)}
    calls: list[Call] = []
    for service in topology.services:
        wanted = callers.get(service.name, set()) & place.keys()
        if service.policy.planned and not _is_known(known.servers, service.name, clock_s):
            wanted |= uncounted if any(port.protocol == "tcp" for port in service.ports) else unheard
        calls += [Call(client, service.name) for client in sorted(wanted, key=place.__getitem__)]
    return replace(topology, calls=tuple(calls))


def seen_callers(topology: Topology, known: KnownCalls) -> dict[ServiceName, set[ServiceName]]:
    """Return of each service those of which it is known that they call it, not merely that they might. O(calls)."""
    given = (Call(home.service, rate.service) for rate in topology.rates if rate.requests_per_s > 0
             and (home := topology.container_by_name.get(rate.client)) is not None)  # fmt: skip
    callers: dict[ServiceName, set[ServiceName]] = {}
    for call in (*known.calls, *given, *(topology.calls or ())):
        callers.setdefault(call.server, set()).add(call.client)
    return callers


def _is_known(spans: Spans, name: ServiceName, clock_s: float) -> bool:
    span = spans.get(name)
    return span is not None and span.tells(clock_s)


def _stepped(known: KnownCalls, now_s: float, *, is_watched: bool) -> KnownCalls:
    """Move the clock by a step, once one has passed, and forget what was not seen for long."""
    if not is_watched:
        return known
    if not known.stepped_at_s or now_s < known.stepped_at_s:
        return replace(known, stepped_at_s=now_s)
    if now_s - known.stepped_at_s < STEP_S:
        return known
    clock_s = known.clock_s + STEP_S
    oldest_s = clock_s - FORGET_S

    def lasting(spans: Spans) -> Spans:
        return {name: span for name, span in spans.items() if span.last_s >= oldest_s}

    return KnownCalls(
        clock_s=clock_s,
        stepped_at_s=now_s,
        calls={call: at_s for call, at_s in known.calls.items() if at_s >= oldest_s},
        clients=lasting(known.clients),
        counted=lasting(known.counted),
        servers=lasting(known.servers),
    )


def _watched(spans: Spans, now: Iterable[ServiceName], clock_s: float) -> Spans:
    """Return the spans drawn on to the clock for those that are watched now."""
    news = {
        name: Span(spans[name].since_s if name in spans and not spans[name].is_over(clock_s) else clock_s, clock_s)
        for name in now
        if name not in spans or spans[name].last_s != clock_s
    }
    return {**spans, **news} if news else spans


def _reported(homes: Mapping[ContainerName, ServiceName], requests: Requests, sidecars: Sidecars) -> set[Call]:
    """Return the calls that sidecars' own reports show: requests, or bytes where connections carry no requests."""
    found = {
        Call(homes[name], port.service)
        for name in homes.keys() & requests.keys()
        for port, rate in requests[name].rates.items()
        if rate.window.events >= SEEN_REQUESTS
    }
    found |= {
        Call(homes[name], way.service)
        for name in homes.keys() & sidecars.keys()
        for way, rate in sidecars[name].rates.items()
        if isinstance(way, ServicePort) and _carried(rate)
    }
    return found


def _carried(rate: SteadyRate) -> bool:
    return rate.window.events >= SEEN_REQUESTS or any(amount >= 1.0 for amount in rate.window.amounts)
