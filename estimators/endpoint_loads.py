"""Requests that each endpoint receives, and the part of them that no steered client sent.

The sidecar in front of an app counts everyone's requests; its clients' sidecars count their own. What the first has
beyond the second comes from gateways, Pods without a sidecar, or proxies that refuse the plan. Both sides report at
their own pace, so a difference counts only where it is larger than chance and clocks explain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from estimators.load_reports import Place, Requests
from estimators.sidecar_counters import Served, Sidecars
from estimators.steady_rate import CLEARLY_MORE, HALF_LIFE_S, NEWS_SIGMAS
from mesh.topology import Container, ContainerName, ServicePort, Topology

CLOCKS = 0.15  # of an endpoint's load: what reports that come up to an interval apart may differ by


@dataclass(frozen=True, slots=True)
class EndpointCount:
    """Requests served and requests that steered clients issued over the same seconds, older ones weighted down."""

    served: float = 0.0
    steered: float = 0.0
    seconds: float = 0.0
    told_unsteered_per_s: float = 0.0
    told_seconds: float = 0.0  # on how many it rests


EndpointCounts = Mapping[tuple[ServicePort, ContainerName], EndpointCount]


@dataclass(frozen=True)
class EndpointLoads:
    """Requests per second by service port and endpoint; an endpoint of which it is not known is absent."""

    loads: Mapping[ServicePort, Mapping[ContainerName, float]]
    unsteered: Mapping[ServicePort, Mapping[ContainerName, float]]


def endpoint_loads(
    topology: Topology,
    known: EndpointCounts,
    *,
    sidecars: Sidecars,
    requests: Requests,
    served: Mapping[tuple[ContainerName, int], Served],
    issued: Mapping[Place, int],
    now_s: float,
) -> tuple[EndpointLoads, EndpointCounts]:
    """Return the load of each endpoint, its unsteered part, and the counts to remember.

    ``unsteered`` is known only while every client of the service port is heard: a silent client may well be steered.

    Cost: O(calls × containers).
    """
    counts: dict[tuple[ServicePort, ContainerName], EndpointCount] = {}
    loads: dict[ServicePort, dict[ContainerName, float]] = {}
    unsteered: dict[ServicePort, dict[ContainerName, float]] = {}
    for service_port, endpoint in _endpoints(topology):
        sidecar = sidecars.get(endpoint.name)
        if sidecar is None or not sidecar.heard.is_usable(now_s):
            continue
        loads.setdefault(service_port, {})[endpoint.name] = sidecar.per_s(service_port.port).per_s
        clients = topology.clients_of[service_port.service]
        if not all(_is_heard(client, requests, now_s=now_s) for client in clients):
            continue
        place = (service_port, f"{endpoint.address}:{endpoint.ports.get(service_port.port, service_port.port)}")
        count = _advanced(
            known.get((service_port, endpoint.name), EndpointCount()),
            served.get((endpoint.name, service_port.port)),
            issued.get(place, 0),
        )
        counts[service_port, endpoint.name] = count
        unsteered.setdefault(service_port, {})[endpoint.name] = count.told_unsteered_per_s
    return EndpointLoads(loads, unsteered), counts


def _endpoints(topology: Topology) -> Iterator[tuple[ServicePort, Container]]:
    for service in topology.services:
        for port in service.ports:
            for container in service.containers:
                yield service.service_port(port), container


def _is_heard(client: Container, requests: Requests, *, now_s: float) -> bool:
    known = requests.get(client.name)
    return known is not None and known.heard.is_fresh(now_s)


def _advanced(before: EndpointCount, served: Served | None, issued: int) -> EndpointCount:
    if served is None:
        # Counting starts with the server's first interval; what clients said earlier has no counterpart.
        return replace(before, steered=before.steered + issued if before.seconds else 0.0)
    weight = 0.5 ** (served.seconds / HALF_LIFE_S)
    count = replace(
        before,
        served=weight * before.served + served.requests,
        steered=weight * before.steered + issued,
        seconds=weight * before.seconds + served.seconds,
    )
    return _told(count)


def _told(count: EndpointCount) -> EndpointCount:
    """Tell how much comes from clients that are not steered: anew only where it differs, or rests on clearly more."""
    doubt = max(CLOCKS * count.served, NEWS_SIGMAS * (count.served + count.steered) ** 0.5)
    beyond = count.served - count.steered
    differs = abs(beyond - count.told_unsteered_per_s * count.seconds) > doubt
    if not differs and count.seconds < CLEARLY_MORE * count.told_seconds:
        return count
    told = beyond / count.seconds if beyond > doubt else 0.0
    return replace(count, told_unsteered_per_s=told, told_seconds=count.seconds)
