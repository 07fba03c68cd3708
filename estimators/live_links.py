"""Bytes on every link of a running mesh: what the sidecars counted, and arithmetic where a client has no sidecar.

A client's sidecar knows exactly what it exchanged with each service. A link of which every client is counted is
``measured``; one that was measured on nodes instead (``measured_links.py``) is an ``agent``'s; the others go the way of
OptTraffic (``link_traffic.py``), with the measured ones as given and the sums of each container's sidecar as its
counters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from estimators.link_traffic import estimate_links
from estimators.load_reports import Requests
from estimators.sidecar_counters import RECEIVED, SENT, SidecarCounts, Sidecars
from estimators.window_totals import WindowTotals
from mesh.picture import Link, LinkMethod
from mesh.topology import Container, ServiceName, ServicePort, Topology

Ends = tuple[str, str]


@dataclass(frozen=True)
class LiveLinks:
    """Links, busiest first, and the services still to be measured for certainty about all."""

    links: tuple[Link, ...] = ()
    to_measure: tuple[ServiceName, ...] = ()


@dataclass(frozen=True, slots=True)
class Relation:
    """What a service sent to one that it calls, what came back, the time of the oldest figure in it, and who tells."""

    sent_bytes_per_s: float
    received_bytes_per_s: float
    time_s: float
    method: LinkMethod = "measured"
    confidence: float = 1.0


Relations = Mapping[tuple[ServiceName, ServiceName], Relation]
"""By client and server."""
NOTHING_TOLD: Relations = {}


def live_links(
    topology: Topology, sidecars: Sidecars, requests: Requests, *, now_s: float, told: Relations = NOTHING_TOLD
) -> LiveLinks:
    """Return the links that are known.

    Sidecars that have been silent for more than 12 intervals do not count, nor do those whose bytes nobody tells (a
    Prometheus tells their requests). ``told`` counts for calls of which sidecars do not know all. Where nobody says
    who calls whom, the links are those that carried something, and nothing is estimated.

    Cost: O(calls × containers), and ``estimate_links`` where a client is not counted.
    """
    usable = counted(sidecars, now_s=now_s)
    if topology.calls is None:
        calls = sorted(_observed_calls(topology, usable))
    else:
        calls = list(dict.fromkeys((call.client, call.server) for call in topology.calls if call.client != call.server))
    relations = {call: _relation(topology, call, usable, requests, now_s=now_s) for call in calls}
    whole = {call: relation for call, relation in relations.items() if relation is not None}
    is_call = relations if topology.calls is not None else told
    whole |= {call: relation for call, relation in told.items() if call in is_call and call not in whole}
    unknown = [call for call in calls if call not in whole]
    measured = _measured(whole, frozenset(unknown))
    if not unknown or topology.calls is None:
        return LiveLinks(busiest_first(measured.values()))
    return _estimated(topology, calls, usable, measured)


def counted(sidecars: Sidecars, *, now_s: float) -> Sidecars:
    """Return the sidecars whose bytes are known: heard within 12 intervals, and telling bytes at all."""
    return {name: one for name, one in sidecars.items() if one.heard.is_usable(now_s) and _tells_bytes(one)}


def _tells_bytes(one: SidecarCounts) -> bool:
    return not one.clusters or any(sample.sent_bytes is not None for sample in one.clusters.values())


def _observed_calls(topology: Topology, sidecars: Sidecars) -> set[tuple[ServiceName, ServiceName]]:
    return {
        (topology.container_by_name[name].service, way.service)
        for name, one in sidecars.items()
        for way in one.rates
        if isinstance(way, ServicePort) and topology.container_by_name[name].service != way.service
    }


def _relation(
    topology: Topology,
    call: tuple[ServiceName, ServiceName],
    sidecars: Sidecars,
    requests: Requests,
    *,
    now_s: float,
) -> Relation | None:
    """Return what one service exchanged with another that it calls, or None where a client of it is not counted."""
    client, server = call
    ports = [topology.service_by_name[server].service_port(port) for port in topology.service_by_name[server].ports]
    sent, received, time_s = 0.0, 0.0, now_s
    for container in topology.service_by_name[client].containers:
        one = sidecars.get(container.name)
        if one is None:
            if topology.calls is None or _is_idle(container, ports, requests, now_s=now_s):
                continue
            return None
        counts = [one.per_s(port) for port in ports]
        sent += sum(count.amount_per_s(SENT) for count in counts)
        received += sum(count.amount_per_s(RECEIVED) for count in counts)
        time_s = min(time_s, one.heard.time_s)
    return Relation(sent, received, time_s)


def _is_idle(container: Container, ports: list[ServicePort], requests: Requests, *, now_s: float) -> bool:
    """Whether a client without counters has reported, lately, that it never called: Envoy counts nothing of nothing."""
    known = requests.get(container.name)
    return known is not None and known.heard.is_usable(now_s) and not any(port in known.rates for port in ports)


def _measured(whole: Mapping[tuple[ServiceName, ServiceName], Relation], unknown: frozenset[Ends]) -> dict[Ends, Link]:
    """Return both directions of the pairs of which every call is known; a pair may call each other."""
    links: dict[Ends, Link] = {}
    for (client, server), relation in whole.items():
        if (server, client) in unknown:
            continue
        for ends, rate in (
            ((client, server), relation.sent_bytes_per_s),
            ((server, client), relation.received_bytes_per_s),
        ):
            link = Link(*ends, rate, relation.method, relation.confidence, time_s=relation.time_s)
            links[ends] = _sum(links[ends], link) if ends in links else link
    return links


def _sum(one: Link, other: Link) -> Link:
    """Return what two services exchange in calls of both, known no better than the worse of them."""
    return replace(
        one if one.method == "agent" else other,
        rate_bytes_per_s=one.rate_bytes_per_s + other.rate_bytes_per_s,
        confidence=min(one.confidence, other.confidence),
        time_s=min((time_s for one in (one, other) if (time_s := one.time_s) is not None), default=None),
    )


def _estimated(
    topology: Topology,
    calls: list[tuple[ServiceName, ServiceName]],
    sidecars: Sidecars,
    measured: Mapping[Ends, Link],
) -> LiveLinks:
    containers = {str(name): str(container.service) for name, container in topology.container_by_name.items()}
    peopled = frozenset(containers.values())
    pairs = [call for call in calls if peopled.issuperset(call)]
    rates = {ends: link.rate_bytes_per_s for ends, link in measured.items() if peopled.issuperset(ends)}
    estimate = estimate_links(containers, pairs, totals_of(sidecars), measured=rates)
    told = {containers[name] for name in sidecars}
    links = [
        _agreeing(measured[ends], link) if ends in measured else link
        for link in estimate.links
        if (ends := (link.source, link.target)) in measured or told.intersection(ends)
    ]
    return LiveLinks(busiest_first(links), tuple(ServiceName(name) for name in estimate.to_measure))


def _agreeing(measured: Link, estimate: Link) -> Link:
    """Return a link as it was measured, with how far the counters of its part of the graph agree."""
    confidence = min(measured.confidence, estimate.confidence)
    return replace(measured, residual=estimate.residual, confidence=confidence)


def totals_of(sidecars: Sidecars) -> WindowTotals:
    """Return bytes per second that went in and out of each container, to and from whom ever, app side excluded."""
    received: dict[str, float] = {}
    sent: dict[str, float] = {}
    for name, one in sidecars.items():
        sent[name], received[name] = _through(one)
    return WindowTotals(1.0, received, sent)


def _through(one: SidecarCounts) -> tuple[float, float]:
    """Return bytes per second that left and that entered a container.

    As a client it sends what it sends. As a server it receives what its sidecar sends on to the app, and sends what the
    app answers.
    """
    sent = received = 0.0
    for way in one.rates:
        count = one.per_s(way)
        out, back = count.amount_per_s(SENT), count.amount_per_s(RECEIVED)
        if isinstance(way, int):
            out, back = back, out
        sent += out
        received += back
    return sent, received


def busiest_first(links: Iterable[Link]) -> tuple[Link, ...]:
    """Return the links in the order in which a picture holds them; ties by name. O(n log n)."""
    return tuple(sorted(links, key=lambda link: (-link.rate_bytes_per_s, link.source, link.target)))
