"""Requests that each endpoint receives, and the part of them that no steered client sent.

The sidecar in front of an app counts everyone's requests; its clients' sidecars count their own. What the first has
beyond the second comes from gateways, Pods without a sidecar, or proxies that refuse the plan. Both sides report at
their own pace, so a difference counts only where it is larger than chance and clocks explain.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from estimators.load_reports import Issued, Requests
from estimators.sidecar_counters import Served, Sidecars
from estimators.steady_rate import CLEARLY_MORE, HALF_LIFE_S, NEWS_SIGMAS
from mesh.topology import Container, ContainerName, ServicePort, Topology

CLOCKS = 0.15  # of an endpoint's load: what reports that come up to an interval apart may differ by


class EndpointCount(NamedTuple):
    """Requests served and requests that steered clients issued over the same seconds, older ones weighted down."""

    served: float = 0.0
    steered: float = 0.0
    seconds: float = 0.0
    told_unsteered_per_s: float = 0.0
    told_seconds: float = 0.0  # on how many it rests


EndpointCounts = Mapping[ServicePort, Mapping[ContainerName, EndpointCount]]


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
    issued: Issued,
    now_s: float,
) -> tuple[EndpointLoads, EndpointCounts]:
    """Return the load of each endpoint, its unsteered part, and the counts to remember.

    ``unsteered`` is known only while every client of the service port is heard: a silent client may well be steered.

    Cost: O(calls × containers).
    """
    counts: dict[ServicePort, Mapping[ContainerName, EndpointCount]] = {}
    loads: dict[ServicePort, Mapping[ContainerName, float]] = {}
    unsteered: dict[ServicePort, Mapping[ContainerName, float]] = {}
    for service in topology.services:
        counted = [
            endpoint
            for endpoint in service.containers
            if endpoint.name in sidecars and sidecars[endpoint.name].heard.is_usable(now_s)
        ]
        all_heard = _all_heard(topology.clients_of[service.name], requests, now_s=now_s)
        for port in service.ports if counted else ():
            key, number = service.service_port(port), port.number
            loads[key] = {endpoint.name: sidecars[endpoint.name].per_s(number).per_s for endpoint in counted}
            if not all_heard:
                continue
            before, places = known.get(key, {}), issued.get(key, {})
            counts[key] = {
                endpoint.name: _advanced(
                    before.get(endpoint.name, EndpointCount()),
                    served.get((endpoint.name, number)),
                    places.get(f"{endpoint.address}:{endpoint.ports.get(number, number)}", 0),
                )
                for endpoint in counted
            }
            unsteered[key] = {name: count.told_unsteered_per_s for name, count in counts[key].items()}
    return EndpointLoads(loads, unsteered), counts


def _all_heard(clients: Iterable[Container], requests: Requests, *, now_s: float) -> bool:
    known = (requests.get(client.name) for client in clients)
    return all(one is not None and one.heard.is_fresh(now_s) for one in known)


def _advanced(before: EndpointCount, served: Served | None, issued: int) -> EndpointCount:
    if served is None:
        # Counting starts with the server's first interval; what clients said earlier has no counterpart.
        return before._replace(steered=before.steered + issued if before.seconds else 0.0)
    weight = 0.5 ** (served.seconds / HALF_LIFE_S)
    count = before._replace(
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
    return count._replace(told_unsteered_per_s=told, told_seconds=count.seconds)
