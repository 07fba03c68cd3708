"""What measurements on nodes say of the links between services, and which containers should be measured next.

A service is measured as the one that is called, on all of its containers: there a peer is the client's own address. On
the client's side it may be a Service's virtual one, which says nothing of who answered.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from estimators.live_links import Relation, Relations
from mesh.link_measurement import LinkBytes
from mesh.picture import Link
from mesh.telemetry import LinkSample
from mesh.topology import Container, ContainerName, Service, ServiceName, Topology

RENEWED_S = 300.0  # as long as the mean that a Prometheus is asked for
KEPT_S = 600.0  # how seldom a container may come to its turn, where many are kept measured
HELD_S = 900.0
MISSED = 0.5
"""Confidence of what is known to miss bytes, nobody knows how many: as if it could be wrong by all of it."""
SURE = 0.5
"""What is peeled with less confidence than this is not told by the counters."""

Samples = Mapping[ContainerName, LinkSample]


def held(samples: Iterable[LinkSample], *, now_s: float) -> Samples:
    """Return the samples that still count, by container."""
    return {one.measurement.container: one for one in samples if now_s - one.time_s <= HELD_S}


def measured_relations(topology: Topology, samples: Iterable[LinkSample], *, now_s: float) -> Relations:
    """Return what clients exchanged with the services that are measured whole, as bytes per second.

    A service of which a container has no sample of the last 15 minutes is none, nor is a client that nobody could name:
    an address of no container, of containers of several services, or of a node. O(containers + links of the samples).
    """
    known = held(samples, now_s=now_s)
    if not known:
        return {}
    clients, places = _clients(topology), Counter(one.name for s in topology.services for one in s.containers)
    found: dict[tuple[ServiceName, ServiceName], Relation] = {}
    for service in topology.services:
        if not service.containers or any(one.name not in known for one in service.containers):
            continue
        # Of one whose containers serve other services too, the ports tell; a sidecar's own port does not.
        shared = any(places[one.name] > 1 for one in service.containers)
        found |= _of_service(service, known, clients, by_port=shared)
    return found


def _of_service(
    service: Service, known: Samples, clients: Mapping[str, ServiceName | None], *, by_port: bool
) -> dict[tuple[ServiceName, ServiceName], Relation]:
    received: defaultdict[ServiceName, float] = defaultdict(float)
    sent: defaultdict[ServiceName, float] = defaultdict(float)
    for container in service.containers:
        measurement = known[container.name].measurement
        for link in _served(measurement.links, container, by_port=by_port):
            client = clients.get(link.peer)
            if client is not None and client != service.name:
                received[client] += link.bytes_received / measurement.window_s
                sent[client] += link.bytes_sent / measurement.window_s
    samples = [known[one.name] for one in service.containers]
    time_s = min(one.time_s for one in samples)
    confidence = 1.0 if all(one.measurement.complete for one in samples) and not by_port else MISSED
    return {
        (client, service.name): Relation(received[client], sent[client], time_s, "agent", confidence)
        for client in received
    }


def _served(links: Iterable[LinkBytes], container: Container, *, by_port: bool) -> Iterator[LinkBytes]:
    ports = {*container.ports.values(), *container.app_ports.values()}
    return (link for link in links if link.side == "server" and (not by_port or link.port in ports))


def _clients(topology: Topology) -> dict[str, ServiceName | None]:
    """Return whose address each is; None where containers of several services share it.

    None for a node's own address, too: the kubelet's probes come from there, and whoever is masqueraded.
    """
    found: dict[str, ServiceName | None] = {}
    for container in topology.container_by_name.values():
        known = found.setdefault(container.address, container.service)
        if known != container.service or container.on_host_network:
            found[container.address] = None
    return found


@dataclass(frozen=True, slots=True)
class ToMeasure:
    """``due``: containers, in their order. ``left_out``: services that want measuring and cannot have it, and why."""

    due: tuple[Container, ...] = ()
    left_out: Mapping[ServiceName, str] = field(default_factory=dict)


def to_measure(
    topology: Topology,
    links: Iterable[Link],
    samples: Samples,
    *,
    now_s: float,
    most: int,
    obstacle: Callable[[Container], str],
) -> ToMeasure:
    """Return which containers to measure next: of managed services whose links nobody else tells.

    A service is worth it only whole, so that one with an obstacle has none of its containers measured; services with
    few containers go first, so that more of them are known. The oldest sample is renewed first.
    O(containers + links, sorted).

    Parameters
    ----------
    samples:
        As ``held`` returns them.
    most:
        How many containers can be kept measured; services that do not fit are left out.
    obstacle:
        Why a container cannot be measured; empty where it can.
    """
    told = {(link.source, link.target) for link in links if _is_told(link)}
    unknown = _unknown(topology, told)
    due: list[Container] = []
    left_out: dict[ServiceName, str] = {}
    for service in sorted(topology.services, key=lambda one: (len(one.containers), one.name)):
        if service.name not in unknown or not service.policy.managed or not service.containers:
            continue
        found = next((f"{one.name}: {said}" for one in service.containers if (said := obstacle(one))), "")
        if not found and len(service.containers) > most:
            found = f"{len(service.containers)} containers, and only {most} more can be kept measured"
        if found:
            left_out[service.name] = found
            continue
        most -= len(service.containers)
        due += (one for one in service.containers if _age_s(samples, one, now_s=now_s) > RENEWED_S)
    due.sort(key=lambda one: -_age_s(samples, one, now_s=now_s))
    return ToMeasure(tuple(due), left_out)


def _is_told(link: Link) -> bool:
    return link.method in ("measured", "prometheus") or (link.method == "peeled" and link.confidence >= SURE)


def _unknown(topology: Topology, told: set[tuple[str, str]]) -> set[ServiceName]:
    """Return the services with callers whose bytes nobody tells; where callers are not known, any would do."""
    if topology.calls is None:
        ends = {end for pair in told for end in pair}
        return {service.name for service in topology.services if service.name not in ends}
    calls = ((call.client, call.server) for call in topology.calls if call.client != call.server)
    return {server for client, server in calls if (client, server) not in told}


def _age_s(samples: Samples, container: Container, *, now_s: float) -> float:
    known = samples.get(container.name)
    return HELD_S if known is None else now_s - known.time_s
