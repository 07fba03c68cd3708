"""Which endpoints of a Service take requests: one address each, of one family, ready as istiod sees it.

Sources: Kubernetes docs, "EndpointSlices" (conditions, duplicates over slices); istiod's EndpointSlice controller:
unready and terminating endpoints are not sent, unless the Service publishes addresses that are not ready.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from istio.objects import EndpointSlice, Key, Service


@dataclass(frozen=True, slots=True)
class Ready:
    """An endpoint that takes requests; ``ports`` by the Service's port name."""

    address: str
    node: str
    zone: str
    pod: Key | None
    ports: Mapping[str, int]


def ready_endpoints(service: Service, slices: Sequence[EndpointSlice]) -> list[Ready]:
    """Return the endpoints in the order of pods, then addresses. O(endpoints · log).

    Dual stack: those of the Service's first family, of the other only where the first has none. An endpoint that is in
    several slices (as happens while slices are rearranged, or ports differ) counts once, with all its ports.
    """
    families = service.ip_families or ("IPv4", "IPv6")
    for family in (*families, *({"IPv4", "IPv6"} - set(families))):
        found: dict[tuple[Key | None, str], Ready] = {}
        for one in slices:
            if one.family == family:
                _collect(service, one, found)
        if found:
            return sorted(found.values(), key=lambda ready: (ready.pod or ("", ""), ready.address))
    return []


def _collect(service: Service, one: EndpointSlice, found: dict[tuple[Key | None, str], Ready]) -> None:
    ports = dict(one.ports)
    for endpoint in one.endpoints:
        takes = endpoint.ready and (service.publishes_not_ready or not endpoint.terminating)
        if not takes or not endpoint.addresses:
            continue
        address = endpoint.addresses[0]  # all of them lead to the same pod (EndpointSlice API reference)
        key = (endpoint.pod, "" if endpoint.pod else address)
        known = found.get(key)
        if known is None:
            found[key] = Ready(address, endpoint.node, endpoint.zone, endpoint.pod, ports)
        elif known.ports != ports:
            found[key] = replace(known, ports={**known.ports, **ports})
